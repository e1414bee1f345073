//! `ringway demo`: a load balancer over three small servers of its own, in one process.

use crate::cli::Error;

/// Runs until it is stopped.
pub(super) fn demo() -> Result<(), Error> {
    Err(Error::Failed("this build has no server yet".to_owned()))
}
