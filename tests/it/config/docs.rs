//! docs/CONFIG.md tells of every key that there is, of no other, and its examples work.

use std::collections::BTreeSet;

use ringway::config;

use super::{FRAME, read};

const DOCS: &str = include_str!("../../../docs/CONFIG.md");

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let mut documented = BTreeSet::new();
    for row in rows() {
        let key = format!("{}: {}", row.table, row.key);
        assert!(documented.insert(key.clone()), "{key} is there twice");
    }
    let mut known = BTreeSet::new();
    for schema in config::schemas() {
        known.extend(schema.keys.iter().map(|key| format!("{}: {key}", schema.path)));
    }
    let missing: Vec<_> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/CONFIG.md: {missing:?}");
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(unknown.is_empty(), "in docs/CONFIG.md, but unknown: {unknown:?}");
}

/// Writing a documented default into a file changes nothing.
#[test]
fn every_documented_default_is_the_default() {
    let mut defaults = 0;
    for row in rows() {
        let Some(default) = row.default.strip_prefix('`').and_then(|text| text.strip_suffix('`'))
        else {
            continue;
        };
        let (_, before) = BEFORE.iter().find(|(table, _)| *table == row.table).unwrap();
        let without = read(&format!("{FRAME}{before}"));
        let with = read(&format!("{FRAME}{before}{} = {default}\n", row.key));
        assert!(without.is_ok(), "{row:?}: {without:?}");
        assert_eq!(with, without, "{row:?}");
        defaults += 1;
    }
    assert!(defaults >= 40, "{defaults}");
}

#[test]
fn every_example_is_right() {
    let mut examples = 0;
    for part in DOCS.split("```toml\n").skip(1) {
        let example = part.split("```").next().unwrap();
        let whole = example.starts_with("version");
        let text = if whole { example.to_owned() } else { format!("{FRAME}{example}") };
        let read = read(&text);
        assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
        examples += 1;
    }
    assert!(examples >= 8, "{examples}");
}

#[test]
fn every_refused_key_is_listed() {
    let (_, list) = DOCS.split_once("## Not supported yet").unwrap();
    for schema in config::schemas() {
        for key in schema.later {
            assert!(list.contains(&format!("`{key}`")), "{}: {key}", schema.path);
        }
    }
}

/// A row of a table of keys.
#[derive(Debug)]
struct Row {
    table: &'static str,
    key: &'static str,
    default: &'static str,
}

/// A comment before a table tells whose keys it has.
fn rows() -> Vec<Row> {
    let mut tables: Vec<&str> = Vec::new();
    let mut rows = Vec::new();
    for line in DOCS.lines() {
        if let Some(comment) = line.strip_prefix("<!-- keys:") {
            tables = comment.trim_end_matches("-->").trim().split(", ").collect();
        } else if line.is_empty() {
            tables.clear();
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, rest) = row.split_once("` |").unwrap();
            let default = rest.split('|').next().unwrap().trim();
            if default != "Default" {
                rows.extend(tables.iter().map(|table| Row { table, key, default }));
            }
        }
    }
    rows
}

/// For each table with defaults: a file up to the place where a key of it can be added.
const BEFORE: &[(&str, &str)] = &[
    ("runtime", "[runtime]\n"),
    ("runtime.buffers", "[runtime.buffers]\n"),
    ("xdp", "[xdp]\nmode = 'auto'\ninterface = 'eth0'\n"),
    ("log", "[log]\n"),
    ("log.access", "[log.access]\npath = 'stdout'\n"),
    ("log.error", "[log.error]\n"),
    ("listener.NAME", "[listener.x]\naddress = ['127.0.0.1:9', 'unix:/run/x.sock']\n"),
    ("listener.NAME.limits", "[listener.x]\naddress = '127.0.0.1:9'\n[listener.x.limits]\n"),
    (
        "listener.NAME.tls",
        "[listener.x]\naddress = '127.0.0.1:9'\nprotocol = 'https'\n[listener.x.tls]\n\
         certificates = [{ cert = 'a', key = 'b' }]\n",
    ),
    (
        "listener.NAME.proxy_protocol",
        "[listener.x]\naddress = '127.0.0.1:9'\n[listener.x.proxy_protocol]\nfrom = '10.0.0.1'\n",
    ),
    ("route", "[[route]]\nname = 'x'\nmatch.path = '/x'\nupstream = 'rest'\n"),
    ("route.respond", "[[route]]\nname = 'x'\nmatch.path = '/x'\n[route.respond]\n"),
    ("route.redirect", "[[route]]\nname = 'x'\nmatch.path = '/x'\n[route.redirect]\nto = '/y'\n"),
    (
        "route.headers.request",
        "[[route]]\nname = 'x'\nupstream = 'rest'\n[route.headers.request]\n",
    ),
    (
        "route.headers.response",
        "[[route]]\nname = 'x'\nupstream = 'rest'\n[route.headers.response]\n",
    ),
    ("route.timeouts", "[[route]]\nname = 'x'\nupstream = 'rest'\n[route.timeouts]\n"),
    ("route.retry", "[[route]]\nname = 'x'\nupstream = 'rest'\n[route.retry]\n"),
    ("upstream.NAME", "[upstream.x]\nendpoints = ['10.0.0.1:80']\n"),
    ("upstream.NAME.tls", "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.tls]\n"),
    ("upstream.NAME.endpoints", "[[upstream.x.endpoints]]\naddress = '10.0.0.1:80'\n"),
    (
        "upstream.NAME.balance",
        "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.balance]\npolicy = 'least_request'\n",
    ),
    ("upstream.NAME.pool", "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.pool]\n"),
    ("upstream.NAME.limits", "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.limits]\n"),
    (
        "upstream.NAME.health",
        "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.health]\nhttp = '/'\n",
    ),
    ("upstream.NAME.outlier", "[upstream.x]\nendpoints = ['10.0.0.1:80']\n[upstream.x.outlier]\n"),
    ("filter.NAME (request_id)", "[filter.x]\ntype = 'request_id'\n"),
    ("filter.NAME (rate_limit)", "[filter.x]\ntype = 'rate_limit'\nrate = '1/s'\n"),
    ("filter.NAME.request", "[filter.x]\ntype = 'headers'\n[filter.x.request]\n"),
    ("filter.NAME.response", "[filter.x]\ntype = 'headers'\n[filter.x.response]\n"),
];
