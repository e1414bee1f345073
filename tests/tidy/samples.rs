//! The rules' own tests: each fires on a bad sample and is silent on a good one.

use crate::{
    check, first_segments, parts_of,
    source::{Source, blank_literals},
    strangers,
};

/// The lines that `rule` finds in a file `path` with `text`.
fn fires(rule: &str, path: &str, text: &str) -> Vec<usize> {
    check(rule, &Source::new(path, text)).iter().map(|finding| finding.line).collect()
}

#[test]
fn layers_fire_on_an_import_that_points_up_or_sideways() {
    let up = "//! x\nuse crate::server::Shard;\n";
    assert_eq!(fires("layers", "src/proxy/mod.rs", up), [2]);
    assert_eq!(
        fires("layers", "src/protocol/h1/mod.rs", "//! x\nfn f() { crate::config::load() }\n"),
        [2]
    );
    let group = "//! é\nuse crate::{\n    base::units,\n    server::{Shard, plane},\n};\n";
    assert_eq!(fires("layers", "src/proxy/mod.rs", group), [2]);
    assert_eq!(fires("layers", "src/proxy/mod.rs", "//! x\nuse super::server::Shard;\n"), [2]);
    assert_eq!(fires("layers", "src/newcomer/mod.rs", "//! x\n"), [1]);
    assert_eq!(
        fires("layers", "src/main.rs", "//! x\nuse ringway::main;\nuse ringway::cli;\n"),
        []
    );
    assert_eq!(fires("layers", "src/cli/run.rs", "//! x\nuse crate::main;\n"), [2]);
    let down = "//! See [`crate::server`].\nuse crate::{base::units, runtime, proxy::error};\n";
    assert!(
        fires("layers", "src/proxy/mod.rs", &format!("{down}pub(crate) fn f() {{}}\n")).is_empty()
    );
}

#[test]
fn homes_of_tokio_and_unsafe_are_guarded() {
    let tokio = "tokio_lives_on_the_control_thread";
    assert_eq!(fires(tokio, "src/proxy/x.rs", "use tokio::spawn;\n"), [1]);
    assert_eq!(fires(tokio, "src/main.rs", "use hyper::Body;\n"), [1]);
    assert!(fires(tokio, "src/server/plane.rs", "use tokio::spawn;\n").is_empty());
    assert!(fires(tokio, "src/proxy/x.rs", "// unlike tokio\n").is_empty());
    let block = "fn f() { unsafe { g() } }\n";
    assert_eq!(fires("unsafe_lives_in_the_runtime", "src/proxy/x.rs", block), [1]);
    assert!(fires("unsafe_lives_in_the_runtime", "src/runtime/ring.rs", block).is_empty());
    let word = "// unsafe\n#![deny(unsafe_code)]\n";
    assert!(fires("unsafe_lives_in_the_runtime", "src/proxy/x.rs", word).is_empty());
}

#[test]
fn sans_io_fires_on_async_and_sockets() {
    assert_eq!(fires("sans_io", "src/protocol/h1/body.rs", "async fn f() {}\n"), [1]);
    assert_eq!(fires("sans_io", "src/balance/mod.rs", "use std::net::TcpStream;\n"), [1]);
    assert!(fires("sans_io", "src/proxy/mod.rs", "async fn f() {}\n").is_empty());
}

#[test]
fn shapes_of_files_are_judged() {
    assert_eq!(fires("file_has_a_bound", "src/a.rs", &"//!\n".repeat(801)), [801]);
    assert!(fires("file_has_a_bound", "src/a.rs", &"//!\n".repeat(800)).is_empty());
    assert_eq!(fires("file_opens_with_its_purpose", "src/a.rs", "use std::fmt;\n"), [1]);
    assert_eq!(fires("no_super_super", "src/a.rs", "use super::super::b;\n"), [1]);
    assert_eq!(fires("lines_fit", "src/a.rs", &format!("// {}\n", "x ".repeat(60))), [1]);
    assert!(fires("lines_fit", "src/a.rs", &format!("f(\"{}\")\n", "x ".repeat(60))).is_empty());
    assert_eq!(fires("features_are_few", "Cargo.toml", "[features]\nsim = []\ntls = []\n"), [3]);
    assert_eq!(
        strangers(["src", ".ci", "notes.txt"].map(str::to_owned).into_iter()),
        ["notes.txt"]
    );
}

#[test]
fn leftovers_are_found_in_any_text() {
    assert_eq!(fires("no_leftovers", "docs/a.md", concat!("a\nTO", "DO: b\n")), [2]);
    assert_eq!(fires("no_leftovers", "src/a.rs", concat!("// FIX", "ME\n")), [1]);
    assert_eq!(fires("no_allow", "src/a.rs", "#[allow(dead_code)]\nfn f() {}\n"), [1]);
    assert!(
        fires("no_allow", "src/a.rs", "#[expect(dead_code, reason = \"\")]\nfn f() {}\n")
            .is_empty()
    );
    assert_eq!(fires("no_machine_paths", "docs/a.md", concat!("see /wo", "rk/x\n")), [1]);
    assert_eq!(fires("scripts_explain_themselves", "scripts/a", "#!/bin/bash\necho\n"), [2, 1]);
    let good = "#!/usr/bin/env bash\n# a: does it.\nset -euo pipefail\n";
    assert!(fires("scripts_explain_themselves", "scripts/a", good).is_empty());
}

#[test]
fn names_are_judged_by_their_parts() {
    assert_eq!(fires("one_word_per_thing", "src/proxy/a.rs", "let pick = backend_pool;\n"), [1]);
    assert_eq!(fires("one_word_per_thing", "src/proxy/a.rs", "struct Origins;\n"), [1]);
    assert!(
        fires("one_word_per_thing", "src/proxy/a.rs", "let a = stream.peer_addr();\n").is_empty()
    );
    assert!(
        fires("one_word_per_thing", "src/proxy/a.rs", "// the peer\nlet a = \"backend\";\n")
            .is_empty()
    );
    assert_eq!(
        fires("names_say_something", "src/proxy/a.rs", "struct PoolManager;\nmod utils;\n"),
        [1, 2]
    );
    assert!(fires("names_say_something", "src/proxy/a.rs", "use std::task::Context;\n").is_empty());
    assert_eq!(parts_of("HTTPPeer_sTargets"), ["httppeer", "", "target"]);
    assert_eq!(parts_of("PEER_ADDR_MAX"), ["peer", "addr", "max"]);
}

#[test]
fn literals_and_comments_are_blanked_in_place() {
    let text = "a /* b /* c */ d */ e // f\n\"g\\\"h\" r#\"i\"j\"# 'k' '\\n' &'l m b'n' b\"o\" br\"p\" for\n";
    let blank = blank_literals(text);
    let left: Vec<&str> = blank.split_whitespace().collect();
    assert_eq!(left, ["a", "e", "&'l", "m", "b", "b", "b", "for"]);
    assert_eq!(blank.len(), text.len());
    assert_eq!(first_segments("::{a::{x, y}, b, c as d}"), ["a", "b", "c"]);
}
