//! Header edits, as a filter of their own and as part of a route.

use std::borrow::Cow;

use crate::{
    config::{HeaderEdits, Piece, Template, Variable},
    protocol::http::{FieldError, Headers, forwarded::AddressText},
    proxy::{Error, Filter, Handler, Request, Response, recycle},
    transport::tls::Handshaken,
};

/// `type = "headers"`: edits the request on its way down and the response on its way up.
#[derive(Debug, Clone, Default)]
pub struct HeaderFilter {
    request: Edits,
    response: Edits,
}

impl HeaderFilter {
    /// Applies `request` and `response`.
    #[must_use]
    pub fn new(request: &HeaderEdits, response: &HeaderEdits) -> Self {
        Self { request: Edits::new(request), response: Edits::new(response) }
    }
}

impl Filter for HeaderFilter {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        self.request.apply_to_request(req)?;
        let mut res = next.handle(req).await?;
        self.response.apply_to_response(req, &mut res)?;
        Ok(res)
    }
}

/// A list of edits: first remove, then set, then add.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    remove: Vec<String>,
    set: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
}

impl Edits {
    /// The edits of a config table.
    #[must_use]
    pub fn new(config: &HeaderEdits) -> Self {
        Self { remove: config.remove.clone(), set: config.set.clone(), add: config.add.clone() }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Edits `req`'s header fields.
    ///
    /// # Errors
    /// The message would have too many or too large fields.
    pub fn apply_to_request(&self, req: &mut Request) -> Result<(), FieldError> {
        if self.is_empty() {
            return Ok(());
        }
        // Values may name what they edit, so they are made before the first edit is done.
        let values = self.values(req);
        self.apply(&mut req.headers, values)
    }

    /// Edits `res`'s header fields; values may name parts of `req`.
    ///
    /// # Errors
    /// The message would have too many or too large fields.
    pub fn apply_to_response(&self, req: &Request, res: &mut Response) -> Result<(), FieldError> {
        if self.is_empty() {
            return Ok(());
        }
        self.apply(&mut res.headers, self.values(req))
    }

    /// The values of `set` and `add`, one after the other.
    fn values(&self, req: &Request) -> Values {
        let mut values = Values { bytes: recycle::take_bytes(), ends: [0; EDITS_MAX] };
        for ((_, template), end) in self.set.iter().chain(&self.add).zip(&mut values.ends) {
            expand(template, req, &mut values.bytes);
            *end = values.bytes.len();
        }
        values
    }

    fn apply(&self, headers: &mut Headers, values: Values) -> Result<(), FieldError> {
        for name in &self.remove {
            headers.remove(name);
        }
        let starts = [0].into_iter().chain(values.ends);
        let mut values = starts.zip(values.ends).map(|(start, end)| values.bytes.get(start..end));
        for (name, _) in &self.set {
            headers.set(name, values.next().flatten().unwrap_or_default())?;
        }
        for (name, _) in &self.add {
            headers.append(name, values.next().flatten().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Expanded templates in one pooled vector.
struct Values {
    bytes: Vec<u8>,
    ends: [usize; EDITS_MAX],
}

impl Drop for Values {
    fn drop(&mut self) {
        recycle::give_bytes(std::mem::take(&mut self.bytes));
    }
}

/// Appends the template's text for `req`.
pub(in crate::proxy) fn expand(template: &Template, req: &Request, out: &mut Vec<u8>) {
    for piece in &template.pieces {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable(variable) => out.extend_from_slice(value(*variable, req).as_bytes()),
        }
    }
}

fn value(variable: Variable, req: &Request) -> Cow<'_, str> {
    match variable {
        Variable::Scheme => req.scheme().as_str().into(),
        Variable::Host => req.host().unwrap_or_default().into(),
        Variable::Path => req.path_received().into(),
        Variable::PathRest => req.path_rest().to_owned().into(),
        Variable::Query => match req.query() {
            Some(query) => format!("?{query}").into(),
            None => "".into(),
        },
        Variable::ClientIp => {
            let text = AddressText::new(req.client_ip());
            String::from_utf8_lossy(text.as_ref()).into_owned().into()
        }
        Variable::RequestId => req.id_text(),
        Variable::TlsVersion
        | Variable::TlsCipher
        | Variable::TlsSni
        | Variable::TlsAlpn
        | Variable::TlsResumed
        | Variable::TlsClientSubject => {
            req.tls().map_or_else(Cow::default, |tls| fact(variable, tls))
        }
    }
}

fn fact(variable: Variable, tls: &Handshaken) -> Cow<'_, str> {
    match variable {
        Variable::TlsVersion => tls.version.as_str().into(),
        Variable::TlsCipher => tls.cipher.into(),
        Variable::TlsSni => tls.server_name.as_deref().unwrap_or_default().into(),
        Variable::TlsAlpn => String::from_utf8_lossy(tls.alpn.as_deref().unwrap_or_default()),
        Variable::TlsResumed => if tls.is_resumed { "true" } else { "false" }.into(),
        Variable::TlsClientSubject => {
            tls.client.as_ref().map_or("", |client| &*client.subject).into()
        }
        _ => Cow::default(),
    }
}

/// Edits with values in one list; the config allows no more.
const EDITS_MAX: usize = 64;
