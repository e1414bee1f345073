//! What the process may do: more descriptors, and another user after binding.

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{User, geteuid, initgroups, setgid, setuid},
};

use super::Error;

/// Raises the soft limit on open files to the hard one: a proxy needs two per connection.
pub(super) fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "RLIMIT_NOFILE raised to the hard limit"),
        Err(error) => {
            tracing::warn!(%error, "cannot raise RLIMIT_NOFILE; `ringway doctor` tells more");
        }
    }
}

/// The user of that name.
pub(super) fn find_user(name: &str) -> Result<User, Error> {
    let wrong = |reason: String| Error::User { user: name.to_owned(), reason };
    User::from_name(name)
        .map_err(|error| wrong(error.to_string()))?
        .ok_or_else(|| wrong("there is no such user; `getent passwd` lists them".to_owned()))
}

/// Becomes `user` for good: groups, group, user.
pub(super) fn become_user(user: &User) -> Result<(), Error> {
    let name = &*user.name;
    let wrong = |reason: String| Error::User { user: name.to_owned(), reason };
    if geteuid() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(wrong("only root can; start as root or leave `runtime.user` out".to_owned()));
    }
    let name_c = std::ffi::CString::new(name).map_err(|error| wrong(error.to_string()))?;
    initgroups(&name_c, user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|error| wrong(error.to_string()))?;
    tracing::info!(user = name, uid = user.uid.as_raw(), "privileges dropped");
    Ok(())
}
