//! Where the admin API and the dashboard listen: binding, who may connect, accepting.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};

use crate::control::admin::{CONNECTIONS_MAX, serve};

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
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    listener: StdUnixListener,
}

impl AdminSocket {
    /// Binds with mode 0600. A socket file that nobody answers on is replaced.
    ///
    /// The file is made under another name, protected, then moved: there's no moment at which its
    /// name is missing or others may connect.
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |error| BindError::Unix { path: path.to_owned(), error };
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) if StdUnixStream::connect(path).is_ok() => {
                return Err(BindError::InUse(path.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(path),
            Err(error) => return Err(failed(error)),
        }
        let unfinished = path.with_extension(format!("{}.new", std::process::id()));
        let listener = bind_protected(&unfinished).map_err(failed)?;
        let named = fs::rename(&unfinished, path).and_then(|()| fs::symlink_metadata(path));
        let metadata = named.map_err(|error| {
            remove(&unfinished);
            failed(error)
        })?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), identity, listener })
    }

    /// Accepts for ever, at most as many connections at a time as there are permits. Must be called
    /// inside a `LocalSet`.
    pub(crate) async fn run(self, router: Router, permits: Arc<Semaphore>) {
        let listener = self.listener.try_clone().and_then(UnixListener::from_std);
        let listener = match listener {
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

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours {
            remove(&self.path);
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

fn bind_protected(path: &Path) -> io::Result<StdUnixListener> {
    // Left over by a process of our id that died in between.
    remove(path);
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// `/run/ringway` is gone after a boot. If it can't be made, binding says why.
fn make_directory(path: &Path) {
    if let Some(directory) = path.parent()
        && let Err(error) = fs::DirBuilder::new().mode(0o755).create(directory)
    {
        tracing::debug!(%error, directory = %directory.display(), "no directory made");
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "not removed");
    }
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
