//! `[runtime]`.

use crate::config::cpus::{Cpus, SHARDS_MAX, format_list, parse_list};
use crate::config::fields::{Fields, Schema, Value};
use crate::config::raw::Kind;
use crate::config::runtime::{AcceptBalance, Buffers, IoDriver, RuntimeConfig};

use super::TIMES;

pub(super) const SCHEMAS: [&Schema; 2] = [&RUNTIME, &BUFFERS];

/// The table, or the defaults where there is none.
pub(super) fn read(value: Option<Value<'_>>, cpus: &Cpus) -> RuntimeConfig {
    let default = RuntimeConfig::new(cpus.physical());
    let Some(fields) = value.and_then(|value| value.scoped("runtime".to_owned()).table(&RUNTIME))
    else {
        return default;
    };
    let runtime = RuntimeConfig {
        shards: fields
            .value("shards")
            .and_then(|value| shards(&value, cpus))
            .unwrap_or(default.shards),
        pin: fields.boolean("pin", default.pin),
        io_driver: fields
            .value("io_driver")
            .and_then(|value| value.word(&IoDriver::WORDS, &[]))
            .unwrap_or(default.io_driver),
        ring_entries: power_of_two(&fields, "ring_entries", 64, 32_768, default.ring_entries),
        buffers: fields
            .table("buffers", &BUFFERS)
            .map_or(default.buffers, |fields| buffers(&fields)),
        accept_balance: fields
            .value("accept_balance")
            .and_then(|value| value.word(&AcceptBalance::WORDS, &["least_conn"]))
            .unwrap_or(default.accept_balance),
        max_connections: fields.integer("max_connections", 1..=10_000_000, default.max_connections),
        user: fields.value("user").and_then(|value| user(&value)),
        drain_timeout: fields.duration("drain_timeout", TIMES, default.drain_timeout),
    };
    if runtime.accept_balance == AcceptBalance::Cpu
        && let Some(value) = fields.value("accept_balance")
    {
        by_cpu(&value, &runtime);
    }
    runtime
}

/// A shard gets what its CPU receives: it must stay there, and be the only one there.
fn by_cpu(value: &Value<'_>, runtime: &RuntimeConfig) {
    if !runtime.pin {
        value.problem("needs shards that stay on their CPUs: leave `pin = false` out");
    }
    let mut cpus = runtime.shards.clone();
    cpus.sort_unstable();
    if let Some(pair) = cpus.windows(2).find(|pair| pair[0] == pair[1]) {
        let cpu = pair[0];
        value.problem(format!(
            "needs a CPU a shard, and CPU {cpu} has two: the second would get nothing"
        ));
    }
}

fn shards(value: &Value<'_>, cpus: &Cpus) -> Option<Vec<usize>> {
    let what = "`auto`, a number of shards, or a list of CPUs such as `0-7,16-23`";
    match value.kind() {
        Kind::Integer(_) => {
            let count = usize::try_from(value.integer(1..=SHARDS_MAX)?).ok()?;
            if count > cpus.allowed().len() {
                value.warn(format!(
                    "is more than the {} CPUs of this process",
                    cpus.allowed().len()
                ));
            }
            Some(cpus.spread(count))
        }
        Kind::Text(text) if text == "auto" => Some(cpus.physical()),
        Kind::Text(text) => {
            let Some(list) = parse_list(text).filter(|list| !list.is_empty()) else {
                return value.expected(what);
            };
            if list.len() > usize::try_from(SHARDS_MAX).unwrap_or(usize::MAX) {
                value.problem(format!("has more than {SHARDS_MAX} shards"));
                return None;
            }
            if let Some(cpu) = list.iter().find(|cpu| !cpus.allowed().contains(cpu)) {
                let allowed = format_list(cpus.allowed());
                value.warn(format!("names CPU {cpu}; this process may use `{allowed}`"));
            }
            Some(list)
        }
        _ => value.expected(what),
    }
}

fn buffers(fields: &Fields<'_>) -> Buffers {
    let default = Buffers::default();
    let count = power_of_two(fields, "count", 16, 32_768, u32::from(default.count));
    let size = fields.value("size").and_then(|value| {
        let size = value.size(4_096..=1 << 20)?;
        if !size.is_multiple_of(4_096) {
            value.problem("isn't a multiple of `4KiB`");
            return None;
        }
        u32::try_from(size).ok()
    });
    Buffers {
        count: u16::try_from(count).unwrap_or(default.count),
        size: size.unwrap_or(default.size),
    }
}

fn power_of_two(fields: &Fields<'_>, key: &'static str, low: u32, high: u32, default: u32) -> u32 {
    let read = |value: Value<'_>| {
        let number = value.integer(low..=high)?;
        if !number.is_power_of_two() {
            let above = number.next_power_of_two();
            value.problem(format!("isn't a power of two; did you mean `{above}`?"));
            return None;
        }
        Some(number)
    };
    fields.value(key).and_then(read).unwrap_or(default)
}

fn user(value: &Value<'_>) -> Option<String> {
    let what = "the name of a user, such as `ringway`";
    let text = value.text(what)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$');
    if text.is_empty() || text.len() > USER_MAX || !text.chars().all(is_plain) {
        return value.expected(what);
    }
    Some(text.to_owned())
}

const RUNTIME: Schema = Schema {
    path: "runtime",
    keys: &[
        "shards",
        "pin",
        "io_driver",
        "ring_entries",
        "buffers",
        "accept_balance",
        "max_connections",
        "user",
        "drain_timeout",
    ],
    later: &[],
};

const BUFFERS: Schema = Schema { path: "runtime.buffers", keys: &["count", "size"], later: &[] };

/// Linux knows no longer names (`LOGIN_NAME_MAX`).
const USER_MAX: usize = 255;
