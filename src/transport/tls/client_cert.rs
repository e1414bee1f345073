//! The certificate that a client has shown and we have verified, as upstreams are told of it.

use std::fmt::Write;

use rustls::{SupportedCipherSuite, pki_types::CertificateDer};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::distinguished_name;

/// A verified client certificate, in texts that fit a header field: printable ASCII, bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name, as RFC 4514 writes it.
    pub subject: String,
    /// The subject's alternative names: `DNS:a.example, URI:spiffe://x/y`.
    pub names: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// Reads a certificate that was verified.
    pub(super) fn read(der: &CertificateDer<'_>) -> Self {
        let mut fingerprint = String::with_capacity(64);
        for byte in sha256(der) {
            // Writing to a String can't fail.
            let _written = write!(fingerprint, "{byte:02x}");
        }
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self { subject: String::new(), names: String::new(), fingerprint };
        };
        let subject = plain(&distinguished_name::text(certificate.subject()));
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.iter().flat_map(|found| &found.value.general_names);
        let names: Vec<String> = names.filter_map(name).collect();
        Self { subject, names: plain(&names.join(", ")), fingerprint }
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    // A comma parts names, so one that holds a comma is left out: it could pretend to be two.
    let (kind, text) = match name {
        GeneralName::DNSName(text) => ("DNS", *text),
        GeneralName::URI(text) => ("URI", *text),
        GeneralName::RFC822Name(text) => ("email", *text),
        _ => return None,
    };
    (!text.contains(',')).then(|| format!("{kind}:{text}"))
}

/// What a field's value may hold, and no more than its most.
fn plain(text: &str) -> String {
    let text = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    text.take(TEXT_MAX).collect::<String>().trim().to_owned()
}

/// SHA-256, by the cryptography that TLS uses.
pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    if let SupportedCipherSuite::Tls13(suite) =
        rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256
    {
        let output = suite.common.hash_provider.hash(data);
        digest.copy_from_slice(output.as_ref());
    }
    digest
}

/// Characters of one text; what is longer is cut.
const TEXT_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256() {
        let digest = sha256(b"abc");
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn a_text_fits_a_header_field() {
        assert_eq!(plain("CN=a\r\nx-evil: 1"), "CN=a??x-evil: 1");
        assert_eq!(plain(&"x".repeat(5000)).len(), TEXT_MAX);
    }
}
