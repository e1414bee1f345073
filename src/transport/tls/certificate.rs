//! What a certificate says of itself: names, issuer, dates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time,
};

use crate::base::civil::Civil;

/// A certificate's facts, for whoever chooses, shows or watches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names that it is for, in lower case; `*.` at the front stands for one label.
    pub names: Vec<String>,
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
}

impl Facts {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = names(&certificate);
        Ok(Self {
            names,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string().replace(':', ""),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
        })
    }

    /// Why it can't be used at `now`; none if it can.
    pub fn out_of_date(&self, now: SystemTime) -> Option<String> {
        if now > self.not_after {
            return Some(format!("expired at {}", date(self.not_after)));
        }
        (now < self.not_before).then(|| format!("isn't valid before {}", date(self.not_before)))
    }
}

/// The names of the subject alternative name; where there is none, the subject's common name.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        if let GeneralName::DNSName(name) = name {
            add(name);
        }
    }
    if alternative.is_none() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        common.filter(|name| !name.contains(char::is_whitespace)).for_each(add);
    }
    names
}

fn time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    moved.unwrap_or(UNIX_EPOCH)
}

/// A time for messages: `2026-11-24T18:50:00Z`.
pub(super) fn date(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(24);
    Civil::from_system_time(time).write_rfc3339(&mut text);
    // Certificates know no milliseconds.
    text.truncate("2026-11-24T18:50:00".len());
    text.push(b'Z');
    String::from_utf8_lossy(&text).into_owned()
}
