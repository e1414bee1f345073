//! The file of a Unix socket: made, protected, removed.
//!
//! It is made under another name, protected, then moved: there's no moment at which its name is
//! missing or others may connect than its mode says. It goes with its [`SocketFile`], unless it is
//! another's by then.

use std::{
    fs, io,
    os::fd::OwnedFd,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

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
        let bound = bind_protected(&unfinished, mode);
        let listener = bound.and_then(listen).map_err(SocketFileError::Io)?;
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

/// A socket that nobody can connect to yet: until its mode is set, the umask's holds.
fn bind_protected(path: &Path, mode: u32) -> io::Result<Socket> {
    // Left over by a process of our id that died in between.
    remove(path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<UnixListener> {
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
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

/// Connections that wait to be accepted, at most: as many as std has it.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_connects_before_the_file_is_protected() {
        let path = std::env::temp_dir().join(format!("ringway-socket-{}", std::process::id()));
        let socket = bind_protected(&path, 0o600).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let early = UnixStream::connect(&path);
        assert_eq!(early.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = listen(socket).unwrap();
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        remove(&path);
    }
}
