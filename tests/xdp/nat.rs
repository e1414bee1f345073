//! NAT's memory: which ports flows get, when they end, that nothing is left.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use ringway::xdp::{Action, ProgramDescriptor, RealState, Transport, Verdict};

use crate::fixture::{Bench, bench};
use crate::packet::{ACK, FIN, RST, SYN, Seen, Spec, take_apart};

const VIP: &str = "192.0.2.10:80";
const REAL: &str = "10.0.0.11:8080";
const TICK: u64 = 1 << 30;

fn client(number: u32) -> String {
    format!("198.51.{}.{}:{}", number >> 16, number >> 8 & 255, 2000 + (number & 255))
}

#[track_caller]
fn out(bench: &Bench, number: u32, flags: u8) -> Seen {
    let outcome = bench.run(&Spec::tcp(&client(number), VIP, flags).frame());
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "nat"));
    take_apart(&outcome.frame)
}

/// What the real answers to the packet that it got.
fn answer(there: &Seen, flags: u8) -> Vec<u8> {
    let mut spec = Spec::tcp("1.1.1.1:1", "1.1.1.1:1", flags);
    (spec.from, spec.to) = (there.to, there.from);
    spec.frame()
}

#[track_caller]
fn back(bench: &Bench, there: &Seen, flags: u8) {
    assert_eq!(bench.run(&answer(there, flags)).exit, "nat_reply");
}

fn nat() -> Option<Bench> {
    let mut bench = bench()?;
    bench.service(Action::Nat, VIP, &[REAL]);
    Some(bench)
}

fn wait(bench: &mut Bench, ticks: u64) {
    bench.change_settings(|settings| settings.clock_add += ticks * TICK);
}

#[test]
fn a_retransmitted_syn_takes_no_second_port() {
    let Some(bench) = nat() else { return };
    let first = out(&bench, 1, SYN);
    assert_eq!(out(&bench, 1, SYN).from, first.from);
    assert_eq!(bench.balancer.nat_entries().unwrap(), (1, 1));
}

#[test]
fn a_packet_of_no_known_connection_is_the_stacks() {
    let Some(bench) = nat() else { return };
    bench.passes(&Spec::tcp(&client(1), VIP, ACK).frame(), "nat_unknown");
    bench.passes(&Spec::tcp(REAL, "10.0.0.1:2000", ACK).frame(), "not_vip");
    assert_eq!(bench.balancer.nat_entries().unwrap(), (0, 0));
}

#[test]
fn no_two_flows_share_a_port_and_too_many_are_refused() {
    let Some(mut bench) = nat() else { return };
    bench.change_settings(|settings| settings.port_last = settings.port_first + 99);
    let mut ports = std::collections::BTreeSet::new();
    let mut refused = 0;
    for number in 0..400 {
        let outcome = bench.run(&Spec::tcp(&client(number), VIP, SYN).frame());
        match outcome.exit {
            "nat" => assert!(ports.insert(take_apart(&outcome.frame).from.port())),
            exit => {
                assert_eq!((outcome.verdict, exit), (Verdict::DROP, "nat_full"));
                refused += 1;
            }
        }
    }
    assert!(ports.len() > 80 && ports.len() <= 100, "{} of 100 ports", ports.len());
    assert_eq!(refused + ports.len(), 400);
    // The same ports serve another real.
    bench.service(Action::Nat, "192.0.2.11:80", &["10.0.0.12:8080"]);
    assert_eq!(bench.run(&Spec::tcp(&client(9), "192.0.2.11:80", SYN).frame()).exit, "nat");
}

#[test]
fn a_port_is_taken_over_when_its_owner_is_past_its_time() {
    let Some(mut bench) = nat() else { return };
    bench.change_settings(|settings| settings.port_last = settings.port_first);
    let first = out(&bench, 1, SYN);
    let second = Spec::tcp(&client(2), VIP, SYN).frame();
    assert_eq!(bench.run(&second).exit, "nat_full", "it may be answered yet");
    wait(&mut bench, 12);
    assert_eq!(bench.run(&second).exit, "nat", "it never was");
    assert_eq!(bench.event("nat_reused"), 1);
    assert_eq!(bench.balancer.nat_entries().unwrap(), (1, 1));
    // Established, silence of minutes is nothing.
    back(&bench, &first, SYN | ACK);
    wait(&mut bench, 300);
    assert_eq!(bench.run(&Spec::tcp(&client(3), VIP, SYN).frame()).exit, "nat_full");
    // Both sides have ended it: ten seconds, for what is still on the way.
    out(&bench, 2, FIN | ACK);
    back(&bench, &first, FIN | ACK);
    assert_eq!(bench.run(&Spec::tcp(&client(3), VIP, SYN).frame()).exit, "nat_full");
    wait(&mut bench, 12);
    assert_eq!(bench.run(&Spec::tcp(&client(3), VIP, SYN).frame()).exit, "nat");
}

#[test]
fn a_tuple_used_anew_begins_anew() {
    let Some(mut bench) = nat() else { return };
    let there = out(&bench, 1, SYN);
    back(&bench, &there, SYN | ACK);
    out(&bench, 1, FIN | ACK);
    back(&bench, &there, FIN | ACK);
    assert_eq!(out(&bench, 1, SYN).from, there.from);
    back(&bench, &there, SYN | ACK);
    wait(&mut bench, 300);
    bench.balancer.sweep_all().unwrap();
    assert_eq!(bench.balancer.nat_entries().unwrap(), (1, 1), "it is established again");
}

#[test]
fn one_way_traffic_keeps_a_flow() {
    let Some(mut bench) = bench() else { return };
    bench.service_on(Transport::Udp, Action::Nat, VIP, &[REAL]);
    let spec = Spec::udp(&client(1), VIP).frame();
    let first = take_apart(&bench.run(&spec).frame);
    for _ in 0..5 {
        wait(&mut bench, 40);
        bench.balancer.sweep_all().unwrap();
        assert_eq!(take_apart(&bench.run(&spec).frame).from, first.from);
    }
    wait(&mut bench, 62);
    bench.balancer.sweep_all().unwrap();
    assert_eq!(bench.balancer.nat_entries().unwrap(), (0, 0));
}

#[test]
fn a_missing_udp_sum_stays_missing() {
    let Some(mut bench) = bench() else { return };
    bench.service_on(Transport::Udp, Action::Nat, VIP, &[REAL]);
    let mut frame = Spec::udp(&client(1), VIP).frame();
    frame[40..42].fill(0);
    let outcome = bench.run(&frame);
    assert_eq!(outcome.exit, "nat");
    assert!(!take_apart(&outcome.frame).has_sum);
}

#[test]
fn a_dead_reals_flows_begin_anew_elsewhere() {
    let Some(mut bench) = nat() else { return };
    let mut other = bench.services[0].reals[0];
    other.address = "10.0.0.12:8080".parse().unwrap();
    let before = out(&bench, 1, SYN);
    assert_eq!(before.to.to_string(), REAL);
    bench.services[0].reals[0].state = RealState::Down;
    bench.services[0].reals.push(other);
    bench.apply();
    bench.passes(&Spec::tcp(&client(1), VIP, ACK).frame(), "nat_unknown");
    assert_eq!(bench.balancer.nat_entries().unwrap(), (0, 0));
    assert_eq!(out(&bench, 1, SYN).to.to_string(), "10.0.0.12:8080");
}

/// The kernel evicts from each table by itself, and the way back's is the smaller one.
#[test]
fn a_flow_whose_way_back_was_evicted_begins_anew_with_a_syn() {
    let Some(bench) = nat() else { return };
    out(&bench, 0, SYN);
    for number in 1..6000 {
        out(&bench, number, SYN);
    }
    let (flows, ways_back) = bench.balancer.nat_entries().unwrap();
    assert!(flows > 5_000 && ways_back <= 2_500, "{flows} flows, {ways_back} ways back");
    back(&bench, &out(&bench, 0, SYN), SYN | ACK);
}

/// Opens flows until told not to, and answers each; how many there were. While the clock stands, which
/// it does at even `moves`, nothing may end a flow between its two packets.
fn open_flows(program: &ProgramDescriptor, moves: &AtomicU32, is_over: &AtomicBool) -> u32 {
    let mut opened = 0;
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let before = moves.load(Ordering::SeqCst);
        let syn = Spec::tcp(&client(number), VIP, SYN).frame();
        let there = program.try_out(&syn, 1).unwrap();
        if there.verdict != Verdict::TX {
            // No port is free.
            continue;
        }
        let answer = answer(&take_apart(&there.packet), RST | ACK);
        let verdict = program.try_out(&answer, 1).unwrap().verdict;
        if before.is_multiple_of(2) && moves.load(Ordering::SeqCst) == before {
            assert_eq!(verdict, Verdict::TX, "flow {number} is known to both sides");
            opened += 1;
        }
    }
    opened
}

/// A port that the sweep finds past its time may have a new owner by when it is about to delete it.
#[test]
fn a_sweep_ends_no_flow_that_began_meanwhile() {
    let Some(mut bench) = nat() else { return };
    bench.change_settings(|settings| settings.port_last = settings.port_first + 511);
    let program = bench.balancer.descriptor().unwrap();
    let (moves, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let opened = thread::scope(|scope| {
        let opening = scope.spawn(|| open_flows(&program, &moves, &is_over));
        for _ in 0..300 {
            moves.fetch_add(1, Ordering::SeqCst);
            wait(&mut bench, 12);
            moves.fetch_add(1, Ordering::SeqCst);
            bench.balancer.sweep_all().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        opening.join().unwrap()
    });
    assert!(opened > 10_000, "{opened} flows");
}

/// Ended in every way, 20,000 flows leave nothing; the clock is moved, not waited for.
#[test]
fn short_flows_leave_nothing() {
    let Some(mut bench) = bench() else { return };
    let reals = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"];
    bench.service(Action::Nat, VIP, &reals);
    for round in 0..20 {
        for number in 0..1000 {
            let number = round * 1000 + number;
            let there = out(&bench, number, SYN);
            match number % 4 {
                // Ended by both, broken by the real, never answered, broken by the client.
                0 => {
                    back(&bench, &there, SYN | ACK);
                    out(&bench, number, FIN | ACK);
                    back(&bench, &there, FIN | ACK);
                }
                1 => back(&bench, &there, RST),
                2 => {}
                _ => drop(out(&bench, number, RST)),
            }
        }
        let (flows, ports) = bench.balancer.nat_entries().unwrap();
        assert!(flows > 0 && ports > 0);
        wait(&mut bench, 12);
        bench.balancer.sweep_all().unwrap();
        assert_eq!(bench.balancer.nat_entries().unwrap(), (0, 0), "after round {round}");
    }
}
