//! A [`Config`] as TOML with every default written out: `ringway print --effective`.
//!
//! The text parses back to the same configuration. Lists of CPUs, sizes and durations come in
//! their canonical form; what is switched off is written as the word that switches it off.

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::access::{AccessFormat, LogPiece};
use crate::base::cidr::Cidr;
use crate::base::units::{ByteSize, Rate, format_duration};

use super::admission::{AdmissionConfig, ProxyVersion, ProxyVersions};
use super::cpus::format_list;
use super::filter::{FilterConfig, FilterKind, IdTrust};
use super::listener::{ErrorFormat, Forwarded, HTTPS_PORT, ListenerConfig, Protocol};
use super::log::{LogConfig, LogLevel, LogPath};
use super::route::{Action, HeaderEdits, Layer, RetryCause, RouteConfig, RouteMatch};
use super::runtime::{AcceptBalance, IoDriver, RuntimeConfig};
use super::template::{Piece, Template};
use super::tls::{ClientAuth, ClientAuthMode, FileName, ListenerTls, TlsVersion, UpstreamTls};
use super::upstream::{
    BalancePolicy, HashKey, HealthConfig, Probe, Share, UpstreamConfig, UpstreamProtocol,
};
use super::xdp::{Crash, PacketForward, PacketSteer, XdpConfig, XdpMode};
use super::{AdminConfig, Config};

/// The text.
pub fn render(config: &Config) -> String {
    let mut out = Out::default();
    out.line("version = 1");
    runtime(&mut out, &config.runtime);
    xdp(&mut out, config.xdp.as_ref());
    admin(&mut out, &config.admin);
    log(&mut out, &config.log);
    for listener in &config.listeners {
        self::listener(&mut out, listener);
    }
    for route in &config.routes {
        self::route(&mut out, config, route);
    }
    for upstream in &config.upstreams {
        self::upstream(&mut out, upstream);
    }
    for filter in &config.filters {
        self::filter(&mut out, filter);
    }
    out.text
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn header(&mut self, header: impl Display) {
        // Writing to a String can't fail.
        let _written = write!(self.text, "\n{header}\n");
    }

    fn set(&mut self, key: &str, value: impl Display) {
        let _written = writeln!(self.text, "{key} = {value}");
    }
}

fn runtime(out: &mut Out, runtime: &RuntimeConfig) {
    out.header("[runtime]");
    out.set("shards", string(&format_list(&runtime.shards)));
    out.set("pin", runtime.pin);
    out.set("io_driver", word(&IoDriver::WORDS, runtime.io_driver));
    out.set("ring_entries", runtime.ring_entries);
    let size = size(u64::from(runtime.buffers.size));
    out.set("buffers", format!("{{ count = {}, size = {size} }}", runtime.buffers.count));
    out.set("accept_balance", word(&AcceptBalance::WORDS, runtime.accept_balance));
    out.set("max_connections", runtime.max_connections);
    if let Some(user) = &runtime.user {
        out.set("user", string(user));
    }
    out.set("drain_timeout", duration(runtime.drain_timeout));
}

fn xdp(out: &mut Out, xdp: Option<&XdpConfig>) {
    out.header("[xdp]");
    let Some(xdp) = xdp else {
        out.set("mode", string("off"));
        return;
    };
    out.set("mode", word(&XdpMode::WORDS, xdp.mode));
    out.set("interface", string(&xdp.interface));
    out.set("crash", word(&Crash::WORDS, xdp.crash));
    if xdp.crash == Crash::Keep {
        out.set("pins", string(&xdp.pins.display().to_string()));
    }
    out.set("flows", xdp.flows);
    let (first, last) = (xdp.nat_ports.start(), xdp.nat_ports.end());
    out.set("nat_ports", string(&format!("{first}-{last}")));
    if !xdp.sources.is_empty() {
        out.set("source", list(xdp.sources.iter().map(|source| string(&source.to_string()))));
    }
    out.set("steer", word(&PacketSteer::WORDS, xdp.steer));
}

fn admin(out: &mut Out, admin: &AdminConfig) {
    if admin.listen.is_none() && admin.dashboard.is_none() {
        return;
    }
    out.header("[admin]");
    if let Some(path) = &admin.listen {
        out.set("listen", string(&format!("unix:{}", path.display())));
    }
    if let Some(address) = admin.dashboard {
        out.set("dashboard", string(&address.to_string()));
    }
}

fn log(out: &mut Out, log: &LogConfig) {
    out.header("[log]");
    match &log.access {
        None => out.set("access", string("off")),
        Some(access) => {
            let format = match &access.format {
                AccessFormat::Json => "json".to_owned(),
                AccessFormat::Combined => "combined".to_owned(),
                AccessFormat::Template(pieces) => pieces.iter().map(log_piece).collect(),
            };
            let (path, format) = (log_path(&access.path), string(&format));
            out.set(
                "access",
                format!("{{ path = {path}, format = {format}, sample = {:?} }}", access.sample),
            );
        }
    }
    let level = word(&LogLevel::WORDS, log.error.level);
    out.set("error", format!("{{ path = {}, level = {level} }}", log_path(&log.error.path)));
}

fn listener(out: &mut Out, listener: &ListenerConfig) {
    out.header(format!("[listener.{}]", key(&listener.name)));
    out.set("address", list(listener.addresses.iter().map(|address| string(&address.to_string()))));
    if listener.addresses.iter().any(|address| address.ip().is_none()) {
        out.set("socket_mode", format!("0o{:o}", listener.socket_mode));
    }
    out.set("protocol", word(&Protocol::WORDS, listener.protocol));
    if let Some(forward) = listener.forward {
        out.set("forward", word(&PacketForward::WORDS, forward));
    }
    if !listener.protocol.is_l4() {
        out.set("alpn", list(listener.alpn.iter().map(|alpn| string(alpn.name()))));
        out.set("trusted_proxies", blocks(&listener.trusted_proxies));
        out.set("forwarded", word(&Forwarded::WORDS, listener.forwarded));
        out.set("error_format", word(&ErrorFormat::WORDS, listener.error_format));
        out.set("connect", listener.connect);
    }
    if listener.protocol == Protocol::Http {
        match listener.redirect_https {
            None => out.set("redirect_https", false),
            Some(HTTPS_PORT) => out.set("redirect_https", true),
            Some(port) => out.set("redirect_https", port),
        }
    }
    admission(out, &listener.admission);
    if let Some(tls) = &listener.tls {
        self::tls(out, &listener.name, tls);
    }
    let limits = &listener.limits;
    out.header(format!("[listener.{}.limits]", key(&listener.name)));
    if listener.protocol != Protocol::Udp {
        out.set("syn_rate", rate_or_unlimited(listener.syn_rate));
    }
    if listener.forward.is_some() {
        return;
    }
    if listener.protocol == Protocol::Udp {
        out.set("flows", listener.flows.flows);
        out.set("replies", count_or(listener.flows.replies, "unlimited"));
        return;
    }
    admission_limits(out, &listener.admission);
    out.set("header_timeout", duration(limits.header_timeout));
    if listener.protocol.is_l4() {
        return;
    }
    out.set("body_timeout", duration(limits.body_timeout));
    out.set("write_timeout", duration(limits.write_timeout));
    let rate = limits.min_rate.map_or_else(|| "off".to_owned(), |rate| rate.to_string());
    out.set("min_rate", string(&rate));
    out.set("idle", duration(limits.idle));
    out.set("headers", size(u64::from(limits.headers)));
    out.set("body", limits.body.map_or_else(|| string("unlimited"), size));
    out.set("h2_streams", limits.h2_streams);
}

fn tls(out: &mut Out, name: &str, tls: &ListenerTls) {
    out.header(format!("[listener.{}.tls]", key(name)));
    out.set("min_version", word(&TlsVersion::WORDS, tls.min_version));
    let certificates = tls.certificates.iter().map(|certificate| {
        let mut parts = vec![
            format!("cert = {}", file(&certificate.cert)),
            format!("key = {}", file(&certificate.key)),
        ];
        parts.extend(certificate.ocsp.as_ref().map(|ocsp| format!("ocsp = {}", file(ocsp))));
        let auth = certificate.client_auth.as_ref();
        parts.extend(auth.map(|auth| format!("client_auth = {}", client_auth(auth))));
        format!("{{ {} }}", parts.join(", "))
    });
    out.set("certificates", list(certificates));
    out.set("client_auth", client_auth(&tls.client_auth));
    out.set("reject_unknown_sni", tls.reject_unknown_sni);
    out.set("handshake_timeout", duration(tls.handshake_timeout));
    out.set("handshakes", tls.handshakes);
    if let Some(path) = &tls.key_log {
        out.set("key_log", string(&path.display().to_string()));
    }
}

fn upstream_tls(tls: &UpstreamTls) -> String {
    let mut parts = Vec::new();
    parts.extend(tls.sni.as_ref().map(|name| format!("sni = {}", string(name))));
    for (name, path) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        parts.extend(path.as_ref().map(|path| format!("{name} = {}", file(path))));
    }
    parts.push(format!("danger_skip_verification = {}", tls.danger_skip_verification));
    format!("{{ {} }}", parts.join(", "))
}

fn client_auth(auth: &ClientAuth) -> String {
    let mode = word(&ClientAuthMode::WORDS, auth.mode);
    match &auth.ca {
        Some(ca) => format!("{{ mode = {mode}, ca = {} }}", file(ca)),
        None => format!("{{ mode = {mode} }}"),
    }
}

fn file(name: &FileName) -> String {
    string(&name.path.display().to_string())
}

fn admission(out: &mut Out, admission: &AdmissionConfig) {
    for (key, given) in [("allow", &admission.allow), ("deny", &admission.deny)] {
        if !given.is_empty() {
            out.set(key, blocks(given));
        }
    }
    if let Some(header) = &admission.proxy_protocol {
        let accept = word(&ProxyVersions::WORDS, header.accept);
        let (from, required) = (blocks(&header.from), header.required);
        out.set(
            "proxy_protocol",
            format!("{{ accept = {accept}, from = {from}, required = {required} }}"),
        );
    }
}

fn admission_limits(out: &mut Out, admission: &AdmissionConfig) {
    out.set("connections", count_or(admission.connections, "unlimited"));
    out.set("connections_per_ip", count_or(admission.connections_per_ip, "unlimited"));
    out.set("new_connections", rate_or_unlimited(admission.new_connections));
    out.set("new_connections_per_ip", rate_or_unlimited(admission.new_connections_per_ip));
}

fn rate_or_unlimited(rate: Option<Rate>) -> String {
    string(&rate.map_or_else(|| "unlimited".to_owned(), |rate| rate.to_string()))
}

fn blocks(blocks: &[Cidr]) -> String {
    list(blocks.iter().map(|block| string(&block.to_string())))
}

fn route(out: &mut Out, config: &Config, route: &RouteConfig) {
    out.header("[[route]]");
    out.set("name", string(&route.name));
    if let Some(listeners) = &route.listeners {
        let names = listeners.iter().filter_map(|index| config.listeners.get(*index));
        out.set("listener", list(names.map(|listener| string(&listener.name))));
    }
    let host_key = if route.layer == Layer::L4 { "sni" } else { "host" };
    out.set("match", matches(&route.matches, host_key));
    out.set("priority", route.priority);
    match &route.action {
        Action::Upstream(index) => {
            let name = config.upstreams.get(*index).map_or("", |upstream| upstream.name.as_str());
            out.set("upstream", string(name));
        }
        Action::Respond { status, body, headers } => {
            let headers = table(headers.iter().map(|(name, text)| (name, string(text))));
            out.set(
                "respond",
                format!("{{ status = {status}, body = {}, headers = {headers} }}", string(body)),
            );
        }
        Action::Redirect { to, status } => {
            out.set("redirect", format!("{{ to = {}, status = {status} }}", template(to)));
        }
    }
    if route.layer == Layer::L4 {
        l4_route(out, config, route);
        return;
    }
    let names = route.filters.iter().filter_map(|index| config.filters.get(*index));
    out.set("filters", list(names.map(|filter| string(&filter.name))));
    let is_forwarded = matches!(route.action, Action::Upstream(_));
    if is_forwarded {
        out.set("headers.request", edits(&route.request_headers));
    }
    out.set("headers.response", edits(&route.response_headers));
    if is_forwarded {
        forwarding(out, route);
    }
}

fn l4_route(out: &mut Out, config: &Config, route: &RouteConfig) {
    let first = route.listeners.iter().flatten().next();
    let listener = first.and_then(|index| config.listeners.get(*index));
    if listener.is_some_and(|listener| listener.forward.is_some()) {
        return;
    }
    let idle = duration(route.timeouts.idle);
    if listener.is_some_and(|listener| listener.protocol == Protocol::Udp) {
        out.set("timeouts", format!("{{ idle = {idle} }}"));
    } else {
        let connect = duration(route.timeouts.connect);
        out.set("timeouts", format!("{{ connect = {connect}, idle = {idle} }}"));
    }
    out.set("retry", format!("{{ attempts = {} }}", route.retry.attempts));
}

fn forwarding(out: &mut Out, route: &RouteConfig) {
    if let Some(prefix) = &route.rewrite.strip_prefix {
        out.set("rewrite", format!("{{ strip_prefix = {} }}", string(prefix)));
    }
    let timeouts = &route.timeouts;
    out.set(
        "timeouts",
        format!(
            "{{ connect = {}, first_byte = {}, idle = {}, total = {} }}",
            duration(timeouts.connect),
            duration(timeouts.first_byte),
            duration(timeouts.idle),
            timeouts.total.map_or_else(|| string("off"), duration)
        ),
    );
    let retry = &route.retry;
    let on = list(retry.on.iter().map(RetryCause::name).map(string));
    out.set(
        "retry",
        format!("{{ attempts = {}, on = {on}, budget = {:?} }}", retry.attempts, retry.budget),
    );
    out.set("upgrade", route.upgrade);
}

fn matches(matches: &RouteMatch, host_key: &str) -> String {
    let mut parts = Vec::new();
    if !matches.alpn.is_empty() {
        parts.push(format!("alpn = {}", list(matches.alpn.iter().map(|name| string(name)))));
    }
    if !matches.hosts.is_empty() {
        parts.push(format!(
            "{host_key} = {}",
            list(matches.hosts.iter().map(|host| string(&host.to_string())))
        ));
    }
    if !matches.paths.is_empty() {
        parts.push(format!(
            "path = {}",
            list(matches.paths.iter().map(|path| string(&path.to_string())))
        ));
    }
    if !matches.methods.is_empty() {
        parts.push(format!(
            "method = {}",
            list(matches.methods.iter().map(|method| string(method)))
        ));
    }
    if !matches.headers.is_empty() {
        parts.push(format!(
            "header = {}",
            table(matches.headers.iter().map(|(name, text)| (name, string(text))))
        ));
    }
    braces(&parts)
}

fn edits(edits: &HeaderEdits) -> String {
    let mut parts = Vec::new();
    if !edits.set.is_empty() {
        parts.push(format!(
            "set = {}",
            table(edits.set.iter().map(|(name, text)| (name, template(text))))
        ));
    }
    if !edits.add.is_empty() {
        // Several fields of one name are one key with a list.
        let mut names: Vec<&String> = Vec::new();
        names.extend(edits.add.iter().map(|(name, _)| name));
        names.dedup();
        let of = |name: &String| {
            list(
                edits.add.iter().filter(|(other, _)| other == name).map(|(_, text)| template(text)),
            )
        };
        parts.push(format!("add = {}", table(names.iter().map(|name| (*name, of(name))))));
    }
    if !edits.remove.is_empty() {
        parts.push(format!("remove = {}", list(edits.remove.iter().map(|name| string(name)))));
    }
    braces(&parts)
}

fn upstream(out: &mut Out, upstream: &UpstreamConfig) {
    let name = key(&upstream.name);
    out.header(format!("[upstream.{name}]"));
    out.set("protocol", word(&UpstreamProtocol::WORDS, upstream.protocol));
    out.set("balance", balance(&upstream.balance));
    if let Some(tls) = &upstream.tls {
        out.set("tls", upstream_tls(tls));
    }
    out.line("endpoints = [");
    for endpoint in &upstream.endpoints {
        let address = string(&endpoint.address.to_string());
        let (weight, backup) = (endpoint.weight, endpoint.backup);
        out.line(&format!("  {{ address = {address}, weight = {weight}, backup = {backup} }},"));
    }
    out.line("]");
    out.set("health", upstream.health.as_ref().map_or_else(|| string("off"), health));
    let version = upstream.proxy_protocol.map(|version| word(&ProxyVersion::WORDS, version));
    out.set("proxy_protocol", version.unwrap_or_else(|| string("off")));
    out.set("transparent", upstream.transparent);
    let pool = &upstream.pool;
    out.header(format!("[upstream.{name}.pool]"));
    out.set("idle_per_endpoint", pool.idle_per_endpoint);
    out.set("idle_timeout", duration(pool.idle_timeout));
    out.set("share", word(&Share::WORDS, pool.share));
    out.set("max_reuse", count_or(pool.max_reuse, "unlimited"));
    let limits = &upstream.limits;
    out.header(format!("[upstream.{name}.limits]"));
    out.set("connections", count_or(limits.connections, "unlimited"));
    out.set("pending", limits.pending);
    out.set("queue_timeout", duration(limits.queue_timeout));
    let outlier = &upstream.outlier;
    out.header(format!("[upstream.{name}.outlier]"));
    out.set("consecutive_failures", count_or(outlier.consecutive_failures, "off"));
    out.set("consecutive_5xx", count_or(outlier.consecutive_5xx, "off"));
    out.set("eject", duration(outlier.eject));
    out.set("max_ejected", format!("{:?}", outlier.max_ejected));
}

fn balance(policy: &BalancePolicy) -> String {
    let mut parts = vec![format!("policy = {}", string(policy.name()))];
    if let BalancePolicy::LeastRequest { choices } = policy {
        parts.push(format!("choices = {choices}"));
    }
    if let Some(key) = policy.key() {
        let key = match key {
            HashKey::SourceIp => string("source_ip"),
            HashKey::Path => string("path"),
            HashKey::Header(name) => format!("{{ header = {} }}", string(name)),
            HashKey::Cookie(name) => format!("{{ cookie = {} }}", string(name)),
            HashKey::Query(name) => format!("{{ query = {} }}", string(name)),
        };
        parts.push(format!("key = {key}"));
    }
    braces(&parts)
}

fn health(health: &HealthConfig) -> String {
    let mut parts = match &health.probe {
        Probe::Tcp => vec!["tcp = true".to_owned()],
        Probe::Http { path, host } => {
            let host = host.iter().map(|host| format!("host = {}", string(host)));
            std::iter::once(format!("http = {}", string(path))).chain(host).collect()
        }
        Probe::Grpc { service, host } => {
            let host = host.iter().map(|host| format!("host = {}", string(host)));
            std::iter::once(format!("grpc = {}", string(service))).chain(host).collect()
        }
    };
    parts.push(format!("interval = {}", duration(health.interval)));
    parts.push(format!("timeout = {}", duration(health.timeout)));
    parts.push(format!("rise = {}, fall = {}", health.rise, health.fall));
    if matches!(health.probe, Probe::Http { .. }) {
        parts.push(format!("expect = {}", list(health.expect.iter().map(statuses))));
    }
    braces(&parts)
}

fn statuses(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { string(&format!("{first}-{last}")) }
}

fn filter(out: &mut Out, filter: &FilterConfig) {
    out.header(format!("[filter.{}]", key(&filter.name)));
    match &filter.kind {
        FilterKind::RequestId { header, trust } => {
            out.set("type", string("request_id"));
            out.set("header", string(header));
            out.set(
                "trust",
                match trust {
                    IdTrust::Nobody => "false".to_owned(),
                    IdTrust::TrustedProxies => string("trusted_proxies"),
                },
            );
        }
        FilterKind::RateLimit { rate, burst } => {
            out.set("type", string("rate_limit"));
            out.set("key", string("client_ip"));
            out.set("rate", string(&rate.to_string()));
            out.set("burst", burst);
            out.set("scope", string("node"));
        }
        FilterKind::Headers { request, response } => {
            out.set("type", string("headers"));
            out.set("request", edits(request));
            out.set("response", edits(response));
        }
    }
}

fn log_path(path: &LogPath) -> String {
    match path {
        LogPath::Stdout => string("stdout"),
        LogPath::Stderr => string("stderr"),
        LogPath::File(path) => string(&path.display().to_string()),
    }
}

fn log_piece(piece: &LogPiece) -> String {
    match piece {
        LogPiece::Literal(text) => text.replace("${", "$${"),
        LogPiece::Field(field) => format!("${{{}}}", field.name()),
    }
}

fn template(template: &Template) -> String {
    let text: String = template
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => text.replace("${", "$${"),
            Piece::Variable(variable) => format!("${{{}}}", variable.name()),
        })
        .collect();
    string(&text)
}

fn word<T: PartialEq>(words: &[(&str, T)], value: T) -> String {
    let found = words.iter().find(|(_, meaning)| *meaning == value);
    string(found.map_or("", |(name, _)| name))
}

fn count_or(count: Option<impl Display>, word: &str) -> String {
    count.map_or_else(|| string(word), |count| count.to_string())
}

fn duration(duration: Duration) -> String {
    string(&format_duration(duration))
}

fn size(bytes: u64) -> String {
    string(&ByteSize(bytes).to_string())
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn table<'k>(pairs: impl Iterator<Item = (&'k String, String)>) -> String {
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{} = {value}", key(name))).collect();
    braces(&pairs)
}

fn braces(parts: &[String]) -> String {
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

/// A key, in quotes unless it is a bare one.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { string(name) }
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _written = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
