//! docs/CONFIG.md tells of every key that there is, of no other, and its examples work.

use std::collections::BTreeSet;

use ringway::config;

use super::{FRAME, read};

const DOCS: &str = include_str!("../../../docs/CONFIG.md");

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let mut documented = BTreeSet::new();
    // A comment before a table tells whose keys it has.
    let mut tables: Vec<&str> = Vec::new();
    for line in DOCS.lines() {
        if let Some(comment) = line.strip_prefix("<!-- keys:") {
            tables = comment.trim_end_matches("-->").trim().split(", ").collect();
        } else if line.is_empty() {
            tables.clear();
        } else if let Some(row) = line.strip_prefix("| `")
            && !row.contains("Default")
        {
            let key = row.split('`').next().unwrap();
            for table in &tables {
                let fresh = documented.insert(format!("{table}: {key}"));
                assert!(fresh, "{table}: {key} is there twice");
            }
        }
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
