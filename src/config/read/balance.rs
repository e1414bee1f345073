//! `balance` of `[upstream.NAME]`: the policy, and what a hashing one goes by.

use crate::config::fields::{Fields, Schema, Value};
use crate::config::raw::Kind;
use crate::config::upstream::{BalancePolicy, HashKey};

use super::text::header_name;
use crate::base::name::is_token;

/// A word, or a table with the policy's settings.
pub(super) fn balance(value: &Value<'_>) -> Option<BalancePolicy> {
    let fields = match value.kind() {
        Kind::Text(_) => None,
        _ => Some(value.table(&BALANCE)?),
    };
    let policy = match &fields {
        Some(fields) => fields.required("policy", "policy = \"round_robin\"")?,
        None => value.clone(),
    };
    let word = policy.word(&POLICIES, &["ewma"])?;
    let setting = |key| fields.as_ref().and_then(|fields: &Fields<'_>| fields.value(key));
    let (choices, key) = (setting("choices"), setting("key"));
    let name = POLICIES.iter().find(|(_, other)| *other == word).map_or("", |(name, _)| *name);
    let refuse = |value: Option<Value<'_>>| match value {
        Some(value) => value.problem_none(format!("has no effect with policy `{name}`")),
        None => Some(()),
    };
    if word != Word::LeastRequest {
        refuse(choices.clone())?;
    }
    if !word.hashes() {
        refuse(key.clone())?;
    }
    let key = key.and_then(|value| hash_key(&value)).unwrap_or_default();
    Some(match word {
        Word::RoundRobin => BalancePolicy::RoundRobin,
        Word::LeastRequest => BalancePolicy::LeastRequest {
            choices: choices.and_then(|value| value.integer(2..=16)).unwrap_or(2),
        },
        Word::LeastConn => BalancePolicy::LeastConn,
        Word::Random => BalancePolicy::Random,
        Word::First => BalancePolicy::First,
        Word::Hash => BalancePolicy::Hash(key),
        Word::Ketama => BalancePolicy::Ketama(key),
        Word::Maglev => BalancePolicy::Maglev(key),
        Word::Rendezvous => BalancePolicy::Rendezvous(key),
    })
}

/// `"source_ip"`, `"path"`, or a table that names a field, a cookie or a parameter.
fn hash_key(value: &Value<'_>) -> Option<HashKey> {
    if matches!(value.kind(), Kind::Text(_)) {
        let is_path = value.word(&[("source_ip", false), ("path", true)], &[])?;
        return Some(if is_path { HashKey::Path } else { HashKey::SourceIp });
    }
    let fields = value.table(&KEY)?;
    let given: Vec<_> =
        KEY.keys.iter().filter_map(|key| Some((*key, fields.value(key)?))).collect();
    let [(kind, name)] = given.as_slice() else {
        value.complain("balance.key is one of `header`, `cookie` and `query`");
        return None;
    };
    let text = name.text("a name")?;
    match *kind {
        "header" => header_name(name, name.place(), text).map(HashKey::Header),
        "cookie" if is_token(text) => Some(HashKey::Cookie(text.to_owned())),
        "query" if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some(HashKey::Query(text.to_owned()))
        }
        "query" => name.expected("a parameter's name"),
        _ => name.expected("a cookie's name"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    RoundRobin,
    LeastRequest,
    LeastConn,
    Random,
    First,
    Hash,
    Ketama,
    Maglev,
    Rendezvous,
}

impl Word {
    fn hashes(self) -> bool {
        matches!(self, Self::Hash | Self::Ketama | Self::Maglev | Self::Rendezvous)
    }
}

const POLICIES: [(&str, Word); 9] = [
    ("round_robin", Word::RoundRobin),
    ("least_request", Word::LeastRequest),
    ("least_conn", Word::LeastConn),
    ("random", Word::Random),
    ("first", Word::First),
    ("hash", Word::Hash),
    ("ketama", Word::Ketama),
    ("maglev", Word::Maglev),
    ("rendezvous", Word::Rendezvous),
];

pub(super) const BALANCE: Schema = Schema {
    path: "upstream.NAME.balance",
    keys: &["policy", "choices", "key"],
    later: &["slow_start"],
};

pub(super) const KEY: Schema =
    Schema { path: "upstream.NAME.balance.key", keys: &["header", "cookie", "query"], later: &[] };
