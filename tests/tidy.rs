//! The house rules that no compiler checks: layers, where tokio and unsafe may live, names, sizes,
//! what may lie at the top level. Each rule is a function from a source to findings and has a
//! sample that must fire it. Knows nothing of the crate: it reads the files beside Cargo.toml, so
//! `scripts/check` builds it alone with rustc. A finding says what to do; an exception goes in a
//! table below with its reason.
#![expect(clippy::unwrap_used, reason = "a test binary: failing is its job")]

#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::source::{Finding, Source, is_word, numbered, words};

// The tables.

/// Modules of `src/`, top first. A module may name those on lower lines, none on its own line.
/// `lib.rs` only declares. docs/ARCHITECTURE.md draws the same picture.
const LAYERS: &[&[&str]] = &[
    &["main", "cli"],
    &["server"],
    &["control", "xdp"],
    &["proxy", "l4"],
    &["upstream"],
    &["transport"],
    &["runtime"],
    &["protocol", "balance", "config", "cache"],
    &["base"],
];
/// What may be seen on one's own line all the same.
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] = &[("main", "cli", "main only calls it")];

/// Modules of the sans-IO half.
const SANS_IO: &[&str] = &["protocol", "balance", "config", "cache", "base"];
/// Words that would bring I/O, a clock or randomness below the line. (config may read its file.)
const SANS_IO_BANNED: &[&str] =
    &["async", "await", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "rand"];

/// The control thread: where the tokio family may be named.
/// (The runtime's tests borrow a channel: a foreign future must be woken, too.)
const TOKIO_HOMES: &[&str] =
    &["src/control/", "src/cli/", "src/server/plane.rs", "src/runtime/tests/"];
const TOKIO_FAMILY: &[&str] =
    &["tokio", "tokio_stream", "tokio_util", "axum", "hyper", "hyper_util", "http_body_util"];

const UNSAFE_HOMES: &[&str] = &["src/runtime/", "src/xdp/"];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "src",
    "bpf",
    "bench",
    "scripts",
    "tests",
    "docs",
];
const FEATURES: &[&str] = &["sim", "xdp"];

const FILE_LINES_MAX: usize = 800;
const FILE_BYTES_MAX: u64 = 256 * 1024;
const LINE_CHARS_MAX: usize = 120;

/// Synonyms of a word in docs/GLOSSARY.md, with the word to use.
const SYNONYMS: &[(&str, &str)] = &[
    ("peer", "downstream, client or endpoint"),
    ("backend", "endpoint or upstream"),
    ("cluster", "upstream"),
    ("origin", "upstream"),
    ("remote", "client or endpoint"),
    ("target", "upstream, endpoint or destination"),
];
/// Identifiers excused from `SYNONYMS`: where (prefix of the path), which, why.
const SYNONYM_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/", "peer_addr", "std's name, kept by runtime::TcpStream"),
    ("src/", "peer_cred", "std's and tokio's name"),
    ("src/", "peer_certificates", "rustls's name"),
    ("src/", "PeerClosed", "rustls's name"),
    ("src/", "PeerIncompatible", "rustls's name"),
    ("src/", "PeerMisbehaved", "rustls's name"),
    ("src/", "PeerSentOversizedRecord", "rustls's name"),
    ("src/", "target_os", "rustc's cfg"),
    ("src/", "target_arch", "rustc's cfg"),
    ("src/", "with_target", "tracing-subscriber's name"),
    ("src/runtime/ring.rs", "target", "how many buffers the kernel is to have"),
    ("src/runtime/ring.rs", "TARGET_FIRST", "how many buffers the kernel is to have"),
    ("src/control/", "Targets", "tracing-subscriber's filter"),
    ("src/", "target_bytes", "request-target, RFC 9112 §3.2"),
    ("src/protocol/", "Origin", "origin-form, RFC 9112 §3.2.1"),
    ("src/", "Target", "Deref's associated type"),
    ("src/protocol/h2/", "HalfClosedRemote", "the state's name, RFC 9113 §5.1"),
];
/// Where a whole word is the right one: the RFC's own.
const SYNONYM_HOMES: &[(&str, &str, &str)] = &[
    ("src/protocol/", "target", "request-target, RFC 9112 §3.2"),
    ("src/proxy/", "target", "request-target, RFC 9112 §3.2"),
    (
        "src/runtime/",
        "remote",
        "a socket's other end: the runtime knows no clients and no endpoints",
    ),
];
/// Words that say nothing: no type, trait or module is called so.
const EMPTY_NAMES: &[&str] = &["manager", "helper", "util", "common", "context"];

// The rules.

fn layers(source: &Source) -> Vec<Finding> {
    let Some(here) = source.module().filter(|_| source.is_rust()) else { return Vec::new() };
    let Some(level) = layer_of(here) else {
        let message =
            format!("module `{here}` isn't in the LAYERS table of tests/tidy.rs: give it a line");
        return vec![source.finding(1, message)];
    };
    let allowed = |name: &str| {
        let excused = LAYER_EXCEPTIONS.iter().any(|(from, to, _)| *from == here && *to == name);
        name == here || excused || layer_of(name).is_none_or(|other| other > level)
    };
    let bad = crate_paths(source).into_iter().filter(|(_, name)| !allowed(name));
    bad.map(|(line, name)| {
        let message = format!(
            "`{here}` may not see `{name}`: imports only point down and modules on one line don't see \
             each other; move the shared part below both, or pass it in"
        );
        source.finding(line, message)
    })
    .collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&module))
}

/// First segments of every path that starts at the crate's root: `crate::a::b`, `ringway::a` (in the
/// binary), `crate::{a, b::c}`, and `super::a` at the outermost level of a top module's own file.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let depth = source.path.matches('/').count();
    let is_top_module = depth == 1 || depth == 2 && source.path.ends_with("/mod.rs");
    let mut found = Vec::new();
    let mut offset = 0;
    for (line, text) in numbered(&source.code) {
        let is_outermost = !text.starts_with(char::is_whitespace);
        for (start, word) in words(text) {
            let is_root = match word {
                "crate" => true,
                "ringway" => source.path == "src/main.rs",
                "super" => is_top_module && is_outermost,
                _ => false,
            };
            if is_root {
                let rest = &source.code[offset + start + word.len()..];
                found.extend(first_segments(rest).into_iter().map(|name| (line, name)));
            }
        }
        offset += text.len() + 1;
    }
    found
}

/// `::a::b` gives `a`; `::{a::{x, y}, b}` gives `a`, `b`.
fn first_segments(rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else { return Vec::new() };
    let first =
        |text: &str| words(text).next().filter(|(at, _)| *at == 0).map(|(_, word)| word.to_owned());
    let Some(group) = rest.strip_prefix('{') else { return first(rest).into_iter().collect() };
    let (mut names, mut depth, mut is_fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_fresh = true,
            c if is_fresh && is_word(c) => {
                names.extend(first(&group[at..]));
                is_fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn no_super_super(source: &Source) -> Vec<Finding> {
    let hits = numbered(&source.code)
        .filter(|(_, text)| source.is_rust() && text.contains("super::super"));
    hits.map(|(line, _)| source.finding(line, "`super::super`: write the path from `crate::`"))
        .collect()
}

/// Findings for every identifier of `source` that `object` objects to.
fn identifiers(source: &Source, object: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in numbered(&source.code) {
        findings
            .extend(words(text).filter_map(|(_, word)| Some(source.finding(line, object(word)?))));
    }
    findings
}

fn tokio_lives_on_the_control_thread(source: &Source) -> Vec<Finding> {
    if !source.is_product() || source.is_in(TOKIO_HOMES) {
        return Vec::new();
    }
    identifiers(source, |word| {
        let is_banned = TOKIO_FAMILY.contains(&word);
        is_banned.then(|| format!("`{word}` outside {TOKIO_HOMES:?}: shards run on crate::runtime"))
    })
}

fn unsafe_lives_in_the_runtime(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_in(UNSAFE_HOMES) {
        return Vec::new();
    }
    identifiers(source, |word| {
        let is_banned = word == "unsafe";
        is_banned.then(|| {
            format!("`unsafe` outside {UNSAFE_HOMES:?}: offer a safe call there and use it")
        })
    })
}

fn sans_io(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || !source.module().is_some_and(|module| SANS_IO.contains(&module)) {
        return Vec::new();
    }
    identifiers(source, |word| {
        let is_banned = SANS_IO_BANNED.contains(&word);
        is_banned.then(|| {
            format!("`{word}` below the sans-IO line: take bytes, `now` and seeds as arguments")
        })
    })
}

fn file_has_a_bound(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if !source.is_rust() || lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![
        source.finding(
            lines,
            format!("{lines} lines, the wall is {FILE_LINES_MAX}: split by meaning"),
        ),
    ]
}

fn file_opens_with_its_purpose(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.text.starts_with("//!") {
        return Vec::new();
    }
    let advice = "open the file with `//!`: what it's for, what it doesn't do, where data comes from and goes";
    vec![source.finding(1, advice)]
}

fn no_leftovers(source: &Source) -> Vec<Finding> {
    // Spelled in halves, so that this file passes its own rule.
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let mut findings = Vec::new();
    for (line, text) in numbered(&source.text) {
        let mark = words(text).map(|(_, word)| word).find(|word| marks.contains(word));
        findings.extend(
            mark.map(|mark| source.finding(line, format!("`{mark}`: do it now or file an issue"))),
        );
    }
    findings
}

fn no_allow(source: &Source) -> Vec<Finding> {
    let is_hit =
        |text: &str| source.is_rust() && (text.contains("#[allow(") || text.contains("#![allow("));
    let hits = numbered(&source.code).filter(|(_, text)| is_hit(text));
    hits.map(|(line, _)| source.finding(line, "use `#[expect(lint, reason = \"…\")]`: it expires"))
        .collect()
}

fn one_word_per_thing(source: &Source) -> Vec<Finding> {
    if !source.is_product() {
        return Vec::new();
    }
    let is_excused = |word: &str| {
        let mut exceptions = SYNONYM_EXCEPTIONS.iter();
        exceptions.any(|(place, name, _)| *name == word && source.path.starts_with(place))
    };
    identifiers(source, |word| {
        let parts = parts_of(word);
        let is_home = |bad: &str| {
            SYNONYM_HOMES.iter().any(|(place, word, _)| *word == bad && source.is_in(&[place]))
        };
        let is_bad = |bad: &str| parts.iter().any(|part| part == bad) && !is_home(bad);
        let (bad, good) = SYNONYMS.iter().find(|(bad, _)| is_bad(bad))?;
        let advice = format!("`{word}`: say {good} (docs/GLOSSARY.md) instead of `{bad}`");
        (!is_excused(word)).then_some(advice)
    })
}

/// `peer_addr`, `PeerAddr` and `PEER_ADDR` are `peer` and `addr`; a plural counts as its singular.
fn parts_of(identifier: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_after_lower = false;
    for c in identifier.chars() {
        if c == '_' || c.is_uppercase() && is_after_lower {
            parts.push(String::new());
        }
        is_after_lower = c.is_lowercase();
        parts.last_mut().unwrap().extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    parts.into_iter().map(|part| part.strip_suffix('s').unwrap_or(&part).to_owned()).collect()
}

fn names_say_something(source: &Source) -> Vec<Finding> {
    if !source.is_product() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, text) in numbered(&source.code) {
        let mut previous = "";
        for (_, word) in words(text) {
            let is_declared = matches!(previous, "struct" | "enum" | "trait" | "mod" | "type");
            if is_declared && parts_of(word).iter().any(|part| EMPTY_NAMES.contains(&part.as_str()))
            {
                findings
                    .push(source.finding(line, format!("`{word}` says nothing: name what it is")));
            }
            previous = word;
        }
    }
    findings
}

fn lines_fit(source: &Source) -> Vec<Finding> {
    // rustfmt leaves long literals whole, and so do we; links can't be broken.
    let is_text = |line: &str| {
        !line.contains("://") && (line.trim_start().starts_with("//") || !line.contains('"'))
    };
    let is_long =
        |line: &str| source.is_rust() && is_text(line) && line.chars().count() > LINE_CHARS_MAX;
    let long = numbered(&source.text).filter(|(_, text)| is_long(text));
    long.map(|(line, _)| source.finding(line, format!("over {LINE_CHARS_MAX} characters")))
        .collect()
}

fn no_machine_paths(source: &Source) -> Vec<Finding> {
    let paths = [concat!("/wo", "rk/"), concat!("/tmp/bash", "_jobs"), concat!("/ro", "ot/")];
    let mut findings = Vec::new();
    for (line, text) in numbered(&source.text) {
        let path = paths.iter().find(|path| text.contains(**path));
        findings.extend(
            path.map(|path| source.finding(line, format!("`{path}`: a path of one machine"))),
        );
    }
    findings
}

fn features_are_few(source: &Source) -> Vec<Finding> {
    let mut section = "";
    let mut findings = Vec::new();
    for (line, text) in numbered(&source.text).filter(|_| source.path == "Cargo.toml") {
        if text.starts_with('[') {
            section = text.trim();
        }
        let name = text.split('=').next().unwrap_or("").trim();
        let is_feature = section == "[features]" && text.contains('=') && !name.starts_with('#');
        if is_feature && !FEATURES.contains(&name) {
            findings.push(
                source.finding(line, format!("feature `{name}`: only {FEATURES:?} are agreed")),
            );
        }
    }
    findings
}

fn scripts_explain_themselves(source: &Source) -> Vec<Finding> {
    let mut lines = source.text.lines();
    if !lines.next().is_some_and(|first| first.starts_with("#!") && first.contains("bash")) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !lines.next().is_some_and(|second| second.starts_with("# ")) {
        findings.push(source.finding(2, "the line after `#!` says what the script does"));
    }
    if !lines.any(|line| line == "set -euo pipefail") {
        findings.push(source.finding(1, "`set -euo pipefail` is missing"));
    }
    findings
}

type Rule = fn(&Source) -> Vec<Finding>;

/// Lists the rules once: a table to look them up, and a test for each that judges the tree.
macro_rules! rules {
    ($($rule:ident)*) => {
        const RULES: &[(&str, Rule)] = &[$((stringify!($rule), $rule)),*];
        mod tree { $(#[test] fn $rule() { super::hold(stringify!($rule)); })* }
    };
}
rules! {
    layers no_super_super tokio_lives_on_the_control_thread unsafe_lives_in_the_runtime sans_io
    file_has_a_bound file_opens_with_its_purpose no_leftovers no_allow one_word_per_thing
    names_say_something lines_fit no_machine_paths features_are_few scripts_explain_themselves
}

/// What `rule` finds in `source`.
fn check(rule: &str, source: &Source) -> Vec<Finding> {
    RULES.iter().find(|(name, _)| *name == rule).map(|(_, check)| check(source)).unwrap()
}

/// Fails with every finding of `rule`, one a line.
fn hold(rule: &str) {
    let sources = sources();
    assert!(sources.len() > 3, "the tree wasn't found at {}", root().display());
    let findings = sources.iter().flat_map(|source| check(rule, source));
    let findings: Vec<String> = findings.map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "{rule}: {} findings\n{}", findings.len(), findings.join("\n"));
}

// The tree.

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository; what cargo, python and the fuzzer make is left out.
fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_symlink() || matches!(&*name, "target" | ".git" | "artifacts" | "__pycache__") {
            continue;
        }
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// Every text file, read. Binary files (BPF objects, corpora) have no lines to judge.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    paths.sort();
    let ours =
        |path: &&PathBuf| !path.ends_with("Cargo.lock") && !relative(path).contains("/corpus/");
    let read = |path: &PathBuf| Some(Source::new(&relative(path), &fs::read_to_string(path).ok()?));
    paths.iter().filter(ours).filter_map(read).collect()
}

#[test]
fn files_are_small() {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    let big = paths.iter().filter(|path| fs::metadata(path).unwrap().len() > FILE_BYTES_MAX);
    let big: Vec<String> = big.map(|path| relative(path)).collect();
    assert!(big.is_empty(), "over {FILE_BYTES_MAX} bytes: {big:?}");
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let strangers = strangers(entries.map(|name| name.to_string_lossy().into_owned()));
    assert!(
        strangers.is_empty(),
        "not agreed at the top level: {strangers:?}; agreed: {TOP_LEVEL:?}"
    );
}

fn strangers(entries: impl Iterator<Item = String>) -> Vec<String> {
    let is_known =
        |name: &str| name.starts_with('.') || name == "target" || TOP_LEVEL.contains(&name);
    entries.filter(|name| !is_known(name)).collect()
}
