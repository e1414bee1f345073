//! ICMP errors find the flow that they are about, and arrive as something its owner understands.

use std::net::{IpAddr, SocketAddr};

use ringway::xdp::{Action, Transport, Verdict};

use crate::fixture::{bench, mac_of};
use crate::packet::{
    ACK, ROUTER, SYN, Spec, US, internet_sum, ip, link, take_apart, take_apart_ip, transport_sum,
};

/// A router's error about `quoted`, to who sent it; the quote is cut after `quote` bytes.
fn error(router: &str, kind: [u8; 2], quoted: &Spec, quote: usize) -> Vec<u8> {
    let (router, to): (IpAddr, IpAddr) = (router.parse().unwrap(), quoted.from.ip());
    let packet = quoted.ip();
    let mut body = vec![kind[0], kind[1], 0, 0, 0, 0, 5, 0x14];
    body.extend(&packet[..packet.len().min(quote)]);
    let protocol = if to.is_ipv4() { 1 } else { 58 };
    let sum = if to.is_ipv4() { internet_sum(&body) } else { transport_sum(router, to, 58, &body) };
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = link(&quoted.tags, to);
    frame.extend(ip(router, to, protocol, 0, &body));
    frame
}

struct Net {
    client: &'static str,
    vip: &'static str,
    reals: [&'static str; 3],
    router: &'static str,
    own: &'static str,
    kinds: &'static [[u8; 2]],
}

const NETS: [Net; 2] = [
    Net {
        client: "198.51.100.7:40000",
        vip: "192.0.2.10:80",
        reals: ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"],
        router: "203.0.113.1",
        own: "10.0.0.1",
        kinds: &[[3, 4], [3, 1], [11, 0], [12, 0]],
    },
    Net {
        client: "[2001:db8::7]:40000",
        vip: "[2001:db8:1::10]:80",
        reals: ["[fd00::11]:8080", "[fd00::12]:8080", "[fd00::13]:8080"],
        router: "2001:db8:ffff::1",
        own: "fd00::1",
        kinds: &[[1, 0], [2, 0], [3, 0], [4, 0]],
    },
];

#[test]
fn an_error_about_a_reals_answer_reaches_that_real() {
    let Some(mut bench) = bench() else { return };
    for net in NETS {
        bench.services.clear();
        bench.service(Action::Dsr, net.vip, &net.reals);
        for flags in [SYN, ACK] {
            let there = bench.run(&Spec::tcp(net.client, net.vip, flags).frame());
            for kind in net.kinds {
                for tags in [vec![], vec![5], vec![5, 6]] {
                    let answer = Spec { tags, ..Spec::tcp(net.vip, net.client, ACK) };
                    let frame = error(net.router, *kind, &answer, 500);
                    let outcome = bench.run(&frame);
                    assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "icmp"));
                    assert_eq!(outcome.frame[..12], there.frame[..12], "the flow's real");
                    assert_eq!(outcome.frame[12..], frame[12..]);
                }
            }
        }
    }
}

#[test]
fn in_ipip_the_error_is_wrapped_like_its_flow() {
    let Some(mut bench) = bench() else { return };
    for net in NETS {
        bench.services.clear();
        bench.service(Action::Ipip, net.vip, &net.reals);
        let there = bench.run(&Spec::tcp(net.client, net.vip, SYN).frame());
        let frame = error(net.router, net.kinds[0], &Spec::tcp(net.vip, net.client, ACK), 60);
        let outcome = bench.run(&frame);
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "icmp"));
        let outer = take_apart_ip(&outcome.frame[14..]);
        assert_eq!(outer.to, take_apart_ip(&there.frame[14..]).to, "the flow's real");
        assert_eq!(outer.payload, frame[14..]);
    }
}

#[test]
fn in_nat_the_quote_is_translated_for_the_real() {
    let Some(mut bench) = bench() else { return };
    for net in NETS {
        bench.services.clear();
        for transport in [Transport::Tcp, Transport::Udp] {
            bench.service_on(transport, Action::Nat, net.vip, &net.reals);
            let spec = match transport {
                Transport::Tcp => Spec::tcp(net.client, net.vip, SYN),
                Transport::Udp => Spec::udp(net.client, net.vip),
            };
            let there = take_apart(&bench.run(&spec.frame()).frame);
            // Whole quotes, and quotes that end behind the ports.
            let header = if spec.from.is_ipv4() { 20 } else { 40 };
            for quote in [500, header + 8] {
                let answer = Spec { from: spec.to, to: spec.from, flags: ACK, ..spec.clone() };
                let frame = error(net.router, net.kinds[0], &answer, quote);
                let outcome = bench.run(&frame);
                assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "icmp"));
                // Taking it apart checks the ICMP sum.
                let seen = take_apart(&outcome.frame);
                assert_eq!(
                    (seen.from.ip().to_string(), seen.to.ip()),
                    (net.router.into(), there.to.ip())
                );
                assert_eq!(seen.to_mac, mac_of(there.to.ip()));
                check_quote(&seen.payload[8..], there.to, there.from, &answer, quote);
            }
        }
    }
}

#[test]
fn in_nat_an_error_about_the_way_to_the_real_reaches_the_client() {
    let Some(mut bench) = bench() else { return };
    for net in NETS {
        bench.services.clear();
        bench.service_on(Transport::Udp, Action::Nat, net.vip, &net.reals);
        let spec = Spec::udp(net.client, net.vip);
        let there = take_apart(&bench.run(&spec.frame()).frame);
        let sent = Spec { from: there.from, to: there.to, ..spec.clone() };
        let real = there.to.ip().to_string();
        for kind in net.kinds {
            let outcome = bench.run(&error(&real, *kind, &sent, 500));
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "icmp"));
            let seen = take_apart(&outcome.frame);
            assert_eq!((seen.from.ip(), seen.to.ip()), (spec.to.ip(), spec.from.ip()));
            assert_eq!((seen.to_mac, seen.from_mac), (ROUTER, US));
            assert_eq!(seen.payload[..2], *kind);
            check_quote(&seen.payload[8..], spec.from, spec.to, &spec, 500);
        }
        let stranger = Spec { from: SocketAddr::new(net.own.parse().unwrap(), 9), ..sent };
        bench.passes(&error(&real, net.kinds[0], &stranger, 500), "not_vip");
    }
}

/// The quote shows the receiver's own packet: its ends, right sums, the rest as it was.
fn check_quote(quote: &[u8], from: SocketAddr, to: SocketAddr, sent: &Spec, cut: usize) {
    let expected = Spec { from, to, ..sent.clone() }.ip();
    let length = expected.len().min(cut);
    assert_eq!(quote.len(), length);
    if cut >= expected.len() {
        let seen = take_apart_ip(quote);
        assert_eq!((seen.from, seen.to, &seen.payload), (from, to, &sent.payload));
        assert_eq!(quote, expected);
    } else if sent.protocol == crate::packet::TCP {
        assert_eq!(quote, &expected[..length]);
    } else {
        assert_eq!(quote[..length - 2], expected[..length - 2], "all but the sum");
    }
}

#[test]
fn other_icmp_is_the_stacks() {
    let Some(mut bench) = bench() else { return };
    for net in NETS {
        bench.service(Action::Dsr, net.vip, &net.reals);
        let answer = Spec::tcp(net.vip, net.client, ACK);
        let echo = if answer.from.is_ipv4() { [8, 0] } else { [128, 0] };
        bench.passes(&error(net.router, echo, &answer, 500), "other_protocol");
        let solicit = if answer.from.is_ipv4() { [13, 0] } else { [135, 0] };
        bench.passes(&error(net.router, solicit, &answer, 500), "other_protocol");
        let mut other = Spec::tcp(net.vip, net.client, ACK);
        other.from.set_port(81);
        bench.passes(&error(net.router, net.kinds[0], &other, 500), "not_vip");
        let frame = error(net.router, net.kinds[0], &answer, 500);
        let header = if answer.from.is_ipv4() { 20 } else { 40 };
        for length in 14 + header..14 + header + 8 + header + 8 {
            // Cut within the quote, with an IP length that agrees.
            let mut cut = frame[..length].to_vec();
            if answer.from.is_ipv4() {
                cut[16..18].copy_from_slice(&u16::try_from(length - 14).unwrap().to_be_bytes());
            } else {
                cut[18..20].copy_from_slice(&u16::try_from(length - 54).unwrap().to_be_bytes());
            }
            let outcome = bench.run(&cut);
            assert_eq!(outcome.verdict, Verdict::PASS, "cut at {length}");
            assert_eq!(outcome.frame, cut);
        }
    }
}
