//! A strict reader of both text dialects: what a scraper may refuse, it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// A family as read.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// A line with a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Prometheus,
    OpenMetrics,
}

/// Reads it all or says what is wrong with which line.
pub(crate) fn read(text: &str, dialect: Dialect) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    let mut lines = text.strip_suffix('\n').ok_or("no newline at the end")?.split('\n').peekable();
    while let Some(line) = lines.next() {
        let at = |what: &str| format!("{what}: {line}");
        if line == "# EOF" {
            let is_last = lines.peek().is_none() && dialect == Dialect::OpenMetrics;
            return if is_last { check(families, dialect) } else { Err(at("misplaced end")) };
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| at("help without text"))?;
            check_name(name).map_err(|error| at(&error))?;
            if families.contains_key(name) {
                return Err(at("a family comes twice"));
            }
            current = name.to_owned();
            families.insert(name.to_owned(), Family { help: help.to_owned(), ..Family::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| at("no type"))?;
            let known = match dialect {
                Dialect::Prometheus => &["counter", "gauge", "histogram"][..],
                Dialect::OpenMetrics => &["counter", "gauge", "histogram", "info"][..],
            };
            if name != current || !known.contains(&kind) {
                return Err(at("type of another family, or none that exists"));
            }
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let sample = read_sample(line).map_err(|error| at(&error))?;
            let family = families.get_mut(&current).ok_or_else(|| at("sample of no family"))?;
            if !belongs(&sample.name, &current, &family.kind, dialect) {
                return Err(at("sample of another family"));
            }
            if !seen.insert(format!("{}{:?}", sample.name, sample.labels)) {
                return Err(at("a series comes twice"));
            }
            family.samples.push(sample);
        }
    }
    match dialect {
        Dialect::Prometheus => check(families, dialect),
        Dialect::OpenMetrics => Err("no `# EOF`".to_owned()),
    }
}

fn belongs(sample: &str, family: &str, kind: &str, dialect: Dialect) -> bool {
    let Some(suffix) = sample.strip_prefix(family) else { return false };
    match (kind, dialect) {
        ("counter", Dialect::OpenMetrics) => suffix == "_total",
        ("info", _) => suffix == "_info",
        ("histogram", _) => ["_bucket", "_sum", "_count"].contains(&suffix),
        _ => suffix.is_empty(),
    }
}

/// What holds of whole families.
fn check(
    families: BTreeMap<String, Family>,
    dialect: Dialect,
) -> Result<BTreeMap<String, Family>, String> {
    for (name, family) in &families {
        if !name.starts_with("ringway_") || family.help.is_empty() || family.samples.is_empty() {
            return Err(format!("{name}: no prefix, help or samples"));
        }
        let is_counter = family.kind == "counter";
        if dialect == Dialect::Prometheus && is_counter != name.ends_with("_total") {
            return Err(format!("{name}: `_total` is for counters"));
        }
        for sample in &family.samples {
            let may_be_any =
                family.kind == "gauge" || sample.name.ends_with("_sum") || name.contains("seconds");
            let is_count = sample.value >= 0.0 && sample.value.fract() == 0.0;
            if !may_be_any && !is_count {
                return Err(format!("{name}: {} isn't a count", sample.value));
            }
        }
        if family.kind == "histogram" {
            check_histogram(name, family)?;
        }
    }
    Ok(families)
}

fn check_histogram(name: &str, family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let key = |labels: &BTreeMap<String, String>| {
        let mut labels = labels.clone();
        labels.remove("le");
        format!("{labels:?}")
    };
    for sample in family.samples.iter().filter(|s| s.name.ends_with("_bucket")) {
        let bound = match sample.labels.get("le").map(String::as_str) {
            Some("+Inf") => f64::INFINITY,
            Some(number) => number.parse().map_err(|_| format!("{name}: le `{number}`"))?,
            None => return Err(format!("{name}: bucket without le")),
        };
        series.entry(key(&sample.labels)).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in &series {
        let rises = buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
        let last = buckets.last().unwrap();
        let count = family
            .samples
            .iter()
            .find(|s| s.name.ends_with("_count") && key(&s.labels) == *labels)
            .ok_or_else(|| format!("{name}: no count"))?;
        if !rises || last.0 != f64::INFINITY || last.1 != count.value {
            return Err(format!("{name}{labels}: {buckets:?} against {count:?}"));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if first && rest { Ok(()) } else { Err(format!("`{name}` is no name")) }
}

fn read_sample(line: &str) -> Result<Sample, String> {
    let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("no value")?);
    check_name(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').ok_or("no space before the value")?;
    if value.contains(' ') || value.is_empty() {
        return Err("a value is one word".to_owned());
    }
    let value = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn read_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once("=\"").ok_or("label without value")?;
        check_name(name)?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("label value without end")? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    other => return Err(format!("no such escape: {other:?}")),
                },
                (_, c) => value.push(c),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("label `{name}` twice"));
        }
        rest = &after[end..];
        match rest.strip_prefix(',') {
            Some(after) if !after.starts_with('}') => rest = after,
            Some(_) => return Err("a comma before the brace".to_owned()),
            None if rest.starts_with('}') => {}
            None => return Err("no comma between labels".to_owned()),
        }
    }
}

#[test]
fn the_reader_refuses_what_a_scraper_refuses() {
    let good =
        "# HELP ringway_a_total h\n# TYPE ringway_a_total counter\nringway_a_total{x=\"1\"} 2\n";
    assert!(read(good, Dialect::Prometheus).is_ok());
    for (from, to) in [
        ("} 2\n", "} 2"),
        ("} 2", "}2"),
        ("} 2", "} two"),
        ("} 2", "} -1"),
        ("} 2", "} 2 3 4"),
        ("counter", "count"),
        ("x=\"1\"", "x=1"),
        ("x=\"1\"", "x=\"1"),
        ("x=\"1\"", "x=\"\\t\""),
        ("x=\"1\"", "x=\"1\",x=\"2\""),
        ("x=\"1\"", "1x=\"1\""),
        ("# HELP ringway_a_total h\n", ""),
        ("# TYPE ringway_a_total", "# TYPE ringway_b_total"),
        ("\nringway_a_total{", "\nringway_b_total{"),
        (" 2\n", " 2\nringway_a_total{x=\"1\"} 3\n"),
        ("ringway_a_total", "ringway_a"),
    ] {
        let bad = good.replace(from, to);
        assert!(read(&bad, Dialect::Prometheus).is_err(), "{bad}");
    }
}
