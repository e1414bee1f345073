//! From the tree to the tables, one file a table.
//!
//! A reader takes its part of the tree and gives its typed table; what is wrong it notes, and goes
//! on with the default so that the rest is read too. References between tables are resolved here,
//! contradictions between them are found by `config::conflict` afterwards.

mod admin;
mod admission;
mod balance;
mod filter;
mod headers;
mod health;
mod listener;
mod log;
mod matches;
mod route;
mod runtime;
mod template;
mod text;
mod tls;
mod upstream;
mod xdp;

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::name::is_name;

use super::Config;
use super::cpus::Cpus;
use super::fields::{Fields, Schema, Value};
use super::place::{Place, Problems};
use super::raw::{Kind, Table};
use super::suggest::did_you_mean;

/// Where the tables of a [`Config`] stand, index for index; for messages about two of them.
#[derive(Debug, Default)]
pub(in crate::config) struct Places {
    pub(in crate::config) listeners: Vec<Place>,
    pub(in crate::config) routes: Vec<Place>,
    pub(in crate::config) upstreams: Vec<Place>,
    pub(in crate::config) filters: Vec<Place>,
    pub(in crate::config) xdp: Option<Place>,
}

/// The schema of every table, for the documentation's test.
pub(in crate::config) fn schemas() -> Vec<&'static Schema> {
    let mut schemas = vec![&ROOT];
    schemas.extend(runtime::SCHEMAS);
    schemas.extend(xdp::SCHEMAS);
    schemas.extend(admin::SCHEMAS);
    schemas.extend(log::SCHEMAS);
    schemas.extend(listener::SCHEMAS);
    schemas.extend(tls::SCHEMAS);
    schemas.extend(route::SCHEMAS);
    schemas.extend(upstream::SCHEMAS);
    schemas.extend(filter::SCHEMAS);
    schemas
}

/// Reads the whole tree. The result is a valid [`Config`] only if no error was noted.
pub(in crate::config) fn root(table: &Table, cpus: &Cpus, problems: &Problems) -> (Config, Places) {
    let start = Place { file: 0, start: 0 };
    let fields = Fields::open(&ROOT, table, start, String::new(), problems);
    version(&fields);

    let filters = named(&fields, "filter", FILTERS_MAX);
    let upstreams = named(&fields, "upstream", UPSTREAMS_MAX);
    let listeners = named(&fields, "listener", LISTENERS_MAX);
    if listeners.is_empty() {
        fields.problem(
            "there is no listener, such as `[listener.web]` with `address = \"0.0.0.0:80\"`",
        );
    }
    let read: Vec<_> = listeners.iter().map(listener::read).collect();
    let names = route::Names {
        listeners: listeners.iter().map(|listener| listener.name).collect(),
        upstreams: upstreams.iter().map(|upstream| upstream.name).collect(),
        filters: filters.iter().map(|filter| filter.name).collect(),
        protocols: read.iter().map(|listener| listener.protocol).collect(),
        forwards: read.iter().map(|listener| listener.forward).collect(),
    };
    let routes = routes(&fields);

    let config = Config {
        runtime: runtime::read(fields.value("runtime"), cpus),
        xdp: xdp::read(fields.value("xdp")),
        admin: admin::read(fields.value("admin")),
        log: log::read(fields.value("log")),
        listeners: read,
        routes: routes
            .iter()
            .enumerate()
            .map(|(index, value)| route::read(index, value, &names))
            .collect(),
        upstreams: upstreams.iter().map(upstream::read).collect(),
        filters: filters.iter().map(filter::read).collect(),
        warnings: Vec::new(),
    };
    let places = Places {
        listeners: listeners.iter().map(|listener| listener.place).collect(),
        routes: routes.iter().map(Value::place).collect(),
        upstreams: upstreams.iter().map(|upstream| upstream.place).collect(),
        filters: filters.iter().map(|filter| filter.place).collect(),
        xdp: fields.value("xdp").map(|value| value.place()),
    };
    (config, places)
}

/// A table that the user named: `[listener.web]`.
struct Named<'t> {
    name: &'t str,
    /// Of the name.
    place: Place,
    value: Value<'t>,
}

/// A name that a table is referred to by, or a suggestion.
fn resolve(value: &Value<'_>, kind: &str, names: &[&str]) -> Option<usize> {
    let name = value.text(&format!("the name of any {kind}"))?;
    let found = names.iter().position(|candidate| *candidate == name);
    if found.is_none() {
        let hint = did_you_mean(name, names.iter().copied());
        value.problem(format!("isn't the name of any {kind}{hint}"));
    }
    found
}

fn version(fields: &Fields<'_>) {
    let Some(value) = fields.value("version") else {
        fields.problem("version is missing; write `version = 1`");
        return;
    };
    match value.kind() {
        Kind::Integer(1) => {}
        Kind::Integer(_) => value.problem("is not supported yet; this build reads version 1"),
        _ => value.problem("isn't a version; write `version = 1`"),
    }
}

fn named<'t>(fields: &Fields<'t>, kind: &'static str, most: usize) -> Vec<Named<'t>> {
    let Some(tables) = fields.value(kind) else { return Vec::new() };
    let entries = tables.entries(&format!("a table of tables, such as `[{kind}.NAME]`"));
    if entries.len() > most {
        tables.complain(format!("more than {most} tables `{kind}`"));
    }
    let named = |(name, place, value): (&'t str, Place, Value<'t>)| {
        let value = value.scoped(format!("{kind} {}", super::raw::quoted(name)));
        if !is_name(name) {
            value.complain_at(place, NAME_RULE);
        }
        Named { name, place, value }
    };
    entries.into_iter().take(most).map(named).collect()
}

fn routes<'t>(fields: &Fields<'t>) -> Vec<Value<'t>> {
    let Some(routes) = fields.value("route") else { return Vec::new() };
    let mut list = match routes.kind() {
        Kind::Array(_) => routes.list(),
        _ => routes.expected("a list of tables, such as `[[route]]`").unwrap_or_default(),
    };
    if list.len() > ROUTES_MAX {
        routes.complain(format!("more than {ROUTES_MAX} routes"));
        list.truncate(ROUTES_MAX);
    }
    list
}

const ROOT: Schema = Schema {
    path: "",
    keys: &[
        "version", "include", "runtime", "xdp", "admin", "log", "listener", "route", "upstream",
        "filter",
    ],
    later: &["tracing", "acme", "cache", "cluster"],
};

const NAME_RULE: &str = "a name is 1 to 64 letters, digits, `-`, `_` or `.`";

const LISTENERS_MAX: usize = 256;
const ROUTES_MAX: usize = 10_000;
const UPSTREAMS_MAX: usize = 4_096;
const FILTERS_MAX: usize = 1_024;

/// What a timeout may be: never zero, which would fail every request.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);
