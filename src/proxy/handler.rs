//! The framework's two traits: a [`Handler`] answers a request, a [`Filter`] stands before one.
//!
//! A tuple of filters is a filter, `Option<F>` is a filter, and `Box<dyn DynFilter>` is one for
//! plug-ins whose type is known only at run time. The static forms compile to one future without
//! boxing; the dynamic form takes its futures from the runtime's pool, not from the heap.

use std::future::Future;

use super::{error::Error, request::Request, response::Response};
use crate::runtime::PooledFuture;

/// Answers a request. Returns at the response's head; the body still flows afterwards.
///
/// *Cancel safety*: the future is dropped when the client goes away or a deadline passes. Whatever
/// must be undone belongs into a guard's `Drop`.
pub trait Handler {
    /// Answers `req`.
    ///
    /// # Errors
    /// An [`Error`] becomes a status and an error page at the downstream's edge.
    fn handle(&self, req: &mut Request) -> impl Future<Output = Result<Response, Error>>;
}

/// One step before a [`Handler`]: changes the request, asks `next` or answers itself, changes the
/// response on its way back.
pub trait Filter {
    /// Filters `req`; `next` is everything behind this filter.
    ///
    /// # Errors
    /// What `next` fails with, or the filter's own refusal.
    fn filter(
        &self,
        req: &mut Request,
        next: &impl Handler,
    ) -> impl Future<Output = Result<Response, Error>>;

    /// Puts this filter before `handler`.
    fn around<H: Handler>(self, handler: H) -> Around<Self, H>
    where
        Self: Sized,
    {
        Around { filter: self, handler }
    }
}

/// A handler with a filter before it; made by [`Filter::around`].
#[derive(Debug, Clone)]
pub struct Around<F, H> {
    filter: F,
    handler: H,
}

impl<F: Filter, H: Handler> Handler for Around<F, H> {
    fn handle(&self, req: &mut Request) -> impl Future<Output = Result<Response, Error>> {
        self.filter.filter(req, &self.handler)
    }
}

/// The rest of a chain as a handler: `filter`, then `next`.
#[derive(Debug)]
pub struct Next<'a, F: ?Sized, H: ?Sized> {
    filter: &'a F,
    next: &'a H,
}

impl<F: Filter, H: Handler> Handler for Next<'_, F, H> {
    fn handle(&self, req: &mut Request) -> impl Future<Output = Result<Response, Error>> {
        self.filter.filter(req, self.next)
    }
}

/// No filter at all.
impl Filter for () {
    fn filter(
        &self,
        req: &mut Request,
        next: &impl Handler,
    ) -> impl Future<Output = Result<Response, Error>> {
        next.handle(req)
    }
}

impl<F: Filter> Filter for Option<F> {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        match self {
            Some(filter) => filter.filter(req, next).await,
            None => next.handle(req).await,
        }
    }
}

impl<F: Filter> Filter for std::rc::Rc<F> {
    fn filter(
        &self,
        req: &mut Request,
        next: &impl Handler,
    ) -> impl Future<Output = Result<Response, Error>> {
        (**self).filter(req, next)
    }
}

impl<H: Handler> Handler for std::rc::Rc<H> {
    fn handle(&self, req: &mut Request) -> impl Future<Output = Result<Response, Error>> {
        (**self).handle(req)
    }
}

/// Nests `$next` under the filters from right to left, then runs the first.
macro_rules! chain {
    ($req:ident, $next:expr; $first:expr) => { $first.filter($req, $next).await };
    ($req:ident, $next:expr; $first:expr, $($rest:expr),+) => {
        $first.filter($req, &chain!(@tail $next; $($rest),+)).await
    };
    (@tail $next:expr; $last:expr) => { Next { filter: $last, next: $next } };
    (@tail $next:expr; $head:expr, $($rest:expr),+) => {
        Next { filter: $head, next: &chain!(@tail $next; $($rest),+) }
    };
}

macro_rules! tuple_filter {
    ($($name:ident . $index:tt),+) => {
        impl<$($name: Filter),+> Filter for ($($name,)+) {
            async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
                chain!(req, next; $(&self.$index),+)
            }
        }
    };
}
tuple_filter!(A.0);
tuple_filter!(A.0, B.1);
tuple_filter!(A.0, B.1, C.2);
tuple_filter!(A.0, B.1, C.2, D.3);
tuple_filter!(A.0, B.1, C.2, D.3, E.4);
tuple_filter!(A.0, B.1, C.2, D.3, E.4, F.5);
tuple_filter!(A.0, B.1, C.2, D.3, E.4, F.5, G.6);
tuple_filter!(A.0, B.1, C.2, D.3, E.4, F.5, G.6, H.7);

/// A [`Handler`] behind a pointer. Every handler is one.
pub trait DynHandler {
    /// See [`Handler::handle`].
    fn handle_dyn<'a>(&'a self, req: &'a mut Request) -> PooledFuture<'a, Result<Response, Error>>;
}

impl<H: Handler> DynHandler for H {
    fn handle_dyn<'a>(&'a self, req: &'a mut Request) -> PooledFuture<'a, Result<Response, Error>> {
        PooledFuture::new(self.handle(req))
    }
}

impl Handler for &dyn DynHandler {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        (**self).handle_dyn(req).await
    }
}

impl Handler for Box<dyn DynHandler> {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        (**self).handle_dyn(req).await
    }
}

/// A [`Filter`] behind a pointer, for plug-ins. Every filter is one.
pub trait DynFilter {
    /// See [`Filter::filter`].
    fn filter_dyn<'a>(
        &'a self,
        req: &'a mut Request,
        next: &'a dyn DynHandler,
    ) -> PooledFuture<'a, Result<Response, Error>>;
}

impl<F: Filter> DynFilter for F {
    fn filter_dyn<'a>(
        &'a self,
        req: &'a mut Request,
        next: &'a dyn DynHandler,
    ) -> PooledFuture<'a, Result<Response, Error>> {
        PooledFuture::new(async move { self.filter(req, &next).await })
    }
}

impl Filter for Box<dyn DynFilter> {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        (**self).filter_dyn(req, next).await
    }
}

/// A list whose length and types are known only at run time: the first filter sees the request
/// first.
impl Filter for Vec<Box<dyn DynFilter>> {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        Listed { filters: self, next }.handle(req).await
    }
}

/// The filters of a list that are left, then `next`.
struct Listed<'a> {
    filters: &'a [Box<dyn DynFilter>],
    next: &'a dyn DynHandler,
}

impl Handler for Listed<'_> {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        match self.filters.split_first() {
            Some((first, rest)) => {
                first.filter_dyn(req, &Self { filters: rest, next: self.next }).await
            }
            None => self.next.handle_dyn(req).await,
        }
    }
}
