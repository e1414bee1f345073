//! The handler that a config describes: route, the route's filters, then its action.
//!
//! Made of the public pieces only: [`Router`], the built-in filters, [`Forward`], [`Respond`],
//! [`Redirect`]. One per shard and config.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    client::Scheme,
    deadline,
    error::Error,
    filters::{BuiltIn, Edits, HeaderFilter, RateLimit, RequestIdFilter},
    forward::{Forward, ForwardOptions},
    handler::{Filter, Handler},
    request::Request,
    respond::{self, Redirect, Respond},
    response::Response,
    router::Router,
    shard::Shard,
    snapshot::Snapshot,
};
use crate::{
    config::{Action, FilterConfig, FilterKind, Piece, Rewrite, RouteConfig, Template, Variable},
    protocol::http::{Status, uri::normalized_path},
    runtime::PooledFuture,
};

/// A config's routes with everything behind them.
#[derive(Debug)]
pub struct Pipeline {
    snapshot: Arc<Snapshot>,
    router: Router,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    filters: Vec<BuiltIn>,
    rewrite: Rewrite,
    request_edits: Edits,
    response_edits: Edits,
    action: Terminal,
    has_edits: bool,
    /// Its action is all there is: no filter, no edit, no rewrite, no bound.
    is_bare: bool,
    /// A template uses `${path.rest}`.
    wants_rest: bool,
    /// Bounds the whole exchange.
    total: Option<Duration>,
}

#[derive(Debug)]
enum Terminal {
    Forward(Box<Forward>),
    Respond(Respond),
    Redirect(Redirect),
}

impl Pipeline {
    /// The pipeline of `snapshot` on `shard`.
    ///
    /// # Errors
    /// A status in the config that cannot be sent; [`crate::config`] lets none through.
    pub fn new(snapshot: &Arc<Snapshot>, shard: &Rc<Shard>) -> Result<Self, Error> {
        let config = &snapshot.config;
        let routes = config.routes.iter().map(|route| Route::new(route, snapshot, shard));
        Ok(Self {
            router: Router::new(&config.routes),
            routes: routes.collect::<Result<_, _>>()?,
            snapshot: Arc::clone(snapshot),
        })
    }
}

impl Pipeline {
    /// The route of `req`, which is told what it matched.
    fn route(&self, req: &mut Request) -> Result<&Route, Error> {
        let listener = req.listener().index();
        let found = self.router.find(listener, req.head())?.ok_or(Error::NoRoute)?;
        let id = found.route;
        let route = self.routes.get(id.0 as usize).ok_or(Error::NoRoute)?;
        req.trace.route = Some(id.0);
        if route.wants_rest
            && let Some(pattern) = found.path
        {
            let mut scratch = String::new();
            let path = normalized_path(req.path(), &mut scratch)?;
            req.path_rest = pattern.rest(path).unwrap_or_default().to_owned();
        }
        Ok(route)
    }
}

impl Handler for Pipeline {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        if let Some(port) = req.listener().redirect_https
            && req.scheme() == Scheme::Http
        {
            return respond::to_https(req, port);
        }
        let route = self.route(req)?;
        match &route.action {
            // Every layer between costs each request its part: a route that only forwards has none.
            Terminal::Forward(forward) if route.is_bare => forward.handle(req).await,
            _ => PooledFuture::new(route.run(req)).await,
        }
    }
}

impl Pipeline {
    /// The snapshot it was made from.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

/// The filters that are left, then the route.
struct Chain<'a> {
    filters: &'a [BuiltIn],
    route: &'a Route,
}

impl Handler for Chain<'_> {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        let Self { filters, route } = *self;
        let Some((filter, filters)) = filters.split_first() else { return route.handle(req).await };
        // A chain whose length is known only now nests futures of one type in themselves: the
        // pooled box breaks that circle.
        let rest = Chain { filters, route };
        PooledFuture::new(async move { filter.filter(req, &rest).await }).await
    }
}

impl Route {
    fn new(
        config: &RouteConfig,
        snapshot: &Arc<Snapshot>,
        shard: &Rc<Shard>,
    ) -> Result<Self, Error> {
        let status = |code| {
            Status::new(code).ok_or_else(|| Error::Internal(format!("status {code} of a route")))
        };
        let action = match &config.action {
            Action::Upstream(index) => {
                let options = ForwardOptions {
                    timeouts: config.timeouts.clone(),
                    retry: config.retry.clone(),
                    upgrade: config.upgrade,
                };
                let upstream = snapshot.upstreams.get(*index).ok_or_else(|| {
                    Error::Internal(format!("route `{}` names no upstream", config.name))
                })?;
                let forward = Forward::new(shard, upstream, options).named(snapshot, *index);
                Terminal::Forward(Box::new(forward))
            }
            Action::Respond { status: code, body, headers } => {
                Terminal::Respond(Respond::new(status(*code)?, headers.clone(), body.clone()))
            }
            Action::Redirect { to, status: code } => {
                Terminal::Redirect(Redirect::new(status(*code)?, to.clone()))
            }
        };
        let filters = config.filters.iter().filter_map(|index| {
            let filter = snapshot.config.filters.get(*index)?;
            Some(built_in(filter, snapshot, *index))
        });
        let request_edits = Edits::new(&config.request_headers);
        let response_edits = Edits::new(&config.response_headers);
        let filters: Vec<_> = filters.collect::<Result<_, _>>()?;
        let has_edits = !request_edits.is_empty() || !response_edits.is_empty();
        let total = config.timeouts.total;
        let is_as_it_came = !has_edits && config.rewrite.strip_prefix.is_none();
        Ok(Self {
            is_bare: is_as_it_came && filters.is_empty() && total.is_none(),
            filters,
            rewrite: config.rewrite.clone(),
            total,
            wants_rest: wants_rest(config),
            has_edits,
            request_edits,
            response_edits,
            action,
        })
    }

    /// Its filters and its action, within its bound.
    async fn run(&self, req: &mut Request) -> Result<Response, Error> {
        let whole = Chain { filters: &self.filters, route: self };
        match self.total {
            Some(total) => deadline::within(req, total, &whole).await,
            None => whole.handle(req).await,
        }
    }

    async fn act(&self, req: &mut Request) -> Result<Response, Error> {
        match &self.action {
            Terminal::Forward(forward) => forward.handle(req).await,
            Terminal::Respond(respond) => respond.handle(req).await,
            Terminal::Redirect(redirect) => redirect.handle(req).await,
        }
    }
}

impl Handler for Route {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        if let Some(prefix) = &self.rewrite.strip_prefix {
            strip_prefix(req, prefix)?;
        }
        if !self.has_edits {
            return self.act(req).await;
        }
        self.request_edits.apply_to_request(req)?;
        let mut res = self.act(req).await?;
        self.response_edits.apply_to_response(req, &mut res)?;
        Ok(res)
    }
}

/// Takes `prefix` off the path, at a segment's end only. The path that routes see is what counts:
/// `/api/../admin` doesn't begin with `/api`, and must not leave here as if it did.
fn strip_prefix(req: &mut Request, prefix: &str) -> Result<(), Error> {
    let mut scratch = String::new();
    let path = normalized_path(req.path(), &mut scratch)?;
    let stripped = match path.strip_prefix(prefix) {
        Some("") => "/".to_owned(),
        Some(rest) if rest.starts_with('/') => rest.to_owned(),
        Some(_) | None => return Ok(()),
    };
    req.rewrite_path(&stripped)
}

/// Whether any of the route's templates uses `${path.rest}`.
fn wants_rest(config: &RouteConfig) -> bool {
    let edits = [&config.request_headers, &config.response_headers];
    let values = edits.into_iter().flat_map(|edits| edits.set.iter().chain(&edits.add));
    let mut templates: Vec<&Template> = values.map(|(_, template)| template).collect();
    if let Action::Redirect { to, .. } = &config.action {
        templates.push(to);
    }
    let mut pieces = templates.into_iter().flat_map(|template| &template.pieces);
    pieces.any(|piece| matches!(piece, Piece::Variable(Variable::PathRest)))
}

fn built_in(config: &FilterConfig, snapshot: &Snapshot, index: usize) -> Result<BuiltIn, Error> {
    Ok(match &config.kind {
        FilterKind::RequestId { header, trust } => {
            BuiltIn::RequestId(RequestIdFilter::new(header, *trust))
        }
        FilterKind::RateLimit { .. } => {
            let table = snapshot.rate_tables.get(index).and_then(Option::as_ref);
            let table = table
                .ok_or_else(|| Error::Internal(format!("filter `{}` has no table", config.name)))?;
            BuiltIn::RateLimit(RateLimit::new(Arc::clone(table)))
        }
        FilterKind::Headers { request, response } => {
            BuiltIn::Headers(HeaderFilter::new(request, response))
        }
    })
}
