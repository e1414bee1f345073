//! `ringway reload`: makes a running ringway read its config file again.

use std::io::Write;

use ringway::control::client::AdminClient;

use crate::cli::{AdminArgs, Error};

/// Prints what changed.
pub(super) fn reload(args: &AdminArgs, out: &mut impl Write) -> Result<(), Error> {
    let answer = AdminClient::new(args.socket()?).reload()?;
    for warning in &answer.warnings {
        writeln!(out, "{warning} (warning)")?;
    }
    for change in &answer.changes {
        writeln!(out, "{change}")?;
    }
    let nothing = if answer.changes.is_empty() { ", nothing changed" } else { "" };
    writeln!(out, "reloaded: generation {}{nothing}", answer.generation)?;
    Ok(())
}
