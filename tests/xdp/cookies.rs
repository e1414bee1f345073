//! SYN cookies made by the program: right answers to SYNs above the rate, and connections that the
//! kernel's listener takes.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    thread,
};

use ringway::xdp::{Action, Mode, Service, Transport, Verdict};

use crate::fixture::bench;
use crate::net::{Net, Shape, Tags, VIP4, VIP6, enter};
use crate::packet::{ACK, ROUTER, SYN, Spec, US, take_apart};
use crate::traffic::connect;
use crate::ways::{Balancing, PORT};

#[test]
fn a_syn_above_the_rate_is_answered_with_a_cookie() {
    let Some(mut bench) = bench() else { return };
    for (client, vip) in
        [("198.51.100.7:40000", "192.0.2.10:80"), ("[2001:db8::7]:40000", "[2001:db8:1::10]:80")]
    {
        bench.service(Action::Local, vip, &[]);
        for service in &mut bench.services {
            service.syn_rate = Some(1);
        }
        bench.apply();
        bench.change_settings(|settings| settings.clock_add += 1 << 40);
        let syn = Spec { payload: Vec::new(), ..Spec::tcp(client, vip, SYN) };
        // A window's first is within the rate; a window may end in between.
        let mut answers = 0;
        for tags in [vec![], vec![9], vec![9, 10], vec![], vec![], vec![]] {
            let spec = Spec { tags, ..syn.clone() };
            let outcome = bench.run(&spec.frame());
            if outcome.exit == "local" {
                continue;
            }
            answers += 1;
            assert_eq!((outcome.verdict, outcome.exit), (Verdict::TX, "cookie"));
            let answer = take_apart(&outcome.frame);
            assert_eq!((answer.from, answer.to, answer.flags), (spec.to, spec.from, SYN | ACK));
            assert_eq!((answer.to_mac, answer.from_mac, &answer.tags), (ROUTER, US, &spec.tags));
            let header = if spec.from.is_ipv4() { 20 } else { 40 };
            let tcp = &outcome.frame[14 + 4 * spec.tags.len() + header..];
            assert_eq!(tcp.len(), 24, "a header with one option, and nothing else");
            assert_eq!(tcp[8..12], [0, 0, 0, 8], "the SYN's number, and one");
            assert_eq!(tcp[20..22], [2, 4], "an MSS option");
            assert!(u16::from_be_bytes([tcp[22], tcp[23]]) >= 216);
        }
        assert!(answers >= 3, "{answers} of 6 were answered");
        bench.passes(&Spec::tcp(client, vip, ACK).frame(), "local");
    }
}

/// 100 connections to a listener behind cookies, a kilobyte each way on each.
fn connections(vip: &str) {
    let shape = Shape { tags: Tags::None, reals_have_vip: false, unwraps: false };
    let Some(net) = Net::new(shape) else { return };
    net.run("lb", "sysctl -qw net.ipv4.tcp_syncookies=2");
    let vip = SocketAddr::new(vip.parse().unwrap(), PORT);
    let listener = net.inside("lb", || TcpListener::bind(vip).unwrap());
    let namespace = net.name("lb");
    thread::Builder::new()
        .spawn(move || {
            enter(&namespace);
            for mut stream in listener.incoming().flatten() {
                let mut bytes = [0; 1024];
                if stream.read_exact(&mut bytes).is_ok() {
                    drop(stream.write_all(&bytes));
                }
            }
        })
        .unwrap();
    let service = Service {
        name: "local".to_owned(),
        vips: vec![vip],
        transport: Transport::Tcp,
        action: Action::Local,
        by_source: false,
        syn_rate: Some(1),
        reals: Vec::new(),
    };
    let balancing = Balancing::start(&net, Mode::Native, vec![service]);
    net.inside("c", || {
        for round in 0..100_u8 {
            let mut stream = connect(vip).unwrap();
            stream.write_all(&[round; 1024]).unwrap();
            let mut bytes = [0; 1024];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, [round; 1024]);
        }
    });
    let exits: BTreeMap<&str, u64> = balancing.exits();
    assert!(exits["cookie"] > 30, "{exits:?}");
    assert_eq!(net.faults(), 0);
}

#[test]
fn the_listener_takes_the_cookies_v4() {
    connections(VIP4);
}

#[test]
fn the_listener_takes_the_cookies_v6() {
    connections(VIP6);
}
