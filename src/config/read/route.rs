//! `[[route]]`, but for its `match` and header edits.

use crate::base::name::is_name;
use crate::config::fields::{Fields, Schema, Value};
use crate::config::listener::Protocol;
use crate::config::pattern::{PathPattern, Segment};
use crate::config::raw::{Kind, quoted};
use crate::config::route::{
    Action, HeaderEdits, Layer, Retry, RetryCause, RetryOn, RouteConfig, RouteMatch, Timeouts,
};
use crate::config::template::{Piece, Template, Variable};
use crate::config::xdp::PacketForward;

use super::headers::{Way, edits};
use super::matches::{MATCH, l4_matches, matches};
use super::text::{header_name, header_value, is_normal_path, is_path_text};
use super::{NAME_RULE, TIMES, resolve, template};

pub(super) const SCHEMAS: [&Schema; 10] = [
    &ROUTE, &MATCH, &RESPOND, &REDIRECT, &REWRITE, &HEADERS, &REQUEST, &RESPONSE, &TIMEOUTS, &RETRY,
];

/// What a route can refer to; the index in a list is the index in the config.
pub(super) struct Names<'t> {
    pub(super) listeners: Vec<&'t str>,
    pub(super) upstreams: Vec<&'t str>,
    pub(super) filters: Vec<&'t str>,
    /// Of the listeners.
    pub(super) protocols: Vec<Protocol>,
    pub(super) forwards: Vec<Option<PacketForward>>,
}

/// The route with this index.
pub(super) fn read(index: usize, value: &Value<'_>, names: &Names<'_>) -> RouteConfig {
    let value = value.scoped(scope(index, value));
    let Some(fields) = value.table(&ROUTE) else {
        return RouteConfig::new(String::new(), RouteMatch::default(), Action::Upstream(0));
    };
    let name = fields.required("name", "name = \"api\"").and_then(|value| name(&value));
    let listeners =
        fields.value("listener").map(|value| references(&value, "listener", &names.listeners));
    if let Some(protocol) = l4_protocol(&fields, listeners.as_deref(), names) {
        return l4_route(&fields, name.unwrap_or_default(), listeners, protocol, names);
    }
    let matches =
        fields.table("match", &MATCH).map_or_else(RouteMatch::default, |fields| matches(&fields));
    let action = action(&fields, &matches, names);
    let mut route = RouteConfig::new(name.unwrap_or_default(), matches, action);
    route.listeners = listeners;
    route.priority = fields.value("priority").and_then(|value| priority(&value)).unwrap_or(0);
    if let Some(value) = fields.value("filters") {
        route.filters = references(&value, "filter", &names.filters);
    }
    if let Some(headers) = fields.table("headers", &HEADERS) {
        let side = |key, schema, way| {
            headers.value(key).map_or_else(HeaderEdits::default, |value| edits(&value, schema, way))
        };
        route.request_headers = side("request", &REQUEST, Way::Request);
        route.response_headers = side("response", &RESPONSE, Way::Response);
    }
    way_upstream(&fields, &mut route);
    route
}

/// Whether the route goes by what a TLS client says before TLS begins.
fn passes_through(fields: &Fields<'_>) -> bool {
    let value = fields.value("match");
    let Some(Kind::Table(table)) = value.as_ref().map(Value::kind) else { return false };
    ["sni", "alpn"].iter().any(|key| table.find(key).is_some())
}

/// The protocol of the route's listeners, if it is a route of connections.
fn l4_protocol(
    fields: &Fields<'_>,
    listeners: Option<&[usize]>,
    names: &Names<'_>,
) -> Option<Protocol> {
    let mut protocols = listeners?.iter().filter_map(|index| names.protocols.get(*index).copied());
    let first = protocols.next()?;
    let is_l4 = first.is_l4() || first == Protocol::Https && passes_through(fields);
    if protocols.any(|other| other != first && (other.is_l4() || is_l4)) {
        fields.problem("its listeners have different protocols; give each a route of its own");
    }
    is_l4.then_some(first)
}

/// A route of connections or flows.
fn l4_route(
    fields: &Fields<'_>,
    name: String,
    listeners: Option<Vec<usize>>,
    protocol: Protocol,
    names: &Names<'_>,
) -> RouteConfig {
    let (why, with) = match protocol {
        Protocol::Https => {
            let why = "the route passes TLS through unread".to_owned();
            (why, "TLS that is passed through".to_owned())
        }
        _ => {
            let word = protocol.name();
            (format!("its listener's protocol is `{word}`"), format!("protocol `{word}`"))
        }
    };
    for key in ["respond", "redirect", "filters", "rewrite", "headers", "upgrade"] {
        if let Some(value) = fields.value(key) {
            value.complain(format!("{key} has no effect: {why}"));
        }
    }
    let matches = fields.table("match", &MATCH);
    let matches = matches.map_or_else(RouteMatch::default, |fields| l4_matches(&fields, protocol));
    let upstream = fields
        .required("upstream", "upstream = \"db\"")
        .and_then(|value| resolve(&value, "upstream", &names.upstreams));
    let mut route = RouteConfig::new(name, matches, Action::Upstream(upstream.unwrap_or(0)));
    route.layer = Layer::L4;
    route.listeners = listeners;
    route.priority = fields.value("priority").and_then(|value| priority(&value)).unwrap_or(0);
    route.timeouts = Timeouts::of_l4(protocol);
    if let Some(forward) = forwarded(fields, route.listeners.as_deref(), names) {
        for key in ["timeouts", "retry"] {
            if let Some(value) = fields.value(key) {
                value.complain(format!("{key} has no effect with forward `{}`", forward.name()));
            }
        }
        return route;
    }
    let useless = |fields: &Fields<'_>, table: &str, keys: &[&'static str]| {
        for key in keys {
            if let Some(value) = fields.value(key) {
                value.complain(format!("{table}.{key} has no effect with {with}"));
            }
        }
    };
    if let Some(fields) = fields.table("timeouts", &TIMEOUTS) {
        useless(&fields, "timeouts", &["first_byte", "total"]);
        if protocol == Protocol::Udp {
            useless(&fields, "timeouts", &["connect"]);
        }
        route.timeouts = timeouts(&fields, route.timeouts);
    }
    if let Some(fields) = fields.table("retry", &RETRY) {
        useless(&fields, "retry", &["on", "budget"]);
        route.retry = retry(&fields);
    }
    route
}

/// How the route's listeners forward packets, if they do.
fn forwarded(
    fields: &Fields<'_>,
    listeners: Option<&[usize]>,
    names: &Names<'_>,
) -> Option<PacketForward> {
    let indices = listeners.unwrap_or_default().iter();
    let mut forwards = indices.filter_map(|index| names.forwards.get(*index).copied());
    let first = forwards.next()?;
    if forwards.any(|other| other.is_some() != first.is_some()) {
        fields.problem("only some of its listeners have `forward`; give each a route of its own");
    }
    first
}

/// What only makes sense for a route with an upstream.
fn way_upstream(fields: &Fields<'_>, route: &mut RouteConfig) {
    if !matches!(route.action, Action::Upstream(_)) {
        for key in ["rewrite", "timeouts", "retry", "upgrade"] {
            if let Some(value) = fields.value(key) {
                value.complain(format!("{key} has no effect: the route answers by itself"));
            }
        }
        if !route.request_headers.is_empty() {
            fields.problem("headers.request has no effect: the route answers by itself");
        }
        return;
    }
    if let Some(rewrite) = fields.table("rewrite", &REWRITE) {
        route.rewrite.strip_prefix =
            rewrite.value("strip_prefix").and_then(|value| strip_prefix(&value, &route.matches));
    }
    if let Some(fields) = fields.table("timeouts", &TIMEOUTS) {
        route.timeouts = timeouts(&fields, Timeouts::default());
    }
    if let Some(fields) = fields.table("retry", &RETRY) {
        route.retry = retry(&fields);
    }
    route.upgrade = fields.boolean("upgrade", false);
}

fn scope(index: usize, value: &Value<'_>) -> String {
    let name = match value.kind() {
        Kind::Table(table) => table.find("name"),
        _ => None,
    };
    match name.map(|entry| &entry.node.kind) {
        Some(Kind::Text(name)) => format!("route {}", quoted(name)),
        _ => format!("route {}", index + 1),
    }
}

fn name(value: &Value<'_>) -> Option<String> {
    let text = value.text("a name")?;
    if !is_name(text) {
        value.complain(NAME_RULE);
        return None;
    }
    Some(text.to_owned())
}

fn priority(value: &Value<'_>) -> Option<i32> {
    match value.kind() {
        Kind::Integer(number) if (-1_000..=1_000).contains(number) => i32::try_from(*number).ok(),
        Kind::Integer(_) => value.problem_none("is out of range: -1000 to 1000"),
        _ => value.expected("a whole number"),
    }
}

/// Names resolved to indices, none twice.
fn references(value: &Value<'_>, kind: &str, names: &[&str]) -> Vec<usize> {
    let values = value.list();
    if values.is_empty() && kind == "listener" {
        value.complain("listener is an empty list; leave it out to serve every listener");
    }
    let mut indices = Vec::new();
    for value in &values {
        let Some(index) = resolve(value, kind, names) else { continue };
        if indices.contains(&index) {
            value.problem("is there twice");
        }
        indices.push(index);
    }
    indices
}

fn action(fields: &Fields<'_>, matches: &RouteMatch, names: &Names<'_>) -> Action {
    let given: Vec<&str> = ["upstream", "respond", "redirect", "split"]
        .into_iter()
        .filter(|key| fields.has(key))
        .collect();
    match given.as_slice() {
        [] => fields.problem("nothing to do; give it `upstream`, `respond` or `redirect`"),
        [first, second, ..] => {
            fields.problem(format!("both `{first}` and `{second}`; a route does one thing"));
        }
        [_] => {}
    }
    if let Some(value) = fields.value("respond") {
        return respond(&value);
    }
    if let Some(value) = fields.value("redirect") {
        return redirect(&value, matches);
    }
    let upstream = fields.value("upstream");
    Action::Upstream(
        upstream.and_then(|value| resolve(&value, "upstream", &names.upstreams)).unwrap_or(0),
    )
}

fn respond(value: &Value<'_>) -> Action {
    let mut respond = (200, String::new(), Vec::new());
    if let Some(fields) = value.table(&RESPOND) {
        let status = fields.integer("status", 200..=599, 200);
        respond.0 = u16::try_from(status).unwrap_or(200);
        if let Some(value) = fields.value("body")
            && let Some(body) = value.text("text")
        {
            if body.len() > BODY_MAX {
                value.complain("respond.body is longer than 64KiB");
            } else if matches!(status, 204 | 205 | 304) && !body.is_empty() {
                value.complain(format!(
                    "respond.body has no place in a response with status {status}"
                ));
            }
            body.clone_into(&mut respond.1);
        }
        if let Some(value) = fields.value("headers") {
            for (key, place, value) in
                value.entries("a table of headers, such as `{ x-env = \"prod\" }`")
            {
                let pair = header_name(&value, place, key).zip(header_value(&value));
                respond.2.extend(pair.map(|(name, text)| (name, text.to_owned())));
            }
        }
    }
    Action::Respond { status: respond.0, body: respond.1, headers: respond.2 }
}

fn redirect(value: &Value<'_>, matches: &RouteMatch) -> Action {
    let fields = value.table(&REDIRECT);
    let status = fields.as_ref().and_then(|fields| fields.value("status")).and_then(|value| {
        let status = value.integer(0..=u32::from(u16::MAX))?;
        let status = u16::try_from(status).ok().filter(|status| REDIRECTS.contains(status));
        if status.is_none() {
            value.problem("isn't a redirect: 301, 302, 303, 307 or 308");
        }
        status
    });
    let to = fields
        .and_then(|fields| fields.required("to", "to = \"https://www.example.com/${path.rest}\""))
        .and_then(|value| location(&value, matches));
    let to = to.unwrap_or(Template { pieces: Vec::new() });
    Action::Redirect { to, status: status.unwrap_or(302) }
}

fn location(value: &Value<'_>, matches: &RouteMatch) -> Option<Template> {
    let what = "a place to go, such as `https://www.example.com/${path.rest}` or `/new`";
    let text = value.text(what)?;
    let template = template::read(value, text)?;
    let is_place = match template.pieces.first() {
        Some(Piece::Literal(text)) => {
            ["/", "http://", "https://"].iter().any(|start| text.starts_with(start))
        }
        Some(Piece::Variable(variable)) => matches!(variable, Variable::Scheme | Variable::Path),
        None => false,
    };
    if !is_place || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return value.expected(what);
    }
    let has_rest = matches.paths.is_empty() || matches.paths.iter().any(PathPattern::has_rest);
    if template.uses(Variable::PathRest) && !has_rest {
        value.problem("uses `${path.rest}`, but no path of the route ends in `/*`");
        return None;
    }
    Some(template)
}

fn strip_prefix(value: &Value<'_>, matches: &RouteMatch) -> Option<String> {
    let what = "the start of a path, such as `/v1`";
    let text = value.text(what)?;
    if !is_path_text(text) || text.contains(['*', '?']) || text.len() > BODY_MAX {
        return value.expected(what);
    }
    if !is_normal_path(value, text) {
        return None;
    }
    if text.ends_with('/') {
        value.problem("ends in `/`; a prefix ends where a segment ends, such as `/v1`");
        return None;
    }
    if !matches.paths.is_empty() && !matches.paths.iter().any(|path| starts_with(path, text)) {
        value.problem("isn't the start of any path of the route");
        return None;
    }
    Some(text.to_owned())
}

/// Whether some path that the pattern takes begins with the segments of `prefix`.
fn starts_with(pattern: &PathPattern, prefix: &str) -> bool {
    match pattern {
        PathPattern::Exact(path) => {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathPattern::Prefix(path) => {
            let (mut have, mut want) = (path.split('/').skip(1), prefix.split('/').skip(1));
            have.by_ref().zip(want.by_ref()).all(|(have, want)| have == want)
        }
        PathPattern::Pattern { segments, rest } => {
            let want: Vec<&str> = prefix.split('/').skip(1).collect();
            let fits = |(segment, want): (&Segment, &&str)| match segment {
                Segment::Literal(text) => text == want,
                Segment::Any => true,
            };
            (*rest || want.len() <= segments.len()) && segments.iter().zip(&want).all(fits)
        }
    }
}

fn timeouts(fields: &Fields<'_>, default: Timeouts) -> Timeouts {
    Timeouts {
        connect: fields.duration("connect", TIMES, default.connect),
        first_byte: fields.duration("first_byte", TIMES, default.first_byte),
        idle: fields.duration("idle", TIMES, default.idle),
        total: fields
            .value("total")
            .and_then(|value| value.unless("off", |value| value.duration(TIMES)))
            .flatten(),
    }
}

fn retry(fields: &Fields<'_>) -> Retry {
    let default = Retry::default();
    let causes = |value: Value<'_>| {
        let words = RetryCause::ALL.map(|cause| (cause.name(), cause));
        let cause = |value: &Value<'_>| match value.kind() {
            Kind::Integer(status) => {
                let cause = u16::try_from(*status).ok().and_then(RetryCause::of_status);
                if cause.is_none() {
                    value.problem("isn't a status to repeat after: 502, 503 or 504");
                }
                cause
            }
            _ => value.word(&words, &[]),
        };
        value.list().iter().filter_map(cause).fold(RetryOn::NONE, RetryOn::with)
    };
    Retry {
        attempts: fields.integer("attempts", 0..=10, default.attempts),
        on: fields.value("on").map_or(default.on, causes),
        budget: fields.share("budget", default.budget),
    }
}

const ROUTE: Schema = Schema {
    path: "route",
    keys: &[
        "name", "listener", "match", "priority", "upstream", "respond", "redirect", "filters",
        "rewrite", "headers", "timeouts", "retry", "upgrade",
    ],
    later: &["split", "cache", "compress"],
};

const RESPOND: Schema =
    Schema { path: "route.respond", keys: &["status", "body", "headers"], later: &[] };

const REDIRECT: Schema = Schema { path: "route.redirect", keys: &["to", "status"], later: &[] };

const REWRITE: Schema = Schema { path: "route.rewrite", keys: &["strip_prefix"], later: &[] };

const HEADERS: Schema =
    Schema { path: "route.headers", keys: &["request", "response"], later: &[] };

const REQUEST: Schema =
    Schema { path: "route.headers.request", keys: &["set", "add", "remove"], later: &[] };

const RESPONSE: Schema =
    Schema { path: "route.headers.response", keys: &["set", "add", "remove"], later: &[] };

const TIMEOUTS: Schema = Schema {
    path: "route.timeouts",
    keys: &["connect", "first_byte", "idle", "total"],
    later: &[],
};

const RETRY: Schema =
    Schema { path: "route.retry", keys: &["attempts", "on", "budget"], later: &["hedge_after"] };

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

const BODY_MAX: usize = 64 * 1024;
