//! The fast path against the kernel: packets through the program by BPF_PROG_TEST_RUN, and whole
//! connections through network namespaces.
//!
//! These tests need root, BPF and namespaces. Where those are missing they skip and say why; with
//! `XDP_TESTS=require` (our CI) they fail instead.
#![expect(clippy::unwrap_used, reason = "a test binary: failing is its job")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod aging;
mod binary;
mod cookies;
mod cost;
mod fixture;
mod flows;
mod golden;
mod icmp;
mod life;
mod nat;
mod net;
mod packet;
mod product;
mod rate;
mod served;
mod traffic;
mod ways;
