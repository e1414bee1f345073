//! Reads and checks the files that a listener's `tls` table names. Runs on the control thread and
//! in `ringway check`; shards get what is loaded.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    Error as TlsError, InconsistentKeys, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use super::{certificate::Facts, client_cert::sha256};
use crate::config::{
    CertificateConfig, ClientAuth, ClientAuthMode, FileName, ListenerTls, Problem,
};

/// What an out-of-date certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// An error: somebody is about to put it in use, and can still choose another.
    Refused,
    /// A warning: the process starts, and nothing is better than the certificate that there is.
    Told,
}

/// A listener's files, read and checked.
#[derive(Debug)]
pub struct Loaded {
    pub(super) certificates: Vec<LoadedCertificate>,
    /// What works but is likely not meant.
    pub warnings: Vec<Problem>,
}

/// A certificate with its key, and what its clients are asked for.
#[derive(Debug)]
pub(super) struct LoadedCertificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) listed: Arc<Listed>,
    pub(super) authorities: Authorities,
}

/// A certificate in use, for whoever shows or watches it.
#[derive(Debug)]
pub struct Listed {
    /// What it says of itself.
    pub facts: Facts,
    /// The file that it comes from.
    pub file: PathBuf,
    /// Whether an OCSP response is stapled.
    pub has_ocsp: bool,
    /// What its clients are asked for.
    pub client_auth: ClientAuthMode,
}

/// Whose certificates clients may show.
#[derive(Debug, Clone)]
pub(super) struct Authorities {
    pub(super) mode: ClientAuthMode,
    pub(super) roots: Arc<RootCertStore>,
    /// Of the file: tells policies apart, over reloads too.
    pub(super) digest: [u8; 32],
}

/// Reads the files of `tls`.
///
/// # Errors
/// Every file that is wrong, with the place that names it.
pub fn load(tls: &ListenerTls, now: SystemTime, expiry: Expiry) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let shared = note(&mut problems, authorities(&tls.client_auth));
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    for config in &tls.certificates {
        let own = config.client_auth.as_ref();
        let authorities = match own {
            Some(own) => note(&mut problems, authorities(own)),
            None => shared.clone(),
        };
        let Some((key, facts)) = note(&mut problems, certificate(config)) else { continue };
        if let Some(why) = facts.out_of_date(now) {
            let list = if expiry == Expiry::Refused { &mut problems } else { &mut warnings };
            list.push(config.cert.problem(why));
        }
        if let Some(authorities) = authorities {
            let listed = Arc::new(Listed {
                facts,
                file: config.cert.path.clone(),
                has_ocsp: config.ocsp.is_some(),
                client_auth: authorities.mode,
            });
            certificates.push(LoadedCertificate { key: Arc::new(key), listed, authorities });
        }
    }
    if problems.is_empty() { Ok(Loaded { certificates, warnings }) } else { Err(problems) }
}

fn note<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn certificate(config: &CertificateConfig) -> Result<(CertifiedKey, Facts), Problem> {
    let (mut certified, facts) = certified(&config.cert, &config.key)?;
    if let Some(ocsp) = &config.ocsp {
        let response = read(ocsp)?;
        // An OCSPResponse is a SEQUENCE (RFC 6960 §4.2.1); a PEM or an error page isn't.
        if response.first() != Some(&0x30) {
            return Err(ocsp.problem("isn't an OCSP response in DER"));
        }
        certified.ocsp = Some(response);
    }
    Ok((certified, facts))
}

/// A certificate with its key; they belong together.
pub(super) fn certified(
    cert: &FileName,
    key_file: &FileName,
) -> Result<(CertifiedKey, Facts), Problem> {
    let chain = chain(cert)?;
    let facts =
        chain.first().map_or_else(|| Err("is empty".to_owned()), |first| Facts::read(first));
    let facts = facts.map_err(|why| cert.problem(format!("isn't a certificate: {why}")))?;
    let key = key(key_file)?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let certified = certified.map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key_file.problem(format!("isn't the key of the certificate in {}", cert.path.display()))
        }
        TlsError::InvalidCertificate(why) => {
            cert.problem(format!("isn't a usable certificate: {why:?}"))
        }
        error => key_file.problem(format!("isn't a usable key: {error}")),
    })?;
    Ok((certified, facts))
}

fn chain(name: &FileName) -> Result<Vec<CertificateDer<'static>>, Problem> {
    chain_of(name, &read(name)?)
}

fn key(name: &FileName) -> Result<PrivateKeyDer<'static>, Problem> {
    let text = read(name)?;
    let has = |word: &[u8]| memchr::memmem::find(&text, word).is_some();
    if has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(name.problem("is encrypted; decrypt it, such as by `openssl pkey`"));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            name.problem("has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")
        }
        error => name.problem(pem_error(&error)),
    })
}

fn authorities(auth: &ClientAuth) -> Result<Authorities, Problem> {
    let none = Authorities {
        mode: ClientAuthMode::Off,
        roots: Arc::new(RootCertStore::empty()),
        digest: [0; 32],
    };
    let Some(ca) = auth.ca.as_ref().filter(|_| auth.mode != ClientAuthMode::Off) else {
        return Ok(none);
    };
    let (roots, digest) = roots(ca)?;
    Ok(Authorities { mode: auth.mode, roots: Arc::new(roots), digest })
}

/// The authorities in a file.
pub(super) fn roots(name: &FileName) -> Result<(RootCertStore, [u8; 32]), Problem> {
    let text = read(name)?;
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(name, &text)? {
        roots
            .add(certificate)
            .map_err(|error| name.problem(format!("has an unusable authority: {error}")))?;
    }
    Ok((roots, sha256(&text)))
}

fn chain_of(name: &FileName, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| name.problem(pem_error(&error)))?;
    if chain.is_empty() {
        return Err(name.problem("has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"));
    }
    Ok(chain)
}

fn pem_error(error: &pem::Error) -> String {
    format!("isn't PEM: {error}")
}

/// A file's bytes.
pub(super) fn read(name: &FileName) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = File::open(&name.path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            Err(name.problem(format!("is longer than {} MiB", FILE_BYTES_MAX >> 20)))
        }
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            Err(name.problem("is a directory"))
        }
        Err(error) => Err(name.problem(format!("can't be read: {error}"))),
    }
}

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
