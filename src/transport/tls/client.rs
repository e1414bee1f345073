//! TLS towards endpoints: whom we trust, what we show, and by which name we ask.

use std::{fmt, io, rc::Rc, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        Resumption, UnbufferedClientConnection,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};

use super::{
    client_cert::sha256,
    files,
    handshake::{Failure, Handshaken},
    session::{Session, Side},
    stream::TlsStream,
};
use crate::{
    base::address::Address,
    config::{Problem, UpstreamTls},
    runtime::TcpStream,
    transport::Stream,
};

/// How an upstream's endpoints are reached by TLS. Never changes.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// Asked for and verified; none: each endpoint's address, `localhost` behind a Unix socket.
    server_name: Option<ServerName<'static>>,
    identity: [u8; 32],
}

impl ClientTls {
    /// Reads what `tls` names. `protocols` are offered by ALPN, the preferred first.
    ///
    /// # Errors
    /// Every file that is wrong, with the place that names it.
    pub fn load(tls: &UpstreamTls, protocols: &[&str]) -> Result<Self, Vec<Problem>> {
        let one = |problem| vec![problem];
        let mut identity = protocols.join(",").into_bytes();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| one(tls.problem(error)))?;
        let builder = if tls.danger_skip_verification {
            identity.push(0);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let roots = match &tls.ca {
                Some(ca) => {
                    let (roots, digest) = files::roots(ca).map_err(one)?;
                    identity.extend_from_slice(&digest);
                    roots
                }
                None => system_roots().map_err(|why| one(tls.problem(why)))?,
            };
            builder.with_root_certificates(roots)
        };
        let mut config = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let (certified, _) = files::certified(cert, key).map_err(one)?;
                for part in &certified.cert {
                    identity.extend_from_slice(&sha256(part));
                }
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let server_name = match &tls.sni {
            None => None,
            Some(name) => {
                identity.extend_from_slice(name.as_bytes());
                let name = ServerName::try_from(name.clone());
                Some(name.map_err(|error| one(tls.problem(error)))?)
            }
        };
        Ok(Self { config: Arc::new(config), server_name, identity: sha256(&identity) })
    }

    /// Whether connections made by `other` are as good as those made by this one.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Whether the endpoint speaks what it was asked for. One that knows no ALPN speaks HTTP/1.1.
    ///
    /// # Errors
    /// It speaks something else.
    pub fn accepts(&self, handshaken: &Handshaken) -> Result<(), Failure> {
        let offered = &self.config.alpn_protocols;
        let spoken = handshaken.alpn.as_deref().unwrap_or(b"http/1.1");
        if offered.iter().any(|name| name == spoken) {
            return Ok(());
        }
        Err(TlsError::NoApplicationProtocol.into())
    }

    /// The same with sessions of its own to resume: for one endpoint on one shard, so that shards
    /// share nothing and no endpoint is offered another's tickets.
    #[must_use]
    pub fn with_own_sessions(&self) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        Self { config: Arc::new(config), ..self.clone() }
    }

    pub(super) fn session(&self, address: Address) -> Result<Session, TlsError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => match address {
                Address::Ip(address) => ServerName::IpAddress(address.ip().to_canonical().into()),
                Address::Unix(_) => ServerName::try_from("localhost")
                    .map_err(|error| TlsError::General(error.to_string()))?,
            },
        };
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(Session::new(Side::Client(connection)))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Stream {
    /// Prepares TLS on a connection to the endpoint at `address`;
    /// [`TlsStream::handshake`] comes first.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn connect_tls(tcp: TcpStream, tls: &ClientTls, address: Address) -> Result<Self, Failure> {
        Ok(Self::tls(Rc::new(TlsStream::new(tcp, tls.session(address)?))))
    }
}

/// TLS towards an endpoint for a caller that does its own I/O: the control thread's probes.
///
/// Send what [`outgoing`](Self::outgoing) gives, hand over what comes by
/// [`receive`](Self::receive), until [`is_handshaking`](Self::is_handshaking) is false.
#[derive(Debug)]
pub struct Conversation(Session);

impl Conversation {
    /// Begins.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn new(tls: &ClientTls, address: Address) -> Result<Self, Failure> {
        let mut session = tls.session(address)?;
        session.begin()?;
        Ok(Self(session))
    }

    /// Whether nothing can be said yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// What the endpoint has chosen to speak, if it said.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn()
    }

    /// Bytes for the endpoint.
    pub fn outgoing(&mut self) -> Option<Vec<u8>> {
        self.0.take_pending()
    }

    /// Takes bytes from the endpoint; they are changed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        Ok(self.0.take_in(bytes)?)
    }

    /// What the endpoint has said; nothing at its end, or before it said anything.
    ///
    /// # Errors
    /// What the connection failed by.
    pub fn plain(&mut self) -> io::Result<Vec<u8>> {
        self.0.take_news()
    }

    /// `data` as bytes for the endpoint.
    ///
    /// # Errors
    /// The session has failed.
    pub fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = vec![0; self.0.sealed_len(data.len())];
        let sealed = self.0.seal(data, &mut out)?;
        out.truncate(sealed);
        Ok(out)
    }
}

/// The authorities of this machine.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "needs the authorities of this machine, and there are none{why}; name them by `ca`"
        ));
    }
    Ok(roots)
}

/// Accepts whatever certificate an endpoint shows: `danger_skip_verification`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Sessions to resume, per endpoint and shard.
const SESSIONS_KEPT: usize = 32;
