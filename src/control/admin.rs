//! The admin API on a unix socket and the dashboard's address on TCP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200, [`Status`] as JSON |
//! | `POST /v1/reload` | 200 with `generation`, `changes`, `warnings`; 422 with `problems` |
//! | `POST /v1/stop?drain=D` | 202; `D` is `true` (as configured), `false` or a duration |
//! | `POST /v1/log/reopen` | 200; 500 with `error` |
//! | `GET /metrics` | 200, text |
//! | `GET /healthz` | 200 `serving`, 503 otherwise |
//!
//! The unix socket has them all, the TCP address the last two only: it may be reachable by others.
//! Handlers hold nothing of the process; each sends a `Command` to the control loop and waits for
//! its reply. Heads are at most [`HEAD_BYTES_MAX`], bodies are never read, connections are bounded in
//! number and life.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    base::units::parse_duration,
    control::{
        metrics::TextFormat,
        node::{Phase, ReloadError, Reloaded, Stop},
        status::Status,
    },
};

pub mod socket;

/// Longest request head; hyper wants at least 8 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a head may take, and an idle connection may wait for its next request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the control loop may take to answer. A reload of a large config is the slowest.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may live, whatever it does.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(120);

/// Connections of one listener at one time; more wait in the kernel's backlog.
pub const CONNECTIONS_MAX: u32 = 32;

/// Commands waiting for the control loop.
pub(super) const COMMANDS_MAX: usize = 64;

const _: () =
    assert!(CONNECTIONS_MAX as usize * 2 <= COMMANDS_MAX, "each connection waits for one reply");

/// What the control loop is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Metrics(TextFormat, oneshot::Sender<String>),
    Reload(oneshot::Sender<Result<Reloaded, ReloadError>>),
    Stop(Stop, oneshot::Sender<()>),
    ReopenLogs(oneshot::Sender<Result<(), String>>),
    /// From outside of HTTP.
    Signal(Signal),
    /// Time to take a sample.
    Sample,
    /// The process stands elsewhere.
    Phase(Phase),
}

/// A signal of the operating system, by what it means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Reload,
    Drain,
    Interrupt,
    ReopenLogs,
}

/// What a handler needs.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// The answer to a reload that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// Number of the snapshot that runs now.
    pub generation: u64,
    /// What changed, a line each.
    pub changes: Vec<String>,
    /// What is likely not meant, a line each.
    pub warnings: Vec<String>,
}

/// The answer to anything that didn't work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
    /// Details, a line each; of a reload: the config's errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Everything, for the unix socket.
pub(super) fn admin_router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/stop", post(stop))
        .route("/v1/log/reopen", post(reopen_logs))
        .merge(watching())
        .fallback(unknown)
        .with_state(api)
}

/// What anybody may see, for the TCP address.
pub(super) fn dashboard_router(api: Api) -> Router {
    watching().fallback(unknown).with_state(api)
}

fn watching() -> Router<Api> {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz))
}

impl Api {
    /// Sends a command and waits for its reply.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Response> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(REPLY_TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(failure(StatusCode::SERVICE_UNAVAILABLE, "the process is stopping")),
            Err(_) => Err(failure(StatusCode::GATEWAY_TIMEOUT, "the control thread is busy")),
        }
    }
}

fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Failure { error: error.into(), problems: Vec::new() })).into_response()
}

async fn status(State(api): State<Api>) -> Result<Json<Status>, Response> {
    api.ask(Command::Status).await.map(Json)
}

async fn reload(State(api): State<Api>) -> Result<Json<ReloadAnswer>, Response> {
    match api.ask(Command::Reload).await? {
        Ok(Reloaded { generation, changes, warnings, .. }) => {
            Ok(Json(ReloadAnswer { generation, changes, warnings }))
        }
        Err(ReloadError { problems }) => {
            let error = "the configuration has errors; nothing was changed".to_owned();
            let answer = Json(Failure { error, problems });
            Err((StatusCode::UNPROCESSABLE_ENTITY, answer).into_response())
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopQuery {
    drain: Option<String>,
}

async fn stop(
    State(api): State<Api>,
    Query(query): Query<StopQuery>,
) -> Result<StatusCode, Response> {
    let how = match query.drain.as_deref() {
        None | Some("" | "true") => Stop::Drain(None),
        Some("false") => Stop::Now,
        Some(text) => match parse_duration(text) {
            Ok(duration) => Stop::Drain(Some(duration)),
            Err(error) => {
                let text = format!("drain: {error}; `true` and `false` are fine, too");
                return Err(failure(StatusCode::BAD_REQUEST, text));
            }
        },
    };
    api.ask(|reply| Command::Stop(how, reply)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn reopen_logs(State(api): State<Api>) -> Result<StatusCode, Response> {
    let done = api.ask(Command::ReopenLogs).await?;
    done.map_err(|error| failure(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(StatusCode::OK)
}

async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Response> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = TextFormat::from_accept(accept);
    let text = api.ask(|reply| Command::Metrics(format, reply)).await?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn healthz(State(api): State<Api>) -> Response {
    let phase = *api.phase.borrow();
    let status = match phase {
        Phase::Serving => StatusCode::OK,
        Phase::Starting | Phase::Draining | Phase::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{}\n", phase.name())).into_response()
}

async fn unknown(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    failure(StatusCode::NOT_FOUND, format!("no such thing: {method} {path}"))
}

/// Serves one connection until it ends, is too slow or too old.
pub(super) async fn serve<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client's fault is no news; ours are answered with a status.
    let _ended: Result<_, _> = timeout(CONNECTION_LIFE_MAX, connection).await;
}
