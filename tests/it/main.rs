//! The integration tests, one binary: RFC rules by number and section, behaviour by subject.
//!
//! Only the public API is used here. A test's name is the rule that it holds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests may; clippy excuses only #[test] itself"
)]

mod access_log;
mod admin;
mod bench_configs;
mod cli;
mod config;
mod exposition;
mod l4;
mod metrics;
mod node;
mod program;
mod proxy;
mod real;
mod rfc8441;
mod rfc9110;
mod rfc9112;
mod rfc9113;
mod scratch;
mod tls;
mod unix;
