//! Programs that not every machine has. What isn't installed is passed over with a word on stderr;
//! where `RINGWAY_REAL` is set that is a failure.

use std::{
    io::{Write, stderr},
    process::Command,
};

/// Passes a test over.
pub(crate) fn missing(what: &str) {
    assert!(std::env::var_os("RINGWAY_REAL").is_none(), "{what} is missing");
    drop(stderr().write_all(format!("skipped: {what} is missing\n").as_bytes()));
}

/// Whether `program` can be run.
pub(crate) fn is_there(program: &str) -> bool {
    Command::new(program).arg("version").output().is_ok()
}
