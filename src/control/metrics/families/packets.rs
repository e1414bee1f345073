//! Metrics of the fast path; none without one.

use std::fmt;

use super::{Families, label};
use crate::control::view::packets::{ForwardedView, PacketsView, Traffic, VipView};

pub(super) fn packets(view: Option<&PacketsView>, to: &mut Families<'_>) -> fmt::Result {
    let Some(view) = view else { return Ok(()) };
    to.info(
        "xdp",
        "Where the fast path runs, and why not in a better place.",
        [
            label("interface", &*view.interface),
            label("mode", view.mode),
            label("reason", &*view.reason),
        ],
    )?;
    to.counter(
        "xdp_packets",
        "Packets by how they left the program.",
        view.exits.iter().map(|(exit, count)| ([label("exit", *exit)], *count)),
    )?;
    to.counter(
        "xdp_events",
        "What happened to packets on the way.",
        view.events.iter().map(|(event, count)| ([label("event", *event)], *count)),
    )?;
    vips(&view.vips, to)?;
    endpoints(&view.endpoints, to)
}

type Read = fn(&Traffic) -> u64;

fn vips(vips: &[VipView], to: &mut Families<'_>) -> fmt::Result {
    let counters: [(&str, &str, Read); 3] = [
        ("xdp_vip_packets", "Packets to an address of a listener.", |t| t.packets),
        ("xdp_vip_bytes", "Their bytes, IP headers included.", |t| t.bytes),
        ("xdp_vip_flows", "Flows begun to it.", |t| t.flows),
    ];
    for (name, help, read) in counters {
        let samples = vips.iter().map(|vip| {
            let labels =
                [label("address", vip.address.to_string()), label("listener", &*vip.listener)];
            (labels, read(&vip.traffic))
        });
        to.counter(name, help, samples)?;
    }
    Ok(())
}

fn endpoints(endpoints: &[ForwardedView], to: &mut Families<'_>) -> fmt::Result {
    let labels = |endpoint: &ForwardedView| {
        [
            label("endpoint", endpoint.address.to_string()),
            label("listener", endpoint.listener.clone()),
        ]
    };
    to.gauge(
        "xdp_endpoint_up",
        "1 while new flows go there.",
        endpoints.iter().map(|own| (labels(own), u64::from(own.state == "up"))),
    )?;
    to.gauge(
        "xdp_endpoint_reachable",
        "1 while its link address is known, so that packets can be sent.",
        endpoints.iter().map(|own| (labels(own), u64::from(own.fault.is_empty()))),
    )?;
    let counters: [(&str, &str, Read); 3] = [
        ("xdp_endpoint_packets", "Packets sent to an endpoint.", |t| t.packets),
        ("xdp_endpoint_bytes", "Their bytes, IP headers included.", |t| t.bytes),
        ("xdp_endpoint_flows", "Flows begun to it.", |t| t.flows),
    ];
    for (name, help, read) in counters {
        to.counter(name, help, endpoints.iter().map(|own| (labels(own), read(&own.traffic))))?;
    }
    Ok(())
}
