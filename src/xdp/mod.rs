//! The fast path: a program that balances packets before the kernel's stack sees them.
//!
//! ```text
//!   config, health ─▶ Service … ─▶ Balancer ─▶ maps ─▶ program (bpf/) on an interface ─▶ packets
//!                                     ▲                        │
//!                 neighbours (netlink)┘        counters ◀──────┘
//! ```
//!
//! This module loads the program, keeps its maps as the configuration and the health checks want
//! them, and reads its counters. It knows services and reals, not listeners and upstreams: `server`
//! translates. It never touches a packet. docs/XDP.md tells what the program does and how to run it.

mod balancer;
mod error;
mod fast_path;
pub mod layout;
mod maglev;
mod netlink;
mod object;
mod offloads;
mod pins;
mod program;
mod service;
mod sweep;
mod sys;
mod tables;

pub use balancer::{Balancer, Report};
pub use error::XdpError;
pub use fast_path::{FastPath, Plan};
pub use layout::{Action, Counts, EVENTS, EXITS, LAYOUT_VERSION, RING_SLOTS, Settings, Stats};
pub use object::{BENCH, TOOLS};
pub use offloads::{Offloads, offloads};
pub use pins::unpin;
pub use program::{Effective, Mode, ProgramDescriptor, Sizes};
pub use service::{RealConfig, RealState, Service, Transport};
pub use sweep::Swept;
pub use sys::{
    Capability, Trial, Verdict, drop_bounding_set, drop_capabilities, has_any_capability, play,
    try_out,
};
