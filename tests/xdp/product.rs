//! The binary with a configuration that forwards, as it runs in production: forwarding, reloads, health checks,
//! privileges, and how it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ringway::{control::status::Status, xdp::Action};

use crate::binary::{Product, Setup};
use crate::life::{BpfFs, wait_until_detached, works};
use crate::net::{Net, Tags, VIP4, VIP6};
use crate::traffic::{connect, datagram, exchange};
use crate::ways::prepare;

/// Sixty fetches over new connections: all arrive, every real gets some, whole megabytes too.
fn sixty_fetches(action: Action, mode: &'static str, vip: &str, tags: Tags) {
    let Some((net, vip, _)) = prepare(action, vip, tags) else { return };
    let product = Product::start(&net, &Setup { mode, ..Setup::new(action, vip) });
    let counts = net.inside("c", || {
        let mut counts = BTreeMap::new();
        for number in 0..60 {
            let bytes = if number < 6 { 1 << 20 } else { 2_000 };
            let real = exchange(&mut connect(vip).unwrap(), bytes, bytes).unwrap();
            *counts.entry(real).or_insert(0_u64) += 1;
        }
        counts
    });
    assert_eq!(counts.values().sum::<u64>(), 60);
    // 20 each, to four standard deviations of 3.7.
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 5), "{counts:?}");
    assert_eq!(net.faults(), 0);
    product.wait("flows are counted", |status| {
        assert_eq!(status.upstreams[0].policy, "maglev");
        let xdp = status.xdp.as_ref().unwrap();
        let sum: u64 = xdp.endpoints.iter().map(|own| own.flows).sum();
        (xdp.mode.as_str(), xdp.vips[0].flows, sum) == (mode, 60, 60)
    });
    let shown = String::from_utf8(product.verb(&["status"]).stdout).unwrap();
    assert!(shown.contains(&format!("xdp       {mode} on eth0\n")), "{shown}");
    let told = net.inside("lb", || product.verb(&["status", "--json"]).stdout);
    let status: Status = serde_json::from_slice(&told).unwrap();
    let xdp = status.xdp.unwrap();
    let by_real: BTreeSet<u64> = xdp.endpoints.iter().map(|own| own.flows).collect();
    assert_eq!(by_real, counts.values().copied().collect());
    assert!(
        xdp.exits[if action == Action::Nat { "nat_reply" } else { "dsr" }] > 60
            || action == Action::Ipip && xdp.exits["ipip"] > 60
    );
}

macro_rules! by_configuration {
    ($($name:ident: $action:ident $mode:literal $vip:ident $tags:ident;)*) => {
        $(#[test] fn $name() { sixty_fetches(Action::$action, $mode, $vip, Tags::$tags); })*
    };
}

by_configuration! {
    nat_by_configuration: Nat "native" VIP4 None;
    dsr_by_configuration: Dsr "native" VIP4 None;
    ipip_by_configuration: Ipip "native" VIP4 None;
    nat_of_ipv6_by_configuration: Nat "native" VIP6 None;
    dsr_of_ipv6_by_configuration: Dsr "native" VIP6 None;
    ipip_of_ipv6_by_configuration: Ipip "native" VIP6 None;
    nat_in_generic_mode_by_configuration: Nat "generic" VIP4 None;
    dsr_in_generic_mode_by_configuration: Dsr "generic" VIP6 None;
    ipip_in_generic_mode_by_configuration: Ipip "generic" VIP4 None;
    nat_on_a_vlan_by_configuration: Nat "native" VIP4 One;
    dsr_on_two_vlans_by_configuration: Dsr "native" VIP6 Two;
}

#[test]
fn datagrams_are_forwarded_by_configuration() {
    for (action, vip) in [(Action::Nat, VIP4), (Action::Nat, VIP6), (Action::Dsr, VIP4)] {
        let Some((net, vip, _)) = prepare(action, vip, Tags::None) else { return };
        let setup = Setup { protocol: "udp", ..Setup::new(action, vip) };
        let product = Product::start(&net, &setup);
        let reals: Vec<u8> = net.inside("c", || (0..60).map(|_| datagram(vip).unwrap()).collect());
        for real in 1..=3 {
            let count = reals.iter().filter(|own| **own == real).count();
            assert!(count >= 5, "{count} of 60 by real {real}");
        }
        assert_eq!(net.faults(), 0);
        product.wait("datagrams are counted", |status| {
            status.xdp.as_ref().unwrap().vips[0].packets == 60
        });
    }
}

/// Without CAP_BPF there is no program: a listener that forwards can't be had, one that shards serve
/// can.
#[test]
fn auto_goes_on_without_a_program_only_if_nothing_is_forwarded() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let no_bpf = ["setpriv", "--bounding-set=-cap_39", "--"];
    let forwards = Setup { mode: "auto", ..Setup::new(Action::Nat, vip) };
    let mut refused = Product::spawn_by(&net, &forwards, &no_bpf);
    let (status, log) = (refused.exit(), refused.log());
    assert_eq!(status.code(), Some(5), "{log}");
    assert!(log.contains("loading a program takes CAP_BPF"), "{log}");
    let listener = "limits = { syn_rate = '50/s' }".to_owned();
    let served = Setup { listener, mode: "auto", ..Setup::new(Action::Local, vip) };
    let product = Product::spawn_by(&net, &served, &no_bpf);
    product.wait("serves without", |status| {
        let xdp = status.xdp.as_ref().unwrap();
        status.phase == "serving" && xdp.mode == "off" && xdp.reason.contains("CAP_BPF")
    });
    assert_eq!(product.log().matches("CAP_BPF").count(), 1, "one line: {}", product.log());
    net.inside("c", || exchange(&mut connect(vip).unwrap(), 1 << 20, 1 << 20).unwrap());
    let shown = String::from_utf8(product.verb(&["status"]).stdout).unwrap();
    assert!(shown.contains("xdp       off"), "{shown}");
}

/// Every set of every thread is empty, as the user that it has become and as root.
#[test]
fn no_thread_holds_a_capability_after_the_start() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let mut setup = Setup::new(Action::Nat, vip);
    for (runtime, user) in [("", "0"), ("user = 'nobody'", "65534")] {
        setup.runtime = runtime;
        let product = Product::start(&net, &setup);
        // A thread has its name when it first runs, which on a busy machine is later.
        product.wait("every thread runs", |_| {
            let threads = product.threads();
            ["ringway", "ringway-0", "ringway-log", "ringway-xdp"]
                .iter()
                .all(|name| threads.iter().any(|thread| thread["Name"] == *name))
        });
        let threads = product.threads();
        for thread in &threads {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(thread[set], "0000000000000000", "{set} of {}", thread["Name"]);
            }
            assert_eq!(thread["NoNewPrivs"], "1", "{}", thread["Name"]);
            assert_eq!(thread["Uid"].split_whitespace().nth(1), Some(user));
        }
        // It works on without.
        assert!(works(&net, vip));
        product.settle(3);
    }
}

/// 150 connections that are open; who serves each.
struct Crowd {
    streams: Vec<TcpStream>,
    owners: Vec<u8>,
}

impl Crowd {
    fn gather(net: &Net, vip: SocketAddr) -> Self {
        net.inside("c", || {
            let mut streams: Vec<_> = (0..150).map(|_| connect(vip).unwrap()).collect();
            let owners =
                streams.iter_mut().map(|stream| exchange(stream, 100, 100).unwrap()).collect();
            for stream in &streams {
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            }
            Self { streams, owners }
        })
    }

    /// How many of each real's connections don't work any more; none may have moved.
    fn broken(&mut self) -> BTreeMap<u8, usize> {
        let mut broken = BTreeMap::new();
        for (stream, owner) in self.streams.iter_mut().zip(&self.owners) {
            match exchange(stream, 100, 100) {
                Ok(real) => assert_eq!(real, *owner, "moved"),
                Err(_) => *broken.entry(*owner).or_insert(0) += 1,
            }
        }
        broken
    }

    fn of(&self, real: u8) -> usize {
        self.owners.iter().filter(|owner| **owner == real).count()
    }
}

fn owners_of_new(net: &Net, vip: SocketAddr) -> BTreeSet<u8> {
    net.inside("c", || {
        (0..40).map(|_| exchange(&mut connect(vip).unwrap(), 10, 10).unwrap()).collect()
    })
}

#[test]
fn a_reload_breaks_only_what_it_takes_away_and_only_after_a_drain() {
    for action in [Action::Nat, Action::Dsr] {
        let Some((net, vip, _)) = prepare(action, VIP4, Tags::None) else { return };
        let whole = Setup { runtime: "drain_timeout = '1h'", ..Setup::new(action, vip) };
        let product = Product::start(&net, &whole);
        let mut crowd = Crowd::gather(&net, vip);
        assert!([1, 2, 3].iter().all(|real| crowd.of(*real) > 20), "{:?}", crowd.owners);
        // Taken away: it drains.
        let mut less = whole.clone();
        let second = less.endpoints.remove(1);
        product.reload(&less);
        product.wait("drains", |status| {
            let xdp = status.xdp.as_ref().unwrap();
            xdp.endpoints
                .iter()
                .any(|own| own.address.to_string() == second && own.state == "draining")
        });
        assert_eq!(crowd.broken(), BTreeMap::new());
        assert_eq!(owners_of_new(&net, vip), [1, 3].into());
        // Added back: nothing breaks, new connections come.
        product.reload(&whole);
        product.wait("is up", |_| product.states()[&second] == "up");
        assert_eq!(crowd.broken(), BTreeMap::new());
        assert_eq!(owners_of_new(&net, vip), [1, 2, 3].into());
        // Taken away without a drain: its own connections break, no other.
        less.runtime = "drain_timeout = '1ms'";
        product.reload(&less);
        product.wait("is gone", |status| status.xdp.as_ref().unwrap().endpoints.len() == 2);
        assert_eq!(crowd.broken(), [(2, crowd.of(2))].into());
        // And back again: those that are left don't notice.
        crowd = Crowd::gather(&net, vip);
        assert_eq!(crowd.of(2), 0);
        product.reload(&whole);
        product.settle(3);
        assert_eq!(crowd.broken(), BTreeMap::new());
        assert_eq!(owners_of_new(&net, vip), [1, 2, 3].into());
        assert_eq!(net.faults(), 0);
    }
}

#[test]
fn a_failing_health_check_takes_an_endpoint_out_and_a_good_one_brings_it_back() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let checks =
        "health = { tcp = true, interval = '100ms', timeout = '100ms', rise = 1, fall = 2 }";
    let setup = Setup { upstream: checks, ..Setup::new(Action::Nat, vip) };
    let product = Product::start(&net, &setup);
    let mut crowd = Crowd::gather(&net, vip);
    let second = setup.endpoints[1].clone();
    // Its port doesn't answer any more, as if its service had died and its machine not.
    net.run("r2", "nft add table ip test");
    net.run("r2", "nft add chain ip test in { type filter hook input priority 0 ; }");
    net.run("r2", "nft add rule ip test in tcp dport 8080 drop");
    product.wait("is down", |_| product.states()[&second] == "down");
    assert_eq!(owners_of_new(&net, vip), [1, 3].into());
    assert_eq!(crowd.broken(), [(2, crowd.of(2))].into(), "the flows of a dead one are lost");
    net.run("r2", "nft delete table ip test");
    product.wait("is up", |_| product.states()[&second] == "up");
    assert_eq!(owners_of_new(&net, vip), [1, 2, 3].into());
}

#[test]
fn killed_with_detach_its_program_goes_with_it() {
    let Some((net, vip, _)) = prepare(Action::Dsr, VIP4, Tags::None) else { return };
    let mut product = Product::start(&net, &Setup::new(Action::Dsr, vip));
    assert!(works(&net, vip));
    product.kill();
    wait_until_detached(&net);
    assert!(!works(&net, vip));
}

#[test]
fn killed_with_keep_its_program_stays_until_the_next_one_or_a_detach() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let bpffs = BpfFs::mount();
    let xdp = format!("crash = 'keep'\npins = '{}'", bpffs.pins().display());
    // As another user in the end, whom the way to the pins is closed to.
    let setup = Setup { xdp, runtime: "user = 'nobody'", ..Setup::new(Action::Nat, vip) };
    let mut first = Product::start(&net, &setup);
    let mut crowd = Crowd::gather(&net, vip);
    first.kill();
    assert!(works(&net, vip), "new connections, with nobody there");
    assert_eq!(crowd.broken(), BTreeMap::new());
    // The next one takes over, with all flows.
    let mut second = Product::start(&net, &setup);
    assert_eq!(second.status().unwrap().xdp.unwrap().mode, "adopted");
    assert_eq!(crowd.broken(), BTreeMap::new());
    second.kill();
    assert!(works(&net, vip));
    let output = second.verb(&["xdp", "detach"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!bpffs.pins().exists());
    wait_until_detached(&net);
    let output = second.verb(&["xdp", "detach"]);
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("nothing is pinned"), "{output:?}");
    // A stop ends it, too: nothing is left pinned.
    let mut third = Product::start(&net, &setup);
    assert!(works(&net, vip));
    third.stop();
    wait_until_detached(&net);
    assert_eq!(fs::read_dir(bpffs.pins()).unwrap().count(), 0);
}

#[test]
fn who_was_replaced_leaves_the_next_one_alone() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let bpffs = BpfFs::mount();
    let xdp = format!("crash = 'keep'\npins = '{}'", bpffs.pins().display());
    let setup = Setup { xdp, ..Setup::new(Action::Nat, vip) };
    let mut first = Product::start(&net, &setup);
    let mut crowd = Crowd::gather(&net, vip);
    let mut second = Product::start(&net, &setup);
    first.stop();
    assert_eq!(crowd.broken(), BTreeMap::new());
    assert!(works(&net, vip));
    second.stop();
    wait_until_detached(&net);
}

#[test]
fn native_refuses_to_start_where_it_cannot_be_had_and_auto_says_why() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    // The loopback's driver has no XDP.
    let native = Setup { interface: "lo", ..Setup::new(Action::Nat, vip) };
    let mut refused = Product::spawn(&net, &native);
    let status = refused.exit();
    let log = refused.log();
    assert_eq!(status.code(), Some(5), "{log}");
    assert!(log.contains("xdp: cannot attach to `lo` in native mode"), "{log}");
    let product = Product::spawn(&net, &Setup { mode: "auto", ..native });
    product.wait("is there", |status| {
        let xdp = status.xdp.as_ref().unwrap();
        xdp.mode == "generic" && xdp.reason.contains("native mode") && !xdp.vips.is_empty()
    });
    assert_eq!(product.log().matches("native mode").count(), 1, "one line: {}", product.log());
    let xdp = product.status().unwrap().xdp.unwrap();
    assert!(xdp.endpoints.iter().all(|own| own.fault == "isn't reached by `lo`"), "{xdp:?}");
}

#[test]
fn a_reload_cannot_change_the_program_and_says_so() {
    let Some((net, vip, _)) = prepare(Action::Nat, VIP4, Tags::None) else { return };
    let setup = Setup::new(Action::Nat, vip);
    let product = Product::start(&net, &setup);
    let other = Setup { mode: "auto", xdp: "nat_ports = '2000-3000'".to_owned(), ..setup };
    fs::write(product.folder.join("ringway.toml"), other.text(&product.folder)).unwrap();
    let output = product.verb(&["reload"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    for key in ["xdp.mode", "xdp.nat_ports"] {
        let line = format!("{key} can't change while ringway runs: restart it");
        assert!(said.contains(&line), "{said}");
    }
    assert!(works(&net, vip));
}
