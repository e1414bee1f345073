//! From a configuration to what the fast path serves: listeners become services, endpoints reals.
//!
//! Values in, values out. An endpoint that a reload takes away keeps its flows for as long as a drain
//! takes, so that the services of a moment depend on those before.

use std::{net::SocketAddr, time::Instant};

use crate::{
    config::{
        self, Action as RouteAction, Config, ListenerConfig, PacketForward, Protocol,
        UpstreamConfig,
    },
    xdp::{Action, RealConfig, RealState, Service, Transport},
};

/// The services of `config`, with the state of each upstream's endpoints from `state`: by their
/// places in the configuration.
pub(super) fn services(config: &Config, state: impl Fn(usize, usize) -> RealState) -> Vec<Service> {
    let listeners = config.listeners.iter().enumerate();
    let each = listeners.filter_map(|(index, listener)| {
        let action = match listener.forward {
            Some(PacketForward::Dsr) => Action::Dsr,
            Some(PacketForward::Nat) => Action::Nat,
            Some(PacketForward::Ipip) => Action::Ipip,
            None if listener.syn_rate.is_some() || config.is_steered(listener) => Action::Local,
            None => return None,
        };
        let upstream = upstream_of(config, index, listener);
        Some(Service {
            name: listener.name.clone(),
            vips: listener
                .addresses
                .iter()
                .filter(|address| config::vip_fault(**address).is_none())
                .filter_map(|address| address.ip())
                .collect(),
            transport: match listener.protocol {
                Protocol::Udp => Transport::Udp,
                Protocol::Http | Protocol::Https | Protocol::Tcp | Protocol::Tls => Transport::Tcp,
            },
            action,
            by_source: upstream.is_some_and(|(_, upstream)| upstream.balance.key().is_some()),
            syn_rate: listener.syn_rate.map(|rate| rate.per_second()),
            reals: upstream.map_or_else(Vec::new, |(index, upstream)| {
                reals(upstream, |endpoint| state(index, endpoint))
            }),
        })
    });
    each.collect()
}

/// The upstream of a listener that forwards, with its place.
pub(super) fn upstream_of<'c>(
    config: &'c Config,
    index: usize,
    listener: &ListenerConfig,
) -> Option<(usize, &'c UpstreamConfig)> {
    listener.forward?;
    let serves = |listeners: &Option<Vec<usize>>| listeners.iter().flatten().any(|l| *l == index);
    let route = config.routes.iter().find(|route| serves(&route.listeners))?;
    match route.action {
        RouteAction::Upstream(upstream) => Some((upstream, config.upstreams.get(upstream)?)),
        RouteAction::Respond { .. } | RouteAction::Redirect { .. } => None,
    }
}

/// Backup endpoints get new flows only while nobody else does.
fn reals(upstream: &UpstreamConfig, state: impl Fn(usize) -> RealState) -> Vec<RealConfig> {
    let states: Vec<RealState> = (0..upstream.endpoints.len()).map(state).collect();
    let mut first = upstream.endpoints.iter().zip(&states).filter(|(own, _)| !own.backup);
    let is_served = first.any(|(_, state)| *state == RealState::Up);
    let each = upstream.endpoints.iter().zip(&states);
    // A config that forwards to Unix sockets is refused.
    each.filter_map(|(endpoint, state)| {
        Some(RealConfig {
            address: endpoint.address.ip()?,
            weight: endpoint.weight,
            state: match state {
                RealState::Up if endpoint.backup && is_served => RealState::Draining,
                state => *state,
            },
        })
    })
    .collect()
}

/// Endpoints that a reload took away, and until when they keep their flows.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    reals: Vec<Left>,
}

#[derive(Debug)]
struct Left {
    service: String,
    address: SocketAddr,
    until: Instant,
}

impl Leaving {
    /// Notes the reals that `before` has and `after` hasn't; those that were down have no flows.
    pub(super) fn note(&mut self, before: &[Service], after: &[Service], until: Instant) {
        for service in before {
            for real in service.reals.iter().filter(|real| real.state != RealState::Down) {
                let is_noted =
                    |left: &Left| left.service == service.name && left.address == real.address;
                if !has(after, &service.name, real.address) && !self.reals.iter().any(is_noted) {
                    let service = service.name.clone();
                    self.reals.push(Left { service, address: real.address, until });
                }
            }
        }
    }

    /// Adds those whose time isn't over to `services`, draining; forgets the others, and whoever
    /// has come back.
    pub(super) fn add_to(&mut self, services: &mut [Service], now: Instant) {
        self.reals.retain(|left| left.until > now && !has(services, &left.service, left.address));
        for left in &self.reals {
            let Some(service) = services.iter_mut().find(|own| own.name == left.service) else {
                continue;
            };
            if service.vips.iter().any(|vip| config::is_same_family(*vip, left.address)) {
                let (address, state) = (left.address, RealState::Draining);
                service.reals.push(RealConfig { address, weight: 1, state });
            }
        }
    }

    /// Forgets all of them: their rows are needed.
    pub(super) fn clear(&mut self) {
        self.reals.clear();
    }
}

fn has(services: &[Service], name: &str, address: SocketAddr) -> bool {
    let mut own = services.iter().filter(|service| service.name == name);
    own.any(|service| service.reals.iter().any(|real| real.address == address))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::now_uncached;

    const TEXT: &str = "version = 1
[xdp]
mode = 'auto'
interface = 'eth0'
[listener.db]
address = ['192.0.2.1:80', '[2001:db8::1]:80']
protocol = 'tcp'
forward = 'nat'
limits = { syn_rate = '6000/min' }
[listener.web]
address = '192.0.2.1:443'
limits = { syn_rate = '50/s' }
[listener.plain]
address = '192.0.2.1:8080'
[[route]]
name = 'db'
listener = 'db'
upstream = 'db'
[upstream.db]
balance = { policy = 'maglev', key = 'source_ip' }
endpoints = [
  { address = '10.0.0.1:8080', weight = 3 },
  '[fd00::1]:8080',
  { address = '10.0.0.9:8080', backup = true },
]
";

    fn config() -> Config {
        config::parse("t.toml", TEXT).unwrap()
    }

    fn states(services: &[Service]) -> Vec<RealState> {
        services[0].reals.iter().map(|real| real.state).collect()
    }

    #[test]
    fn listeners_with_packets_become_services() {
        let services = services(&config(), |_, _| RealState::Up);
        assert_eq!(services.len(), 2);
        let db = &services[0];
        assert_eq!((&*db.name, db.action, db.transport), ("db", Action::Nat, Transport::Tcp));
        assert_eq!((db.vips.len(), db.by_source, db.syn_rate), (2, true, Some(100)));
        let weights: Vec<_> = db.reals.iter().map(|real| real.weight).collect();
        assert_eq!(weights, [3, 1, 1]);
        let web = &services[1];
        assert_eq!((&*web.name, web.action, web.syn_rate), ("web", Action::Local, Some(50)));
        assert!(web.reals.is_empty());
    }

    #[test]
    fn a_backup_gets_new_flows_only_while_nobody_else_does() {
        use RealState::{Down, Draining, Up};
        let with = |own: [RealState; 3]| services(&config(), |_, endpoint| own[endpoint]);
        assert_eq!(states(&with([Up, Up, Up])), [Up, Up, Draining]);
        assert_eq!(states(&with([Down, Up, Up])), [Down, Up, Draining]);
        assert_eq!(states(&with([Down, Draining, Up])), [Down, Draining, Up]);
        assert_eq!(states(&with([Up, Up, Down])), [Up, Up, Down]);
    }

    #[test]
    fn an_endpoint_that_is_taken_away_drains_for_a_time() {
        let before = services(&config(), |_, _| RealState::Up);
        let mut smaller = config();
        smaller.upstreams[0].endpoints.remove(0);
        let after = services(&smaller, |_, _| RealState::Up);
        let now = now_uncached();
        let mut leaving = Leaving::default();
        leaving.note(&before, &after, now + Duration::from_secs(60));
        let at = |leaving: &mut Leaving, mut services: Vec<Service>, later: u64| {
            leaving.add_to(&mut services, now + Duration::from_secs(later));
            services[0].reals.clone()
        };
        let reals = at(&mut leaving, after.clone(), 59);
        assert_eq!(reals.len(), 3);
        assert_eq!(reals[2].address, "10.0.0.1:8080".parse().unwrap());
        assert_eq!(reals[2].state, RealState::Draining);
        // Who has come back isn't leaving any more.
        assert_eq!(at(&mut leaving, before.clone(), 59), before[0].reals);
        assert_eq!(at(&mut leaving, after.clone(), 59).len(), 2);
        leaving.note(&before, &after, now + Duration::from_secs(60));
        assert_eq!(at(&mut leaving, after.clone(), 60).len(), 2, "its time is over");
    }

    #[test]
    fn who_was_down_has_no_flows_to_keep() {
        let before = services(&config(), |_, _| RealState::Down);
        let mut leaving = Leaving::default();
        leaving.note(&before, &[], now_uncached() + Duration::from_secs(60));
        assert!(leaving.reals.is_empty());
    }
}
