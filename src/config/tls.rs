//! The `tls` tables of listeners and upstreams: certificates, who must show one to us, and whom we
//! trust.
//!
//! Only names of files are here. What is in them is read, checked and watched by those who use it
//! (`transport::tls::files`), which tell what is wrong with the place that names the file.

use std::path::PathBuf;
use std::time::Duration;

use super::place::{Location, Place, Problem, Sources};
use super::raw::quoted;

/// A file that the configuration names, and where it does.
#[derive(Debug, Clone)]
pub struct FileName {
    /// The file. A relative path is relative to the configuration file that names it.
    pub path: PathBuf,
    /// What messages call it: "listener `web`: tls.certificates.cert `web.pem`".
    subject: String,
    place: Option<Place>,
    location: Option<Location>,
}

/// Two names are equal if they name the same file, wherever they stand.
impl PartialEq for FileName {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for FileName {}

impl FileName {
    /// A file that a program names.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let subject = format!("file {}", quoted(&path.display().to_string()));
        Self { path, subject, place: None, location: None }
    }

    pub(super) fn read(path: &str, subject: String, place: Place) -> Self {
        Self { path: path.into(), subject, place: Some(place), location: None }
    }

    /// The problem that the file isn't what it should be.
    pub fn problem(&self, why: impl std::fmt::Display) -> Problem {
        let location = self.location.clone().unwrap_or_else(|| Location {
            file: "(program)".to_owned(),
            line: 1,
            column: 1,
        });
        let path = self.path.display().to_string();
        // The subject shows the path as it was written; this is the one that was opened.
        let file = if self.subject.contains(&path) { String::new() } else { format!(" ({path})") };
        Problem { location, message: format!("{}{file} {why}", self.subject) }
    }

    pub(super) fn locate(&mut self, sources: &Sources) {
        let Some(place) = self.place else { return };
        let location = sources.locate(place);
        if self.path.is_relative()
            && let Some(folder) = std::path::Path::new(&location.file).parent()
        {
            self.path = folder.join(&self.path);
        }
        self.location = Some(location);
    }
}

/// How an upstream's endpoints are reached by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that is asked for and that the endpoint's certificate must have. Default (`None`):
    /// the endpoint's IP address.
    pub sni: Option<String>,
    /// PEM: the authorities that are trusted. Default: those of this machine.
    pub ca: Option<FileName>,
    /// PEM: the certificate that is shown to endpoints that ask. Default: none.
    pub cert: Option<FileName>,
    /// PEM: its key; there exactly if `cert` is.
    pub key: Option<FileName>,
    /// Whether any certificate will do, whoever shows it. Default: false.
    pub danger_skip_verification: bool,
    /// Where the table stands.
    table: FileName,
}

impl UpstreamTls {
    /// Every default.
    pub fn new() -> Self {
        Self::at(FileName {
            path: PathBuf::new(),
            subject: "tls".to_owned(),
            place: None,
            location: None,
        })
    }

    pub(super) fn at(table: FileName) -> Self {
        let danger_skip_verification = false;
        Self { sni: None, ca: None, cert: None, key: None, danger_skip_verification, table }
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        self.ca.iter().chain(&self.cert).chain(&self.key)
    }

    /// The problem that the table as a whole can't be followed.
    pub fn problem(&self, why: impl std::fmt::Display) -> Problem {
        self.table.problem(why)
    }

    pub(super) fn locate(&mut self, sources: &Sources) {
        let files = self.ca.iter_mut().chain(&mut self.cert).chain(&mut self.key);
        files.for_each(|file| file.locate(sources));
        self.table.locate(sources);
        self.table.path = PathBuf::new();
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self::new()
    }
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The oldest version that is spoken. Default: [`TlsVersion::Tls12`].
    pub min_version: TlsVersion,
    /// At least one; the first is for clients that name no server, or one that no certificate is
    /// for.
    pub certificates: Vec<CertificateConfig>,
    /// Whether clients show a certificate. Default: off.
    pub client_auth: ClientAuth,
    /// Whether a client that names a server that no certificate is for is refused, in place of
    /// getting the first certificate. Default: false.
    pub reject_unknown_sni: bool,
    /// From the connection to the end of its handshake. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Most handshakes at a time on one shard, 1 to 1,000,000; connections above it are closed.
    /// Default: 4096.
    pub handshakes: u32,
    /// Where the secrets of connections are written (NSS key log). Default: nowhere.
    pub key_log: Option<PathBuf>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// PEM: the certificate, and behind it those that lead to a known authority.
    pub cert: FileName,
    /// PEM: its private key, unencrypted (PKCS #8, PKCS #1 or SEC 1).
    pub key: FileName,
    /// DER: an OCSP response that is stapled to handshakes. Default: none.
    pub ocsp: Option<FileName>,
    /// In place of the listener's, for the names of this certificate.
    pub client_auth: Option<ClientAuth>,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientAuth {
    /// Whether they must.
    pub mode: ClientAuthMode,
    /// PEM: the authorities whose certificates are accepted. There unless the mode is off.
    pub ca: Option<FileName>,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ClientAuthMode {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and may go without one. One that is shown must be good.
    Optional,
    /// They need one.
    Required,
}

impl ListenerTls {
    /// These certificates, with every default.
    pub fn new(certificates: Vec<CertificateConfig>) -> Self {
        Self {
            min_version: TlsVersion::Tls12,
            certificates,
            client_auth: ClientAuth::default(),
            reject_unknown_sni: false,
            handshake_timeout: Duration::from_secs(10),
            handshakes: 4096,
            key_log: None,
        }
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        let of_certificates = self.certificates.iter().flat_map(CertificateConfig::files);
        of_certificates.chain(&self.client_auth.ca)
    }

    pub(super) fn locate(&mut self, sources: &Sources) {
        for certificate in &mut self.certificates {
            certificate.cert.locate(sources);
            certificate.key.locate(sources);
            let others = certificate.ocsp.iter_mut();
            let auth = certificate.client_auth.iter_mut().filter_map(|auth| auth.ca.as_mut());
            others.chain(auth).for_each(|file| file.locate(sources));
        }
        self.client_auth.ca.iter_mut().for_each(|file| file.locate(sources));
    }
}

impl CertificateConfig {
    /// A certificate and its key, with every default.
    pub fn new(cert: FileName, key: FileName) -> Self {
        Self { cert, key, ocsp: None, client_auth: None }
    }

    fn files(&self) -> impl Iterator<Item = &FileName> {
        let auth = self.client_auth.as_ref().and_then(|auth| auth.ca.as_ref());
        [&self.cert, &self.key].into_iter().chain(&self.ocsp).chain(auth)
    }
}

impl TlsVersion {
    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 2] = [("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

impl ClientAuthMode {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// The words in the file.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
}
