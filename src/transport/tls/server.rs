//! A listener's TLS: which certificate for which name, and what its clients are asked for.
//!
//! ```text
//!   server name ─▶ exact name ─▶ `*.` name ─▶ first certificate
//!                                                 │
//!                       certificate ─▶ policy ────┴─▶ one rustls config and one set of ticket
//!                                                     keys for each policy
//! ```
//!
//! With a single policy rustls chooses the certificate while it reads the ClientHello. With several
//! the ClientHello is looked at first, because a config asks its clients for one thing only.

use std::{
    collections::HashMap,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Instant,
};

use rustls::{
    Error as TlsError, KeyLog, ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    files::{Authorities, Listed, Loaded},
    tickets::TicketKeys,
};
use crate::config::{ClientAuthMode, ListenerConfig, ListenerTls, TlsVersion};

/// What clients are asked for: compared by value, over reloads too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Policy {
    mode: ClientAuthMode,
    authorities: [u8; 32],
}

impl Policy {
    /// Whether clients are asked for a certificate.
    pub fn asks(&self) -> bool {
        self.mode != ClientAuthMode::Off
    }
}

/// A listener's TLS, shared by all shards. Never changes.
pub struct ServerTls {
    policies: Vec<(Policy, Arc<ServerConfig>)>,
    /// By name, exact ones and those with `*.`: the policy.
    names: Arc<HashMap<Box<str>, usize>>,
    refuses_unknown: bool,
    certificates: Vec<Arc<Listed>>,
}

impl ServerTls {
    /// Makes `loaded` ready for the listener.
    ///
    /// # Errors
    /// What rustls says of it, or the key log's file.
    pub fn build(
        listener: &ListenerConfig,
        tls: &ListenerTls,
        loaded: &Loaded,
        (tickets, now): (&mut TicketKeys, Instant),
    ) -> Result<Self, BuildError> {
        let mut groups: Vec<(Policy, Resolver)> = Vec::new();
        let mut authorities: Vec<&Authorities> = Vec::new();
        let mut names = HashMap::new();
        for certificate in &loaded.certificates {
            let of = &certificate.authorities;
            let policy = Policy { mode: of.mode, authorities: of.digest };
            let index = groups.iter().position(|(known, _)| *known == policy);
            let index = index.unwrap_or_else(|| {
                groups.push((policy, Resolver::new(tls.reject_unknown_sni)));
                authorities.push(of);
                groups.len() - 1
            });
            if let Some((_, resolver)) = groups.get_mut(index) {
                resolver.add(&certificate.listed.facts.names, &certificate.key);
            }
            for name in &certificate.listed.facts.names {
                // Of two certificates for a name, the first says what its clients are asked for.
                names.entry(name.as_str().into()).or_insert(index);
            }
        }
        let key_log = match &tls.key_log {
            Some(path) => Some(Arc::new(FileKeyLog::open(path)?)),
            None => None,
        };
        let mut policies = Vec::with_capacity(groups.len());
        for ((policy, resolver), of) in groups.into_iter().zip(authorities) {
            let mut config = server_config(tls.min_version, of)?;
            config.cert_resolver = Arc::new(resolver);
            config.alpn_protocols =
                listener.alpn.iter().map(|alpn| alpn.name().as_bytes().to_vec()).collect();
            config.ticketer = tickets.of(policy, now)?;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            if let Some(log) = &key_log {
                config.key_log = Arc::clone(log) as Arc<dyn KeyLog>;
            }
            policies.push((policy, Arc::new(config)));
        }
        Ok(Self {
            policies,
            names: Arc::new(names),
            refuses_unknown: tls.reject_unknown_sni,
            certificates: loaded.certificates.iter().map(|one| Arc::clone(&one.listed)).collect(),
        })
    }

    /// The same with the keys that `tickets` holds now.
    #[must_use]
    pub fn with_tickets(&self, tickets: &TicketKeys) -> Self {
        let renew = |(policy, config): &(Policy, Arc<ServerConfig>)| {
            let mut config = ServerConfig::clone(config);
            if let Some(keys) = tickets.get(*policy) {
                config.ticketer = keys;
            }
            (*policy, Arc::new(config))
        };
        Self {
            policies: self.policies.iter().map(renew).collect(),
            names: Arc::clone(&self.names),
            refuses_unknown: self.refuses_unknown,
            certificates: self.certificates.clone(),
        }
    }

    /// The certificates, in the order of the configuration.
    pub fn certificates(&self) -> &[Arc<Listed>] {
        &self.certificates
    }

    /// The only policy, if there is one only.
    pub(super) fn single(&self) -> Option<(Policy, &Arc<ServerConfig>)> {
        match self.policies.as_slice() {
            [(policy, config)] => Some((*policy, config)),
            _ => None,
        }
    }

    /// The policy for a name.
    pub(super) fn choose(
        &self,
        server_name: Option<&str>,
    ) -> Result<(Policy, &Arc<ServerConfig>), TlsError> {
        let index = match server_name.map(|name| find(&self.names, name)) {
            Some(None) if self.refuses_unknown => {
                return Err(TlsError::General(UNKNOWN_NAME.to_owned()));
            }
            Some(Some(index)) => *index,
            _ => 0,
        };
        let chosen = self.policies.get(index).map(|(policy, config)| (*policy, config));
        chosen.ok_or_else(|| TlsError::General("no certificate".to_owned()))
    }

    /// Whether a request for `host` may come over a connection that was made under `policy`. A name
    /// whose clients are asked for a certificate is reached only over a connection that asked for
    /// the same (RFC 9110 §7.4: 421).
    pub fn may_serve(&self, policy: Policy, host: &str) -> bool {
        if self.policies.iter().all(|(own, _)| *own == policy || !own.asks()) {
            return true;
        }
        let index = find(&self.names, host).copied().unwrap_or(0);
        self.policies.get(index).is_some_and(|(own, _)| *own == policy || !own.asks())
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

/// Why a listener's TLS can't be made ready.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// rustls refuses it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The authorities can't verify anybody.
    #[error("{0}")]
    Authorities(#[from] rustls::server::VerifierBuilderError),
    /// The key log can't be written.
    #[error("tls.key_log `{path}` can't be written: {source}")]
    KeyLog {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn server_config(
    min_version: TlsVersion,
    authorities: &Authorities,
) -> Result<ServerConfig, BuildError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions)?;
    let verifier = || {
        let roots = Arc::clone(&authorities.roots);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
    };
    let builder = match authorities.mode {
        ClientAuthMode::Off => builder.with_no_client_auth(),
        ClientAuthMode::Optional => {
            builder.with_client_cert_verifier(verifier().allow_unauthenticated().build()?)
        }
        ClientAuthMode::Required => builder.with_client_cert_verifier(verifier().build()?),
    };
    Ok(builder.with_cert_resolver(Arc::new(Resolver::new(false))))
}

/// The certificates of one policy.
#[derive(Debug)]
struct Resolver {
    names: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
    refuses_unknown: bool,
}

impl Resolver {
    fn new(refuses_unknown: bool) -> Self {
        Self { names: HashMap::new(), all: Vec::new(), refuses_unknown }
    }

    fn add(&mut self, names: &[String], key: &Arc<CertifiedKey>) {
        for name in names {
            self.names.entry(name.as_str().into()).or_default().push(Arc::clone(key));
        }
        self.all.push(Arc::clone(key));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| find(&self.names, name));
        if named.is_none() && hello.server_name().is_some() && self.refuses_unknown {
            return None;
        }
        // A name may have a certificate of each kind of key: the first whose signatures the client
        // understands.
        let schemes = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let candidates = named.map_or_else(|| self.all.get(..1).unwrap_or_default(), Vec::as_slice);
        candidates.iter().find(fits).or_else(|| candidates.first()).map(Arc::clone)
    }
}

/// What belongs to a name: exactly, or by `*.` in place of its first label.
fn find<'n, T>(names: &'n HashMap<Box<str>, T>, name: &str) -> Option<&'n T> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(found) = names.get(name.as_str()) {
        return Some(found);
    }
    let (label, rest) = name.split_once('.')?;
    if label.is_empty() {
        return None;
    }
    names.get(format!("*.{rest}").as_str())
}

/// Writes the secrets of connections, for who has to look into them.
struct FileKeyLog(File);

impl FileKeyLog {
    fn open(path: &Path) -> Result<Self, BuildError> {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        opened.map(Self).map_err(|source| {
            let path = path.display().to_string();
            BuildError::KeyLog { path, source }
        })
    }
}

impl KeyLog for FileKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // One write a line: lines of several shards don't mix.
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        if let Err(error) = (&self.0).write_all(line.as_bytes()) {
            tracing::warn!(%error, "the TLS key log can't be written");
        }
    }
}

impl fmt::Debug for FileKeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKeyLog")
    }
}

/// How a refusal by `reject_unknown_sni` is told.
pub(super) const UNKNOWN_NAME: &str = "no certificate for this server name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_exactly_or_by_its_first_label() {
        let names: HashMap<Box<str>, u8> =
            [("a.test".into(), 1), ("*.b.test".into(), 2), ("x.b.test".into(), 3)].into();
        let found = |name| find(&names, name).copied();
        assert_eq!(found("A.Test."), Some(1));
        assert_eq!(found("y.b.test"), Some(2));
        assert_eq!(found("x.b.test"), Some(3));
        assert_eq!(found("z.y.b.test"), None);
        assert_eq!(found("b.test"), None);
        assert_eq!(found(".b.test"), None);
        assert_eq!(found(""), None);
    }
}
