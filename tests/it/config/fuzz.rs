//! Damaged files never panic, and always give either a configuration or a problem with a place.

use ringway::config::{self, render};

use super::random::Random;
use super::round_trip::random_config;
use super::{FRAME, LEAST, cpus, read};

/// `RINGWAY_SEEDS=300000` runs more of them.
#[test]
fn damaged_files_give_a_config_or_a_problem_with_a_place() {
    let texts = seeds();
    let (mut right, mut wrong) = (0, 0);
    let runs = std::env::var("RINGWAY_SEEDS").map_or(4_000, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let mut random = Random::new(seed);
        let mut text = texts[random.below(texts.len())].clone();
        for _ in 0..1 + random.below(3) {
            text = damage(&text, &texts, &mut random);
        }
        match std::panic::catch_unwind(|| judge(&text, seed)) {
            Ok(Verdict::Right) => right += 1,
            Ok(Verdict::Wrong) => wrong += 1,
            Err(panic) => {
                eprintln!("seed {seed}:\n{text}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // Damage that always or never breaks a file would test half of it.
    assert!(right > runs / 20 && wrong > runs / 20, "{right} right, {wrong} wrong");
}

#[derive(Debug)]
enum Verdict {
    Right,
    Wrong,
}

/// Either a config that comes back from print, or at least one problem that is within the text.
fn judge(text: &str, seed: u64) -> Verdict {
    match config::parse_on(&cpus(), "t.toml", text) {
        Ok(mut config) => {
            let printed = render(&config);
            let mut back = read(&printed);
            config.warnings.clear();
            if let Ok(back) = &mut back {
                back.warnings.clear();
            }
            assert_eq!(back, Ok(config), "seed {seed}:\n{text}\n=== printed\n{printed}");
            Verdict::Right
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
            Verdict::Wrong
        }
    }
}

/// The texts that damage begins with: right ones, which are most, and every mistake.
fn seeds() -> Vec<String> {
    let mut texts: Vec<String> =
        (0..100).map(|seed| render(&random_config(&mut Random::new(seed)))).collect();
    let docs = include_str!("../../../docs/CONFIG.md");
    for part in docs.split("```toml\n").skip(1) {
        let example = part.split("```").next().unwrap();
        let is_whole = example.starts_with("version");
        let text = if is_whole { example.to_owned() } else { format!("{FRAME}{example}") };
        texts.extend(std::iter::repeat_n(text, 20));
    }
    texts.extend(std::iter::repeat_n(LEAST.to_owned(), 50));
    let mistakes = include_str!("mistakes.txt").split("\n----\n").skip(1);
    texts.extend(mistakes.map(|case| {
        FRAME.replacen('\n', &format!("\n{}\n", case.split("\n=>\n").next().unwrap()), 1)
    }));
    texts
}

fn damage(text: &str, texts: &[String], random: &mut Random) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = random.below(lines.len());
    match random.below(11) {
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
        5..=7 => lines[at] = another_value(&lines[at], &texts[random.below(texts.len())], random),
        _ => lines[at] = damaged_line(&lines[at], random),
    }
    lines.join("\n")
}

/// A line of another text with the same key, or the line with one digit changed.
fn another_value(line: &str, other: &str, random: &mut Random) -> String {
    let key = line.split('=').next().unwrap_or("").trim_end();
    let same: Vec<&str> = other
        .split('\n')
        .filter(|other| other.split('=').next().unwrap().trim_end() == key)
        .collect();
    if !same.is_empty() && !key.is_empty() {
        return random.pick(&same).to_owned();
    }
    let digits: Vec<usize> =
        line.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
    if digits.is_empty() {
        return line.to_owned();
    }
    let at = random.pick(&digits);
    format!("{}{}{}", &line[..at], random.below(10), &line[at + 1..])
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
