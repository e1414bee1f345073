//! The fast path, as people see it.

use std::io::{self, Write};

use ringway::{base::units::ByteSize, control::status::XdpStatus};

use super::count;
use crate::cli::table::Table;

/// One line of the head: where it runs.
pub(super) fn head(xdp: &XdpStatus, out: &mut impl Write) -> io::Result<()> {
    let XdpStatus { interface, mode, reason, .. } = xdp;
    let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    writeln!(out, "xdp       {mode} on {interface}{why}")
}

/// What it forwards, and how packets left it.
pub(super) fn tables(xdp: &XdpStatus, out: &mut impl Write) -> io::Result<()> {
    let mut vips = Table::new(&["PACKETS TO", "LISTENER", "FLOWS", "PACKETS", "BYTES"]);
    for vip in &xdp.vips {
        vips.row([
            vip.address.to_string(),
            vip.listener.clone(),
            count(vip.flows),
            count(vip.packets),
            ByteSize(vip.bytes).to_string(),
        ]);
    }
    vips.write(out)?;
    let mut endpoints =
        Table::new(&["FORWARDED TO", "LISTENER", "STATE", "FLOWS", "PACKETS", "BYTES", "FAULT"]);
    for endpoint in &xdp.endpoints {
        let fault = if endpoint.fault.is_empty() { "-" } else { &endpoint.fault };
        endpoints.row([
            endpoint.address.to_string(),
            endpoint.listener.clone(),
            endpoint.state.clone(),
            count(endpoint.flows),
            count(endpoint.packets),
            ByteSize(endpoint.bytes).to_string(),
            fault.to_owned(),
        ]);
    }
    endpoints.write(out)?;
    let mut exits = Table::new(&["EXIT", "PACKETS"]);
    for (exit, packets) in xdp.exits.iter().filter(|(_, packets)| **packets > 0) {
        exits.row([exit.clone(), count(*packets)]);
    }
    exits.write(out)
}
