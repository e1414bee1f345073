//! Text with variables, such as `https://www.example.com/${path.rest}`.
//!
//! Parsed once at load; whoever expands it walks the pieces and appends. A literal `$` needs no
//! escape unless `{` follows it; `$${` stands for `${`.

/// Text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What to append, in order; adjacent literals are merged, no literal is empty.
    pub pieces: Vec<Piece>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it stands.
    Literal(String),
    /// `${name}`
    Variable(Variable),
}

/// What a template can take from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `${scheme}`: `http`, or what a trusted proxy said.
    Scheme,
    /// `${host}`: the host without the port.
    Host,
    /// `${path}`: the path as it came, with its leading `/`, before any rewrite.
    Path,
    /// `${path.rest}`: what the final `/*` of the route's path matched, without a leading `/`.
    PathRest,
    /// `${query}`: the query with its leading `?`, or nothing, so that `${path}${query}` is whole.
    Query,
    /// `${client_ip}`: the client's address, as the trusted proxies tell it.
    ClientIp,
    /// `${request_id}`: the request's id.
    RequestId,
    /// `${tls.version}`: `1.2` or `1.3`; empty in the clear, as all that follow.
    TlsVersion,
    /// `${tls.cipher}`: the cipher suite, as IANA writes it.
    TlsCipher,
    /// `${tls.sni}`: the server name that the client asked for, if it did.
    TlsSni,
    /// `${tls.alpn}`: the protocol that was chosen by ALPN, if one was.
    TlsAlpn,
    /// `${tls.resumed}`: `true` if an earlier session was continued, else `false`.
    TlsResumed,
    /// `${tls.client_subject}`: the subject of the client's verified certificate, if it showed one.
    TlsClientSubject,
}

impl Variable {
    /// The names in the file.
    pub(super) const WORDS: [(&str, Self); 13] = [
        ("scheme", Self::Scheme),
        ("host", Self::Host),
        ("path", Self::Path),
        ("path.rest", Self::PathRest),
        ("query", Self::Query),
        ("client_ip", Self::ClientIp),
        ("request_id", Self::RequestId),
        ("tls.version", Self::TlsVersion),
        ("tls.cipher", Self::TlsCipher),
        ("tls.sni", Self::TlsSni),
        ("tls.alpn", Self::TlsAlpn),
        ("tls.resumed", Self::TlsResumed),
        ("tls.client_subject", Self::TlsClientSubject),
    ];

    /// Its name between `${` and `}`.
    pub fn name(self) -> &'static str {
        Self::WORDS.into_iter().find(|(_, variable)| *variable == self).map_or("", |(name, _)| name)
    }
}

impl Template {
    /// Whether `variable` is used.
    pub fn uses(&self, variable: Variable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }

    /// The text, if there is no variable in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}
