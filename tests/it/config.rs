//! The configuration as its users meet it: files in, messages or tables out.

#[path = "config/defaults.rs"]
mod defaults;
#[path = "config/docs.rs"]
mod docs;
#[path = "config/fuzz.rs"]
mod fuzz;
#[path = "config/include.rs"]
mod include;
#[path = "config/language.rs"]
mod language;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/random.rs"]
mod random;
#[path = "config/round_trip.rs"]
mod round_trip;

use ringway::config::{self, Config, Cpus};

/// A machine with CPUs 0 to 7, four cores of two threads, the same on every machine.
fn cpus() -> Cpus {
    Cpus::new((0..8).collect(), |cpu| Some(vec![cpu % 4, cpu % 4 + 4]), None)
}

/// The text's configuration, or its messages as one text.
fn read(text: &str) -> Result<Config, String> {
    config::parse_on(&cpus(), "t.toml", text).map_err(|errors| errors.to_string())
}

/// The least that a file can say.
const LEAST: &str = "version = 1
[listener.web]
address = '127.0.0.1:80'
[upstream.api]
endpoints = ['10.0.0.1:80']
[[route]]
name = 'all'
upstream = 'api'
";

/// What a file needs besides what a test is about, under names that leave the others free.
const FRAME: &str = "version = 1
[listener.rest]
address = '127.0.0.1:7'
[[route]]
name = 'rest'
match.path = '/rest'
upstream = 'rest'
[upstream.rest]
endpoints = ['10.9.9.9:9']
";
