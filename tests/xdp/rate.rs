//! Packets a second of one CPU through NAT, by the program and by nftables, in the same namespaces. Not
//! part of a test run: `scripts/bench xdp` measures.
//!
//! ```text
//!   generator, 10.64/16 ── g0 ═══ eth0 ── balancer 10.9.0.1, VIP .50
//!   drops what comes back  ◀── to the real .11, whose link address is g0's
//! ```
//!
//! Generator, balancer and sink run on one CPU, the packets' own work and theirs together; both ways
//! packets come and go by the same two interfaces. The program's side drops in the driver, the kernel's
//! in the first hook behind it, so that neither pays for the other's sink.

use std::time::Instant;

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use ringway::{
    runtime::now_uncached,
    xdp::{Action, FastPath, TOOLS, Transport},
};

use crate::cost::Wrapper;
use crate::life::{plan, settle};
use crate::net::Net;
use crate::packet::Spec;
use crate::ways::service;

const VIP: &str = "10.9.0.50:80";
const REAL: &str = "10.9.0.11:8080";
const FLOWS: u32 = 1024;
const PACKETS: u32 = 1_000_000;
const ROUNDS: usize = 5;

#[test]
#[ignore = "a measurement"]
fn packets_a_second_against_nftables() {
    let Some(cable) = cable() else { return };
    // Sources differ by port alone, so the IP header's sum holds; UDP goes without one.
    let spec = Spec { payload: vec![7; 26], ..Spec::udp("10.64.0.0:1024", VIP) };
    let mut frame = spec.frame();
    frame[40..42].fill(0);
    frame[..6].copy_from_slice(&mac(&cable, "lb", "eth0"));
    frame[6..12].copy_from_slice(&mac(&cable, "g", "g0"));
    // In turn: the machine's speed changes from second to second, for both alike.
    let rounds: [_; ROUNDS] =
        std::array::from_fn(|_| (by_program(&cable, &frame), by_nftables(&cable, &frame)));
    let program = median(rounds.map(|(program, _)| program));
    let nftables = median(rounds.map(|(_, nftables)| nftables));
    let ratio = program / nftables;
    eprintln!("{:<28} {program:>5.2} million packets/s", "nat, 1024 flows");
    eprintln!("{:<28} {nftables:>5.2} million packets/s", "nftables dnat, 1024 flows");
    eprintln!("{:<28} {ratio:>5.1} times", "nat to nftables");
    assert!(ratio >= 4.0, "{ratio} times, 4 are promised");
}

fn median(mut all: [f64; ROUNDS]) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[ROUNDS / 2]
}

fn by_program(cable: &Net, frame: &[u8]) -> f64 {
    let vip = VIP.parse().unwrap();
    let mut own = service(Action::Nat, Transport::Udp, vip, 8080);
    own.reals.truncate(1);
    own.reals[0].address = REAL.parse().unwrap();
    let services = vec![own];
    let fast_path = cable.inside("lb", || {
        let mut own = FastPath::start(&plan(None), services, now_uncached()).unwrap();
        settle(&mut own);
        own
    });
    let sink = cable.inside("g", || {
        let mut tools = Ebpf::load(TOOLS).unwrap();
        let program: &mut Xdp = tools.program_mut("sink").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach("g0", XdpMode::Driver).unwrap();
        tools
    });
    let rate = send(cable, frame);
    let exits = fast_path.report().unwrap().counts.exits;
    let nat = ringway::xdp::EXITS.iter().position(|name| *name == "nat").unwrap();
    // The first packets of all flows are in it twice.
    assert!(exits[nat] >= u64::from(PACKETS), "{exits:?}");
    let drops = cable.run("g", "ethtool -S g0");
    let drops = drops.lines().filter(|line| line.contains("xdp_drops:"));
    let arrived: u64 =
        drops.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!(arrived >= u64::from(PACKETS) * 99 / 100, "{arrived} came back");
    drop(sink);
    rate
}

fn by_nftables(cable: &Net, frame: &[u8]) -> f64 {
    cable.run("lb", "ethtool -K eth0 gro on");
    cable.run("lb", "nft add table ip nat");
    cable.run("lb", "nft add chain ip nat in { type nat hook prerouting priority -100 ; }");
    cable.run(
        "lb",
        &format!("nft add rule ip nat in ip daddr 10.9.0.50 udp dport 80 dnat to {REAL}"),
    );
    cable.run("g", "nft add table netdev sink");
    cable.run(
        "g",
        "nft add chain netdev sink in { type filter hook ingress device g0 priority 0 ; }",
    );
    cable.run("g", "nft add rule netdev sink in udp dport 8080 counter drop");
    let rate = send(cable, frame);
    let counted = cable.run("g", "nft list table netdev sink");
    let words: Vec<&str> = counted.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    let arrived: u64 = words[at + 1].parse().unwrap();
    assert!(arrived >= u64::from(PACKETS) * 99 / 100, "{arrived} came back");
    cable.run("g", "nft delete table netdev sink");
    cable.run("lb", "nft delete table ip nat");
    cable.run("lb", "ethtool -K eth0 gro off");
    rate
}

/// Sends all packets from the generator's end, after each flow's first; millions a second.
fn send(cable: &Net, frame: &[u8]) -> f64 {
    let link = cable.run("g", "ip -o link show g0");
    let index = link.split(':').next().unwrap().parse().unwrap();
    cable.inside("g", || {
        let mut set = CpuSet::new();
        set.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &set).unwrap();
        let mut wrapper = Wrapper::load();
        wrapper.plan_from(frame.to_vec(), FLOWS, 0);
        wrapper.send(index, FLOWS * 4);
        let began: Instant = now_uncached();
        wrapper.send(index, PACKETS);
        f64::from(PACKETS) / began.elapsed().as_secs_f64() / 1e6
    })
}

/// Two machines and a cable, and all that they know of each other.
fn cable() -> Option<Net> {
    let net = Net::bare(&["g", "lb"])?;
    let (g, lb) = (net.name("g"), net.name("lb"));
    net.run("lb", &format!("ip link add eth0 netns {lb} type veth peer name g0 netns {g}"));
    net.run("g", "ip link set g0 up");
    for line in [
        "ip addr add 10.9.0.1/24 dev eth0",
        "ip addr add 10.9.0.50/32 dev eth0",
        "ip link set eth0 up",
        "ip route add 10.64.0.0/16 dev eth0",
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0",
        "sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.send_redirects=0",
        "sysctl -qw net.ipv4.conf.eth0.send_redirects=0",
    ] {
        net.run("lb", line);
    }
    let mac = mac(&net, "g", "g0").map(|byte| format!("{byte:02x}")).join(":");
    net.run("lb", &format!("ip neigh add 10.9.0.11 lladdr {mac} dev eth0"));
    Some(net)
}

/// An interface's link address.
fn mac(net: &Net, machine: &str, interface: &str) -> [u8; 6] {
    let link = net.run(machine, &format!("ip -o link show {interface}"));
    let text = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}
