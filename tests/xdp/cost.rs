//! What a packet costs. Not part of a test run: `scripts/bench xdp` measures.
//!
//! The kernel repeats a run on the same packet, so a small program in front writes the packet anew, with
//! the next flow's address and port, and calls the balancer. What it costs by itself is measured with an
//! empty program in the balancer's place, and subtracted.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use ringway::xdp::{Action, BENCH, play, try_out};

use crate::fixture::{Bench, sized};
use crate::packet::{ACK, SYN, Spec};

const VIP: &str = "192.0.2.10:80";
const REALS: [&str; 3] = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"];
const PATTERN: usize = 64;

/// The wrapper, loaded: `bpf/src/bench.bpf.c`.
pub(crate) struct Wrapper {
    object: Ebpf,
    plan: Array<MapData, [u8; 16 + PATTERN]>,
    under_test: ProgramArray<MapData>,
    packet: Vec<u8>,
}

impl Wrapper {
    pub(crate) fn load() -> Self {
        let mut object = Ebpf::load(BENCH).unwrap();
        for name in ["vary", "nop", "transmit"] {
            let program: &mut Xdp = object.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        let plan = object.take_map("bench_plan").unwrap().try_into().unwrap();
        let under_test = object.take_map("under_test").unwrap().try_into().unwrap();
        Self { object, plan, under_test, packet: Vec::new() }
    }

    pub(crate) fn call(&mut self, program: &ProgramFd) {
        self.under_test.set(0, program, 0).unwrap();
    }

    fn call_nothing(&mut self) {
        self.call_own("nop");
    }

    /// Calls a program of `bpf/src/bench.bpf.c`.
    fn call_own(&mut self, name: &str) {
        let program: &Xdp = self.object.program(name).unwrap().try_into().unwrap();
        let program = program.fd().unwrap().try_clone().unwrap();
        self.call(&program);
    }

    /// Goes through `flows` flows (a power of two) of packets like `spec`.
    fn plan(&mut self, spec: &Spec, flows: u32) {
        self.plan_from(spec.frame(), flows, 0);
    }

    /// The same of packets like `frame`, from flow `next` on.
    pub(crate) fn plan_from(&mut self, frame: Vec<u8>, flows: u32, next: u32) {
        let mut plan = [0; 16 + PATTERN];
        plan[..4].copy_from_slice(&flows.to_ne_bytes());
        plan[4..8].copy_from_slice(&next.to_ne_bytes());
        plan[8..12].copy_from_slice(&u32::try_from(frame.len()).unwrap().to_ne_bytes());
        plan[16..].copy_from_slice(&frame[..PATTERN]);
        self.plan.set(0, plan, 0).unwrap();
        self.packet = frame;
    }

    /// Nanoseconds of one run, the mean of `repeat`.
    pub(crate) fn run(&self, repeat: u32) -> u64 {
        let trial = try_out(self.vary().as_fd(), &self.packet, repeat).unwrap();
        u64::try_from(trial.took.as_nanos()).unwrap()
    }

    /// Sends `count` packets out by interface `index` of this thread's namespace.
    pub(crate) fn send(&mut self, index: u32, count: u32) {
        self.call_own("transmit");
        play(self.vary().as_fd(), &self.packet, index, count).unwrap();
    }

    fn vary(&self) -> &ProgramFd {
        let program: &Xdp = self.object.program("vary").unwrap().try_into().unwrap();
        program.fd().unwrap()
    }

    /// The median of five means of a million, after one that fills tables and caches.
    fn measure(&self) -> u64 {
        self.run(1_000_000);
        let mut all: Vec<u64> = (0..5).map(|_| self.run(1_000_000)).collect();
        all.sort_unstable();
        all[2]
    }
}

/// More than 64 bytes, so that the whole pattern is the packet's.
fn spec(flags: u8) -> Spec {
    Spec { payload: vec![7; 26], ..Spec::tcp("10.64.0.1:1024", VIP, flags) }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_packet() {
    let Some(mut bench) = sized(4_000_000) else { return };
    let mut wrapper = Wrapper::load();
    let program = bench.balancer.descriptor().unwrap();
    wrapper.plan(&spec(ACK), 1024);
    wrapper.call_nothing();
    let empty = wrapper.measure();
    eprintln!("{:<28} {empty:>5} ns", "wrapper and empty program");
    wrapper.call(program.program());
    let mut show = |bench: &mut Bench, name: &str, action, flags: &[u8], flows: u32| {
        bench.services.clear();
        bench.apply();
        bench.service(action, VIP, &REALS);
        // NAT's flows are opened by SYNs before their packets are timed.
        for flags in flags {
            wrapper.plan(&spec(*flags), flows);
            wrapper.run(flows);
        }
        let cost = wrapper.measure();
        let net = cost.saturating_sub(empty);
        eprintln!("{name:<28} {cost:>5} ns, net {net:>4} ns");
        net
    };
    for flows in [1, 1024, 65_536] {
        let net = show(&mut bench, &format!("dsr hit, {flows} flows"), Action::Dsr, &[ACK], flows);
        assert!(flows != 1024 || net <= 100, "dsr: {net} ns, 100 are promised");
    }
    for flows in [1, 1024, 16_384] {
        let net =
            show(&mut bench, &format!("nat hit, {flows} flows"), Action::Nat, &[SYN, ACK], flows);
        assert!(flows != 1024 || net <= 130, "nat: {net} ns, 130 are promised");
    }
    show(&mut bench, "ipip hit, 1024 flows", Action::Ipip, &[ACK], 1024);
    show(&mut bench, "dsr, every packet a SYN", Action::Dsr, &[SYN], 1 << 22);
    let counts = bench.balancer.report().unwrap().counts;
    for (name, count) in ringway::xdp::EXITS.iter().zip(counts.exits) {
        // A measurement of the wrong way is none.
        assert!(matches!(*name, "dsr" | "nat" | "ipip") || count == 0, "{count} by {name}");
    }
}
