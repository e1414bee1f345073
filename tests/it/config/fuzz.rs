//! Damaged files never panic, and always give either a configuration or a problem with a place.

use ringway::config::{self, render};

use super::random::Random;
use super::{FRAME, LEAST, cpus, read};

#[test]
fn damaged_files_give_a_config_or_a_problem_with_a_place() {
    let texts = seeds();
    for seed in 0..4_000 {
        let mut random = Random::new(seed);
        let mut text = texts[random.below(texts.len())].clone();
        for _ in 0..1 + random.below(4) {
            text = damage(&text, &texts, &mut random);
        }
        judge(&text, seed);
    }
}

/// Either a config that comes back from print, or at least one problem that is within the text.
fn judge(text: &str, seed: u64) {
    match config::parse_on(&cpus(), "t.toml", text) {
        Ok(config) => {
            let printed = render(&config);
            let back = read(&printed);
            assert!(back.is_ok(), "seed {seed}: {back:?}\n{text}\n=== printed\n{printed}");
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "seed {seed}\n{text}");
            let lines: Vec<&str> = text.split('\n').collect();
            for problem in &errors.problems {
                let location = &problem.location;
                let line = lines.get(location.line - 1);
                let fits = line.is_some_and(|line| location.column <= line.chars().count() + 1);
                assert!(fits, "seed {seed}: {problem}\n{text}");
                assert!(!problem.message.is_empty(), "seed {seed}\n{text}");
            }
        }
    }
}

/// The texts that damage begins with: every table and every mistake.
fn seeds() -> Vec<String> {
    let mut texts: Vec<String> = include_str!("mistakes.txt")
        .split("\n----\n")
        .skip(1)
        .map(|case| format!("{FRAME}{}", case.split("\n=>\n").next().unwrap()))
        .collect();
    texts.push(render(&read(LEAST).unwrap()));
    let docs = include_str!("../../../docs/CONFIG.md");
    texts.extend(docs.split("```toml\n").skip(1).map(|part| {
        let example = part.split("```").next().unwrap();
        if example.starts_with("version") {
            example.to_owned()
        } else {
            format!("{FRAME}{example}")
        }
    }));
    texts
}

fn damage(text: &str, texts: &[String], random: &mut Random) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = random.below(lines.len());
    match random.below(8) {
        0 => {
            lines.remove(at);
        }
        1 => {
            let line = lines[random.below(lines.len())].clone();
            lines.insert(at, line);
        }
        2 => {
            let other = random.below(lines.len());
            lines.swap(at, other);
        }
        3 => {
            let other = &texts[random.below(texts.len())];
            let others: Vec<&str> = other.split('\n').collect();
            lines.insert(at, others[random.below(others.len())].to_owned());
        }
        4 => lines[at] = replaced_value(&lines[at], random),
        _ => lines[at] = damaged_line(&lines[at], random),
    }
    lines.join("\n")
}

/// The line with something else behind its first `=`.
fn replaced_value(line: &str, random: &mut Random) -> String {
    let values = [
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "true",
        "''",
        "[]",
        "{}",
        "'auto'",
        "'off'",
        "'\\u0000'",
        "\"\\u0000\"",
        "99999999999999999999",
        "0x7fffffffffffffff",
        "-9223372036854775808",
        "[[1]]",
        "['a', 1]",
        "{ a = 1 }",
        "2026-11-24T10:00:00Z",
        "'10s'",
        "'1KiB'",
        "'/a/*'",
        "'/*/*/*'",
        "'${host}'",
        "'$${'",
        "\"\u{fc}\u{202e}\"",
        "'::1'",
        "'[::]:80'",
        "'*.a'",
    ];
    let key = line.split('=').next().unwrap_or("");
    format!("{key}= {}", random.pick(&values))
}

fn damaged_line(line: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    let at = random.below(chars.len() + 1);
    let fresh = random.pick(&[
        '"', '\'', '[', ']', '{', '}', '=', '.', ',', '*', '/', '0', 'x', '$', ' ', '#', '\u{fc}',
        '\\', '\r', '\0',
    ]);
    if random.one_in(2) && at < chars.len() {
        chars[at] = fresh;
    } else if random.one_in(2) && at < chars.len() {
        chars.remove(at);
    } else {
        chars.insert(at, fresh);
    }
    chars.into_iter().collect()
}
