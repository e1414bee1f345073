//! From decoded fields to a head: every rule of RFC 9113 §8.2 and §8.3, and nothing tolerated.
//!
//! ```text
//!   Decoder ─▶ RequestFields ─ pseudo ─▶ line, parts (and :authority as Host)
//!                            └ regular ▶ Headers, as lines that HTTP/1.1 can write
//!              ResponseFields, TrailerFields likewise
//! ```
//! The first violation is kept and the rest of the block only decoded: HPACK's state depends on
//! every octet. What is accepted here can be written to HTTP/1.1 without another look: no CR, LF
//! or NUL, no connection fields, one Host, one length.

use super::error::Violation;
use super::hpack::{Class, ENTRY_OVERHEAD, Field, Fields, Pseudo};
use crate::protocol::http::chars::{find_either, is_target_byte, is_token};
use crate::protocol::http::framing::content_length;
use crate::protocol::http::request::Parts;
use crate::protocol::http::span::Span;
use crate::protocol::http::trailer::TrailerFate;
use crate::protocol::http::{
    Form, Headers, Method, Name, RequestHead, ResponseHead, Scheme, Status, Version, authority,
};

/// What holds of any field section.
#[derive(Debug)]
struct Section {
    list_bytes_max: usize,
    fields_max: usize,
    list_bytes: usize,
    fields: usize,
    /// Pseudo-fields so far, a bit each.
    pseudo: u8,
    cookies: u32,
    is_past_pseudo: bool,
    violation: Option<Violation>,
}

impl Section {
    fn new(list_bytes_max: usize, fields_max: usize) -> Self {
        Self {
            list_bytes_max,
            fields_max,
            list_bytes: 0,
            fields: 0,
            pseudo: 0,
            cookies: 0,
            is_past_pseudo: false,
            violation: None,
        }
    }

    /// Counts a field; false once there is nothing more to read.
    #[inline]
    fn admit(&mut self, field: &Field<'_>) -> bool {
        if self.violation.is_some() {
            return false;
        }
        self.list_bytes += field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        self.fields += 1;
        if self.list_bytes > self.list_bytes_max || self.fields > self.fields_max {
            self.violation = Some(Violation::HeaderListTooLarge);
            return false;
        }
        true
    }

    /// §8.3: pseudo-fields come first, and once.
    fn pseudo(&mut self, pseudo: Pseudo) -> Result<(), Violation> {
        let bit = 1 << pseudo as u8;
        if self.is_past_pseudo || self.pseudo & bit != 0 {
            return Err(Violation::PseudoField);
        }
        self.pseudo |= bit;
        Ok(())
    }

    fn has(&self, pseudo: Pseudo) -> bool {
        self.pseudo & (1 << pseudo as u8) != 0
    }

    /// An ordinary field (§8.2.1, §8.2.2).
    #[inline]
    fn regular(
        &mut self,
        headers: &mut Headers,
        id: Name,
        field: &Field<'_>,
    ) -> Result<(), Violation> {
        self.is_past_pseudo = true;
        if !field.is_value_valid {
            return Err(Violation::FieldValue);
        }
        match id {
            Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::TransferEncoding
            | Name::Upgrade => return Err(Violation::ConnectionField),
            Name::Te if !field.value.eq_ignore_ascii_case(b"trailers") => {
                return Err(Violation::ConnectionField);
            }
            Name::Cookie => self.cookies += 1,
            _ => {}
        }
        headers.push_decoded(id, field.name, field.value);
        Ok(())
    }

    fn finish(&self, headers: &mut Headers) -> Result<(), Violation> {
        if self.cookies > 1 {
            // §8.2.3: crumbs become one field again where HTTP/2 ends, and for filters that is here.
            headers.join_known(Name::Cookie, b"; ");
        }
        self.violation.map_or(Ok(()), Err)
    }
}

/// Collects a request.
pub(super) struct RequestFields<'a> {
    head: &'a mut RequestHead,
    section: Section,
    method: Method,
    parts: Parts,
    /// Extended CONNECT may come (RFC 8441).
    connect_protocol: bool,
}

impl<'a> RequestFields<'a> {
    pub(super) fn new(
        head: &'a mut RequestHead,
        list_bytes_max: usize,
        fields_max: usize,
        connect_protocol: bool,
    ) -> Self {
        head.clear();
        let section = Section::new(list_bytes_max, fields_max);
        Self { head, section, method: Method::Get, parts: Parts::default(), connect_protocol }
    }

    /// The verdict; the request's declared length, if it is accepted.
    pub(super) fn finish(mut self) -> Result<Option<u64>, Violation> {
        self.section.finish(&mut self.head.headers)?;
        let has = |pseudo| self.section.has(pseudo);
        let is_plain_connect = self.method == Method::Connect && !has(Pseudo::Protocol);
        if !has(Pseudo::Method) || has(Pseudo::Protocol) && self.method != Method::Connect {
            return Err(Violation::PseudoField);
        }
        if is_plain_connect {
            // §8.5: only the authority.
            if has(Pseudo::Scheme) || has(Pseudo::Path) || !has(Pseudo::Authority) {
                return Err(Violation::PseudoField);
            }
            let host = self.head.headers.get_known(Name::Host).unwrap_or_default();
            if !authority::is_connect_authority(host) {
                return Err(Violation::Request);
            }
            let host = std::str::from_utf8(host).unwrap_or_default().to_owned();
            let span = self.head.push_text(&host);
            self.parts.form = Form::Authority;
            (self.parts.authority, self.parts.target) = (Some(span), span);
        } else {
            if !has(Pseudo::Scheme) || !has(Pseudo::Path) {
                return Err(Violation::PseudoField);
            }
            self.check_path()?;
            if self.head.headers.get_known(Name::Host).is_none() {
                // §8.3.1: http and https always have an authority.
                return Err(Violation::Authority);
            }
        }
        let length = content_length(&self.head.headers).map_err(|_| Violation::ContentLength)?;
        if self.method == Method::Connect && length.is_some_and(|length| length > 0) {
            // RFC 9110 §9.3.6: what follows a CONNECT is the tunnel's.
            return Err(Violation::ContentLength);
        }
        self.head.begin_parts(Version::Http2, self.method, self.parts);
        Ok(length)
    }

    /// §8.3.1: starts with `/`, or is `*` for OPTIONS.
    fn check_path(&mut self) -> Result<(), Violation> {
        let (path, query) = (self.parts.path, self.parts.query);
        let text = path.of_str(self.head.line());
        let is_asterisk = text == "*" && self.method == Method::Options && query.is_none();
        if !is_asterisk && !text.starts_with('/') {
            return Err(Violation::Request);
        }
        self.parts.form = if is_asterisk { Form::Asterisk } else { Form::Origin };
        Ok(())
    }

    fn pseudo(&mut self, pseudo: Pseudo, value: &[u8]) -> Result<(), Violation> {
        self.section.pseudo(pseudo)?;
        match pseudo {
            Pseudo::Method => {
                if !is_token(value) || value.len() > METHOD_BYTES_MAX {
                    return Err(Violation::Request);
                }
                self.method = Method::from_token(value);
                if self.method == Method::Other {
                    self.parts.method = self.text(value);
                }
            }
            Pseudo::Scheme => {
                self.parts.scheme = Some(match value {
                    _ if value.eq_ignore_ascii_case(b"https") => Scheme::Https,
                    _ if value.eq_ignore_ascii_case(b"http") => Scheme::Http,
                    _ => return Err(Violation::Request),
                });
            }
            Pseudo::Path => {
                if !value.iter().all(|&byte| is_target_byte(byte)) {
                    return Err(Violation::Request);
                }
                let span = self.text(value);
                let (start, question) = (span.start(), find_either(value, b'?', b'?'));
                self.parts.target = span;
                self.parts.path = Span::new(start, start + question);
                self.parts.query = (question < value.len())
                    .then(|| Span::new(start + question + 1, start + value.len()));
            }
            Pseudo::Authority => {
                if !authority::is_authority(value) {
                    return Err(Violation::Authority);
                }
                // First, so that it leads the fields as Host leads a request of HTTP/1.1.
                self.head.headers.push_decoded(Name::Host, b"host", value);
            }
            Pseudo::Protocol => {
                if !self.connect_protocol || !is_token(value) {
                    return Err(Violation::PseudoField);
                }
                self.parts.protocol = Some(self.text(value));
            }
            Pseudo::Status => return Err(Violation::PseudoField),
        }
        Ok(())
    }

    /// Keeps text that has been found to be ASCII.
    fn text(&mut self, value: &[u8]) -> Span {
        self.head.push_text(std::str::from_utf8(value).unwrap_or_default())
    }

    fn regular(&mut self, id: Name, field: &Field<'_>) -> Result<(), Violation> {
        if id != Name::Host {
            return self.section.regular(&mut self.head.headers, id, field);
        }
        self.section.is_past_pseudo = true;
        match self.head.headers.get_known(Name::Host) {
            // §8.3.1: both may come and must say the same. A second Host is as ambiguous.
            Some(authority) if !authority.eq_ignore_ascii_case(field.value) => {
                Err(Violation::Authority)
            }
            Some(_) => Ok(()),
            None if !authority::is_authority(field.value) => Err(Violation::Authority),
            None => {
                self.head.headers.push_decoded(id, field.name, field.value);
                Ok(())
            }
        }
    }
}

impl Fields for RequestFields<'_> {
    #[inline]
    fn field(&mut self, field: Field<'_>) {
        if !self.section.admit(&field) {
            return;
        }
        let result = match field.class {
            Class::Regular(id) => self.regular(id, &field),
            Class::Pseudo(pseudo) => self.pseudo(pseudo, field.value),
            Class::Invalid => Err(Violation::FieldName),
        };
        self.section.violation = result.err();
    }
}

/// No registered method is longer than 17 bytes (`UPDATEREDIRECTREF`).
const METHOD_BYTES_MAX: usize = 32;

/// Collects a response, final or interim.
pub(super) struct ResponseFields<'a> {
    head: &'a mut ResponseHead,
    section: Section,
}

impl<'a> ResponseFields<'a> {
    pub(super) fn new(
        head: &'a mut ResponseHead,
        list_bytes_max: usize,
        fields_max: usize,
    ) -> Self {
        head.clear();
        head.version = Version::Http2;
        Self { head, section: Section::new(list_bytes_max, fields_max) }
    }

    /// The verdict; the response's declared length, if it is accepted.
    pub(super) fn finish(self) -> Result<Option<u64>, Violation> {
        self.section.finish(&mut self.head.headers)?;
        if !self.section.has(Pseudo::Status) {
            return Err(Violation::PseudoField);
        }
        content_length(&self.head.headers).map_err(|_| Violation::ContentLength)
    }

    /// §8.3.2; 101 has no meaning here (§8.6).
    fn status(&mut self, value: &[u8]) -> Result<(), Violation> {
        self.section.pseudo(Pseudo::Status)?;
        let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else {
            return Err(Violation::Status);
        };
        let digit = |byte: u8| u16::from(byte - b'0');
        let status = Status::new(digit(a) * 100 + digit(b) * 10 + digit(c));
        let status = status.filter(|status| status.code() != 101).ok_or(Violation::Status)?;
        self.head.set_status(status);
        Ok(())
    }
}

impl Fields for ResponseFields<'_> {
    #[inline]
    fn field(&mut self, field: Field<'_>) {
        if !self.section.admit(&field) {
            return;
        }
        let result = match field.class {
            Class::Regular(id) => self.section.regular(&mut self.head.headers, id, &field),
            Class::Pseudo(Pseudo::Status) => self.status(field.value),
            Class::Pseudo(_) => Err(Violation::PseudoField),
            Class::Invalid => Err(Violation::FieldName),
        };
        self.section.violation = result.err();
    }
}

/// Collects trailers (§8.1): no pseudo-fields, and nothing that would change framing or routing
/// after the fact (RFC 9110 §6.5.1).
pub(super) struct TrailerFields<'a> {
    headers: &'a mut Headers,
    section: Section,
}

impl<'a> TrailerFields<'a> {
    pub(super) fn new(headers: &'a mut Headers, list_bytes_max: usize, fields_max: usize) -> Self {
        headers.clear();
        Self { headers, section: Section::new(list_bytes_max, fields_max) }
    }

    pub(super) fn finish(self) -> Result<(), Violation> {
        self.section.finish(self.headers)
    }
}

impl Fields for TrailerFields<'_> {
    #[inline]
    fn field(&mut self, field: Field<'_>) {
        if !self.section.admit(&field) {
            return;
        }
        let result = match field.class {
            Class::Regular(id) => match TrailerFate::of(id) {
                TrailerFate::Kept => self.section.regular(self.headers, id, &field),
                TrailerFate::Dropped => Ok(()),
                TrailerFate::Refused => Err(Violation::ConnectionField),
            },
            Class::Pseudo(_) => Err(Violation::PseudoField),
            Class::Invalid => Err(Violation::FieldName),
        };
        self.section.violation = result.err();
    }
}

/// Fields of one block whose message nobody wants: decoded for HPACK's sake only.
pub(super) struct NoFields;

impl Fields for NoFields {
    fn field(&mut self, _: Field<'_>) {}
}
