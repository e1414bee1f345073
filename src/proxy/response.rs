//! A response on its way back through the filters.

use std::ops::{Deref, DerefMut};

use super::{body::Body, recycle::Pooled, upload::Upload};
use crate::protocol::http::{ResponseHead, Status};

/// A response: its head (`res.status`, `res.headers`, through deref) and its body.
#[derive(Debug)]
pub struct Response {
    head: Pooled<ResponseHead>,
    /// The body; still on the wire when it comes from an upstream.
    pub body: Body,
    /// The rest of the request's body, still on its way to the upstream.
    pub(super) upload: Option<Upload>,
    /// An upload runs beside the response.
    pub(super) has_upload: bool,
    /// What Content-Length says of a body that isn't there (HEAD, 304).
    pub(super) announced_length: Option<u64>,
}

impl Response {
    /// An empty response.
    #[must_use]
    pub fn new(status: Status) -> Self {
        let mut head = Pooled::<ResponseHead>::take();
        head.status = status;
        Self::from_head(head, Body::empty())
    }

    /// A response of plain text.
    #[must_use]
    pub fn text(status: Status, body: impl Into<Body>) -> Self {
        let mut response = Self::new(status).with("content-type", "text/plain; charset=utf-8");
        response.body = body.into();
        response
    }

    pub(super) fn from_head(head: Pooled<ResponseHead>, body: Body) -> Self {
        Self { head, body, upload: None, has_upload: false, announced_length: None }
    }

    /// Sets a header field. A name or value that cannot be written (a line break in it, say)
    /// leaves the field out and logs a warning; `self.headers.set` tells instead.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Err(error) = self.head.headers.set(name, value) {
            tracing::warn!(name, %error, "response header left out");
        }
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }
}

impl Deref for Response {
    type Target = ResponseHead;
    fn deref(&self) -> &ResponseHead {
        &self.head
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut ResponseHead {
        &mut self.head
    }
}
