//! Talks to the admin API of a running ringway: what `ringway status`, `reload` and `stop` use.
//!
//! Each call opens one connection, waits at most [`ANSWER_TIMEOUT`], and blocks its thread.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use crate::{
    base::units::format_duration,
    control::{
        admin::{Failure, REPLY_TIMEOUT, ReloadAnswer},
        node::Stop,
        status::Status,
    },
};

/// How long an answer may take: longer than the other side lets itself take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest answer. A status of ten thousand endpoints has about 3 MiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(ANSWER_TIMEOUT.as_secs() > REPLY_TIMEOUT.as_secs());

/// The admin API behind one socket.
#[derive(Debug, Clone)]
pub struct AdminClient {
    path: PathBuf,
}

/// Why there's no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no ringway answers at unix:{} ({reason}): is it running? `ringway run -c FILE` listens there \
         when FILE says `[admin] listen = \"unix:{}\"`", path.display(), path.display()
    )]
    Unreachable {
        /// Of the socket.
        path: PathBuf,
        /// `no such file`, `connection refused`.
        reason: &'static str,
    },
    /// We may not connect, or were shown the door.
    #[error("unix:{} lets only root and the user that ringway runs as in", .0.display())]
    Denied(PathBuf),
    /// It did not do what was asked, and says why.
    #[error("{}", refusal(.0))]
    Refused(Failure),
    /// It took too long.
    #[error("unix:{} did not answer within {}", .0.display(), format_duration(ANSWER_TIMEOUT))]
    Late(PathBuf),
    /// Something else is at the other end.
    #[error("unix:{} answers, but not as a ringway of this version does: {reason}", path.display())]
    Strange {
        /// Of the socket.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The system refused a thread's means.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl ClientError {
    /// Whether the process was reached at all.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

fn refusal(failure: &Failure) -> String {
    let mut text = failure.error.clone();
    for problem in &failure.problems {
        text.push('\n');
        text.push_str(problem);
    }
    text
}

impl AdminClient {
    /// Names the socket; doesn't connect yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `GET /v1/status`
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn status(&self) -> Result<Status, ClientError> {
        self.decode(&self.call(Method::GET, "/v1/status")?)
    }

    /// `POST /v1/reload`
    ///
    /// # Errors
    /// [`ClientError`]; `Refused` holds the errors of the config.
    pub fn reload(&self) -> Result<ReloadAnswer, ClientError> {
        self.decode(&self.call(Method::POST, "/v1/reload")?)
    }

    /// `POST /v1/stop`; returns when the process has begun to stop.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn stop(&self, how: Stop) -> Result<(), ClientError> {
        let query = match how {
            Stop::Drain(None) => "/v1/stop?drain=true".to_owned(),
            Stop::Drain(Some(limit)) => format!("/v1/stop?drain={}", format_duration(limit)),
            Stop::Now => "/v1/stop?drain=false".to_owned(),
        };
        self.call(Method::POST, &query).map(drop)
    }

    /// `POST /v1/log/reopen`
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn reopen_logs(&self) -> Result<(), ClientError> {
        self.call(Method::POST, "/v1/log/reopen").map(drop)
    }

    /// `GET /metrics`, Prometheus text.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn metrics(&self) -> Result<String, ClientError> {
        let text = self.call(Method::GET, "/metrics")?;
        String::from_utf8(text.into()).map_err(|error| self.strange(error))
    }

    fn decode<T: DeserializeOwned>(&self, answer: &Bytes) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| self.strange(error))
    }

    fn strange(&self, reason: impl ToString) -> ClientError {
        ClientError::Strange { path: self.path.clone(), reason: reason.to_string() }
    }

    fn call(&self, method: Method, uri: &str) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = async { timeout(ANSWER_TIMEOUT, self.exchange(method, uri)).await };
        let late = |_| ClientError::Late(self.path.clone());
        let (status, body) = runtime.block_on(asked).map_err(late)??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(failure) => Err(ClientError::Refused(failure)),
            Err(_) => Err(self.strange(format!("status {status}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        uri: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| self.unconnected(e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.strange(error))?;
        // Ends with the runtime at the latest; its errors also come out of the sender.
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "ringway")
            .header("connection", "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.strange(error))?;
        let response = sender.send_request(request).await.map_err(|error| {
            // Closed without a word: that is how the other side treats strangers.
            if is_closed(&error) {
                ClientError::Denied(self.path.clone())
            } else {
                self.strange(error)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.strange(error))?.to_bytes();
        driver.abort();
        Ok((status, body))
    }

    fn unconnected(&self, error: io::Error) -> ClientError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::NotFound => ClientError::Unreachable { path, reason: "no such file" },
            io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable { path, reason: "connection refused" }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied(path),
            _ => self.strange(error),
        }
    }
}

/// Whether the other side hung up: seen while we read, or, when it was quicker, while we wrote.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return true;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
            return matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected);
        }
        source = cause.source();
    }
    false
}
