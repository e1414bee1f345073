//! What one run of the generator is to do: its command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;

/// A load generator that spins: it never sleeps, so the proxy never waits for it to wake up.
///
/// With --serve it is also the backend, in the same thread, so that the pair takes one core.
/// Prints one line of JSON.
#[derive(Debug, Parser)]
pub(crate) struct Plan {
    /// The proxy under load.
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Address where this thread is the backend, too.
    #[arg(long)]
    pub(crate) serve: Option<SocketAddr>,
    /// The request's path; `/1k`, `/64k` and `/1m` name the size of the body.
    #[arg(long, default_value = "/1k")]
    pub(crate) path: String,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Open loop: requests a second, sent when due, latency counted from when they were due.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// A new connection for each request.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Seconds before measuring begins.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Seconds measured.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Opens this many connections, makes one request on each, then holds them until stdin closes.
    #[arg(long)]
    pub(crate) idle: Option<usize>,
    /// Processes whose CPU time is taken at both ends of the measured window.
    #[arg(long = "pid")]
    pub(crate) pids: Vec<u32>,
    /// Writes how many requests ended in each 100 ms of the window, one line each, to this file.
    #[arg(long)]
    pub(crate) timeline: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` isn't a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Plan {
    /// The bytes of every request.
    pub(crate) fn request(&self) -> Vec<u8> {
        let close = if self.fresh { "Connection: close\r\n" } else { "" };
        format!(
            "GET {} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n{close}\r\n",
            self.path
        )
        .into_bytes()
    }
}
