//! `ringway doctor`: looks at this machine, says what it found, what that means and what to do.
//!
//! `facts` reads the machine, `checks` judges; this file prints. Nothing is changed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use ringway::{config, runtime};
use serde::Serialize;

use crate::cli::{
    Error,
    doctor::{facts::Facts, packets::PacketFacts},
};

mod checks;
mod facts;
mod packets;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringway doctor\n  ringway doctor -c /etc/ringway/ringway.toml\n  \
    ringway doctor --json\n\n\
    With a config file the limits are held against what it asks for. Exits with 0 when nothing fails, \
    with 5 otherwise; warnings don't count."
)]
pub(super) struct DoctorArgs {
    /// A config file whose needs are checked. Default: the defaults of an empty one.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at.
    subject: &'static str,
    /// What was found.
    found: String,
    /// What that means; empty if nothing.
    meaning: String,
    /// What to do; empty if nothing.
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It will run, less well than it could.
    Warn,
    /// It won't run as asked.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    fn ok(subject: &'static str, found: impl Into<String>) -> Self {
        let (meaning, advice) = (String::new(), String::new());
        Self { level: Level::Ok, subject, found: found.into(), meaning, advice }
    }

    fn bad(
        level: Level,
        subject: &'static str,
        found: impl Into<String>,
        meaning: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (found, meaning, advice) = (found.into(), meaning.into(), advice.into());
        Self { level, subject, found, meaning, advice }
    }
}

/// What the process will want of the machine.
#[derive(Debug, Clone)]
struct Needs {
    driver: config::IoDriver,
    max_connections: u32,
    shards: usize,
    pin: bool,
}

/// Prints the findings.
pub(super) fn doctor(args: &DoctorArgs, out: &mut impl Write) -> Result<(), Error> {
    let config = args.config.as_ref().map(|path| config::load(path)).transpose()?;
    let runtime = match &config {
        Some(config) => config.runtime.clone(),
        None => config::RuntimeConfig::new(config::Cpus::of_this_process().physical()),
    };
    let needs = Needs {
        driver: runtime.io_driver,
        max_connections: runtime.max_connections,
        shards: runtime.shards.len(),
        pin: runtime.pin,
    };
    let root = Path::new("/");
    let mut findings = checks::check(&Facts::gather(root, runtime::probe()), &needs);
    if let Some(config) = &config
        && let Some(xdp) = &config.xdp
    {
        findings.extend(packets::check(&PacketFacts::gather(root, xdp), xdp, config));
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &findings).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(&findings, out)?;
    }
    let fails = findings.iter().any(|finding| finding.level == Level::Fail);
    if fails { Err(Error::Unfit) } else { Ok(()) }
}

fn write(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.subject.len()).max().unwrap_or(0);
    for Finding { level, subject, found, meaning, advice } in findings {
        writeln!(out, "{:<4}  {subject:<width$}  {found}", level.name())?;
        let indent = 4 + 2 + width + 2;
        for (lead, text) in [("", meaning), ("do: ", advice)] {
            if !text.is_empty() {
                writeln!(out, "{:indent$}{lead}{text}", "")?;
            }
        }
    }
    let number = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(
        out,
        "\n{} ok, {} to know about, {} to mend first",
        number(Level::Ok),
        number(Level::Warn),
        number(Level::Fail)
    )
}

#[cfg(test)]
mod tests;
