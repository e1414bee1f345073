//! The compiled programs, as they lie in bpf/ (`scripts/bpf` makes them), aligned for the loader.

/// The balancer, `bpf/src/lb.bpf.c`.
pub(super) static BALANCER: &[u8] = aya::include_bytes_aligned!("../../bpf/lb.o");
/// Small programs for endpoints, tests and benches, `bpf/src/tools.bpf.c`.
pub static TOOLS: &[u8] = aya::include_bytes_aligned!("../../bpf/tools.o");
/// What the balancer is timed with, `bpf/src/bench.bpf.c`.
pub static BENCH: &[u8] = aya::include_bytes_aligned!("../../bpf/bench.o");
