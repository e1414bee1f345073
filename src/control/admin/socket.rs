//! Where the admin API and the dashboard listen: binding, who may connect, accepting.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::unix::net::UnixListener as StdUnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};

use crate::control::{
    admin::{CONNECTIONS_MAX, serve},
    socket_file::{Holder, SocketFile, SocketFileError},
};

/// Why an address of the control thread can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("admin socket `{}`: another process listens there; stop it, or set another [admin] listen", .0.display())]
    InUse(PathBuf),
    /// A file of another kind is there.
    #[error("admin socket `{}`: exists and isn't a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("admin socket `{}`: {error}", path.display())]
    Unix {
        /// Of the socket.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// The system refused.
    #[error("dashboard address `{address}`: {error}")]
    Tcp {
        /// That was asked for.
        address: SocketAddr,
        /// What it said.
        #[source]
        error: io::Error,
    },
}

/// A bound unix socket; its file goes when this is dropped, unless it is another's by then.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: StdUnixListener,
    file: SocketFile,
}

impl AdminSocket {
    /// Binds with mode 0600. A socket file that nobody answers on is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        let bound = SocketFile::bind(path, 0o600, Holder::Nobody);
        let (listener, file) = bound.map_err(|error| match error {
            SocketFileError::InUse => BindError::InUse(path.to_owned()),
            SocketFileError::NotASocket => BindError::NotASocket(path.to_owned()),
            SocketFileError::Io(error) => BindError::Unix { path: path.to_owned(), error },
        })?;
        Ok(Self { listener, file })
    }

    /// Accepts for ever, at most as many connections at a time as there are permits. Must be called
    /// inside a `LocalSet`.
    pub(crate) async fn run(self, router: Router, permits: Arc<Semaphore>) {
        let Self { listener, file: _file } = self;
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the admin socket can't be used");
                return;
            }
        };
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) if may_command(&stream) => {
                    let router = router.clone();
                    tokio::task::spawn_local(async move {
                        serve(stream, router).await;
                        drop(permit);
                    });
                }
                Ok(_) => {}
                Err(error) => pause_after(&error, "admin socket").await,
            }
        }
    }
}

/// Whether who connected may command us: root, or who we are. The mode of the file says the same;
/// this holds also where the file was made accessible, or descriptors were passed on.
fn may_command(stream: &UnixStream) -> bool {
    let Some(own) = own_uid() else { return false };
    match stream.peer_cred() {
        Ok(cred) if cred.uid() == 0 || cred.uid() == own => true,
        Ok(cred) => {
            let (uid, pid) = (cred.uid(), cred.pid());
            tracing::warn!(uid, pid, "refused a connection to the admin socket");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a connection to the admin socket");
            false
        }
    }
}

/// The effective user id, as the kernel notes it on a socket of ours. (`/proc/self` belongs to root
/// after privileges were dropped.)
fn own_uid() -> Option<u32> {
    let (stream, _other_end) = UnixStream::pair().ok()?;
    stream.peer_cred().ok().map(|cred| cred.uid())
}

/// Binds the dashboard's address.
pub(crate) fn bind_dashboard(address: SocketAddr) -> Result<StdTcpListener, BindError> {
    let bind = || {
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| BindError::Tcp { address, error })
}

/// Accepts for ever. Must be called inside a `LocalSet`.
pub(crate) async fn run_dashboard(listener: StdTcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the dashboard can't be served");
            return;
        }
    };
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::task::spawn_local(async move {
                    serve(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => pause_after(&error, "dashboard").await,
        }
    }
}

/// Out of descriptors, most likely: trying at once would spin.
async fn pause_after(error: &io::Error, place: &'static str) {
    tracing::warn!(%error, place, "can't accept");
    tokio::time::sleep(Duration::from_secs(1)).await;
}
