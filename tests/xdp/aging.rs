//! NAT's table after very many short flows: nothing is left of any. The kernel makes the packets (the
//! wrapper that costs are measured with), and the clock is moved, not waited for.
//!
//! 210,000 flows in an ordinary run; `RINGWAY_NAT_FLOWS=10000000` sets another number.

use ringway::xdp::Action;

use crate::cost::Wrapper;
use crate::fixture::sized;
use crate::packet::{RST, SYN, Spec};

/// Flows that are there at once: a third of all ports of three reals, so that each finds one.
const BATCH: u32 = 30_000;
/// A power of two that no run gets through.
const FLOWS_MAX: u32 = 1 << 24;
const TICK: u64 = 1 << 30;

#[test]
fn millions_of_short_flows_leave_nothing() {
    let Some(mut bench) = sized(400_000) else { return };
    let wanted = std::env::var("RINGWAY_NAT_FLOWS").map_or(210_000, |flows| flows.parse().unwrap());
    assert!(wanted <= FLOWS_MAX, "{wanted} flows; {FLOWS_MAX} at most");
    let reals = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"];
    bench.service(Action::Nat, "192.0.2.10:80", &reals);
    let mut wrapper = Wrapper::load();
    wrapper.call(bench.program.program());
    let packet = |flags| {
        Spec { payload: vec![7; 26], ..Spec::tcp("10.64.0.1:1024", "192.0.2.10:80", flags) }.frame()
    };
    for batch in 0..wanted.div_ceil(BATCH) {
        wrapper.plan_from(packet(SYN), FLOWS_MAX, batch * BATCH);
        wrapper.run(BATCH);
        // Half of them are broken by their clients, half never answered.
        if batch % 2 == 1 {
            wrapper.plan_from(packet(RST), FLOWS_MAX, batch * BATCH);
            wrapper.run(BATCH);
        }
        let all = BATCH as usize;
        assert_eq!(bench.balancer.nat_entries().unwrap(), (all, all), "batch {batch}");
        bench.change_settings(|settings| settings.clock_add += 12 * TICK);
        let swept = bench.balancer.sweep_all().unwrap();
        assert_eq!((swept.ended, swept.kept), (BATCH, 0), "batch {batch}");
        assert_eq!(bench.balancer.nat_entries().unwrap(), (0, 0), "batch {batch}");
    }
    let counts = bench.balancer.report().unwrap().counts;
    let of = |name| counts.exits[ringway::xdp::EXITS.iter().position(|own| *own == name).unwrap()];
    assert!(of("nat") >= u64::from(wanted));
    assert_eq!(of("nat_full"), 0);
}
