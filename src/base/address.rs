//! Where one listens and connects to: an IP address with a port, or a Unix socket.
//!
//! [`Address`] is as large as a `SocketAddr` and as cheap to copy, so that what is done per request
//! doesn't ask which kind it is. For that a path is kept for the life of the process, once: there
//! are as many as configurations have ever named.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::OnceLock,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a listener or an endpoint is: `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// By IP.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(UnixPath),
}

const _: () = assert!(size_of::<Address>() == size_of::<SocketAddr>());

/// The path of a Unix socket: absolute, at most [`UNIX_PATH_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixPath(&'static str);

/// A text that isn't the path of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnixPathError {
    /// It doesn't begin at the root, ends as a directory, or has a NUL in it.
    #[error("isn't the absolute path of a Unix socket, such as `unix:/run/app.sock`")]
    Syntax,
    /// The kernel takes no path as long as this.
    #[error("is too long: the path of a Unix socket has at most {UNIX_PATH_MAX} bytes")]
    TooLong,
}

/// `sun_path` of `sockaddr_un` less its final NUL.
pub const UNIX_PATH_MAX: usize = 107;

/// What stands for the address of a client that came by a Unix socket, where it has none. No TCP
/// connection comes from there. Written as `unix:`.
pub const UNIX_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// How [`UNIX_CLIENT`] is written.
pub const UNIX_CLIENT_TEXT: &str = "unix:";

impl Address {
    /// The IP address and port, if that is what it is.
    #[must_use]
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix(_) => None,
        }
    }

    /// What names it in a `Host` field and in TLS where nothing else is said; a Unix socket is
    /// `localhost`.
    #[must_use]
    pub fn host(self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl UnixPath {
    /// The path of a Unix socket.
    ///
    /// # Errors
    /// See [`UnixPathError`].
    pub fn new(path: &str) -> Result<Self, UnixPathError> {
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            return Err(UnixPathError::Syntax);
        }
        if path.len() > UNIX_PATH_MAX {
            return Err(UnixPathError::TooLong);
        }
        Ok(Self(kept(path)))
    }

    /// As text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(UnixPath::new(path)?)),
            None => Ok(Self::Ip(text.parse().map_err(|_| AddressError::Ip)?)),
        }
    }
}

/// A text that isn't an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `unix:` nor an IP address with a port.
    #[error("isn't an address, such as `127.0.0.1:80` or `unix:/run/app.sock`")]
    Ip,
    /// Something is wrong behind `unix:`.
    #[error(transparent)]
    Unix(#[from] UnixPathError),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.0),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'d> Deserialize<'d> for Address {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The one copy of `path` that lives as long as the process: in a list that only grows.
fn kept(path: &str) -> &'static str {
    struct Kept {
        path: Box<str>,
        next: OnceLock<Box<Self>>,
    }
    static FIRST: OnceLock<Box<Kept>> = OnceLock::new();
    let mut place = &FIRST;
    loop {
        let kept =
            place.get_or_init(|| Box::new(Kept { path: path.into(), next: OnceLock::new() }));
        if &*kept.path == path {
            return &kept.path;
        }
        place = &kept.next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["127.0.0.1:80", "[2001:db8::1]:443", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let longest = format!("unix:/{}", "x".repeat(UNIX_PATH_MAX - 1));
        assert!(longest.parse::<Address>().is_ok());
        let too_long = (longest + "x").parse::<Address>();
        assert_eq!(too_long, Err(AddressError::Unix(UnixPathError::TooLong)));
        for text in ["", "80", "/run/app.sock", "unix:", "unix:app.sock", "unix:/run/", "unix:/a\0"]
        {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_path_is_kept_once() {
        let [one, same, other] =
            ["/run/a", "/run/a", "/run/b"].map(|text| UnixPath::new(text).unwrap());
        assert!(std::ptr::eq(one.as_str(), same.as_str()));
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
