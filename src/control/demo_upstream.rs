//! The small upstreams of `ringway demo`: an HTTP server on a loopback port that says its name,
//! and can be killed and comes back.
//!
//! Each is a thread with a tokio runtime of its own, so that killing one closes its listener and
//! all its connections at once, as the death of a process would.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    routing::{get, post},
};
use tokio::sync::Notify;

/// Starts an upstream named `name` on `port` of 127.0.0.1, or on another port when that is taken.
/// It ends with the process.
///
/// # Errors
/// No port could be bound, or no thread started.
pub fn start(name: &'static str, port: u16) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name(format!("upstream-{name}")).spawn(move || {
        let mut listener = Some(listener);
        loop {
            if let Err(error) = live(name, address, listener.take()) {
                tracing::warn!(name, %address, %error, "demo upstream cannot serve");
            }
        }
    })?;
    Ok(address)
}

/// One life: serves until it is killed, then stays dead for a while.
fn live(name: &'static str, address: SocketAddr, listener: Option<TcpListener>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = match listener {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)?
            }
            None => {
                tokio::time::sleep(DEAD_FOR).await;
                tokio::net::TcpListener::bind(address).await?
            }
        };
        let killed = Arc::new(Notify::new());
        let router = router(name, Arc::clone(&killed));
        tokio::select! {
            result = axum::serve(listener, router) => result,
            () = killed.notified() => {
                // Long enough for the answer to the killer to leave.
                tokio::time::sleep(FAREWELL).await;
                Ok(())
            }
        }
    })
    // Dropping the runtime drops every connection.
}

fn router(name: &'static str, killed: Arc<Notify>) -> Router {
    let kill = move || async move {
        killed.notify_one();
        format!("{name} dies now and comes back in {} s\n", DEAD_FOR.as_secs())
    };
    let hello = move |request: Request| async move {
        format!("hello from {name}: {} {}\n", request.method(), request.uri())
    };
    Router::new()
        .route("/kill", post(kill))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(hello)
}

/// How long a killed upstream stays away.
const DEAD_FOR: Duration = Duration::from_secs(20);
const FAREWELL: Duration = Duration::from_millis(20);
