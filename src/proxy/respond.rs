//! Routes that need no upstream: a fixed answer, and a redirect.

use bytes::Bytes;

use super::{
    error::Error, filters, handler::Handler, recycle, request::Request, response::Response,
};
use crate::{
    config::{HTTPS_PORT, Template},
    protocol::http::{Name, Status},
};

/// Answers every request with the same response.
#[derive(Debug, Clone)]
pub struct Respond {
    status: Status,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Respond {
    /// Answers with `status`, `headers` and `body`. Without a `content-type` among the headers a
    /// body is `text/plain; charset=utf-8`.
    #[must_use]
    pub fn new(status: Status, headers: Vec<(String, String)>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut headers = headers;
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            headers.push(("content-type".to_owned(), "text/plain; charset=utf-8".to_owned()));
        }
        Self { status, headers, body }
    }
}

impl Handler for Respond {
    async fn handle(&self, _req: &mut Request) -> Result<Response, Error> {
        let mut res = Response::new(self.status);
        for (name, value) in &self.headers {
            res.headers.append(name, value)?;
        }
        res.body = self.body.clone().into();
        Ok(res)
    }
}

/// Sends the client to the same place by HTTPS at `port`: a listener's `redirect_https`. 308 keeps
/// method and body (RFC 9110 §15.4.9).
pub(super) fn to_https(req: &Request, port: u16) -> Result<Response, Error> {
    let Some(host) = req.host().filter(|host| !host.is_empty()) else {
        return Err(Error::rejected(Status::BAD_REQUEST, "without Host there is no place to go"));
    };
    let mut location = format!("https://{host}");
    if port != HTTPS_PORT {
        location.push_str(&format!(":{port}"));
    }
    // `OPTIONS *` is about the host itself.
    location.push_str(if req.path() == "*" { "" } else { req.path() });
    if let Some(query) = req.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut res = Response::new(Status::PERMANENT_REDIRECT);
    res.headers.set_known(Name::Location, &location)?;
    Ok(res)
}

/// Sends the client elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    to: Template,
    status: Status,
}

impl Redirect {
    /// Redirects with `status` to what `to` expands to.
    #[must_use]
    pub fn new(status: Status, to: Template) -> Self {
        Self { to, status }
    }
}

impl Handler for Redirect {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        let mut location = recycle::take_bytes();
        filters::expand(&self.to, req, &mut location);
        let mut res = Response::new(self.status);
        let result = res.headers.set("location", &location);
        recycle::give_bytes(location);
        result?;
        Ok(res)
    }
}
