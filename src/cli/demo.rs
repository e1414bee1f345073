//! `ringway demo`: a load balancer over three small upstreams of its own, in one process.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use clap::Args;
use ringway::{config::ErrorLog, control::error_log, server::Demo};

use crate::cli::{Error, parse_address};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where the load balancer listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = parse_address)]
    listen: SocketAddr,
}

/// Runs until it is stopped.
pub(super) fn demo(args: &DemoArgs) -> Result<(), Error> {
    error_log::init(&ErrorLog::default()).map_err(|error| Error::Failed(error.to_string()))?;
    let demo = Demo::prepare(args.listen)?;
    writeln!(io::stdout().lock(), "{demo}")?;
    demo.run()?;
    Ok(())
}
