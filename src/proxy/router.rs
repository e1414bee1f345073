//! Finds a request's route: the most specific one that matches.
//!
//! Routes are sorted once, when a config is built, by [`Specificity`]; a request takes the first
//! that matches. Exact hosts are looked up in a map, so that thousands of sites cost a request one
//! hash; a config without exact hosts costs none.
//!
//! ```text
//!   host ─▶ exact hosts ──▶ candidates, most specific first ─┐
//!       └─▶ *.suffixes, longest first ───────────────────────┼─▶ first that matches path,
//!       └─▶ any host ────────────────────────────────────────┘   listener, method and headers
//! ```
//!
//! Dot segments and empty segments are resolved before a path is matched, so that `/public/../admin`
//! is routed as `/admin`; what is forwarded is the path as it came.

use std::collections::HashMap;

use crate::{
    base::path::PathError,
    config::{HostPattern, Layer, PathPattern, RouteConfig, Specificity},
    protocol::http::{RequestHead, uri::normalized_path},
};

/// A route's place in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId(pub u32);

/// The compiled routes of a config.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<str>, Vec<Candidate>>,
    /// Longest first.
    suffixes: Vec<(HostPattern, Vec<Candidate>)>,
    any: Vec<Candidate>,
}

/// A route that matched.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Which.
    pub route: RouteId,
    /// The path pattern that matched; none when the route takes any path.
    pub path: Option<&'a PathPattern>,
}

/// One way to match one route.
#[derive(Debug, Clone)]
struct Candidate {
    route: RouteId,
    path: Option<PathPattern>,
    methods: Vec<String>,
    headers: Vec<(String, String)>,
    listeners: Option<Vec<usize>>,
    specificity: Specificity,
}

impl Router {
    /// Compiles `routes`.
    #[must_use]
    pub fn new(routes: &[RouteConfig]) -> Self {
        let mut router = Self::default();
        let of_http = |(_, route): &(usize, &RouteConfig)| route.layer == Layer::Http;
        for (index, route) in routes.iter().enumerate().filter(of_http) {
            let id = RouteId(u32::try_from(index).unwrap_or(u32::MAX));
            let matches = &route.matches;
            for host in optional(&matches.hosts) {
                for path in optional(&matches.paths) {
                    let candidate = Candidate {
                        route: id,
                        path: path.cloned(),
                        methods: matches.methods.clone(),
                        headers: matches.headers.clone(),
                        listeners: route.listeners.clone(),
                        specificity: matches.specificity(host, path, route.priority),
                    };
                    router.candidates(host).push(candidate);
                }
            }
        }
        router.sort();
        router
    }

    /// The list that `host`'s candidates belong to.
    fn candidates(&mut self, host: Option<&HostPattern>) -> &mut Vec<Candidate> {
        match host {
            None => &mut self.any,
            Some(HostPattern::Exact(name)) => {
                self.exact.entry(name.to_ascii_lowercase().into_boxed_str()).or_default()
            }
            Some(suffix @ HostPattern::Suffix(_)) => {
                let known = self.suffixes.iter().position(|(pattern, _)| pattern == suffix);
                let index = known.unwrap_or_else(|| {
                    self.suffixes.push((suffix.clone(), Vec::new()));
                    self.suffixes.len() - 1
                });
                &mut self.suffixes[index].1
            }
        }
    }

    fn sort(&mut self) {
        let lists =
            self.exact.values_mut().chain(self.suffixes.iter_mut().map(|entry| &mut entry.1));
        for list in lists.chain([&mut self.any]) {
            list.sort_by(|a, b| b.specificity.cmp(&a.specificity));
        }
        self.suffixes.sort_by_key(|(pattern, _)| match pattern {
            HostPattern::Suffix(suffix) | HostPattern::Exact(suffix) => {
                std::cmp::Reverse(suffix.len())
            }
        });
    }

    /// The route of a request that came by `listener`.
    ///
    /// # Errors
    /// The path can be read in two ways: refuse it.
    pub fn find(
        &self,
        listener: usize,
        head: &RequestHead,
    ) -> Result<Option<Found<'_>>, PathError> {
        let mut scratch = String::new();
        let path = normalized_path(head.path(), &mut scratch)?;
        let wanted = Wanted { listener, path, head };
        // Most configs name no host; then nobody needs to know the request's.
        let is_by_host = !self.exact.is_empty() || !self.suffixes.is_empty();
        let host = if is_by_host { head.host().unwrap_or_default() } else { "" };
        let exact = if self.exact.is_empty() { None } else { self.exact_list(host) };
        let route = exact
            .and_then(|list| wanted.find(list))
            .or_else(|| {
                let of_host = self.suffixes.iter().filter(|(pattern, _)| pattern.matches(host));
                of_host.map(|(_, list)| wanted.find(list)).find_map(|route| route)
            })
            .or_else(|| wanted.find(&self.any));
        Ok(route)
    }

    fn exact_list(&self, host: &str) -> Option<&Vec<Candidate>> {
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.exact.get(host.to_ascii_lowercase().as_str());
        }
        self.exact.get(host)
    }
}

/// What a request asks for.
struct Wanted<'r> {
    listener: usize,
    path: &'r str,
    head: &'r RequestHead,
}

impl Wanted<'_> {
    fn find<'c>(&self, list: &'c [Candidate]) -> Option<Found<'c>> {
        let found = list.iter().find(|candidate| candidate.matches(self))?;
        Some(Found { route: found.route, path: found.path.as_ref() })
    }
}

impl Candidate {
    fn matches(&self, wanted: &Wanted<'_>) -> bool {
        let Wanted { listener, path, head } = *wanted;
        self.listeners.as_ref().is_none_or(|listeners| listeners.contains(&listener))
            && self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method == head.method_str()))
            && self.headers.iter().all(|(name, value)| {
                head.headers.get_all(name).any(|field| field == value.as_bytes())
            })
    }
}

/// Each item, or once nothing when there is none: "any".
fn optional<T>(items: &[T]) -> impl Iterator<Item = Option<&T>> {
    let any = items.is_empty().then_some(None);
    items.iter().map(Some).chain(any)
}
