//! The proxy's configuration of a run, as the text that a user would write.

use std::fmt::Write;

use crate::{plan::Profile, random::Random};

/// Where the proxy listens.
pub(crate) const LISTENER_PORT: u16 = 8000;
/// Where it listens for itself, with HTTP/2.
pub(crate) const INNER_PORT: u16 = 8001;
/// Where endpoints listen: so many ports from this one on.
pub(crate) const ENDPOINT_PORT: u16 = 9001;
pub(crate) const ENDPOINTS_MAX: u16 = 4;

/// One configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<u16>,
    pub(crate) balance: &'static str,
    /// The largest request body.
    pub(crate) body_max: Option<usize>,
    pub(crate) connections_max: Option<u32>,
    pub(crate) pending_max: u32,
    pub(crate) queue_timeout_ms: u32,
    pub(crate) idle_per_endpoint: u32,
    pub(crate) max_reuse: Option<u32>,
    pub(crate) share: &'static str,
    pub(crate) retries: u32,
    pub(crate) retry_on: &'static str,
    pub(crate) total_ms: Option<u32>,
    pub(crate) has_filters: bool,
    /// Requests that a rate limit lets through, over all shards and reloads.
    pub(crate) rate: Option<u32>,
    /// Whether timeouts are short enough to be met.
    pub(crate) is_hasty: bool,
    /// Whether the proxy stands before itself, with HTTP/2 between: every request is a stream there,
    /// on its way out and on its way in.
    pub(crate) is_chained: bool,
}

/// How long an idle upstream connection is kept.
pub(crate) const IDLE_TIMEOUT_SECONDS: u64 = 5;

/// A first configuration.
pub(crate) fn draw(random: &mut Random, profile: Profile) -> Settings {
    let is_calm = profile.is_calm();
    let count = u16::try_from(random.within(1, usize::from(ENDPOINTS_MAX))).unwrap();
    let connections_max = random.pick(&[None, None, Some(1), Some(3)]);
    Settings {
        endpoints: (ENDPOINT_PORT..ENDPOINT_PORT + count).collect(),
        balance: random.pick(&["round_robin", "least_request"]),
        body_max: if is_calm { None } else { random.pick(&[None, Some(10_000), Some(100_000)]) },
        connections_max,
        pending_max: if is_calm { 1000 } else { random.pick(&[1, 4, 100]) },
        queue_timeout_ms: if is_calm { 60_000 } else { random.pick(&[5, 200, 2000]) },
        idle_per_endpoint: random.pick(&[0, 1, 4, 64]),
        max_reuse: random.pick(&[None, None, Some(1), Some(3)]),
        share: random.pick(&["steal", "steal", "off"]),
        retries: u32::try_from(random.below(3)).unwrap(),
        retry_on: random.pick(&[
            r#""connect_failure", "no_response""#,
            r#""connect_failure", "no_response", "timeout", "502", "503", "504""#,
            r#""connect_failure""#,
        ]),
        total_ms: if is_calm { None } else { random.pick(&[None, None, Some(500)]) },
        has_filters: random.percent(40),
        rate: if is_calm { None } else { random.pick(&[None, None, None, Some(5)]) },
        is_hasty: !is_calm && random.percent(60),
        is_chained: random.percent(40),
    }
}

/// Another configuration in the place of `before`.
pub(crate) fn change(random: &mut Random, profile: Profile, before: &Settings) -> Settings {
    if random.percent(25) {
        return before.clone();
    }
    let mut next = draw(random, profile);
    // Another rate would be another limit.
    next.rate = before.rate;
    next.is_chained = before.is_chained;
    if random.percent(50) {
        next.endpoints.clone_from(&before.endpoints);
    }
    next
}

impl Settings {
    pub(crate) fn text(&self) -> String {
        let endpoints: Vec<_> =
            self.endpoints.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let (short, long) = if self.is_hasty { (100, 400) } else { (2000, 5000) };
        let body = self.body_max.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
        let mut text = format!(
            r#"version = 1
[listener.web]
address = "127.0.0.1:{LISTENER_PORT}"
limits = {{ header_timeout = "{long}ms", body_timeout = "{long}ms", write_timeout = "{long}ms", idle = "20s", body = "{body}" }}

[upstream.app]
balance = "{}"
endpoints = [{}]
pool = {{ idle_per_endpoint = {}, idle_timeout = "{IDLE_TIMEOUT_SECONDS}s", share = "{}"{} }}
limits = {{ pending = {}, queue_timeout = "{}ms"{} }}

[filter.id]
type = "request_id"
[filter.edit]
type = "headers"
response = {{ set = {{ "x-edited" = "yes" }} }}

[[route]]
name = "tokens"
match = {{ path = "/t/*" }}
upstream = "app"
timeouts = {{ connect = "{short}ms", first_byte = "{long}ms", idle = "{long}ms"{} }}
retry = {{ attempts = {}, on = [{}], budget = 1.0 }}
"#,
            self.balance,
            endpoints.join(", "),
            self.idle_per_endpoint,
            self.share,
            self.max_reuse.map_or(String::new(), |most| format!(", max_reuse = {most}")),
            self.pending_max,
            self.queue_timeout_ms,
            self.connections_max.map_or(String::new(), |most| format!(", connections = {most}")),
            self.total_ms.map_or(String::new(), |total| format!(", total = \"{total}ms\"")),
            self.retries,
            self.retry_on,
        );
        if self.is_chained {
            text = text.replace("name = \"tokens\"", "name = \"tokens\"\nlistener = \"inner\"");
        }
        let mut filters = if self.has_filters { vec!["'id'", "'edit'"] } else { Vec::new() };
        if let Some(rate) = self.rate {
            filters.push("'rate'");
            let table = format!(
                "[filter.rate]\ntype = 'rate_limit'\nrate = '{rate}/h'\nburst = {rate}\n\n[[route]]"
            );
            text = text.replacen("[[route]]", &table, 1);
        }
        writeln!(text, "filters = [{}]", filters.join(", ")).unwrap();
        if self.is_chained {
            write!(
                text,
                r#"
[listener.inner]
address = "127.0.0.1:{INNER_PORT}"
alpn = "h2"
limits = {{ header_timeout = "{long}ms", body_timeout = "{long}ms", write_timeout = "{long}ms", idle = "20s", body = "unlimited" }}

[upstream.hop]
protocol = "h2"
endpoints = ["127.0.0.1:{INNER_PORT}"]
pool = {{ idle_timeout = "{IDLE_TIMEOUT_SECONDS}s" }}
limits = {{ pending = 1000, queue_timeout = "60s"{} }}
outlier = {{ consecutive_failures = "off" }}

[[route]]
name = "outer"
listener = "web"
match = {{ path = "/t/*" }}
upstream = "hop"
timeouts = {{ connect = "{short}ms", first_byte = "{long}ms", idle = "{long}ms" }}
retry = {{ attempts = 0 }}
"#,
                self.connections_max.map_or(String::new(), |most| format!(", connections = {most}")),
            )
            .unwrap();
        }
        text
    }
}
