//! `[listener.NAME.tls]` and `[upstream.NAME.tls]`.

use std::path::PathBuf;

use crate::config::fields::{Fields, Schema, Value};
use crate::config::tls::{
    CertificateConfig, ClientAuth, ClientAuthMode, FileName, ListenerTls, TlsVersion, UpstreamTls,
};

use super::TIMES;

pub(super) const SCHEMAS: [&Schema; 4] = [&TLS, &CERTIFICATE, &CLIENT_AUTH, &UPSTREAM];

/// How a listener speaks TLS.
pub(super) fn listener(value: &Value<'_>) -> Option<ListenerTls> {
    let fields = value.table(&TLS)?;
    let mut tls = ListenerTls::new(Vec::new());
    let example = "certificates = [{ cert = \"web.pem\", key = \"web.key\" }]";
    if let Some(value) = fields.required("certificates", example) {
        tls.certificates = certificates(&value);
    }
    let version = fields.value("min_version").and_then(|value| value.word(&TlsVersion::WORDS, &[]));
    tls.min_version = version.unwrap_or(tls.min_version);
    if let Some(value) = fields.value("client_auth") {
        tls.client_auth = client_auth(&value).unwrap_or_default();
    }
    tls.reject_unknown_sni = fields.boolean("reject_unknown_sni", tls.reject_unknown_sni);
    tls.handshake_timeout = fields.duration("handshake_timeout", TIMES, tls.handshake_timeout);
    tls.handshakes = fields.integer("handshakes", 1..=1_000_000, tls.handshakes);
    if let Some(value) = fields.value("key_log") {
        value.warn("writes the secrets of every connection of this listener: whoever reads the file reads the traffic");
        tls.key_log = value.text(FILE).map(PathBuf::from);
    }
    Some(tls)
}

/// How an upstream's endpoints are reached.
pub(super) fn upstream(value: &Value<'_>) -> Option<UpstreamTls> {
    let fields = value.table(&UPSTREAM)?;
    let mut tls = UpstreamTls::at(FileName::read("", value.subject(), value.place()));
    tls.sni = fields.value("sni").and_then(|value| server_name(&value));
    tls.ca = optional_file(&fields, "ca");
    tls.cert = optional_file(&fields, "cert");
    tls.key = optional_file(&fields, "key");
    if fields.has("cert") != fields.has("key") {
        value.complain("tls.cert and tls.key belong together; one is missing");
    }
    tls.danger_skip_verification = fields.boolean("danger_skip_verification", false);
    if tls.danger_skip_verification {
        if let Some(ca) = fields.value("ca") {
            ca.problem("has no effect with danger_skip_verification");
        }
        value.warn("doesn't verify endpoints: whoever answers at their addresses is believed");
    }
    Some(tls)
}

/// A DNS name, or an IP address.
fn server_name(value: &Value<'_>) -> Option<String> {
    let what = "the name in the endpoints' certificate, such as `api.internal`";
    let name = value.text(what)?;
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len())
            && label.chars().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    if !is_name && name.parse::<std::net::IpAddr>().is_err() {
        return value.expected(what);
    }
    Some(name.to_owned())
}

fn certificates(value: &Value<'_>) -> Vec<CertificateConfig> {
    let values = value.list();
    if values.is_empty() {
        value.complain("tls.certificates is an empty list; a listener that speaks TLS has at least one certificate");
    }
    if values.len() > CERTIFICATES_MAX {
        value.complain(format!("tls.certificates has more than {CERTIFICATES_MAX} certificates"));
    }
    values.iter().take(CERTIFICATES_MAX).filter_map(certificate).collect()
}

fn certificate(value: &Value<'_>) -> Option<CertificateConfig> {
    let fields = value.table(&CERTIFICATE)?;
    let cert = fields.required("cert", "cert = \"web.pem\"").and_then(|value| file(&value));
    let key = fields.required("key", "key = \"web.key\"").and_then(|value| file(&value));
    let mut certificate = CertificateConfig::new(cert?, key?);
    certificate.ocsp = optional_file(&fields, "ocsp");
    certificate.client_auth = fields.value("client_auth").and_then(|value| client_auth(&value));
    Some(certificate)
}

fn client_auth(value: &Value<'_>) -> Option<ClientAuth> {
    if value.is_word("off") {
        return Some(ClientAuth::default());
    }
    let fields = value.table(&CLIENT_AUTH)?;
    let mode = fields
        .required("mode", "mode = \"required\"")
        .and_then(|value| value.word(&ClientAuthMode::WORDS, &[]))?;
    let ca = if mode == ClientAuthMode::Off {
        optional_file(&fields, "ca")
    } else {
        Some(file(&fields.required("ca", "ca = \"clients.pem\"")?)?)
    };
    Some(ClientAuth { mode, ca })
}

pub(super) fn optional_file(fields: &Fields<'_>, key: &'static str) -> Option<FileName> {
    fields.value(key).and_then(|value| file(&value))
}

pub(super) fn file(value: &Value<'_>) -> Option<FileName> {
    let path = value.text(FILE)?;
    if path.is_empty() {
        return value.expected(FILE);
    }
    Some(FileName::read(path, value.subject(), value.place()))
}

const TLS: Schema = Schema {
    path: "listener.NAME.tls",
    keys: &[
        "min_version",
        "certificates",
        "client_auth",
        "reject_unknown_sni",
        "handshake_timeout",
        "handshakes",
        "key_log",
    ],
    later: &[],
};

const CERTIFICATE: Schema = Schema {
    path: "listener.NAME.tls.certificates",
    keys: &["cert", "key", "ocsp", "client_auth"],
    later: &["acme"],
};

const CLIENT_AUTH: Schema =
    Schema { path: "listener.NAME.tls.client_auth", keys: &["mode", "ca"], later: &[] };

const UPSTREAM: Schema = Schema {
    path: "upstream.NAME.tls",
    keys: &["sni", "ca", "cert", "key", "danger_skip_verification"],
    later: &[],
};

const FILE: &str = "a file, such as `/etc/ringway/web.pem`";
const CERTIFICATES_MAX: usize = 10_000;
