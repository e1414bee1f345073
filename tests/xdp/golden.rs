//! What each action makes of a packet, byte by byte: both families, tags, options, every length.

use ringway::xdp::{Action, Transport, Verdict};

use crate::fixture::{bench, mac_of};
use crate::packet::{
    ACK, ROUTER, SYN, Seen, Spec, US, internet_sum, link, take_apart, take_apart_ip,
};

const V4: (&str, &str, &str) = ("198.51.100.7:40000", "192.0.2.10:80", "10.0.0.11:80");
const V6: (&str, &str, &str) = ("[2001:db8::7]:40000", "[2001:db8:1::10]:80", "[fd00::11]:80");

/// Clients' packets in every shape that is balanced.
fn shapes(from: &str, to: &str) -> Vec<Spec> {
    let mut shapes = Vec::new();
    for tags in [vec![], vec![100], vec![100, 200]] {
        for options in [0, 1, 4] {
            for spec in [Spec::tcp(from, to, ACK), Spec::tcp(from, to, SYN), Spec::udp(from, to)] {
                shapes.push(Spec { tags: tags.clone(), options, ..spec });
            }
        }
    }
    shapes
}

#[test]
fn dsr_changes_the_link_addresses_and_nothing_else() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, real) in [V4, V6] {
        bench.service(Action::Dsr, vip, &[real]);
        bench.service_on(Transport::Udp, Action::Dsr, vip, &[real]);
        for spec in shapes(client, vip) {
            let frame = spec.frame();
            let outcome = bench.run(&frame);
            let mut expected = frame.clone();
            expected[..6]
                .copy_from_slice(&mac_of(real.parse::<std::net::SocketAddr>().unwrap().ip()));
            expected[6..12].copy_from_slice(&US);
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "dsr"), "{spec:?}");
            assert_eq!(outcome.frame, expected, "{spec:?}");
        }
    }
}

#[test]
fn ipip_puts_the_packet_whole_into_an_outer_one() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, real) in [V4, V6] {
        let real_ip = real.parse::<std::net::SocketAddr>().unwrap().ip();
        bench.service(Action::Ipip, vip, &[real]);
        bench.service_on(Transport::Udp, Action::Ipip, vip, &[real]);
        for spec in shapes(client, vip) {
            let outcome = bench.run(&spec.frame());
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "ipip"), "{spec:?}");
            let mut head = mac_of(real_ip).to_vec();
            head.extend(US);
            head.extend(&link(&spec.tags, real_ip)[12..]);
            assert_eq!(outcome.frame[..head.len()], head, "{spec:?}");
            let outer = &outcome.frame[head.len()..];
            let inner = spec.ip();
            let length = u16::try_from(inner.len()).unwrap();
            if real_ip.is_ipv4() {
                let mut expected = vec![0x45, 0x10];
                expected.extend((length + 20).to_be_bytes());
                expected.extend([0, 0, 0x40, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 11]);
                let sum = internet_sum(&expected);
                expected[10..12].copy_from_slice(&sum.to_be_bytes());
                expected.extend(&inner);
                assert_eq!(outer, expected, "{spec:?}");
            } else {
                assert_eq!(outer[..4], inner[..4], "class and flow label are the inner ones");
                assert_eq!(outer[4..8], [length.to_be_bytes()[0], length.to_be_bytes()[1], 41, 64]);
                let ends = take_apart_ip(outer);
                assert_eq!(ends.from.ip().to_string(), "fd00::1");
                assert_eq!(ends.to.ip(), real_ip);
                assert_eq!(outer[40..], inner);
            }
        }
    }
}

#[test]
fn nat_translates_there_and_back() {
    let Some(mut bench) = bench() else { return };
    let cases =
        [(V4.0, V4.1, "10.0.0.11:8080", "10.0.0.1"), (V6.0, V6.1, "[fd00::11]:8080", "fd00::1")];
    for (client, vip, real, own) in cases {
        bench.service(Action::Nat, vip, &[real]);
        bench.service_on(Transport::Udp, Action::Nat, vip, &[real]);
        let real: std::net::SocketAddr = real.parse().unwrap();
        for spec in shapes(client, vip).into_iter().filter(|spec| spec.flags != ACK) {
            let outcome = bench.run(&spec.frame());
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "nat"), "{spec:?}");
            let there = take_apart(&outcome.frame);
            let expected = Seen {
                to_mac: mac_of(real.ip()),
                from_mac: US,
                tags: spec.tags.clone(),
                from: std::net::SocketAddr::new(own.parse().unwrap(), there.from.port()),
                to: real,
                protocol: spec.protocol,
                payload: spec.payload.clone(),
                flags: spec.flags,
                has_sum: true,
            };
            assert_eq!(there, expected);
            assert!((1024..=32_767).contains(&there.from.port()));

            let answer = Spec { from: real, to: there.from, flags: ACK | SYN, ..spec.clone() };
            let outcome = bench.run(&answer.frame());
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "nat_reply"), "{spec:?}");
            let back = take_apart(&outcome.frame);
            assert_eq!((back.from, back.to), (spec.to, spec.from));
            assert_eq!((back.to_mac, back.from_mac), (ROUTER, US));
            assert_eq!(back.payload, spec.payload);
            let again = bench.run(&spec.frame());
            assert_eq!(take_apart(&again.frame).from, there.from, "the flow keeps its port");
        }
    }
}

#[test]
fn what_is_not_ours_goes_up_untouched() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, V4.1, &[V4.2]);
    bench.service(Action::Dsr, V6.1, &[V6.2]);
    bench.passes(&Spec::tcp(V4.0, "192.0.2.10:81", ACK).frame(), "not_vip");
    bench.passes(&Spec::udp(V4.0, V4.1).frame(), "not_vip");
    bench.passes(&Spec::tcp(V4.0, "192.0.2.11:80", SYN).frame(), "not_vip");
    bench.passes(&Spec::tcp(V6.0, "[2001:db8:1::11]:80", SYN).frame(), "not_vip");
    let mut arp = link(&[], "10.0.0.1".parse().unwrap());
    arp[13] = 6;
    arp.extend([0; 46]);
    bench.passes(&arp, "not_ip");
    let (from, to) = ("198.51.100.7".parse().unwrap(), "192.0.2.10".parse().unwrap());
    let mut gre = link(&[], from);
    gre.extend(crate::packet::ip(from, to, 47, 0, &[0; 20]));
    bench.passes(&gre, "other_protocol");
}

#[test]
fn a_local_vip_is_the_stacks() {
    let Some(mut bench) = bench() else { return };
    for (client, vip, _) in [V4, V6] {
        bench.service(Action::Local, vip, &[]);
        for spec in shapes(client, vip).into_iter().filter(|spec| spec.protocol == 6) {
            bench.passes(&spec.frame(), "local");
        }
    }
}

#[test]
fn a_packet_cut_anywhere_is_the_stacks() {
    let Some(mut bench) = bench() else { return };
    let cases = [(Action::Dsr, 80_u16), (Action::Nat, 81), (Action::Ipip, 82), (Action::Local, 83)];
    for (client, vip, real) in [V4, V6] {
        for (action, port) in cases {
            let vip = vip.replace(":80", &format!(":{port}"));
            let reals: &[&str] = if action == Action::Local { &[] } else { &[real] };
            bench.service(action, &vip, reals);
            for spec in shapes(client, &vip).into_iter().filter(|spec| spec.flags == SYN) {
                let frame = spec.frame();
                for length in 14..frame.len() {
                    let outcome = bench.run(&frame[..length]);
                    let is_fine = matches!(outcome.exit, "malformed" | "not_ip");
                    assert_eq!(outcome.verdict, Verdict::PASS, "{action:?} {length} {spec:?}");
                    assert!(is_fine, "{} at {length} of {spec:?}", outcome.exit);
                    assert_eq!(outcome.frame, frame[..length]);
                }
            }
        }
    }
}

#[test]
fn a_links_padding_changes_nothing() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Ipip, V4.1, &[V4.2]);
    let spec = Spec { payload: Vec::new(), ..Spec::tcp(V4.0, V4.1, ACK) };
    let mut frame = spec.frame();
    frame.resize(60, 0);
    let outcome = bench.run(&frame);
    assert_eq!(outcome.exit, "ipip");
    let outer = &outcome.frame[14..];
    assert_eq!(u16::from_be_bytes([outer[2], outer[3]]), 60);
    assert_eq!(outer[20..60], spec.ip());
}

#[test]
fn headers_that_lie_about_their_length_are_malformed() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, V4.1, &[V4.2]);
    let good = Spec::tcp(V4.0, V4.1, ACK).frame();
    for (at, value, what) in [
        (14, 0x44, "a header of 16 bytes"),
        (14, 0x4f, "a header that ends behind the packet's TCP"),
        (17, 19, "a packet shorter than its header"),
        (17, 39, "a packet that ends in its TCP header"),
        (16, 0x40, "a packet longer than the frame"),
    ] {
        let mut frame = good.clone();
        frame[at] = value;
        let outcome = bench.run(&frame);
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::PASS, "malformed"), "{what}");
    }
}

#[test]
fn fragments_of_a_forwarded_vip_are_dropped_and_others_pass() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, V4.1, &[V4.2]);
    bench.service(Action::Nat, V6.1, &[V6.2]);
    bench.service(Action::Local, "192.0.2.20:80", &[]);
    let fragment = |to: &str, flags: [u8; 2]| {
        let mut frame = Spec::udp(V4.0, to).frame();
        frame[20..22].copy_from_slice(&flags);
        frame
    };
    for flags in [[0x20, 0], [0x20, 0x10], [0, 0x10], [0x1f, 0xff]] {
        let outcome = bench.run(&fragment(V4.1, flags));
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::DROP, "fragment"));
        bench.passes(&fragment("192.0.2.20:80", flags), "not_vip");
    }
    let mut frame = Spec { options: 1, ..Spec::udp(V6.0, V6.1) }.frame();
    frame[20] = 44;
    let outcome = bench.run(&frame);
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::DROP, "fragment"));
    // The flag that says "don't fragment" makes no fragment.
    assert_eq!(bench.run(&fragment("192.0.2.10:80", [0x40, 0])).exit, "not_vip");
}

#[test]
fn what_no_longer_fits_is_answered_as_a_router_would() {
    let Some(mut bench) = bench() else { return };
    for ((client, vip, real), fits, quote) in [(V4, 1480, 28), (V6, 1460, 48)] {
        bench.service(Action::Ipip, vip, &[real]);
        for tags in [vec![], vec![7], vec![7, 8]] {
            let spec = Spec { tags, payload: vec![9; 1460], ..Spec::tcp(client, vip, ACK) };
            let packet = spec.ip();
            let outcome = bench.run(&spec.frame());
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "too_big"));
            let answer = take_apart(&outcome.frame);
            assert_eq!((answer.to_mac, answer.from_mac, &answer.tags), (ROUTER, US, &spec.tags));
            assert_eq!((answer.from.ip(), answer.to.ip()), (spec.to.ip(), spec.from.ip()));
            let kind = if spec.from.is_ipv4() { [3, 4] } else { [2, 0] };
            assert_eq!(answer.payload[..2], kind);
            let mtu = u32::from_be_bytes(answer.payload[4..8].try_into().unwrap());
            assert_eq!(mtu, fits);
            assert_eq!(answer.payload[8..], packet[..quote]);
        }
        let spec = Spec { payload: vec![9; 1500 - 120], ..Spec::tcp(client, vip, ACK) };
        assert_eq!(bench.run(&spec.frame()).exit, "ipip");
    }
}

#[test]
fn a_real_without_a_link_address_gets_nothing() {
    let Some(mut bench) = bench() else { return };
    bench.service(Action::Dsr, V4.1, &[V4.2]);
    bench.balancer.set_neighbour("10.0.0.11".parse().unwrap(), None).unwrap();
    let outcome = bench.run(&Spec::tcp(V4.0, V4.1, SYN).frame());
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::DROP, "no_neighbour"));
    bench.apply();
    assert_eq!(bench.run(&Spec::tcp(V4.0, V4.1, SYN).frame()).exit, "dsr");
}
