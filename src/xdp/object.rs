//! The compiled programs, as they lie in bpf/ (`scripts/bpf` makes them), aligned for the loader.

/// The balancer, `bpf/src/lb.bpf.c`.
pub(super) static BALANCER: &[u8] = aya::include_bytes_aligned!("../../bpf/lb.o");
/// The choice among sockets that share an address, `bpf/src/reuseport.bpf.c`.
pub static REUSEPORT: &[u8] = aya::include_bytes_aligned!("../../bpf/reuseport.o");
/// Small programs for endpoints, tests and benches, `bpf/src/tools.bpf.c`.
pub static TOOLS: &[u8] = aya::include_bytes_aligned!("../../bpf/tools.o");
/// What the balancer is timed with, `bpf/src/bench.bpf.c`.
pub static BENCH: &[u8] = aya::include_bytes_aligned!("../../bpf/bench.o");
