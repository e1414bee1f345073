//! A request head: what was asked, in an arena of its own.
//!
//! Made by `h1::parse_request` or by hand ([`RequestHead::new`] and setters). Setters check what
//! they are given, so a head can always be written to the wire without splitting it.

use super::chars::{is_target_byte, is_token};
use super::span::Span;
use super::{Headers, Method, Name, TargetError, Version, authority};

/// Form of the request target as it came (RFC 9112 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, CONNECT only.
    Authority,
    /// `*`, OPTIONS only.
    Asterisk,
}

/// Scheme of an absolute-form target, or HTTP/2's `:scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// Lower-case text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The head of a request. [`RequestHead::clear`] keeps all memory for the next one.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Version in the request line.
    pub version: Version,
    /// Method; the text of [`Method::Other`] is [`RequestHead::method_str`].
    pub method: Method,
    /// The fields. Host is the authority that counts: absolute-form has replaced it.
    pub headers: Headers,
    /// Everything up to the first field as it came, then what setters wrote. ASCII.
    line: String,
    parts: Parts,
    /// Where the parser goes on after `Incomplete`: start of the first unread field line.
    resume: usize,
}

/// The pieces of a request line, as spans into its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
    pub(crate) authority: Option<Span>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) protocol: Option<Span>,
    pub(crate) form: Form,
}

/// Most bytes of a request line with everything that setters added.
const LINE_BYTES_MAX: usize = 128 * 1024;

impl RequestHead {
    /// `GET / HTTP/1.1` without fields; no allocation.
    pub const fn new() -> Self {
        const NONE: Span = Span::ZERO;
        Self {
            version: Version::Http11,
            method: Method::Get,
            headers: Headers::new(),
            line: String::new(),
            parts: Parts {
                method: NONE,
                target: NONE,
                path: NONE,
                query: None,
                authority: None,
                scheme: None,
                protocol: None,
                form: Form::Origin,
            },
            resume: 0,
        }
    }

    /// Back to [`RequestHead::new`], keeping memory.
    #[inline]
    pub fn clear(&mut self) {
        self.version = Version::Http11;
        self.method = Method::Get;
        self.headers.clear();
        self.line.clear();
        self.parts = Parts::default();
        self.resume = 0;
    }

    /// The method's token.
    #[inline]
    pub fn method_str(&self) -> &str {
        self.method.as_str().unwrap_or_else(|| self.parts.method.of_str(&self.line))
    }

    /// The target as it came (or as [`RequestHead::set_target`] made it); rewriting the path
    /// doesn't change it.
    #[inline]
    pub fn target(&self) -> &str {
        match self.parts.target.of_str(&self.line) {
            "" => "/",
            target => target,
        }
    }

    /// The path, `/` if the target had none, `*` for asterisk-form, empty for authority-form.
    #[inline]
    pub fn path(&self) -> &str {
        match (self.parts.form, self.parts.path.of_str(&self.line)) {
            (Form::Origin | Form::Absolute, "") => "/",
            // `OPTIONS http://host` has become `OPTIONS *`.
            (Form::Asterisk, "") => "*",
            (_, path) => path,
        }
    }

    /// What follows `?`, if there is one.
    #[inline]
    pub fn query(&self) -> Option<&str> {
        self.parts.query.map(|span| span.of_str(&self.line))
    }

    /// Form of the target.
    #[inline]
    pub fn form(&self) -> Form {
        self.parts.form
    }

    /// Scheme of an absolute-form target, or HTTP/2's `:scheme`: what the client says, not how it
    /// came.
    #[inline]
    pub fn scheme(&self) -> Option<Scheme> {
        self.parts.scheme
    }

    /// The protocol that an extended CONNECT asks for (RFC 8441 §4), such as `websocket`.
    #[inline]
    pub fn protocol(&self) -> Option<&str> {
        self.parts.protocol.map(|span| span.of_str(&self.line))
    }

    /// Makes the request an extended CONNECT for `protocol`, or an ordinary one again; the method
    /// is set apart from it. Only HTTP/2 can write it.
    ///
    /// # Errors
    /// [`TargetError::Invalid`] if it isn't a token; nothing has changed then.
    pub fn set_protocol(&mut self, protocol: Option<&str>) -> Result<(), TargetError> {
        self.parts.protocol = match protocol {
            Some(text) if is_token(text.as_bytes()) => Some(self.push(text)?),
            Some(_) => return Err(TargetError::Invalid),
            None => None,
        };
        Ok(())
    }

    /// `host[:port]`: the target's where it had one, else Host. `None` in an HTTP/1.0 request
    /// without Host.
    #[inline]
    pub fn authority(&self) -> Option<&str> {
        std::str::from_utf8(self.headers.get_known(Name::Host)?).ok()
    }

    /// The authority's host, without port and without a final dot (`a.example.` names the same
    /// host as `a.example`, and routes must not be dodged by it). Case as it came.
    #[inline]
    pub fn host(&self) -> Option<&str> {
        std::str::from_utf8(self.host_bytes()?).ok()
    }

    /// [`RequestHead::host`] for those who compare or copy it only, which is cheaper.
    #[inline]
    pub fn host_bytes(&self) -> Option<&[u8]> {
        let (host, _) = authority::split_bytes(self.headers.get_known(Name::Host)?);
        Some(host.strip_suffix(b".").unwrap_or(host))
    }

    /// The authority's port.
    pub fn port(&self) -> Option<u16> {
        authority::split_bytes(self.headers.get_known(Name::Host)?).1
    }

    /// Whether [`RequestHead::host`] is `host`, ignoring case.
    #[inline]
    pub fn host_is(&self, host: &str) -> bool {
        self.host_bytes().is_some_and(|own| own.eq_ignore_ascii_case(host.as_bytes()))
    }

    /// Sets a method by its token.
    ///
    /// # Errors
    /// [`TargetError::MethodInvalid`] if it isn't a token; nothing has changed then.
    pub fn set_method(&mut self, token: &str) -> Result<(), TargetError> {
        if !is_token(token.as_bytes()) {
            return Err(TargetError::MethodInvalid);
        }
        let method = Method::from_token(token.as_bytes());
        if method == Method::Other {
            self.parts.method = self.push(token)?;
        }
        self.method = method;
        Ok(())
    }

    /// Replaces the path and keeps the query; an absolute or asterisk target becomes origin-form.
    ///
    /// # Errors
    /// [`TargetError`]; nothing has changed then.
    pub fn set_path(&mut self, path: &str) -> Result<(), TargetError> {
        if !path.starts_with('/') || path.contains('?') {
            return Err(TargetError::NotAPath);
        }
        check_target(path)?;
        self.parts.path = self.push(path)?;
        self.parts.form = Form::Origin;
        Ok(())
    }

    /// Replaces the query; `None` drops it with its question mark.
    ///
    /// # Errors
    /// [`TargetError`]; nothing has changed then.
    pub fn set_query(&mut self, query: Option<&str>) -> Result<(), TargetError> {
        self.parts.query = match query {
            Some(query) => {
                check_target(query)?;
                Some(self.push(query)?)
            }
            None => None,
        };
        Ok(())
    }

    /// Replaces the whole target by an origin-form one.
    ///
    /// # Errors
    /// [`TargetError`]; nothing has changed then.
    pub fn set_target(&mut self, target: &str) -> Result<(), TargetError> {
        if !target.starts_with('/') {
            return Err(TargetError::NotAPath);
        }
        check_target(target)?;
        let span = self.push(target)?;
        let (start, end) = (span.start(), span.start() + span.len());
        let question = target.find('?').map(|at| start + at);
        self.parts.target = span;
        self.parts.path = Span::new(start, question.unwrap_or(end));
        self.parts.query = question.map(|at| Span::new(at + 1, end));
        self.parts.form = Form::Origin;
        self.parts.scheme = None;
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<Span, TargetError> {
        let start = self.line.len();
        if start + text.len() > LINE_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        self.line.push_str(text);
        Ok(Span::new(start, start + text.len()))
    }

    /// The parser's entry: `line` is everything before the first field, spans are into it.
    #[inline]
    pub(crate) fn begin(&mut self, line: &str, version: Version, method: Method, parts: Parts) {
        self.line.clear();
        self.line.push_str(line);
        self.version = version;
        self.method = method;
        self.parts = parts;
    }

    /// HTTP/2's entry: appends checked text for [`RequestHead::begin_parts`] to point at. The
    /// decoder's limits keep it far below [`LINE_BYTES_MAX`].
    #[inline]
    pub(crate) fn push_text(&mut self, text: &str) -> Span {
        let start = self.line.len();
        self.line.push_str(text);
        Span::new(start, start + text.len())
    }

    /// HTTP/2's entry: what was asked, as spans into what [`RequestHead::push_text`] was given.
    #[inline]
    pub(crate) fn begin_parts(&mut self, version: Version, method: Method, parts: Parts) {
        self.version = version;
        self.method = method;
        self.parts = parts;
    }

    /// Text of the line that [`RequestHead::begin`] was given.
    #[inline]
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Method and target as they came and with one space between, if that is also how they would be
    /// written now.
    pub(crate) fn unchanged_line(&self) -> Option<&[u8]> {
        let Parts { method, path, query, form, .. } = self.parts;
        let end = match query {
            Some(query) if query.start() == path.end() + 1 => query.end(),
            Some(_) => return None,
            None => path.end(),
        };
        let line = self.line.as_bytes();
        if query.is_some() && line.get(path.end()) != Some(&b'?') {
            return None;
        }
        // The method is a public field and may have been set since.
        let unchanged = form == Form::Origin
            && method.start() == 0
            && path.start() == method.end() + 1
            && path.len() > 0
            && line.get(method.end()) == Some(&b' ')
            && line.get(..method.end())? == self.method_str().as_bytes();
        if unchanged { line.get(..end) } else { None }
    }

    /// The target's own authority, if its form has one.
    #[inline]
    pub(crate) fn target_authority(&self) -> Option<Span> {
        self.parts.authority
    }

    /// Splits the borrow: the parser copies the target's authority into Host.
    pub(crate) fn line_and_headers(&mut self) -> (&str, &mut Headers) {
        (&self.line, &mut self.headers)
    }

    #[inline]
    pub(crate) fn resume(&self) -> usize {
        self.resume
    }

    #[inline]
    pub(crate) fn set_resume(&mut self, at: usize) {
        self.resume = at;
    }
}

fn check_target(text: &str) -> Result<(), TargetError> {
    if text.bytes().all(is_target_byte) { Ok(()) } else { Err(TargetError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_head_is_a_plain_get() {
        let head = RequestHead::new();
        assert_eq!(
            (head.method_str(), head.target(), head.path(), head.query()),
            ("GET", "/", "/", None)
        );
        assert_eq!(head.host(), None);
    }

    #[test]
    fn setters_refuse_what_could_split_the_request_line() {
        let mut head = RequestHead::new();
        for bad in ["/a b", "/a\r\nX: y", "/\0", "/ä", "/a#b", "/\t"] {
            assert_eq!(head.set_path(bad), Err(TargetError::Invalid), "{bad:?}");
            assert_eq!(head.set_target(bad), Err(TargetError::Invalid), "{bad:?}");
            assert_eq!(head.set_query(Some(bad)), Err(TargetError::Invalid), "{bad:?}");
        }
        assert_eq!(head.set_path("a"), Err(TargetError::NotAPath));
        assert_eq!(head.set_path("/a?b"), Err(TargetError::NotAPath));
        assert_eq!(head.set_method("GET /"), Err(TargetError::MethodInvalid));
        assert_eq!(head.path(), "/");
    }

    #[test]
    fn rewriting_the_path_keeps_query_and_target() {
        let mut head = RequestHead::new();
        head.set_target("/a/b?x=1?y").unwrap();
        head.set_path("/b").unwrap();
        assert_eq!((head.path(), head.query(), head.target()), ("/b", Some("x=1?y"), "/a/b?x=1?y"));
        head.set_query(None).unwrap();
        assert_eq!(head.query(), None);
        head.set_method("PURGE").unwrap();
        assert_eq!((head.method, head.method_str()), (Method::Other, "PURGE"));
    }

    /// Setters leave pieces side by side that look like a line as it came.
    #[test]
    fn only_a_line_as_it_came_is_unchanged() {
        let mut head = RequestHead::new();
        assert_eq!(head.unchanged_line(), None);
        head.set_method("PURGE").unwrap();
        head.set_query(Some("x")).unwrap();
        head.set_path("/a").unwrap();
        assert_eq!((head.line(), head.unchanged_line()), ("PURGEx/a", None));

        let line = "PUT /a?b HTTP/1.1\r\n";
        let parts = Parts {
            method: Span::new(0, 3),
            target: Span::new(4, 8),
            path: Span::new(4, 6),
            query: Some(Span::new(7, 8)),
            ..Parts::default()
        };
        let came = || {
            let mut head = RequestHead::new();
            head.begin(line, Version::Http11, Method::Put, parts);
            assert_eq!(head.unchanged_line(), Some(&b"PUT /a?b"[..]));
            head
        };
        let mut head = came();
        head.set_query(None).unwrap();
        assert_eq!(head.unchanged_line(), Some(&b"PUT /a"[..]));
        head.set_path("/c").unwrap();
        assert_eq!(head.unchanged_line(), None);
        let mut head = came();
        head.method = Method::Get;
        assert_eq!(head.unchanged_line(), None);
        let mut head = came();
        head.set_query(Some("c")).unwrap();
        assert_eq!(head.unchanged_line(), None);
    }

    #[test]
    fn host_drops_port_and_final_dot() {
        let mut head = RequestHead::new();
        head.headers.set("Host", "A.example.:8080").unwrap();
        assert_eq!((head.host(), head.port()), (Some("A.example"), Some(8080)));
        assert!(head.host_is("a.EXAMPLE"));
    }
}
