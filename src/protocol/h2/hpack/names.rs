//! The static table (RFC 7541 appendix A) and what a field's name means to HTTP/2.
//!
//! Known by index on the way in, found by [`Name`] or by bytes on the way out.

use super::table::Field;
use crate::protocol::http::Name;
use crate::protocol::http::chars::byte_table;

/// What a name is, found once a literal and kept in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A pseudo-field (RFC 9113 §8.3).
    Pseudo(Pseudo),
    /// An ordinary field.
    Regular(Name),
    /// Upper case, empty, not a token, or an unknown pseudo-field (RFC 9113 §8.2.1, §8.3).
    Invalid,
}

/// The pseudo-fields of RFC 9113 §8.3 and RFC 8441 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:protocol`
    Protocol,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
}

impl Class {
    /// The class of `name`.
    pub(crate) fn of(name: &[u8]) -> Self {
        if let Some(pseudo) = name.strip_prefix(b":") {
            return match pseudo {
                b"authority" => Self::Pseudo(Pseudo::Authority),
                b"method" => Self::Pseudo(Pseudo::Method),
                b"path" => Self::Pseudo(Pseudo::Path),
                b"protocol" => Self::Pseudo(Pseudo::Protocol),
                b"scheme" => Self::Pseudo(Pseudo::Scheme),
                b"status" => Self::Pseudo(Pseudo::Status),
                _ => Self::Invalid,
            };
        }
        if is_lower_token(name) { Self::Regular(Name::of(name)) } else { Self::Invalid }
    }
}

/// RFC 9113 §8.2.1: a token without `A`–`Z`.
fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| LOWER_TOKEN.get(usize::from(b)).copied() == Some(true))
}

const LOWER_TOKEN: [bool; 256] = {
    let mut table = byte_table(b"!#$%&'*+-.^_`|~");
    let mut byte = b'A';
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
    while byte <= b'Z' {
        table[byte as usize] = false;
        byte += 1;
    }
    table
};

/// Entries of the static table.
pub(crate) const STATIC_LEN: usize = 61;

/// The static entry `index`, from 1.
#[inline]
pub(crate) fn static_field(index: usize) -> Option<Field<'static>> {
    let at = index.checked_sub(1)?;
    let ((name, value), class) = (*STATIC.get(at)?, *CLASSES.get(at)?);
    Some(Field { name: name.as_bytes(), value: value.as_bytes(), class, is_value_valid: true })
}

/// Index of the first static entry called `name`; 0 if none is. `name` is in lower case.
#[inline]
pub(crate) fn static_index(id: Name, name: &[u8]) -> u8 {
    match id {
        Name::Other => other_static_index(name),
        _ => STATIC_INDEX.get(id as usize).copied().unwrap_or(0),
    }
}

/// For names without an id; those that have one are found all the same.
fn other_static_index(name: &[u8]) -> u8 {
    match name {
        b"accept-charset" => 15,
        b"accept-language" => 17,
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"content-disposition" => 25,
        b"content-language" => 27,
        b"content-location" => 29,
        b"etag" => 34,
        b"expires" => 36,
        b"from" => 37,
        b"if-match" => 39,
        b"if-modified-since" => 40,
        b"if-none-match" => 41,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"last-modified" => 44,
        b"link" => 45,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"www-authenticate" => 61,
        _ => 0,
    }
}

/// The name in lower case; empty for [`Name::Other`].
#[inline]
pub(crate) fn lower_name(id: Name) -> &'static [u8] {
    LOWER.get(id as usize).map_or(&[], |(text, len)| text.get(..usize::from(*len)).unwrap_or(&[]))
}

const NAMES: usize = Name::ALL.len() + 1;
const NAME_BYTES_MAX: usize = 32;

/// Known names in lower case, by id.
static LOWER: [([u8; NAME_BYTES_MAX], u8); NAMES] = lower_names();
/// Static entries by the id of their name.
static STATIC_INDEX: [u8; NAMES] = static_indexes();
/// What the names of the static table mean.
static CLASSES: [Class; STATIC_LEN] = classes();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time"
)]
const fn lower_names() -> [([u8; NAME_BYTES_MAX], u8); NAMES] {
    let mut table = [([0; NAME_BYTES_MAX], 0); NAMES];
    let mut at = 0;
    while at < Name::ALL.len() {
        let id = Name::ALL[at];
        let text = id.as_str().as_bytes();
        let mut place = 0;
        while place < text.len() {
            table[id as usize].0[place] = text[place].to_ascii_lowercase();
            place += 1;
        }
        table[id as usize].1 = place as u8;
        at += 1;
    }
    table
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time"
)]
const fn static_indexes() -> [u8; NAMES] {
    let mut table = [0; NAMES];
    let mut at = STATIC_LEN;
    while at > 0 {
        at -= 1;
        // The first of several wins.
        let id = known(STATIC[at].0.as_bytes());
        if !matches!(id, Name::Other) {
            table[id as usize] = at as u8 + 1;
        }
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn classes() -> [Class; STATIC_LEN] {
    const PSEUDO: [(usize, Pseudo); 6] = [
        (1, Pseudo::Authority),
        (3, Pseudo::Method),
        (5, Pseudo::Path),
        (7, Pseudo::Scheme),
        (14, Pseudo::Status),
        (STATIC_LEN, Pseudo::Status),
    ];
    let mut table = [Class::Invalid; STATIC_LEN];
    let (mut at, mut run) = (0, 0);
    while at < STATIC_LEN {
        let name = STATIC[at].0.as_bytes();
        table[at] = if name[0] == b':' {
            if at >= PSEUDO[run].0 {
                run += 1;
            }
            Class::Pseudo(PSEUDO[run].1)
        } else {
            Class::Regular(known(name))
        };
        at += 1;
    }
    table
}

/// The id of a lower-case name, at compile time.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn known(name: &[u8]) -> Name {
    let mut at = 0;
    while at < Name::ALL.len() {
        if Name::ALL[at].as_str().as_bytes().eq_ignore_ascii_case(name) {
            return Name::ALL[at];
        }
        at += 1;
    }
    Name::Other
}

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); STATIC_LEN] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_table_is_found_by_name_and_classified_right() {
        for index in 1..=STATIC_LEN {
            let field = static_field(index).unwrap();
            assert_eq!(field.class, Class::of(field.name), "{index}");
            let Class::Regular(id) = field.class else { continue };
            assert_eq!(usize::from(static_index(id, field.name)), index);
        }
        assert_eq!(static_field(0), None);
        assert_eq!(static_field(62), None);
        for &name in Name::ALL {
            let lower = name.as_str().to_ascii_lowercase();
            let place = STATIC.iter().position(|(text, _)| *text == lower).map_or(0, |at| at + 1);
            assert_eq!(usize::from(static_index(name, lower.as_bytes())), place, "{lower}");
            assert_eq!(lower_name(name), lower.as_bytes());
        }
    }

    #[test]
    fn names_are_lower_case_tokens_or_known_pseudo_fields() {
        assert_eq!(Class::of(b"x-a"), Class::Regular(Name::Other));
        assert_eq!(Class::of(b"host"), Class::Regular(Name::Host));
        assert_eq!(Class::of(b":protocol"), Class::Pseudo(Pseudo::Protocol));
        for bad in ["", ":", ":foo", ":Path", "X-A", "a b", "a:", "a\0", "ä", "a\r\n"] {
            assert_eq!(Class::of(bad.as_bytes()), Class::Invalid, "{bad:?}");
        }
    }
}
