//! A distinguished name as RFC 4514 writes it, so that no two names read alike: whoever lets clients
//! in by their certificate's subject compares this text.
//!
//! ```text
//!   O: Acme │ CN: `a,OU=admin`  ─▶  CN=a\,OU=admin,O=Acme      the last part comes first (§2.1)
//! ```
//! What isn't printable ASCII is written in hexadecimal (§2.4), since a header field carries it.

use std::fmt::Write;

use x509_parser::{
    asn1_rs::ToDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// `name` in printable ASCII, without a space at either end.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        for (nth, attribute) in part.iter().enumerate() {
            if nth > 0 {
                text.push('+');
            } else if !text.is_empty() {
                text.push(',');
            }
            put(attribute, &mut text);
        }
    }
    text
}

/// Type and value (§2.3, §2.4). What has no short name, or is no plain string, is written as its
/// DER.
fn put(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let kind = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(id, _)| *id == kind).map(|(_, name)| *name);
    text.push_str(short.unwrap_or(&kind));
    text.push('=');
    match (short, attribute.as_str()) {
        (Some(_), Ok(value)) => escape(value, text),
        _ => {
            text.push('#');
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                put_hex(byte, text);
            }
        }
    }
}

fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if at != 0 && at != last => text.push(' '),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => {
                text.push('\\');
                put_hex(byte, text);
            }
        }
    }
}

fn put_hex(byte: u8, text: &mut String) {
    // Writing to a String can't fail.
    let _written = write!(text, "{byte:02X}");
}

/// The names of RFC 4514 §3.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::{
        asn1_rs::{Any, Oid, Tag},
        x509::RelativeDistinguishedName,
    };

    fn attribute(id: &[u64], tag: Tag, value: &'static str) -> AttributeTypeAndValue<'static> {
        let value = Any::from_tag_and_data(tag, value.as_bytes());
        AttributeTypeAndValue::new(Oid::from(id).unwrap(), value)
    }

    fn named(parts: Vec<Vec<AttributeTypeAndValue<'static>>>) -> String {
        let parts = parts.into_iter().map(RelativeDistinguishedName::new).collect();
        text(&X509Name::new(parts, &[]))
    }

    /// RFC 4514 §4.
    #[test]
    fn names_are_written_as_in_the_rfcs_examples() {
        let (cn, o, ou) = (&[2, 5, 4, 3], &[2, 5, 4, 10], &[2, 5, 4, 11]);
        let plain = |id: &[u64], value| attribute(id, Tag::Utf8String, value);
        assert_eq!(
            named(vec![
                vec![plain(o, "Example")],
                vec![plain(ou, "Sales"), plain(cn, "J.  Smith")]
            ]),
            "OU=Sales+CN=J.  Smith,O=Example"
        );
        assert_eq!(named(vec![vec![plain(cn, "James \"Jim\" Smith, III")]]), {
            r#"CN=James \"Jim\" Smith\, III"#
        });
        assert_eq!(named(vec![vec![plain(cn, "Before\rAfter")]]), r"CN=Before\0DAfter");
        assert_eq!(named(vec![vec![plain(cn, "Lu\u{10d}i\u{107}")]]), r"CN=Lu\C4\8Di\C4\87");
        let other = attribute(&[1, 3, 6, 1, 4, 1, 1466, 0], Tag::OctetString, "Hi");
        assert_eq!(named(vec![vec![other]]), "1.3.6.1.4.1.1466.0=#04024869");
    }

    #[test]
    fn a_value_pretends_to_be_no_other_part() {
        let cn = |value| named(vec![vec![attribute(&[2, 5, 4, 3], Tag::Utf8String, value)]]);
        assert_eq!(cn("a,OU=admin"), r"CN=a\,OU=admin");
        assert_eq!(cn("a+OU=admin"), r"CN=a\+OU=admin");
        assert_eq!(cn(r"a\"), r"CN=a\\");
        assert_eq!(cn(" #a "), r"CN=\20#a\20");
        assert_eq!(cn("#a"), r"CN=\#a");
        assert_eq!(cn(""), "CN=");
        assert_ne!(cn("\u{e9}"), cn("?"));
    }
}
