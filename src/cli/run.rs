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
};

use crate::cli::{Error, parse_admin};

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
        Some(path) => (config::load(&path)?, Some(path)),
        None => (zero(&args)?, None),
    };
    // Before the log exists: a log that can't be opened is told on stderr.
    for warning in &config.warnings {
        writeln!(io::stderr().lock(), "warning: {warning}")?;
    }
    let error_log =
        error_log::init(&config.log.error).map_err(|error| Error::Failed(error.to_string()))?;
    serve(config, source, error_log)
}

fn serve(
    _config: Config,
    _source: Option<PathBuf>,
    _error_log: error_log::ErrorLogHandle,
) -> Result<(), Error> {
    Err(Error::Failed("this build has no server yet".to_owned()))
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

/// `ip:port`, or `:port` for every IPv4 address.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        format!("`{text}` isn't an address and port, such as 10.0.0.1:80, [::1]:80 or :8080")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numbers_and_a_bare_port_means_everywhere() {
        assert_eq!(parse_address(":80").unwrap(), "0.0.0.0:80".parse().unwrap());
        assert_eq!(parse_address("[::1]:80").unwrap(), "[::1]:80".parse().unwrap());
        for wrong in ["localhost:80", "80", "1.2.3.4", ":", ":65536", ""] {
            let error = parse_address(wrong).unwrap_err();
            assert!(error.starts_with(&format!("`{wrong}` isn't an address")), "{error}");
        }
    }
}
