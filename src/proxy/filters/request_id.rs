//! `request_id`: gives every request an id that the endpoint, the client and the log see.

use crate::{
    config::IdTrust,
    proxy::{Error, Filter, Handler, Request, Response, forwarded::remove_lookalikes},
};

/// Sets the id header on the request and on its response.
#[derive(Debug, Clone)]
pub struct RequestIdFilter {
    header: String,
    trust: IdTrust,
}

impl RequestIdFilter {
    /// Uses `header`; keeps an incoming id as `trust` says.
    #[must_use]
    pub fn new(header: &str, trust: IdTrust) -> Self {
        Self { header: header.to_owned(), trust }
    }
}

impl Default for RequestIdFilter {
    /// `x-request-id`, a new id for every request.
    fn default() -> Self {
        Self::new("x-request-id", IdTrust::Nobody)
    }
}

impl Filter for RequestIdFilter {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        remove_lookalikes(&mut req.headers, &[&self.header]);
        let is_kept = self.trust == IdTrust::TrustedProxies
            && req.is_from_trusted_proxy()
            && req.headers.get(&self.header).is_some_and(is_sane);
        if is_kept {
            let mut id = crate::proxy::recycle::take_bytes();
            id.extend_from_slice(req.headers.get(&self.header).unwrap_or_default());
            if let Ok(text) = std::str::from_utf8(&id) {
                req.keep_id(text);
            }
            let result = self.answer(req, next, &id).await;
            crate::proxy::recycle::give_bytes(id);
            return result;
        }
        let id = req.id().text();
        req.headers.set(&self.header, id.as_bytes())?;
        self.answer(req, next, id.as_bytes()).await
    }
}

impl RequestIdFilter {
    /// What `next` answers, with the id; an error page gets it where it is made.
    async fn answer(
        &self,
        req: &mut Request,
        next: &impl Handler,
        id: &[u8],
    ) -> Result<Response, Error> {
        match next.handle(req).await {
            Ok(mut res) => {
                res.headers.set(&self.header, id)?;
                Ok(res)
            }
            Err(error) => {
                req.name_id_field(&self.header);
                Err(error)
            }
        }
    }
}

/// Whether a foreign id may go into logs and headers: short and printable.
fn is_sane(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.iter().all(u8::is_ascii_graphic)
}

/// Longest foreign id that is kept.
const ID_BYTES_MAX: usize = 128;
