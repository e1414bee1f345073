//! What can go wrong between a configuration and a program on an interface.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

/// Why the fast path isn't there, or couldn't be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The object can't be loaded.
    #[error("cannot load the XDP program: {}", chain(.0))]
    Load(#[source] Box<EbpfError>),
    /// The verifier or the kernel refuses the program.
    #[error("the kernel refuses the XDP program: {}", chain(.0))]
    Program(#[source] Box<ProgramError>),
    /// The object lacks a program.
    #[error("the object has no program `{0}`")]
    NoProgram(&'static str),
    /// The object lacks a map.
    #[error("the object has no map `{0}`")]
    NoMap(&'static str),
    /// A map can't be read or written.
    #[error("map `{map}`: {}", chain(.source))]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<MapError>,
    },
    /// The program can't be attached.
    #[error("cannot attach to `{interface}` in {mode} mode: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode that was tried.
        mode: &'static str,
        /// Why, and what to do about it.
        reason: String,
    },
    /// The interface doesn't exist or can't be asked.
    #[error("interface `{interface}`: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A capability is missing.
    #[error("loading a program takes {0}, which this process hasn't; start as root")]
    Capability(&'static str),
    /// Pinned maps are of another version.
    #[error(
        "the maps pinned at {path} have layout version {found}, this ringway has {ours}: \
         run `ringway xdp detach` with the same configuration (flows are forgotten) and start again"
    )]
    Layout {
        /// Where.
        path: PathBuf,
        /// Theirs.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// A pinned thing can't be read, written or removed.
    #[error("{path}: {reason}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// More of something than there are rows.
    #[error("more than {max} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: u32,
    },
    /// The kernel refuses something else.
    #[error("{what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl XdpError {
    pub(super) fn map(map: &'static str, source: MapError) -> Self {
        Self::Map { map, source: Box::new(source) }
    }

    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

impl From<EbpfError> for XdpError {
    fn from(error: EbpfError) -> Self {
        Self::Load(Box::new(error))
    }
}

impl From<ProgramError> for XdpError {
    fn from(error: ProgramError) -> Self {
        Self::Program(Box::new(error))
    }
}

/// An error with its causes, in one line: aya tells the kernel's reason only in the last of them.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    // A verifier's log is thousands of lines; its end says what is wrong.
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.len() <= 6 { lines.join("; ") } else { lines[lines.len() - 6..].join("; ") }
}
