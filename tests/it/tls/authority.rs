//! An authority of a test's own, the certificates that it issues, and clients that trust it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    proxy::{
        rig::Rig,
        wire::{PATIENCE, Tls, Wire},
    },
    scratch::Scratch,
};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
    pub(super) scratch: Scratch,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let scratch = Scratch::new();
        fs::write(scratch.path("ca.pem"), &pem).unwrap();
        Self { issuer: Issuer::new(params, key), pem, scratch }
    }

    /// The file of the authority's own certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.scratch.path("ca.pem")
    }

    /// Issues a certificate; gives it and its key in PEM.
    pub(super) fn issue(
        &self,
        params: CertificateParams,
        kind: &'static SignatureAlgorithm,
    ) -> (String, String) {
        let key = KeyPair::generate_for(kind).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a certificate for `names` as `file.pem` and `file.key`; gives the entry of
    /// `tls.certificates`, without its braces.
    pub(super) fn server(&self, file: &str, names: &[&str]) -> String {
        self.server_with(file, names, &PKCS_ECDSA_P256_SHA256)
    }

    pub(super) fn server_with(
        &self,
        file: &str,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
    ) -> String {
        let (cert, key) = self.issue(for_names(names), kind);
        self.write(file, &cert, &key)
    }

    pub(super) fn write(&self, file: &str, cert: &str, key: &str) -> String {
        let path = |end: &str| self.scratch.path(&format!("{file}.{end}"));
        fs::write(path("pem"), cert).unwrap();
        fs::write(path("key"), key).unwrap();
        format!("cert = '{}', key = '{}'", path("pem").display(), path("key").display())
    }

    /// What an endpoint needs to be `names`; with `clients`, it asks for a certificate of theirs.
    pub(super) fn endpoint(&self, names: &[&str], clients: Option<&Self>) -> Arc<ServerConfig> {
        let (cert, key) = self.issue(for_names(names), &PKCS_ECDSA_P256_SHA256);
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut config = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                let ca = CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap();
                roots.add(ca).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        }
        .with_single_cert(chain, key)
        .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// The same, speaking `protocols`, the preferred first.
    pub(super) fn endpoint_speaking(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let mut config = (*self.endpoint(&["api.test"], None)).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A client certificate for `subject`.
    pub(super) fn client(&self, subject: &str) -> Shown {
        let mut params = for_names(&["client.test"]);
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (cert, key) = self.issue(params, &PKCS_ECDSA_P256_SHA256);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Shown { chain: vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()], key }
    }

    /// How a client that trusts this authority connects.
    pub(super) fn trusting(&self) -> ClientConfig {
        self.trusting_with(None, rustls::DEFAULT_VERSIONS)
    }

    /// The same, showing a certificate of its own, in these versions of TLS.
    pub(super) fn trusting_with(
        &self,
        shown: Option<Shown>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        self.trusting_by(rustls::crypto::aws_lc_rs::default_provider(), shown, versions)
    }

    /// The same, by this cryptography.
    pub(super) fn trusting_by(
        &self,
        provider: CryptoProvider,
        shown: Option<Shown>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder.with_client_auth_cert(shown.chain, shown.key).unwrap(),
        }
    }
}

/// What a client shows.
pub(super) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

pub(super) fn for_names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// A client that has connected to `rig` and shaken hands, asking for `name`.
#[track_caller]
pub(super) fn connect(rig: &Rig, config: &Arc<ClientConfig>, name: &str) -> Wire {
    try_connect(rig, config, name).unwrap()
}

/// The same, of a client that may be refused.
pub(super) fn try_connect(
    rig: &Rig,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<Wire, std::io::Error> {
    connect_to(rig.address, config, name)
}

/// The same, to an address.
pub(super) fn connect_to(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<Wire, std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(Wire::secure(stream, Tls::Client(tls)))
}

/// The client's side of a connection.
pub(super) fn session(wire: &Wire) -> &ClientConnection {
    match wire.tls.as_deref() {
        Some(Tls::Client(client)) => client,
        _ => panic!("no TLS client"),
    }
}

/// The first certificate that the server has shown.
pub(super) fn shown(wire: &Wire) -> Vec<u8> {
    session(wire).peer_certificates().unwrap()[0].to_vec()
}
