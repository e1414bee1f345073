//! Contradictions between tables: what is right alone and wrong together.
//!
//! Addresses used twice, route names used twice, routes that fight for a request; and, as
//! warnings, what nothing uses. Each problem names both places.

mod packets;

use std::collections::HashMap;

use crate::base::address::Address;

use super::pattern::{HostPattern, PathPattern, Specificity};
use super::place::{Place, Problems, Sources};
use super::raw::quoted;
use super::read::Places;
use super::route::{Action, Layer, RouteConfig};
use super::{Config, HashKey, ListenerConfig, Protocol, UpstreamProtocol};

/// Notes every contradiction in `config`.
pub(super) fn check(config: &Config, places: &Places, sources: &Sources, problems: &Problems) {
    let check = Check { config, places, sources, problems };
    check.addresses();
    check.route_names();
    // A route whose match could not be read looks as if it took everything.
    if !problems.has_errors() {
        check.ambiguous_routes();
        check.keys();
        check.packets();
        check.unused();
    }
}

struct Check<'c> {
    config: &'c Config,
    places: &'c Places,
    sources: &'c Sources,
    problems: &'c Problems,
}

/// One way to match a route: its index and one pair of its patterns.
struct Way<'c> {
    index: usize,
    route: &'c RouteConfig,
}

impl Check<'_> {
    fn addresses(&self) {
        // UDP has ports of its own.
        let mut users: HashMap<(Address, bool), usize> = HashMap::new();
        for (index, listener) in self.config.listeners.iter().enumerate() {
            for address in &listener.addresses {
                let is_udp = listener.protocol == Protocol::Udp;
                let Some(first) = users.insert((*address, is_udp), index) else { continue };
                let here = self.listener(index);
                let message = if first == index {
                    format!("address `{address}` is there twice")
                } else {
                    let other = &self.config.listeners[first];
                    let place = self.told(&self.places.listeners, first);
                    format!(
                        "address `{address}` is also that of listener `{}` ({place})",
                        other.name
                    )
                };
                self.problems.error(
                    here,
                    format!("listener {}: {message}", quoted(&self.config.listeners[index].name)),
                );
            }
        }
        if let Some(address) = self.config.admin.dashboard
            && let Some(index) = users.get(&(address.into(), false))
        {
            let ListenerConfig { name, .. } = &self.config.listeners[*index];
            let message =
                format!("listener {}: address `{address}` is also admin.dashboard", quoted(name));
            self.problems.error(self.listener(*index), message);
        }
    }

    fn route_names(&self) {
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, route) in self.config.routes.iter().enumerate() {
            if route.name.is_empty() {
                continue;
            }
            if let Some(first) = names.get(route.name.as_str()) {
                let place = self.told(&self.places.routes, *first);
                self.route_problem(index, format!("the name is taken by the route at {place}"));
            } else {
                names.insert(&route.name, index);
            }
        }
    }

    /// Two equally specific ways that overlap have the same host and path pattern (see
    /// [`Specificity`]), so only those are compared with each other.
    fn ambiguous_routes(&self) {
        type Key<'k> = (Option<&'k HostPattern>, Option<&'k PathPattern>, Specificity);
        let any = PathPattern::Prefix(String::new());
        let mut groups: HashMap<Key<'_>, Vec<Way<'_>>> = HashMap::new();
        let mut told: Vec<(usize, usize)> = Vec::new();
        for (index, route) in self.config.routes.iter().enumerate() {
            for (host, path) in ways(route) {
                let path = path.filter(|path| **path != any);
                let rank = route.matches.specificity(host, path, route.priority);
                let group = groups.entry((host, path, rank)).or_default();
                let other = group.iter().find(|other| overlap(other.route, route));
                if let Some(other) = other
                    && other.index != index
                    && !told.contains(&(other.index, index))
                {
                    told.push((other.index, index));
                    self.ambiguous(other, index, host, path);
                }
                group.push(Way { index, route });
            }
        }
    }

    fn ambiguous(
        &self,
        first: &Way<'_>,
        second: usize,
        host: Option<&HostPattern>,
        path: Option<&PathPattern>,
    ) {
        let place = self.told(&self.places.routes, first.index);
        if first.route.layer == Layer::L4 {
            let of = host.map_or_else(String::new, |name| format!(" to `{name}`"));
            let other = &first.route.name;
            let message = format!(
                "it takes the same connections{of} as route `{other}` ({place}); narrow one of them or give it a `priority`"
            );
            self.route_problem(second, message);
            return;
        }
        let path = path.map_or_else(|| "/*".to_owned(), PathPattern::to_string);
        let of_host = host.map_or_else(String::new, |host| format!(" of host `{host}`"));
        let message = format!(
            "path `{path}`{of_host} is as specific as in route `{}` ({place}); narrow one of them or give it a `priority`",
            first.route.name
        );
        self.route_problem(second, message);
    }

    /// Connections have no paths to hash.
    fn keys(&self) {
        for (index, route) in self.config.routes.iter().enumerate() {
            let Action::Upstream(used) = route.action else { continue };
            let Some(upstream) = self.config.upstreams.get(used) else { continue };
            if route.layer == Layer::Http && upstream.transparent {
                let name = quoted(&upstream.name);
                self.route_problem(
                    index,
                    format!("upstream {name} is `transparent`, which only routes of connections can be: requests of many clients share one"),
                );
            }
            if route.layer == Layer::L4 && upstream.protocol == UpstreamProtocol::Auto {
                let name = quoted(&upstream.name);
                self.route_problem(
                    index,
                    format!("protocol `auto` of upstream {name} is for requests; connections are relayed as they are"),
                );
            }
            let is_h2 = upstream.protocol != UpstreamProtocol::Http11;
            if route.layer == Layer::Http && is_h2 && upstream.proxy_protocol.is_some() {
                let name = quoted(&upstream.name);
                self.route_problem(
                    index,
                    format!("upstream {name} has `proxy_protocol` with HTTP/2, whose connections carry requests of many clients"),
                );
            }
            let is_udp = route.listeners.iter().flatten().any(|index| {
                let listener = self.config.listeners.get(*index);
                listener.is_some_and(|own| own.protocol == Protocol::Udp)
            });
            if is_udp && upstream.proxy_protocol.is_some() {
                let name = quoted(&upstream.name);
                self.route_problem(
                    index,
                    format!("upstream {name} has `proxy_protocol`, which datagrams don't carry"),
                );
            }
            let unix = upstream.endpoints.iter().find(|endpoint| endpoint.address.ip().is_none());
            if is_udp && let Some(unix) = unix {
                let (name, address) = (quoted(&upstream.name), unix.address);
                self.route_problem(
                    index,
                    format!("upstream {name} has an endpoint at `{address}`; datagrams go to IP addresses"),
                );
            }
            let is_of_http = upstream.balance.key().is_some_and(|key| *key != HashKey::SourceIp);
            if route.layer == Layer::L4 && is_of_http {
                let name = quoted(&upstream.name);
                self.route_problem(
                    index,
                    format!("balance.key of upstream {name} is for requests; connections have `source_ip` alone"),
                );
            }
        }
    }

    fn unused(&self) {
        let config = self.config;
        if config.routes.is_empty() {
            let start = Place { file: 0, start: 0 };
            self.problems.warn(start, "there is no route; every request gets 404".to_owned());
        }
        let warn = |place: Place, kind: &str, name: &str, what: &str| {
            self.problems.warn(place, format!("{kind} {}: {what}", quoted(name)));
        };
        for (index, (upstream, place)) in
            config.upstreams.iter().zip(&self.places.upstreams).enumerate()
        {
            if !config
                .routes
                .iter()
                .any(|route| matches!(route.action, Action::Upstream(used) if used == index))
            {
                warn(*place, "upstream", &upstream.name, "no route uses it");
            }
        }
        for (index, (filter, place)) in config.filters.iter().zip(&self.places.filters).enumerate()
        {
            if !config.routes.iter().any(|route| route.filters.contains(&index)) {
                warn(*place, "filter", &filter.name, "no route uses it");
            }
        }
        for (index, (listener, place)) in
            config.listeners.iter().zip(&self.places.listeners).enumerate()
        {
            let is_own =
                |route: &RouteConfig| listener.protocol.is_l4() == (route.layer == Layer::L4);
            let is_served = |route: &RouteConfig| match &route.listeners {
                Some(listeners) => listeners.contains(&index) && is_own(route),
                None => !listener.protocol.is_l4(),
            };
            if !config.routes.is_empty() && !config.routes.iter().any(is_served) {
                let what = if listener.protocol.is_l4() {
                    "no route serves it; every connection is refused"
                } else {
                    "no route serves it; every request gets 404"
                };
                warn(*place, "listener", &listener.name, what);
            }
        }
    }

    fn route_problem(&self, index: usize, message: String) {
        let place = self.places.routes.get(index).copied().unwrap_or(Place { file: 0, start: 0 });
        let name = quoted(&self.config.routes[index].name);
        self.problems.error(place, format!("route {name}: {message}"));
    }

    fn listener(&self, index: usize) -> Place {
        self.places.listeners.get(index).copied().unwrap_or(Place { file: 0, start: 0 })
    }

    fn told(&self, places: &[Place], index: usize) -> String {
        places.get(index).map_or_else(String::new, |place| self.sources.locate(*place).to_string())
    }
}

/// Every pair of a host and a path that the route takes; `None` is any.
fn ways(route: &RouteConfig) -> impl Iterator<Item = (Option<&HostPattern>, Option<&PathPattern>)> {
    let hosts = route.matches.hosts.iter().map(Some);
    let any_host = route.matches.hosts.is_empty().then_some(None);
    hosts.chain(any_host).flat_map(|host| {
        let any_path = route.matches.paths.is_empty().then_some(None);
        route.matches.paths.iter().map(Some).chain(any_path).map(move |path| (host, path))
    })
}

/// Whether a request can match both, host and path aside. A header with two different values is
/// taken to part them, although a request may carry it twice.
fn overlap(a: &RouteConfig, b: &RouteConfig) -> bool {
    let listeners = match (&a.listeners, &b.listeners) {
        (Some(a), Some(b)) => a.iter().any(|index| b.contains(index)),
        _ => true,
    };
    let meet = |one: &[String], other: &[String]| {
        one.is_empty() || other.is_empty() || one.iter().any(|item| other.contains(item))
    };
    let methods = meet(&a.matches.methods, &b.matches.methods);
    let protocols = a.layer == b.layer && meet(&a.matches.alpn, &b.matches.alpn);
    let parted = a.matches.headers.iter().any(|(name, text)| {
        b.matches.headers.iter().any(|(other, other_text)| name == other && text != other_text)
    });
    listeners && methods && protocols && !parted
}
