//! The files that `tls` tables name: read on the control thread, made ready for shards, watched, and
//! with the ticket keys that outlive them.
//!
//! ```text
//!   every 2 s ─▶ stamps of all files ─▶ as applied? ─ yes ─▶ nothing
//!                                          │ no
//!                                          ▼
//!                        as at the last look? ─ no ─▶ somebody is still writing: wait
//!                                          │ yes
//!                                          ▼
//!                        read and check ─▶ swap, or say once what is wrong and keep what runs
//! ```

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    config::{Config, ConfigErrors, ListenerConfig, ListenerTls, Problem, UpstreamProtocol},
    control::view::CertificateView,
    proxy::Tls,
    runtime::{now_uncached, wall_now_uncached},
    transport::tls::{self, ClientTls, Expiry, Listed, ServerTls, TicketKeys},
};

/// What a server keeps of TLS over reloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    tickets: TicketKeys,
    /// Of the files as they are in use.
    applied: Stamps,
    /// Of the files as they were at the last look.
    seen: Stamps,
    /// Of the files as they were when they were last found to be wrong.
    refused: Option<Stamps>,
    /// How near its end each certificate was when that was last said, by file.
    told: BTreeMap<PathBuf, (SystemTime, u32)>,
}

/// The TLS of a configuration.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) tls: Tls,
    /// What works but is likely not meant, ready to print with its place.
    pub(super) warnings: Vec<String>,
}

/// What a look at the files found.
pub(super) enum Look {
    /// Nothing that matters.
    Same,
    /// Other files, all of them right.
    Changed(Ready),
    /// Other files, and what is wrong with them; told once.
    Wrong(ConfigErrors),
}

impl Certificates {
    /// Reads what `config` names.
    pub(super) fn load(&mut self, config: &Config, expiry: Expiry) -> Result<Ready, ConfigErrors> {
        // Before reading: a file that changes meanwhile is read again at the next look.
        let stamps = stamps(config);
        let now = wall_now_uncached();
        self.tickets.begin();
        let mut ready = Ready { tls: Tls::default(), warnings: Vec::new() };
        let mut problems = Vec::new();
        for listener in &config.listeners {
            let made = listener
                .tls
                .as_ref()
                .map(|tls| self.listener(listener, tls, (now, expiry), &mut ready.warnings));
            ready.tls.listeners.push(note(made, &mut problems));
        }
        for upstream in &config.upstreams {
            let protocols: &[_] = match upstream.protocol {
                UpstreamProtocol::Http11 => &["http/1.1"],
                UpstreamProtocol::H2 => &["h2"],
                UpstreamProtocol::Auto => &["h2", "http/1.1"],
            };
            let made = upstream.tls.as_ref().map(|tls| ClientTls::load(tls, protocols));
            let made = made.map(|made| made.map(Arc::new));
            ready.tls.upstreams.push(note(made, &mut problems));
        }
        if !problems.is_empty() {
            return Err(errors(problems));
        }
        self.applied = stamps.clone();
        self.seen = stamps;
        self.refused = None;
        Ok(ready)
    }

    fn listener(
        &mut self,
        listener: &ListenerConfig,
        tls: &ListenerTls,
        (now, expiry): (SystemTime, Expiry),
        warnings: &mut Vec<String>,
    ) -> Result<Arc<ServerTls>, Vec<Problem>> {
        let loaded = tls::load(tls, now, expiry)?;
        warnings.extend(loaded.warnings.iter().map(ToString::to_string));
        let tickets = (&mut self.tickets, now_uncached());
        let built = ServerTls::build(listener, tls, &loaded, tickets);
        built.map(Arc::new).map_err(|error| {
            let place = tls.certificates.first().map(|certificate| &certificate.cert);
            place.map(|file| file.problem(format!("can't be used: {error}"))).into_iter().collect()
        })
    }

    /// Looks whether the files of `config`, which is in use, have changed.
    pub(super) fn look(&mut self, config: &Config) -> Look {
        let now = stamps(config);
        let is_settled = std::mem::replace(&mut self.seen, now.clone()) == now;
        if now == self.applied || !is_settled || self.refused.as_ref() == Some(&now) {
            return Look::Same;
        }
        match self.load(config, Expiry::Refused) {
            Ok(ready) => Look::Changed(ready),
            Err(errors) => {
                self.refused = Some(now);
                Look::Wrong(errors)
            }
        }
    }

    /// Replaces ticket keys that are due. The TLS that is to be used then; none when none was.
    pub(super) fn rotate_tickets(&mut self, tls: &Tls, now: Instant) -> Option<Tls> {
        match self.tickets.rotate(now) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::error!(%error, "ticket keys stay as they are");
                return None;
            }
        }
        let renew = |listener: &Arc<ServerTls>| Arc::new(listener.with_tickets(&self.tickets));
        let listeners = tls.listeners.iter().map(|listener| listener.as_ref().map(renew)).collect();
        Some(Tls { listeners, upstreams: tls.upstreams.clone() })
    }

    /// Says of each certificate when it comes near its end: once for each step of [`NEAR`].
    pub(super) fn tell_of_ends(&mut self, tls: &Tls) {
        let now = wall_now_uncached();
        for listed in tls.listeners.iter().flatten().flat_map(|tls| tls.certificates()) {
            let end = listed.facts.not_after;
            let left = end.duration_since(now).unwrap_or(Duration::ZERO);
            let days = u32::try_from(left.as_secs() / DAY).unwrap_or(u32::MAX);
            let Some(step) = NEAR.into_iter().rev().find(|step| days < *step) else { continue };
            if self.told.get(&listed.file) == Some(&(end, step)) {
                continue;
            }
            self.told.insert(listed.file.clone(), (end, step));
            let (file, names) = (listed.file.display(), listed.facts.names.join(", "));
            if left.is_zero() {
                tracing::error!(%file, names, "the certificate has expired");
            } else {
                tracing::warn!(%file, names, days_left = days, "the certificate expires soon");
            }
        }
    }
}

fn note<T>(made: Option<Result<T, Vec<Problem>>>, problems: &mut Vec<Problem>) -> Option<T> {
    match made? {
        Ok(made) => Some(made),
        Err(wrong) => {
            problems.extend(wrong);
            None
        }
    }
}

/// Holds the files that `config` names against its rules, as a reload would: for `ringway check`.
/// Returns what works but is likely not meant.
///
/// # Errors
/// Every file that is wrong, with the place that names it.
pub fn check_files(config: &Config) -> Result<Vec<String>, ConfigErrors> {
    Certificates::default().load(&unlogged(config), Expiry::Refused).map(|ready| ready.warnings)
}

/// The certificates that `config` names, expired ones too.
///
/// # Errors
/// Every file that is wrong, with the place that names it.
pub fn list_certificates(config: &Config) -> Result<Vec<CertificateView>, ConfigErrors> {
    let ready = Certificates::default().load(&unlogged(config), Expiry::Told)?;
    Ok(certificate_views(config, &ready.tls))
}

/// The certificates in use, listener by listener.
pub(super) fn certificate_views(config: &Config, tls: &Tls) -> Vec<CertificateView> {
    let listeners = config.listeners.iter().zip(&tls.listeners);
    let each = listeners.filter_map(|(listener, tls)| Some((listener, tls.as_ref()?)));
    each.flat_map(|(listener, tls)| {
        let certificates = tls.certificates().iter().enumerate();
        certificates.map(|(index, listed)| certificate_view(listener, index == 0, listed))
    })
    .collect()
}

fn certificate_view(
    listener: &ListenerConfig,
    is_default: bool,
    listed: &Listed,
) -> CertificateView {
    let facts = &listed.facts;
    CertificateView {
        listener: listener.name.clone(),
        file: listed.file.display().to_string(),
        names: facts.names.clone(),
        subject: facts.subject.clone(),
        issuer: facts.issuer.clone(),
        serial: facts.serial.clone(),
        not_before: facts.not_before,
        not_after: facts.not_after,
        is_default,
        has_ocsp: listed.has_ocsp,
        client_auth: listed.client_auth.name(),
    }
}

/// Without key logs: who only looks writes nothing.
fn unlogged(config: &Config) -> Config {
    let mut config = config.clone();
    for tls in config.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
        tls.key_log = None;
    }
    config
}

fn errors(mut problems: Vec<Problem>) -> ConfigErrors {
    let omitted = problems.len().saturating_sub(ConfigErrors::PROBLEMS_MAX);
    problems.truncate(ConfigErrors::PROBLEMS_MAX);
    ConfigErrors { problems, omitted }
}

/// What tells a file from what it was: none when it can't be seen.
type Stamp = Option<(u64, i64, i64, u64)>;

/// The stamps of files, in the order of the configuration.
type Stamps = Vec<Stamp>;

fn stamps(config: &Config) -> Stamps {
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let upstreams = config.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    let files = listeners.flat_map(|tls| tls.files()).chain(upstreams.flat_map(|tls| tls.files()));
    files
        .map(|file| {
            let metadata = fs::metadata(&file.path).ok()?;
            Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
        })
        .collect()
}

/// Days before a certificate's end at which it is said; 0 is the end itself.
const NEAR: [u32; 5] = [30, 14, 7, 1, 0];
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, transport::tls::TICKET_KEYS_ROTATE_EVERY};

    #[test]
    fn ticket_keys_are_rotated_when_they_are_due_and_not_by_a_reload() {
        let issued = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("ringway-tickets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (cert, key) = (folder.join("a.pem"), folder.join("a.key"));
        fs::write(&cert, issued.cert.pem()).unwrap();
        fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        let text = format!(
            "version = 1\n[listener.web]\naddress = '127.0.0.1:443'\nprotocol = 'https'\n\
             tls.certificates = [{{ cert = '{}', key = '{}' }}]\n\
             [listener.plain]\naddress = '127.0.0.1:80'\n",
            cert.display(),
            key.display()
        );
        let config = config::parse("t.toml", &text).unwrap();
        let mut certificates = Certificates::default();
        let tls = certificates.load(&config, Expiry::Told).unwrap().tls;
        let now = now_uncached();
        assert!(certificates.rotate_tickets(&tls, now).is_none());
        let due = now + TICKET_KEYS_ROTATE_EVERY;
        let renewed = certificates.rotate_tickets(&tls, due).unwrap();
        let [Some(old), None] = &*tls.listeners else { panic!("one listener has TLS") };
        let [Some(new), None] = &*renewed.listeners else { panic!("one listener has TLS") };
        assert!(!Arc::ptr_eq(old, new));
        assert!(Arc::ptr_eq(&old.certificates()[0], &new.certificates()[0]));
        assert!(certificates.rotate_tickets(&renewed, due).is_none());
        drop(certificates.load(&config, Expiry::Told).unwrap());
        assert!(certificates.rotate_tickets(&renewed, due).is_none());
        fs::remove_dir_all(&folder).unwrap();
    }
}
