//! Whole connections through the balancer: every action, native and generic, both families, tags; and
//! what happens to connections when reals come and go.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

pub(crate) use ringway::xdp::{Service, Transport};
use ringway::{
    runtime::now_uncached,
    xdp::{Action, Effective, FastPath, Mode, Plan, RealConfig, RealState, Report},
};

use crate::net::{Net, Shape, Tags, VIP4, VIP6, enter, reals};
use crate::traffic::{connect, datagram, exchange, serve};

pub(crate) const PORT: u16 = 80;

/// A balancer on its own thread inside `lb`, as the product runs it: a tick now and then.
pub(crate) struct Balancing {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Apply(Vec<Service>, mpsc::Sender<()>),
    Report(mpsc::Sender<Report>),
}

impl Balancing {
    pub(crate) fn start(net: &Net, mode: Mode, services: Vec<Service>) -> Self {
        Self::start_pinned(net, mode, services, None)
    }

    fn start_pinned(
        net: &Net,
        mode: Mode,
        services: Vec<Service>,
        pins: Option<std::path::PathBuf>,
    ) -> Self {
        let (orders, inbox) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let namespace = net.name("lb");
        let thread = thread::Builder::new()
            .spawn(move || {
                enter(&namespace);
                let plan = Plan {
                    interface: "eth0".to_owned(),
                    mode,
                    pins,
                    flows: 10_000,
                    sources: Vec::new(),
                    ports: (1024, 32_767),
                    steer: Vec::new(),
                };
                let mut fast_path = FastPath::start(&plan, services, now_uncached()).unwrap();
                let expected = match mode {
                    Mode::Generic => Effective::Generic,
                    Mode::Native | Mode::Auto => Effective::Native,
                };
                if plan.pins.is_none() {
                    assert_eq!(fast_path.mode(), (expected, None));
                }
                let give_up = now_uncached() + Duration::from_secs(10);
                while fast_path.unresolved().count() > 0 {
                    let unresolved: Vec<_> = fast_path.unresolved().collect();
                    assert!(now_uncached() < give_up, "unresolved: {unresolved:?}");
                    thread::park_timeout(Duration::from_millis(20));
                    fast_path.tick(now_uncached()).unwrap();
                }
                ready.send(()).unwrap();
                Self::obey(&mut fast_path, &inbox);
            })
            .unwrap();
        let balancing = Self { orders, thread: Some(thread) };
        is_ready.recv().expect("the balancer starts");
        balancing
    }

    fn obey(fast_path: &mut FastPath, inbox: &mpsc::Receiver<Order>) {
        loop {
            match inbox.recv_timeout(Duration::from_millis(100)) {
                Ok(Order::Apply(services, done)) => {
                    fast_path.apply(services).unwrap();
                    let give_up = now_uncached() + Duration::from_secs(10);
                    while fast_path.unresolved().count() > 0 && now_uncached() < give_up {
                        fast_path.tick(now_uncached()).unwrap();
                        thread::park_timeout(Duration::from_millis(20));
                    }
                    done.send(()).unwrap();
                }
                Ok(Order::Report(reply)) => reply.send(fast_path.report().unwrap()).unwrap(),
                Err(mpsc::RecvTimeoutError::Timeout) => fast_path.tick(now_uncached()).unwrap(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn apply(&self, services: Vec<Service>) {
        let (done, is_done) = mpsc::channel();
        self.orders.send(Order::Apply(services, done)).unwrap();
        is_done.recv().unwrap();
    }

    pub(crate) fn exits(&self) -> BTreeMap<&'static str, u64> {
        let (reply, report) = mpsc::channel();
        self.orders.send(Order::Report(reply)).unwrap();
        let exits = report.recv().unwrap().counts.exits;
        ringway::xdp::EXITS.into_iter().zip(exits).filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Balancing {
    fn drop(&mut self) {
        self.orders = mpsc::channel().0;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub(crate) fn service(action: Action, transport: Transport, vip: SocketAddr, port: u16) -> Service {
    let real =
        |ip| RealConfig { address: SocketAddr::new(ip, port), weight: 1, state: RealState::Up };
    Service {
        name: format!("{transport:?}"),
        vips: vec![vip],
        transport,
        action,
        by_source: false,
        syn_rate: None,
        reals: reals(&vip.ip().to_string()).map(real).to_vec(),
    }
}

/// The net for an action, its reals serving, and the balancer's services.
pub(crate) fn prepare(
    action: Action,
    vip: &str,
    tags: Tags,
) -> Option<(Net, SocketAddr, Vec<Service>)> {
    let shape =
        Shape { tags, reals_have_vip: action != Action::Nat, unwraps: action == Action::Ipip };
    let net = Net::new(shape)?;
    let vip = SocketAddr::new(vip.parse().unwrap(), PORT);
    let port = if action == Action::Nat { 8080 } else { PORT };
    for (name, real) in (1..).zip(reals(&vip.ip().to_string())) {
        let own = if action == Action::Nat { real } else { vip.ip() };
        serve(&net, name, SocketAddr::new(own, port));
    }
    let services =
        [Transport::Tcp, Transport::Udp].map(|transport| service(action, transport, vip, port));
    Some((net, vip, services.to_vec()))
}

/// 60 fetches over three reals, a megabyte each way, datagrams; and nothing that went wrong.
fn fetches(action: Action, mode: Mode, vip: &str, tags: Tags) {
    let Some((net, vip, services)) = prepare(action, vip, tags) else { return };
    let balancing = Balancing::start(&net, mode, services);
    let (by_real, datagrams) = net.inside("c", || {
        let mut by_real = [0; 4];
        for _ in 0..60 {
            let mut stream = connect(vip).unwrap();
            by_real[usize::from(exchange(&mut stream, 100, 10_000).unwrap())] += 1;
        }
        let mut stream = connect(vip).unwrap();
        exchange(&mut stream, 1 << 20, 1 << 20).unwrap();
        let mut datagrams = [0; 4];
        for _ in 0..30 {
            datagrams[usize::from(datagram(vip).unwrap())] += 1;
        }
        (by_real, datagrams)
    });
    // Sixty of a third each: below 5 is one in ten million.
    assert!(by_real[1..].iter().all(|count| *count >= 5), "{by_real:?}");
    assert_eq!(by_real.iter().sum::<i32>(), 60);
    assert!(datagrams[1..].iter().all(|count| *count > 0), "{datagrams:?}");
    assert_eq!(net.faults(), 0, "wrong sums or failures to send");
    let exits = balancing.exits();
    let way = match action {
        Action::Dsr => "dsr",
        Action::Nat => "nat",
        Action::Ipip => "ipip",
        Action::Local => "local",
    };
    assert!(exits[way] > 700, "{exits:?}");
    for bad in ["no_real", "no_room", "nat_full", "nat_unknown", "malformed", "fragment"] {
        assert!(!exits.contains_key(bad), "{exits:?}");
    }
}

macro_rules! fetches {
    ($($name:ident: $action:ident $mode:ident $vip:ident $tags:ident;)*) => {
        $(#[test] fn $name() { fetches(Action::$action, Mode::$mode, $vip, Tags::$tags); })*
    };
}

fetches! {
    dsr_native_v4: Dsr Native VIP4 None;
    dsr_native_v6: Dsr Native VIP6 None;
    dsr_generic_v4: Dsr Generic VIP4 None;
    dsr_generic_v6: Dsr Generic VIP6 None;
    dsr_native_v4_on_a_vlan: Dsr Native VIP4 One;
    dsr_native_v6_on_two_vlans: Dsr Native VIP6 Two;
    nat_native_v4: Nat Native VIP4 None;
    nat_native_v6: Nat Native VIP6 None;
    nat_generic_v4: Nat Generic VIP4 None;
    nat_generic_v6: Nat Generic VIP6 None;
    nat_native_v4_on_two_vlans: Nat Native VIP4 Two;
    nat_native_v6_on_a_vlan: Nat Native VIP6 One;
    ipip_native_v4: Ipip Native VIP4 None;
    ipip_native_v6: Ipip Native VIP6 None;
    ipip_generic_v4: Ipip Generic VIP4 None;
    ipip_generic_v6: Ipip Generic VIP6 None;
    ipip_native_v4_on_a_vlan: Ipip Native VIP4 One;
}

/// Opens 150 kept-alive connections and says who answers each.
fn keep_alive(net: &Net, vip: SocketAddr) -> Vec<(std::net::TcpStream, u8)> {
    net.inside("c", || {
        (0..150)
            .map(|_| {
                let mut stream = connect(vip).unwrap();
                let real = exchange(&mut stream, 10, 10).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                (stream, real)
            })
            .collect()
    })
}

/// Who answers each connection now; 0 for broken ones.
fn ask(connections: &mut [(std::net::TcpStream, u8)]) -> Vec<u8> {
    let ask_one =
        |(stream, _): &mut (std::net::TcpStream, u8)| exchange(stream, 10, 10).unwrap_or(0);
    connections.iter_mut().map(ask_one).collect()
}

fn with_state(services: &[Service], real: usize, state: RealState) -> Vec<Service> {
    let mut services = services.to_vec();
    for service in &mut services {
        service.reals[real].state = state;
    }
    services
}

/// Removing breaks exactly the real's own, adding back none, draining none.
fn sticks(action: Action) {
    let Some((net, vip, services)) = prepare(action, VIP4, Tags::None) else { return };
    let balancing = Balancing::start(&net, Mode::Native, services.clone());
    let mut connections = keep_alive(&net, vip);
    let owners: Vec<u8> = connections.iter().map(|(_, real)| *real).collect();
    assert_eq!(ask(&mut connections), owners, "nothing happened");

    balancing.apply(with_state(&services, 1, RealState::Draining));
    assert_eq!(ask(&mut connections), owners, "draining breaks none");
    let fresh = net.inside("c", || {
        let one = |_| exchange(&mut connect(vip).unwrap(), 10, 10).unwrap();
        (0..30).map(one).collect::<Vec<u8>>()
    });
    assert!(!fresh.contains(&2), "a draining real gets no new ones: {fresh:?}");

    balancing.apply(with_state(&services, 1, RealState::Down));
    let now = ask(&mut connections);
    for (owner, now) in owners.iter().zip(&now) {
        let expected = if *owner == 2 { 0 } else { *owner };
        assert_eq!(*now, expected, "exactly its own break");
    }
    assert!(owners.contains(&2), "it had some");

    connections.retain(|(_, owner)| *owner != 2);
    let owners: Vec<u8> = connections.iter().map(|(_, real)| *real).collect();
    balancing.apply(services);
    assert_eq!(ask(&mut connections), owners, "adding it back breaks none");
    assert_eq!(net.faults(), 0);
}

#[test]
fn dsr_connections_stick() {
    sticks(Action::Dsr);
}

#[test]
fn nat_connections_stick() {
    sticks(Action::Nat);
}

#[test]
fn ipip_connections_stick() {
    sticks(Action::Ipip);
}
