//! `ringway status`: what a running ringway does, as tables for people or JSON for scripts.

mod packets;

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use ringway::{
    base::units::ByteSize,
    control::{
        client::AdminClient,
        status::{EndpointStatus, Latency, Status, UpstreamStatus},
    },
};

use crate::cli::{AdminArgs, Error, table::Table};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ringway status\n  ringway status -c /etc/ringway/ringway.toml\n  \
    ringway status --json | jq '.upstreams[].endpoints[] | select(.state != \"healthy\")'\n\n\
    Rates and loads look back a few seconds; counts are since the start."
)]
pub(super) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints the status.
pub(super) fn status(args: &StatusArgs, out: &mut impl Write) -> Result<(), Error> {
    let status = AdminClient::new(args.admin.socket()?).status()?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &status).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write(&status, out)?;
    }
    Ok(())
}

/// Everything, most important first.
fn write(status: &Status, out: &mut impl Write) -> io::Result<()> {
    head(status, out)?;
    shards(status, out)?;
    listeners(status, out)?;
    routes(status, out)?;
    flows(status, out)?;
    if let Some(xdp) = &status.xdp {
        packets::tables(xdp, out)?;
    }
    for upstream in &status.upstreams {
        write_upstream(upstream, out)?;
    }
    Ok(())
}

fn head(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let Status { version, pid, phase, driver, driver_reason, config, .. } = status;
    let uptime = ago(status.uptime);
    writeln!(out, "ringway {version}, pid {pid}, {phase}, up {uptime}")?;
    // The reason begins with the driver's name, for the log.
    let reason = driver_reason.strip_prefix(&**driver).unwrap_or(driver_reason);
    let reason = reason.strip_prefix(": ").unwrap_or(reason);
    writeln!(out, "driver    {driver} ({reason})")?;
    if let Some(xdp) = &status.xdp {
        packets::head(xdp, out)?;
    }
    writeln!(
        out,
        "config    {}, generation {} since {}",
        config.source, config.generation, config.applied_at
    )?;
    if let Some(error) = &config.last_error {
        writeln!(out, "          the last reload failed: {}", error.replace('\n', "\n          "))?;
    }
    writeln!(
        out,
        "traffic   {}/s over the last {:.0} s, {} in all",
        rate(status.requests_per_second),
        status.window,
        count(status.requests),
    )?;
    let latency = |name: &str, latency: &Option<Latency>, out: &mut dyn Write| match latency {
        None => Ok(()),
        Some(Latency { p50, p90, p99, p999 }) => writeln!(
            out,
            "latency   p50 {}  p90 {}  p99 {}  p99.9 {}  {name}",
            millis(*p50),
            millis(*p90),
            millis(*p99),
            millis(*p999)
        ),
    };
    latency("recently", &status.recent_latency, out)?;
    latency("since the start", &status.latency, out)?;
    if status.access_log.lost > 0 {
        let lost = count(status.access_log.lost);
        writeln!(out, "access log: {lost} of {} lines lost", count(status.access_log.lines))?;
    }
    Ok(())
}

fn shards(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let mut table =
        Table::new(&["SHARD", "CPU", "LOAD", "REQUESTS/S", "CONNECTIONS", "BUFFERS", "LEASES"]);
    for (index, shard) in status.shards.iter().enumerate() {
        table.row([
            index.to_string(),
            shard.cpu.map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
            percent(shard.load, 0),
            rate(shard.requests_per_second),
            count(shard.connections),
            count(shard.buffers_in_use),
            count(shard.leases_in_use),
        ]);
    }
    table.write(out)
}

fn listeners(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["LISTENER", "PROTOCOL", "OPEN", "ACCEPTED", "REFUSED", "ADDRESS"]);
    for listener in &status.listeners {
        let addresses: Vec<String> = listener.addresses.iter().map(ToString::to_string).collect();
        table.row([
            listener.name.clone(),
            [std::slice::from_ref(&listener.protocol), &*listener.alpn].concat().join(" "),
            count(listener.open),
            count(listener.accepted),
            count(listener.refused),
            addresses.join(" "),
        ]);
    }
    table.write(out)
}

fn routes(status: &Status, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["ROUTE", "UPSTREAM", "REQUESTS", "4XX", "5XX", "P50", "P99"]);
    for route in status.routes.iter().filter(|route| route.name != "-" || route.requests > 0) {
        let latency = |pick: fn(&Latency) -> f64| {
            route.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| millis(pick(latency)))
        };
        let upstream = if route.upstream.is_empty() { "-" } else { &route.upstream };
        let name = if route.name == "-" { "(none matched)" } else { &route.name };
        table.row([
            name.to_owned(),
            upstream.to_owned(),
            count(route.requests),
            count(route.client_errors),
            count(route.server_errors),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
        ]);
    }
    table.write(out)
}

fn flows(status: &Status, out: &mut impl Write) -> io::Result<()> {
    if status.flows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(&["L4 ROUTE", "UPSTREAM", "ENDED", "FAILED", "IN", "OUT", "LOST"]);
    for flow in &status.flows {
        table.row([
            flow.name.clone(),
            flow.upstream.clone(),
            count(flow.ended),
            count(flow.failed),
            ByteSize(flow.bytes_in).to_string(),
            ByteSize(flow.bytes_out).to_string(),
            count(flow.datagrams_lost),
        ]);
    }
    table.write(out)
}

fn write_upstream(upstream: &UpstreamStatus, out: &mut impl Write) -> io::Result<()> {
    let UpstreamStatus { name, policy, available, endpoints, retries, .. } = upstream;
    let protocol = upstream.protocol.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
    let all = endpoints.len();
    write!(out, "\nupstream {name}: {protocol}{policy}, {available} of {all} available")?;
    if let Some(ratio) = upstream.reuse_ratio {
        write!(out, ", {} of requests on a kept connection", percent(ratio, 2))?;
    }
    if *retries > 0 {
        write!(out, ", {} retries", count(*retries))?;
    }
    if upstream.retry_budget_exhausted > 0 {
        write!(out, " ({} more over budget)", count(upstream.retry_budget_exhausted))?;
    }
    let mut table = Table::new(&[
        "ENDPOINT",
        "STATE",
        "IN FLIGHT",
        "OPEN",
        "IDLE",
        "REQUESTS",
        "FAILED",
        "EJECTED",
        "REASON",
    ]);
    for endpoint in endpoints {
        table.row(endpoint_row(endpoint));
    }
    table.write(out)
}

fn endpoint_row(endpoint: &EndpointStatus) -> [String; 9] {
    let backup = if endpoint.backup { " (backup)" } else { "" };
    let weight =
        if endpoint.weight == 1 { String::new() } else { format!(" x{}", endpoint.weight) };
    let spoken = endpoint.spoken.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let reason = if endpoint.reason.is_empty() { "-" } else { &endpoint.reason };
    [
        format!("{}{weight}{backup}{spoken}", endpoint.address),
        endpoint.state.name().to_owned(),
        count(endpoint.in_flight),
        count(endpoint.connections),
        count(endpoint.idle),
        count(endpoint.requests),
        count(endpoint.failures),
        count(endpoint.ejections),
        reason.to_owned(),
    ]
}

/// `1,234,567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whole numbers from ten up; below, one decimal tells a trickle from nothing.
fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        let whole = format!("{per_second:.0}");
        whole.parse().map_or(whole, count)
    } else {
        format!("{per_second:.1}")
    }
}

fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", share * 100.0)
}

fn millis(millis: f64) -> String {
    if millis >= 1_000.0 { format!("{:.2} s", millis / 1_000.0) } else { format!("{millis:.2} ms") }
}

/// `3 d 4 h`, `5 min 6 s`: the two largest units.
fn ago(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
