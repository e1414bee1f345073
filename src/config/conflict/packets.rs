//! Contradictions of what the fast path is to do: listeners whose packets it forwards or counts,
//! their routes and endpoints, and what it leaves the process unable to do.

use std::net::SocketAddr;

use super::Check;
use crate::config::{
    AcceptBalance, Action, BalancePolicy, ListenerConfig, PacketForward, RouteConfig,
    UpstreamConfig,
    raw::quoted,
    xdp::{REALS_MAX, SERVICES_MAX, VIPS_MAX, is_same_family, vip_fault},
};

impl Check<'_> {
    /// Everything about packets.
    pub(super) fn packets(&self) {
        for (index, listener) in self.config.listeners.iter().enumerate() {
            let Some(what) = wish(listener) else { continue };
            if self.config.xdp.is_none() {
                let message =
                    format!("{what} needs an `[xdp]` table with another `mode` than `off`");
                self.listener_problem(index, message);
            }
            for address in &listener.addresses {
                if let Some(fault) = vip_fault(*address) {
                    let message = format!(
                        "{what} needs an address that clients send to, and `{address}` {fault}"
                    );
                    self.listener_problem(index, message);
                }
            }
            if let Some(forward) = listener.forward {
                self.forwarded(index, listener, forward);
            }
        }
        self.steering();
        self.sizes();
        self.transparent();
    }

    /// Moving packets to a shard's CPU is of use only if the shard then gets the connection.
    fn steering(&self) {
        let (Some(place), true) = (self.places.xdp, self.config.steers()) else { return };
        if self.config.runtime.accept_balance != AcceptBalance::Cpu {
            let message = "xdp: steer `cpu` needs `accept_balance = \"cpu\"` in [runtime]: \
                           else another shard may get the connection";
            self.problems.error(place, message.to_owned());
        }
        if !self.config.listeners.iter().any(|listener| self.config.is_steered(listener)) {
            let message = "xdp: steer `cpu` has no effect: no listener that shards serve over TCP \
                           names an address that clients send to";
            self.problems.error(place, message.to_owned());
        }
    }

    fn forwarded(&self, index: usize, listener: &ListenerConfig, forward: PacketForward) {
        let name = forward.name();
        let routes = self.config.routes.iter().enumerate();
        let own: Vec<_> = routes
            .filter(|(_, route)| route.listeners.iter().flatten().any(|used| *used == index))
            .collect();
        let [(route_index, route)] = own.as_slice() else {
            let message =
                format!("forward `{name}` needs exactly one route, and has {}", own.len());
            self.listener_problem(index, message);
            return;
        };
        let Some(upstream) = self.upstream_of(route) else { return };
        for fault in upstream_faults(upstream, forward) {
            let about = quoted(&upstream.name);
            self.route_problem(*route_index, format!("upstream {about} {fault}"));
        }
        for fault in endpoint_faults(upstream, listener, forward) {
            self.route_problem(*route_index, fault);
        }
    }

    fn upstream_of(&self, route: &RouteConfig) -> Option<&UpstreamConfig> {
        match route.action {
            Action::Upstream(index) => self.config.upstreams.get(index),
            Action::Respond { .. } | Action::Redirect { .. } => None,
        }
    }

    /// The program's tables have so many rows.
    fn sizes(&self) {
        let Some(place) = self.places.xdp else { return };
        let (mut vip_count, mut services, mut reals) = (0, 0, 0);
        for (index, listener) in self.config.listeners.iter().enumerate() {
            if wish(listener).is_none() && !self.config.is_steered(listener) {
                continue;
            }
            let vips =
                || listener.addresses.iter().filter(|address| vip_fault(**address).is_none());
            let mut addresses = vips().filter_map(|address| address.ip());
            let has_v4 = addresses.clone().any(|address| address.is_ipv4());
            let has_v6 = addresses.any(|address| address.is_ipv6());
            vip_count += vips().count();
            services += usize::from(has_v4) + usize::from(has_v6);
            let routes = self.config.routes.iter().filter(|route| {
                listener.forward.is_some()
                    && route.listeners.iter().flatten().any(|used| *used == index)
            });
            let upstreams = routes.filter_map(|route| self.upstream_of(route));
            reals += upstreams.map(|upstream| upstream.endpoints.len()).sum::<usize>();
        }
        let counts = [
            (vip_count, VIPS_MAX, "addresses of listeners"),
            (services, SERVICES_MAX, "listeners and families"),
            (reals, REALS_MAX, "endpoints of listeners"),
        ];
        for (count, most, what) in counts.into_iter().filter(|(count, most, _)| count > most) {
            let message = format!(
                "xdp: there are {count} {what} that it forwards, counts or steers; the program has room for {most}"
            );
            self.problems.error(place, message);
        }
    }

    /// Sending as the client takes a capability.
    fn transparent(&self) {
        if self.config.xdp.is_none() {
            return;
        }
        let upstreams = self.config.upstreams.iter().zip(&self.places.upstreams);
        for (upstream, place) in upstreams.filter(|(upstream, _)| upstream.transparent) {
            let name = quoted(&upstream.name);
            let message = format!(
                "upstream {name}: `transparent` takes CAP_NET_ADMIN for good, and a process with [xdp] gives it up after the start"
            );
            self.problems.error(*place, message);
        }
    }

    fn listener_problem(&self, index: usize, message: String) {
        let name = quoted(&self.config.listeners[index].name);
        self.problems.error(self.listener(index), format!("listener {name}: {message}"));
    }
}

/// What a listener wants of the fast path, if anything.
fn wish(listener: &ListenerConfig) -> Option<String> {
    match (listener.forward, listener.syn_rate) {
        (Some(forward), _) => Some(format!("forward `{}`", forward.name())),
        (None, Some(_)) => Some("limits.syn_rate".to_owned()),
        (None, None) => None,
    }
}

/// What an upstream asks for and forwarded packets can't have.
fn upstream_faults(upstream: &UpstreamConfig, forward: PacketForward) -> Vec<String> {
    let name = forward.name();
    let mut faults = Vec::new();
    if upstream.tls.is_some() {
        faults.push(format!("has `tls`, which nobody speaks with forward `{name}`"));
    }
    if upstream.proxy_protocol.is_some() {
        faults.push(format!("has `proxy_protocol`, which nobody sends with forward `{name}`"));
    }
    let is_counted = match upstream.balance {
        BalancePolicy::LeastRequest { .. } | BalancePolicy::LeastConn | BalancePolicy::First => {
            true
        }
        BalancePolicy::RoundRobin
        | BalancePolicy::Random
        | BalancePolicy::Hash(_)
        | BalancePolicy::Ketama(_)
        | BalancePolicy::Maglev(_)
        | BalancePolicy::Rendezvous(_) => false,
    };
    if is_counted {
        let policy = upstream.balance.name();
        faults.push(format!(
            "has the balance.policy `{policy}`, which forward `{name}` can't follow: leave `balance` out, or hash `source_ip`"
        ));
    }
    faults
}

fn endpoint_faults(
    upstream: &UpstreamConfig,
    listener: &ListenerConfig,
    forward: PacketForward,
) -> Vec<String> {
    let (name, of) = (forward.name(), quoted(&upstream.name));
    let mut faults = Vec::new();
    // Unix sockets of the listener are complained of already.
    let addresses: Vec<SocketAddr> =
        listener.addresses.iter().filter_map(|address| address.ip()).collect();
    for address in &addresses {
        let endpoints = upstream.endpoints.iter().filter_map(|endpoint| endpoint.address.ip());
        if !endpoints.into_iter().any(|endpoint| is_same_family(*address, endpoint)) {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            faults.push(format!(
                "address `{address}` is {family} and upstream {of} has no such endpoint; forward `{name}` translates nothing between families"
            ));
        }
    }
    for endpoint in &upstream.endpoints {
        let Some(at) = endpoint.address.ip() else {
            let at = endpoint.address;
            faults.push(format!(
                "endpoint `{at}` of upstream {of} is a Unix socket, which no packet reaches"
            ));
            continue;
        };
        let same: Vec<_> =
            addresses.iter().filter(|address| is_same_family(**address, at)).collect();
        if same.is_empty() {
            let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
            let listener = quoted(&listener.name);
            faults.push(format!(
                "endpoint `{at}` of upstream {of} is {family} and listener {listener} has no such address; forward `{name}` translates nothing between families"
            ));
        }
        if let Some(address) = same.iter().find(|address| address.ip() == at.ip()) {
            faults.push(format!(
                "endpoint `{at}` of upstream {of} has the address of `{address}`: packets would come back here"
            ));
        }
        let other = same.iter().find(|address| address.port() != at.port());
        if let Some(address) = other.filter(|_| !forward.changes_port()) {
            faults.push(format!(
                "endpoint `{at}` of upstream {of} has another port than `{address}`, and forward `{name}` changes none; `nat` does"
            ));
        }
    }
    faults
}
