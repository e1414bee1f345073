//! `ringway run`: serves, from a config file or from two arguments.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use clap::Args;
use ringway::{
    config::{self, Config},
    control::error_log,
    server::{self, Source},
};

use crate::cli::{Error, parse_address, parse_admin};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringway run -c /etc/ringway/ringway.toml\n  \
    ringway run --listen 0.0.0.0:8080 --to 10.0.0.1:80,10.0.0.2:80\n  \
    ringway run --listen 127.0.0.1:8080 --to 127.0.0.1:9000 --shards 1 --dashboard 127.0.0.1:9100\n\n\
    Runs in the foreground and logs to stderr unless the config says otherwise.\n\
    `ringway print --effective -c FILE` shows what a config means; docs/CONFIG.md explains every key.")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "listen"]))]
pub(super) struct RunArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a config file: where clients connect.
    #[arg(
        long, value_name = "ADDR", requires = "to", conflicts_with = "config",
        value_parser = parse_address
    )]
    listen: Option<SocketAddr>,
    /// Without a config file: the servers to balance over.
    #[arg(
        long, value_name = "ADDR,ADDR", value_delimiter = ',', requires = "listen", conflicts_with = "config",
        value_parser = parse_address
    )]
    to: Vec<SocketAddr>,
    /// Without a config file: how many shards. Default: one per physical core.
    #[arg(long, value_name = "N", requires = "listen", conflicts_with = "config", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// Without a config file: the admin socket, for `ringway status` and others. Default: none.
    #[arg(long, value_name = "unix:PATH", requires = "listen", conflicts_with = "config", value_parser = parse_admin)]
    admin: Option<PathBuf>,
    /// Without a config file: where /metrics and /healthz are served. Default: nowhere.
    #[arg(long, value_name = "ADDR", requires = "listen", conflicts_with = "config", value_parser = parse_address)]
    dashboard: Option<SocketAddr>,
}

/// Serves until it is stopped.
pub(super) fn run(args: RunArgs) -> Result<(), Error> {
    let (config, source) = match args.config {
        Some(path) => (config::load(&path)?, Source::File(path)),
        None => (zero(&args)?, Source::Fixed),
    };
    // Before the log exists: a log that can't be opened is told on stderr.
    for warning in &config.warnings {
        writeln!(io::stderr().lock(), "warning: {warning}")?;
    }
    let error_log =
        error_log::init(&config.log.error).map_err(|error| Error::Failed(error.to_string()))?;
    server::run(config, source, Some(error_log))?;
    Ok(())
}

/// The configuration that the arguments stand for.
fn zero(args: &RunArgs) -> Result<Config, Error> {
    let listen = args.listen.ok_or_else(|| Error::Usage("--listen is missing".to_owned()))?;
    let mut config =
        config::zero(listen, &args.to).map_err(|error| Error::Usage(error.to_string()))?;
    if let Some(count) = args.shards {
        let cpus = config.runtime.shards.clone();
        config.runtime.shards = cpus.iter().copied().cycle().take(count.into()).collect();
    }
    config.admin.listen = args.admin.clone();
    config.admin.dashboard = args.dashboard;
    Ok(config)
}
