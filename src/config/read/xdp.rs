//! `[xdp]`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::fields::{Fields, Schema, Value};
use crate::config::xdp::{Crash, PacketSteer, XdpConfig, XdpMode};

pub(super) const SCHEMAS: [&Schema; 1] = [&XDP];

/// The table; `None` where there is none, or where it switches the fast path off.
pub(super) fn read(value: Option<Value<'_>>) -> Option<XdpConfig> {
    let fields = value?.scoped("xdp".to_owned()).table(&XDP)?;
    let mode = fields.value("mode").and_then(|value| mode(&value));
    let value = match mode {
        Some(_) => fields.required("interface", "interface = \"eth0\""),
        None => fields.value("interface"),
    };
    let interface = value.and_then(|value| interface(&value));
    let mut xdp = XdpConfig::new(interface.unwrap_or_default(), mode.unwrap_or(XdpMode::Auto));
    let crash = fields.value("crash").and_then(|value| value.word(&Crash::WORDS, &[]));
    xdp.crash = crash.unwrap_or(xdp.crash);
    if let Some(value) = fields.value("pins") {
        if crash.is_none_or(|crash| crash == Crash::Detach) {
            value.complain("pins has no effect without `crash = \"keep\"`");
        }
        xdp.pins = folder(&value).unwrap_or(xdp.pins);
    }
    xdp.flows = fields.integer("flows", FLOWS, xdp.flows);
    if let Some(value) = fields.value("nat_ports") {
        xdp.nat_ports = ports(&value).unwrap_or(xdp.nat_ports);
    }
    xdp.sources = sources(&fields);
    let steer = fields.value("steer").and_then(|value| value.word(&PacketSteer::WORDS, &[]));
    xdp.steer = steer.unwrap_or(xdp.steer);
    mode.map(|_| xdp)
}

/// `None` is off, or a problem.
fn mode(value: &Value<'_>) -> Option<XdpMode> {
    let words = XdpMode::WORDS.map(|(word, mode)| (word, Some(mode)));
    let with_off: Vec<_> = [("off", None)].into_iter().chain(words).collect();
    value.word(&with_off, &[])?
}

fn interface(value: &Value<'_>) -> Option<String> {
    let what = "the name of an interface, such as `eth0`";
    let text = value.text(what)?;
    let is_plain = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    let is_folder = matches!(text, "." | "..");
    if text.is_empty() || text.len() > INTERFACE_MAX || is_folder || !text.chars().all(is_plain) {
        return value.expected(what);
    }
    Some(text.to_owned())
}

fn folder(value: &Value<'_>) -> Option<PathBuf> {
    let what = "a folder on a bpffs, such as `/sys/fs/bpf/ringway`";
    let text = value.text(what)?;
    // A folder below another: the bpffs itself isn't ours to remove.
    if !text.starts_with('/') || text.ends_with('/') || text.contains(['\0', '\n']) {
        return value.expected(what);
    }
    Some(PathBuf::from(text))
}

fn ports(value: &Value<'_>) -> Option<RangeInclusive<u16>> {
    let what = "a range of ports, such as `1024-32767`";
    let text = value.text(what)?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let range = text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
    match range {
        Some((first, last)) if first <= last => Some(first..=last),
        Some(_) => value.problem_none("ends before it begins"),
        None => value.expected(what),
    }
}

fn sources(fields: &Fields<'_>) -> Vec<IpAddr> {
    let mut sources: Vec<IpAddr> = Vec::new();
    for value in fields.value("source").iter().flat_map(Value::list) {
        let what = "an address of this machine, such as `10.0.0.1`";
        let Some(text) = value.text(what) else { continue };
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() || address.is_multicast() => {
                value.problem(format!("isn't {what}"));
            }
            Ok(address) if sources.iter().any(|own| own.is_ipv4() == address.is_ipv4()) => {
                value.problem("is the second of its family; there is one for each");
            }
            Ok(address) => sources.push(address),
            Err(_) => value.problem(format!("isn't {what}")),
        }
    }
    sources
}

const XDP: Schema = Schema {
    path: "xdp",
    keys: &["mode", "interface", "crash", "pins", "flows", "nat_ports", "source", "steer"],
    later: &[],
};

const FLOWS: RangeInclusive<u32> = 1_024..=64_000_000;

/// `IFNAMSIZ` less its final NUL.
const INTERFACE_MAX: usize = 15;
