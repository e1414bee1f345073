//! The file of a Unix socket: made, protected, removed.
//!
//! It is made under another name, protected, then moved: there's no moment at which its name is
//! missing or others may connect than its mode says. It goes with its [`SocketFile`], unless it is
//! another's by then.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// A socket's file; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum SocketFileError {
    /// Somebody answers there.
    InUse,
    /// A file of another kind is there.
    NotASocket,
    /// The system refused.
    Io(io::Error),
}

/// Who may answer at a path that is to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: a socket that is answered at stays.
    Nobody,
    /// A socket of ours, which is to be replaced.
    Ours,
}

impl SocketFile {
    /// Binds and listens, non-blocking. A socket file that nobody answers at is replaced. A missing
    /// directory is made: `/run/ringway` is gone after a boot.
    pub(crate) fn bind(
        path: &Path,
        mode: u32,
        holder: Holder,
    ) -> Result<(UnixListener, Self), SocketFileError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketFileError::NotASocket);
            }
            Ok(_) if holder == Holder::Nobody && UnixStream::connect(path).is_ok() => {
                return Err(SocketFileError::InUse);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(path),
            Err(error) => return Err(SocketFileError::Io(error)),
        }
        let unfinished = path.with_file_name(format!(".{}", std::process::id()));
        let listener = bind_protected(&unfinished, mode).map_err(SocketFileError::Io)?;
        let named = fs::rename(&unfinished, path).and_then(|()| fs::symlink_metadata(path));
        let metadata = named.map_err(|error| {
            remove(&unfinished);
            SocketFileError::Io(error)
        })?;
        let identity = (metadata.dev(), metadata.ino());
        Ok((listener, Self { path: path.to_owned(), identity }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours {
            remove(&self.path);
        }
    }
}

fn bind_protected(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // Left over by a process of our id that died in between.
    remove(path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// If it can't be made, binding says why.
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
