//! The fast path as a whole: program, maps, and what it must know of the world around it.
//!
//! ```text
//!   start (privileged): load ─▶ services, neighbours ─▶ attach        from then on without any capability:
//!   tick: routes and neighbours of the reals ─▶ link addresses;  NAT's sweep;  new services when told
//! ```
//!
//! Belongs to one thread, which calls `tick` some times a second. No packet waits for it: what it
//! doesn't get round to, the program goes on doing as before.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    balancer::{Balancer, Report},
    error::XdpError,
    layout::{Action, Settings},
    netlink::{Interface, Neighbour, Netlink, Route},
    program::{Effective, Mode, Sizes},
    service::Service,
};

/// What a fast path is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The interface that clients and reals are reached by.
    pub interface: String,
    /// Native, generic, or whichever can be had.
    pub mode: Mode,
    /// A folder on a bpffs for link and maps, which then outlive the process; `None` lets both go
    /// with it.
    pub pins: Option<PathBuf>,
    /// IPv4 flows that are remembered.
    pub flows: u32,
    /// Our addresses towards reals; a family that is missing has the one that the kernel would take.
    pub sources: Vec<IpAddr>,
    /// NAT's ports, first and last: outside of the kernel's own `ip_local_port_range`.
    pub ports: (u16, u16),
    /// The CPUs that packets of [`Action::Local`] are moved to, each flow to one; none leaves them
    /// where they come in. At most 1,024.
    pub steer: Vec<usize>,
}

/// A running fast path; dropping it ends it, unless it is pinned.
pub struct FastPath {
    balancer: Balancer,
    netlink: Netlink,
    interface: Interface,
    interface_name: String,
    effective: Effective,
    reason: Option<String>,
    services: Vec<Service>,
    sources: Vec<IpAddr>,
    ways: BTreeMap<IpAddr, Way>,
    looked_at: Option<Instant>,
    swept_at: Option<Instant>,
}

/// What is known of the way to a real.
#[derive(Debug, Clone, Default)]
struct Way {
    route: Option<Route>,
    /// Why it can't be sent to, said once.
    complaint: Option<String>,
    asked_at: Option<Instant>,
    nudged_at: Option<Instant>,
    is_known: bool,
}

impl FastPath {
    /// Loads the program, tells it the services, and only then puts it on the interface.
    ///
    /// # Errors
    /// A missing capability or interface, what the kernel refuses, or too many of anything.
    pub fn start(plan: &Plan, services: Vec<Service>, now: Instant) -> Result<Self, XdpError> {
        let mut netlink = Netlink::open().map_err(XdpError::system("netlink"))?;
        let interface = netlink.interface(&plan.interface).map_err(|source| {
            XdpError::Interface { interface: plan.interface.clone(), source: not_there(source) }
        })?;
        let balancer = Balancer::load(Sizes { flows: plan.flows }, plan.pins.as_deref())?;
        let mut fast_path = Self {
            balancer,
            netlink,
            interface,
            interface_name: plan.interface.clone(),
            effective: Effective::Native,
            reason: None,
            services: Vec::new(),
            sources: plan.sources.clone(),
            ways: BTreeMap::new(),
            looked_at: None,
            swept_at: None,
        };
        fast_path.set_settings(plan)?;
        fast_path.balancer.steer(&plan.steer)?;
        fast_path.apply(services)?;
        fast_path.tick(now)?;
        (fast_path.effective, fast_path.reason) =
            fast_path.balancer.attach(&plan.interface, plan.mode)?;
        Ok(fast_path)
    }

    /// Lets another user, which the process is about to become, [`end`](Self::end) it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn give_to(&self, user: u32, group: u32) -> Result<(), XdpError> {
        self.balancer.give_pins_to(user, group)
    }

    /// Ends it, pinned or not: forwarding stops, the flows are forgotten. When a later process has
    /// taken over, that one goes on.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn end(self) -> Result<(), XdpError> {
        self.balancer.end()
    }

    /// Which way the program runs, and why not a better one.
    #[must_use]
    pub fn mode(&self) -> (Effective, Option<&str>) {
        (self.effective, self.reason.as_deref())
    }

    /// The interface it is on.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface_name
    }

    /// Makes the program serve these; what didn't change isn't touched.
    ///
    /// # Errors
    /// Too many of anything: then nothing changes.
    pub fn apply(&mut self, services: Vec<Service>) -> Result<(), XdpError> {
        if services == self.services {
            return Ok(());
        }
        self.balancer.apply(&services)?;
        let addresses = self.balancer.addresses();
        self.ways.retain(|address, _| addresses.contains(address));
        for address in addresses {
            self.ways.entry(address).or_default();
        }
        self.services = services;
        self.looked_at = None;
        Ok(())
    }

    /// The services that it serves.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Does what is due: neighbours some times a second, NAT's sweep every few seconds.
    ///
    /// # Errors
    /// The kernel doesn't answer, or a map can't be written; the next tick tries again.
    pub fn tick(&mut self, now: Instant) -> Result<(), XdpError> {
        let is_due = |at: Option<Instant>, every: Duration| {
            at.is_none_or(|at| now.saturating_duration_since(at) >= every)
        };
        if is_due(self.looked_at, LOOK_EVERY) {
            self.looked_at = Some(now);
            self.look_round(now)?;
        }
        let has_nat = self.services.iter().any(|service| service.action == Action::Nat);
        if has_nat && is_due(self.swept_at, SWEEP_EVERY) {
            self.swept_at = Some(now);
            self.balancer.sweep_all()?;
        }
        Ok(())
    }

    /// Everything that was counted.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn report(&self) -> Result<Report, XdpError> {
        self.balancer.report()
    }

    /// Reals whose link address isn't known, with the reason if it is more than "not yet".
    pub fn unresolved(&self) -> impl Iterator<Item = (IpAddr, Option<&str>)> {
        let unknown = self.ways.iter().filter(|(_, way)| !way.is_known);
        unknown.map(|(address, way)| (*address, way.complaint.as_deref()))
    }

    /// The maps and what is done with them.
    pub fn balancer(&mut self) -> &mut Balancer {
        &mut self.balancer
    }

    fn set_settings(&mut self, plan: &Plan) -> Result<(), XdpError> {
        let old = self.balancer.settings()?;
        self.balancer.set_settings(Settings {
            cookie_pass: COOKIE_PASS,
            inserts_max: INSERTS_MAX,
            port_first: plan.ports.0,
            port_last: plan.ports.1,
            mtu: self.interface.mtu,
            idle_tcp: IDLE_TCP,
            idle_udp: IDLE_UDP,
            idle_opening: IDLE_OPENING,
            idle_closed: IDLE_CLOSED,
            ..old
        })
    }

    /// Finds the way to every real, our own addresses, and the link addresses.
    fn look_round(&mut self, now: Instant) -> Result<(), XdpError> {
        if self.ways.is_empty() {
            return Ok(());
        }
        let neighbours = self.netlink.neighbours().map_err(XdpError::system("neighbours"))?;
        let addresses: Vec<IpAddr> = self.ways.keys().copied().collect();
        for address in addresses {
            let mut way = self.ways.remove(&address).unwrap_or_default();
            self.find_way(address, &mut way, now);
            let mac = way.route.and_then(|route| hop_mac(&route, address, &neighbours));
            let is_fresh = mac.is_some_and(|(_, is_fresh)| is_fresh);
            nudge(address, &mut way, is_fresh, now);
            way.is_known = mac.is_some();
            self.ways.insert(address, way);
            self.balancer.set_neighbour(address, mac.map(|(mac, _)| mac))?;
        }
        self.set_own()
    }

    fn find_way(&mut self, address: IpAddr, way: &mut Way, now: Instant) {
        let is_due = |at: Instant| now.saturating_duration_since(at) >= ROUTE_EVERY;
        if way.asked_at.is_some_and(|at| way.route.is_some() && !is_due(at)) {
            return;
        }
        way.asked_at = Some(now);
        let (route, complaint) = match self.netlink.route(address) {
            Ok(route) if self.is_ours(route.interface) => (Some(route), None),
            Ok(_) => (None, Some(format!("isn't reached by `{}`", self.interface_name))),
            Err(error) => (None, Some(format!("no route: {error}"))),
        };
        if complaint != way.complaint
            && let Some(complaint) = &complaint
        {
            tracing::warn!(real = %address, "xdp: {complaint}; it gets no packets");
        }
        (way.route, way.complaint) = (route, complaint);
    }

    /// Whether an interface is the program's, or a VLAN on it.
    fn is_ours(&mut self, index: u32) -> bool {
        let ours = self.interface.index;
        index == ours
            || self.netlink.interface_of(index).is_ok_and(|found| found.below == Some(ours))
    }

    /// Tells the program our own addresses towards the reals.
    fn set_own(&mut self) -> Result<(), XdpError> {
        let routed = || self.ways.values().filter_map(|way| way.route?.source);
        let all = || self.sources.iter().copied().chain(routed());
        let v4 = all().find_map(|source| match source {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        let v6 = all().find_map(|source| match source {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        let old = self.balancer.settings()?;
        let new = Settings {
            own4: v4.map_or(old.own4, |v4| v4.octets()),
            own6: v6.map_or(old.own6, |v6| v6.octets()),
            ..old
        };
        if new == old { Ok(()) } else { self.balancer.set_settings(new) }
    }
}

/// The link address of the next hop to `address`, and whether it was heard of lately.
fn hop_mac(route: &Route, address: IpAddr, neighbours: &[Neighbour]) -> Option<([u8; 6], bool)> {
    let hop = route.router.unwrap_or(address);
    let mut on_link = neighbours.iter();
    let neighbour =
        on_link.find(|known| known.interface == route.interface && known.address == hop)?;
    Some((neighbour.mac?, neighbour.is_fresh))
}

/// Makes the kernel ask for a link address that it doesn't know, or hasn't heard of for a while:
/// an empty datagram to the discard port (RFC 863). Health checks usually do as much; not every real
/// has one.
fn nudge(address: IpAddr, way: &mut Way, is_fresh: bool, now: Instant) {
    let every = if way.is_known { NUDGE_STALE_EVERY } else { NUDGE_UNKNOWN_EVERY };
    let is_due = way.nudged_at.is_none_or(|at| now.saturating_duration_since(at) >= every);
    if is_fresh || !is_due || way.route.is_none() {
        return;
    }
    way.nudged_at = Some(now);
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let sent = UdpSocket::bind(SocketAddr::new(any, 0))
        .and_then(|socket| socket.send_to(&[], SocketAddr::new(address, DISCARD)));
    if let Err(error) = sent {
        tracing::debug!(real = %address, %error, "xdp: cannot nudge");
    }
}

fn not_there(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => {
            io::Error::new(io::ErrorKind::NotFound, "isn't there; `ip link` lists them")
        }
        _ => error,
    }
}

/// How soon a real's new link address is taken over.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How soon a changed route is.
const ROUTE_EVERY: Duration = Duration::from_secs(10);
const NUDGE_UNKNOWN_EVERY: Duration = Duration::from_secs(1);
const NUDGE_STALE_EVERY: Duration = Duration::from_secs(10);
/// A sweep reads the whole table, so not more often than a twentieth of the shortest idle times.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const DISCARD: u16 = 9;
/// While cookies are answered, one SYN in this many goes up: the kernel takes a cookie only within
/// two minutes of a SYN that overflowed its queue, or with net.ipv4.tcp_syncookies=2 of any.
const COOKIE_PASS: u32 = 16;
/// New flow entries of one CPU in 134 ms: 250,000 a second, at 0.6 µs each 15 % of a CPU.
const INSERTS_MAX: u32 = 33_000;
/// Idle times in ticks of 1.07 s: 15 min, a minute, 10 s, 10 s.
const IDLE_TCP: u32 = 838;
const IDLE_UDP: u32 = 56;
const IDLE_OPENING: u32 = 10;
const IDLE_CLOSED: u32 = 10;
