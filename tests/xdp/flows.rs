//! Who gets which flow: the ring's shares, the flow table's memory, drains and failures, the caps.

use std::{collections::BTreeMap, net::SocketAddr};

use ringway::xdp::{Action, RealState, Verdict};

use crate::fixture::{Bench, bench, mac_of};
use crate::packet::{ACK, SYN, Spec, take_apart, take_apart_ip};

const VIP: &str = "192.0.2.10:80";
const VIP6: &str = "[2001:db8:1::10]:80";
const REALS: [&str; 3] = ["10.0.0.11:80", "10.0.0.12:80", "10.0.0.13:80"];

fn client(number: u16) -> String {
    format!("198.51.{}.{}:{}", number >> 8, number & 255, 20_000 + number)
}

/// Which real (its address' last byte) a client's packet goes to; 0 for none.
fn real_of(bench: &Bench, number: u16, flags: u8) -> u8 {
    let outcome = bench.run(&Spec::tcp(&client(number), VIP, flags).frame());
    if outcome.verdict == Verdict::TX { take_apart(&outcome.frame).to_mac[5] } else { 0 }
}

fn all(bench: &Bench, count: u16, flags: u8) -> Vec<u8> {
    (0..count).map(|number| real_of(bench, number, flags)).collect()
}

fn set(bench: &mut Bench, real: usize, state: RealState) {
    bench.services[0].reals[real].state = state;
    bench.apply();
}

#[test]
fn shares_follow_the_weights() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    bench.services[0].reals[0].weight = 2;
    bench.apply();
    let mut counts = BTreeMap::new();
    for real in all(&bench, 2000, SYN) {
        *counts.entry(real).or_insert(0) += 1;
    }
    // 1000, 500 and 500, to five standard deviations.
    assert!((890..1110).contains(&counts[&11]), "{counts:?}");
    assert!((400..600).contains(&counts[&12]) && (400..600).contains(&counts[&13]), "{counts:?}");
}

#[test]
fn with_a_flow_table_only_a_removed_reals_flows_move() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    let before = all(&bench, 300, SYN);
    assert_eq!(all(&bench, 300, ACK), before);
    set(&mut bench, 1, RealState::Down);
    let without = all(&bench, 300, ACK);
    for (before, without) in before.iter().zip(&without) {
        assert!(without == before || *before == 12, "{before} moved to {without}");
        assert_ne!(*without, 12);
    }
    assert!(bench.event("flow_dead") > 0);
    set(&mut bench, 1, RealState::Up);
    assert_eq!(all(&bench, 300, ACK), without, "who comes back takes no flow away");
    let anew = all(&bench, 300, SYN);
    assert_eq!(anew, before, "new connections go by the ring again");
}

#[test]
fn a_draining_real_keeps_its_flows_and_gets_no_new_ones() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    let before = all(&bench, 300, SYN);
    set(&mut bench, 1, RealState::Draining);
    assert_eq!(all(&bench, 300, ACK), before);
    let fresh: Vec<u8> = (300..600).map(|number| real_of(&bench, number, SYN)).collect();
    assert!(!fresh.contains(&12));
}

#[test]
fn without_reals_packets_are_dropped_and_counted() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &[]);
    let outcome = bench.run(&Spec::tcp(&client(1), VIP, SYN).frame());
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::DROP, "no_real"));
    bench.services[0].reals = vec![];
    bench.service(Action::Dsr, "192.0.2.11:80", &REALS);
    for real in 0..3 {
        bench.services[1].reals[real].state = RealState::Down;
    }
    bench.apply();
    let outcome = bench.run(&Spec::tcp(&client(1), "192.0.2.11:80", SYN).frame());
    assert_eq!(outcome.exit, "no_real");
}

#[test]
fn a_real_that_fails_is_passed_over_before_the_ring_is_made_anew() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    // Draining and down differ only in the real's flag; the ring of before has it still.
    set(&mut bench, 0, RealState::Down);
    set(&mut bench, 1, RealState::Down);
    let reals = all(&bench, 100, SYN);
    assert_eq!(reals, vec![13; 100]);
}

#[test]
fn over_the_insert_cap_flows_go_by_the_ring_alone() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    bench.change_settings(|settings| settings.inserts_max = 0);
    let before = all(&bench, 200, ACK);
    assert_eq!(all(&bench, 200, ACK), before, "the ring answers the same");
    assert_eq!(bench.event("flow_unkept"), 400);
    assert_eq!(bench.event("flow_hit"), 0);
    bench.change_settings(|settings| settings.inserts_max = u32::MAX);
    all(&bench, 200, ACK);
    assert_eq!(all(&bench, 200, ACK), before);
    assert_eq!(bench.event("flow_hit"), 200);
}

#[test]
fn syns_above_the_rate_are_dropped_until_the_next_window() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    // 10 in a window of 134 ms.
    bench.services[0].syn_rate = Some(75);
    bench.apply();
    // The clock stands still for the test's purposes: nothing but clock_add moves it far.
    let count = |bench: &Bench, count: u16| {
        let syns = (0..count).map(|n| bench.run(&Spec::tcp(&client(n), VIP, SYN).frame()).exit);
        syns.filter(|exit| *exit == "dsr").count()
    };
    let passed = count(&bench, 400);
    // How many windows 400 runs took isn't known; that most were dropped is.
    assert!((10..200).contains(&passed), "{passed} of 400 SYNs passed");
    assert_eq!(bench.run(&Spec::tcp(&client(0), VIP, ACK).frame()).exit, "dsr", "only SYNs count");
    bench.change_settings(|settings| settings.clock_add = 1 << 40);
    assert!(count(&bench, 5) == 5, "another window");
}

#[test]
fn by_source_all_flows_of_a_client_go_to_one_real() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    bench.services[0].by_source = true;
    bench.apply();
    let mut seen = [false; 256];
    for host in 0..40 {
        let to: Vec<u8> = (0..20)
            .map(|port| {
                let from = format!("198.51.100.{host}:{}", 3000 + port);
                let outcome = bench.run(&Spec::tcp(&from, VIP, SYN).frame());
                take_apart(&outcome.frame).to_mac[5]
            })
            .collect();
        assert!(to.iter().all(|real| *real == to[0]), "{to:?}");
        seen[usize::from(to[0])] = true;
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), 3);
}

#[test]
fn two_boxes_with_the_same_reals_agree() {
    let (Some(mut one), Some(mut other)) = (bench(), bench()) else { return };
    let mut turned = REALS;
    turned.reverse();
    one.service(Action::Dsr, VIP, &REALS);
    other.service(Action::Dsr, "192.0.2.77:80", &["10.0.0.50:1"]);
    other.services.clear();
    other.service(Action::Dsr, VIP, &turned);
    assert_eq!(all(&one, 300, SYN), all(&other, 300, SYN));
}

#[test]
fn a_new_real_on_a_freed_id_inherits_no_flows() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &["10.0.0.11:80"]);
    assert_eq!(all(&bench, 20, SYN), vec![11; 20]);
    bench.services[0].reals[0].address = "10.0.0.99:80".parse().unwrap();
    bench.apply();
    assert_eq!(all(&bench, 20, ACK), vec![99; 20]);
    assert_eq!(bench.event("flow_dead"), 20, "the entries were of the last owner");
}

#[test]
fn traffic_is_counted_by_vip_and_by_real() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Ipip, VIP6, &["[fd00::11]:80", "[fd00::12]:80"]);
    let spec = |port: u16, flags| Spec::tcp(&format!("[2001:db8::7]:{port}"), VIP6, flags);
    let length = spec(1, SYN).ip().len() as u64;
    let mut by_real = BTreeMap::new();
    for port in 1..=50 {
        for flags in [SYN, ACK, ACK] {
            let outcome = bench.run(&spec(port, flags).frame());
            *by_real.entry(take_apart_ip(&outcome.frame[14..]).to.ip()).or_insert(0_u64) += 1;
        }
    }
    let report = bench.balancer.report().unwrap();
    let (_, vip, stats) = &report.vips[0];
    assert_eq!(*vip, VIP6.parse::<SocketAddr>().unwrap());
    assert_eq!((stats.packets, stats.bytes, stats.flows), (150, 150 * length, 50));
    for (service, real, stats) in &report.reals {
        assert_eq!(service, "service-0");
        assert_eq!(stats.packets, by_real[&real.ip()], "{real}");
        assert_eq!(stats.bytes, stats.packets * length);
        assert_eq!(stats.flows, stats.packets / 3);
    }
}

#[test]
fn a_service_that_goes_leaves_nothing_behind() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    let syn = Spec::tcp(&client(1), VIP, SYN).frame();
    assert_eq!(bench.run(&syn).exit, "dsr");
    bench.services.clear();
    bench.apply();
    bench.passes(&syn, "not_vip");
    let mut fragment = syn;
    fragment[20] = 0x20;
    bench.passes(&fragment, "not_vip");
    assert!(bench.balancer.addresses().is_empty());
    let report = bench.balancer.report().unwrap();
    assert!(report.vips.is_empty() && report.reals.is_empty());
}

#[test]
fn more_services_than_rings_are_refused_and_change_nothing() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, VIP, &REALS);
    let many: Vec<_> = (0..600_u16)
        .map(|number| {
            let mut service = bench.services[0].clone();
            service.name = format!("many-{number}");
            service.vips = vec![SocketAddr::from(([10, 9, 9, 9], 1000 + number))];
            service
        })
        .collect();
    assert!(bench.balancer.apply(&many).is_err());
    let outcome = bench.run(&Spec::tcp(&client(1), VIP, SYN).frame());
    assert_eq!(outcome.exit, "dsr");
    assert_eq!(outcome.frame[..5], mac_of("10.0.0.11".parse().unwrap())[..5]);
}
