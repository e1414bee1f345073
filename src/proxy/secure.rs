//! What TLS has to say of a request before anybody answers it: whether it may come over this
//! connection at all, and who its client is by certificate.
//!
//! Every protocol version calls [`admit`] once per request, before any filter.

use super::{connection::ListenerRules, error::Error};
use crate::{
    protocol::http::{Headers, Name, RequestHead},
    transport::tls::Handshaken,
};

/// The subject of a client's verified certificate (RFC 4514).
pub const CLIENT_CERT_SUBJECT: &str = "x-client-cert-subject";
/// Its alternative names: `DNS:a.example, URI:spiffe://x/y`. Absent when it has none.
pub const CLIENT_CERT_SAN: &str = "x-client-cert-san";
/// Its SHA-256, in hexadecimal.
pub const CLIENT_CERT_FINGERPRINT: &str = "x-client-cert-fingerprint";

/// Removes what a client says of its own certificate, tells what we know of it instead, and refuses
/// a request whose host asks more of its clients than this connection did (RFC 9110 §15.5.20).
///
/// # Errors
/// [`Error::Misdirected`], [`Error::Field`].
pub(super) fn admit(
    head: &mut RequestHead,
    handshaken: Option<&Handshaken>,
    listener: &ListenerRules,
) -> Result<(), Error> {
    strip(&mut head.headers);
    let Some(handshaken) = handshaken else { return Ok(()) };
    if let Some(tls) = &listener.tls
        && !tls.may_serve(handshaken.policy, head.host().unwrap_or_default())
    {
        return Err(Error::Misdirected);
    }
    if let Some(client) = &handshaken.client {
        let fields = [
            (CLIENT_CERT_SUBJECT, &client.subject),
            (CLIENT_CERT_SAN, &client.names),
            (CLIENT_CERT_FINGERPRINT, &client.fingerprint),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                head.headers.append(name, value)?;
            }
        }
    }
    Ok(())
}

/// Fields that only we may set: whoever believes them must not believe a client. Also those that
/// differ by `_` for `-`, which some programs take for the same.
fn strip(headers: &mut Headers) {
    let is_ours = |name: &[u8]| {
        name.get(..PREFIX.len()).is_some_and(|start| {
            let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
            start.iter().zip(PREFIX).all(same)
        })
    };
    if headers.iter_known().any(|(id, name, _)| id == Name::Other && is_ours(name)) {
        headers.retain(|name, _| !is_ours(name));
    }
}

const PREFIX: &[u8] = b"x-client-cert-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_its_certificate_is_removed() {
        let mut headers = Headers::new();
        for name in ["X-Client-Cert-Subject", "x-client-cert-san", "X_Client_Cert_Fingerprint"] {
            headers.append(name, "CN=admin").unwrap();
        }
        headers.append("x-client-cer", "kept").unwrap();
        headers.append("x-client-certainly", "kept").unwrap();
        strip(&mut headers);
        let left: Vec<_> = headers.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(left, [b"x-client-cer".to_vec(), b"x-client-certainly".to_vec()]);
    }
}
