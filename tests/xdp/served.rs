//! What the program does for listeners that shards serve: SYN cookies while the binary is flooded, and
//! packets on the CPU of the shard that has their connection.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use ringway::{
    runtime::{choose_by_cpu, cpus, now_uncached},
    xdp::{Action, FastPath, Transport},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::binary::{Product, Setup};
use crate::life::plan;
use crate::net::{Tags, VIP4, VIP6, enter};
use crate::packet::{SYN, Spec};
use crate::traffic::{connect, exchange};
use crate::ways::{prepare, service};

/// SYNs of ever other invented clients, by the thousand, until told to end; how many there were.
fn flood(vip: SocketAddr, sent: &AtomicU32, is_over: &AtomicBool) {
    let raw = Some(Protocol::from(255));
    let socket = Socket::new(Domain::for_address(vip), Type::RAW, raw).unwrap();
    let to = SocketAddr::new(vip.ip(), 0).into();
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..100 {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let (host, port) = (number >> 14, 1024 + (number & 0x3fff));
            let from = match vip {
                SocketAddr::V4(_) => format!("198.51.100.{host}:{port}"),
                SocketAddr::V6(_) => format!("[2001:db8::{host:x}]:{port}"),
            };
            // As long as one with options: veth has no room behind shorter frames for the answer's.
            let syn = Spec { payload: vec![0; 40], ..Spec::tcp(&from, &vip.to_string(), SYN) };
            // Without its link header: the kernel makes one.
            socket.send_to(&syn.frame()[14..], &to).unwrap();
        }
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// A served listener with two shards, cookies above 50 SYNs a second, and a flood of many thousands.
fn survives_a_flood(vip: &str) {
    let Some((net, vip, _)) = prepare(Action::Nat, vip, Tags::None) else { return };
    net.run("lb", "sysctl -qw net.ipv4.tcp_syncookies=2");
    // What the stack answers finds a way, too.
    net.run("lb", "ip route add default via 10.77.0.100");
    net.run("lb", "ip -6 route add default via fd77::100");
    let setup = Setup {
        listener: "limits = { syn_rate = '50/s' }".to_owned(),
        shards: "shards = 2\npin = false",
        ..Setup::new(Action::Local, vip)
    };
    let product = Product::spawn(&net, &setup);
    product.wait("serves", |status| {
        status.phase == "serving" && status.xdp.as_ref().is_some_and(|xdp| xdp.vips.len() == 1)
    });
    let before = net.counter("lb", "snmp", "Tcp:", "PassiveOpens");
    let (sent, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let client = net.name("c");
    let half_open = net.inside("c", || {
        thread::scope(|scope| {
            scope.spawn(|| {
                enter(&client);
                flood(vip, &sent, &is_over);
            });
            while sent.load(Ordering::Relaxed) < 1_000 {
                thread::yield_now();
            }
            for number in 0..100 {
                let bytes = if number == 50 { 1 << 20 } else { 100 };
                exchange(&mut connect(vip).unwrap(), bytes, bytes).unwrap();
            }
            let half_open = net.run("lb", "ss -Htn state syn-recv").lines().count();
            is_over.store(true, Ordering::Relaxed);
            half_open
        })
    });
    let sent = u64::from(sent.into_inner());
    assert!(sent > 2_000, "{sent} SYNs are no flood");
    assert_eq!(half_open, 0, "the flood holds state");
    let opened = net.counter("lb", "snmp", "Tcp:", "PassiveOpens") - before;
    assert_eq!(opened, 100, "connections that shards could accept, and {sent} SYNs of a flood");
    let extended = |name| net.counter("lb", "netstat", "TcpExt:", name);
    assert_eq!(extended("SyncookiesFailed"), 0);
    assert_eq!(extended("ListenOverflows"), 0);
    let by_stack = extended("SyncookiesSent");
    assert!(by_stack < sent / 8, "the stack saw {by_stack} of {sent} SYNs");
    product.wait("cookies are counted", |status| {
        status.xdp.as_ref().unwrap().exits["cookie"] > sent * 7 / 8
    });
    assert_eq!(net.faults(), 0);
}

#[test]
fn connections_get_through_a_flood_of_syns_v4() {
    survives_a_flood(VIP4);
}

#[test]
fn connections_get_through_a_flood_of_syns_v6() {
    survives_a_flood(VIP6);
}

/// Two CPUs to steer between, and this thread on the first; `None` where there is one only.
fn two_cpus() -> Option<[usize; 2]> {
    let [first, second, ..] = cpus()[..] else {
        eprintln!("skipped: one CPU leaves nothing to steer");
        return None;
    };
    Some([first, second])
}

/// From one CPU, so that whatever is elsewhere was moved.
fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

fn listen(vip: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(vip), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&vip.into()).unwrap();
    socket.listen(256).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Every packet of a steered connection is worked on by the CPU of the shard that accepts it.
#[test]
fn packets_socket_and_shard_are_on_one_cpu() {
    let Some(shards) = two_cpus() else { return };
    for vip in [VIP4, VIP6] {
        let Some((net, vip, _)) = prepare(Action::Nat, vip, Tags::None) else { return };
        let local = service(Action::Local, Transport::Tcp, vip, 0);
        let plan = ringway::xdp::Plan { steer: shards.to_vec(), ..plan(None) };
        let (fast_path, listeners) = net.inside("lb", || {
            let listeners = [listen(vip), listen(vip)];
            choose_by_cpu(&listeners[0], &shards).unwrap();
            (FastPath::start(&plan, vec![local], now_uncached()).unwrap(), listeners)
        });
        let streams = net.inside("c", || {
            stay_on(shards[0]);
            let mut streams: Vec<_> = (0..60).map(|_| connect(vip).unwrap()).collect();
            for stream in &mut streams {
                stream.write_all(&[7; 20_000]).unwrap();
            }
            streams
        });
        for (listener, cpu) in listeners.iter().zip(shards) {
            let mut accepted = 0;
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                stream.read_exact(&mut [0; 20_000]).unwrap();
                assert_eq!(SockRef::from(&stream).cpu_affinity().unwrap(), cpu);
                accepted += 1;
            }
            // 30, to four standard deviations of 3.9.
            assert!((14..=46).contains(&accepted), "{accepted} of 60 on CPU {cpu}");
        }
        let exits = fast_path.report().unwrap().counts.exits;
        let steered = ringway::xdp::EXITS.iter().zip(exits).find(|(name, _)| **name == "steered");
        assert!(steered.unwrap().1 > 100, "{exits:?}");
        assert_eq!(net.faults(), 0);
        drop(streams);
    }
}

#[test]
fn steering_by_configuration_spreads_what_comes_in_on_one_cpu() {
    let Some(shards) = two_cpus() else { return };
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let setup = Setup {
        shards: "shards = 2\naccept_balance = 'cpu'",
        xdp: "steer = 'cpu'".to_owned(),
        ..Setup::new(Action::Local, vip)
    };
    let product = Product::spawn(&net, &setup);
    product.wait("serves", |status| status.phase == "serving");
    let streams = net.inside("c", || {
        stay_on(shards[0]);
        let mut streams: Vec<_> = (0..60).map(|_| connect(vip).unwrap()).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            let bytes = if number == 0 { 1 << 20 } else { 1_000 };
            exchange(stream, bytes, bytes).unwrap();
        }
        streams
    });
    product.wait("both shards have their part, and packets were moved", |status| {
        let own: Vec<u64> = status.shards.iter().map(|shard| shard.connections).collect();
        let is_spread = own.iter().sum::<u64>() == 60 && own.iter().all(|own| *own >= 14);
        is_spread && status.xdp.as_ref().unwrap().exits["steered"] > 0
    });
    assert_eq!(net.faults(), 0);
    drop(streams);
}
