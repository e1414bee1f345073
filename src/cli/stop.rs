//! `ringway stop`: stops a running ringway, at once or after its exchanges.

use std::{io::Write, time::Duration};

use clap::Args;
use ringway::{
    base::units::{format_duration, parse_duration},
    control::{Stop, client::AdminClient},
};

use crate::cli::{AdminArgs, Error};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringway stop              close everything now\n  \
    ringway stop --drain      let exchanges end, as long as drain_timeout says\n  \
    ringway stop --drain=10s  let exchanges end, at most 10 s\n\n\
    Returns when the stop has begun; `ringway status` exits with 4 when it is over.")]
pub(super) struct StopArgs {
    /// Accept no new connections and let exchanges end first. How long at most: a duration, or
    /// drain_timeout of the config.
    #[arg(
        long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
        default_missing_value = "", value_parser = parse_drain
    )]
    drain: Option<Drain>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// A limit of one's own, or the configured one.
#[derive(Debug, Clone, Copy)]
struct Drain(Option<Duration>);

fn parse_drain(text: &str) -> Result<Drain, String> {
    if text.is_empty() {
        return Ok(Drain(None));
    }
    parse_duration(text).map(|limit| Drain(Some(limit))).map_err(|error| error.to_string())
}

/// Prints what was begun.
pub(super) fn stop(args: &StopArgs, out: &mut impl Write) -> Result<(), Error> {
    let client = AdminClient::new(args.admin.socket()?);
    match args.drain {
        None => {
            client.stop(Stop::Now)?;
            writeln!(out, "stopping")?;
        }
        Some(Drain(None)) => {
            client.stop(Stop::Drain(None))?;
            writeln!(out, "draining")?;
        }
        Some(Drain(Some(limit))) => {
            client.stop(Stop::Drain(Some(limit)))?;
            writeln!(out, "draining, for {} at most", format_duration(limit))?;
        }
    }
    Ok(())
}
