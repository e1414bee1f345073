//! What a reload may change, and what it did, in words.

use crate::config::{Config, XdpConfig};

/// Refuses what only a restart can change.
pub(super) fn check(old: &Config, new: &Config) -> Result<(), Vec<String>> {
    let packets = xdp(old.xdp.as_ref(), new.xdp.as_ref());
    let (old, new) = (&old.runtime, &new.runtime);
    let fixed = [
        ("shards", old.shards != new.shards),
        ("pin", old.pin != new.pin),
        ("io_driver", old.io_driver != new.io_driver),
        ("ring_entries", old.ring_entries != new.ring_entries),
        ("buffers", old.buffers != new.buffers),
        ("accept_balance", old.accept_balance != new.accept_balance),
        ("max_connections", old.max_connections != new.max_connections),
        ("user", old.user != new.user),
    ];
    let changed = fixed.into_iter().filter(|(_, is_changed)| *is_changed);
    let changed = changed.map(|(key, _)| format!("runtime.{key}")).chain(packets);
    let problems: Vec<_> =
        changed.map(|key| format!("{key} can't change while ringway runs: restart it")).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// What of `[xdp]` differs: the program is loaded once, by a process that may.
fn xdp(old: Option<&XdpConfig>, new: Option<&XdpConfig>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else {
        return if old.is_some() == new.is_some() {
            Vec::new()
        } else {
            vec!["xdp.mode".to_owned()]
        };
    };
    let fixed = [
        ("mode", old.mode != new.mode),
        ("interface", old.interface != new.interface),
        ("crash", old.crash != new.crash),
        ("pins", old.crash == new.crash && old.pins != new.pins),
        ("flows", old.flows != new.flows),
        ("nat_ports", old.nat_ports != new.nat_ports),
        ("source", old.sources != new.sources),
        ("steer", old.steer != new.steer),
    ];
    let changed = fixed.into_iter().filter(|(_, is_changed)| *is_changed);
    changed.map(|(key, _)| format!("xdp.{key}")).collect()
}

/// A line for each thing that was added, removed or changed.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    compare("listener", &old.listeners, &new.listeners, |item| &item.name, &mut lines);
    compare("route", &old.routes, &new.routes, |item| &item.name, &mut lines);
    compare("upstream", &old.upstreams, &new.upstreams, |item| &item.name, &mut lines);
    compare("filter", &old.filters, &new.filters, |item| &item.name, &mut lines);
    if old.admin != new.admin {
        lines.push("admin changed".to_owned());
    }
    if old.log != new.log {
        lines.push("log changed".to_owned());
    }
    lines
}

fn compare<T: PartialEq>(
    kind: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &String,
    lines: &mut Vec<String>,
) {
    for item in new {
        match old.iter().find(|before| name(before) == name(item)) {
            None => lines.push(format!("{kind} `{}` added", name(item))),
            Some(before) if before != item => {
                lines.push(format!("{kind} `{}` changed", name(item)));
            }
            Some(_) => {}
        }
    }
    for item in old {
        if !new.iter().any(|after| name(after) == name(item)) {
            lines.push(format!("{kind} `{}` removed", name(item)));
        }
    }
}
