//! `ringway xdp detach`: ends what a process with `crash = "keep"` has left on an interface.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use ringway::{
    config::{self, Crash, XdpConfig, XdpMode},
    xdp::unpin,
};

use crate::cli::Error;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringway xdp detach --interface eth0\n  \
    ringway xdp detach -c /etc/ringway/ringway.toml")]
pub(super) struct XdpArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take the program off its interface that a killed process with crash = "keep" has left there.
    #[command(after_help = "Examples:\n  ringway xdp detach --interface eth0\n  \
        ringway xdp detach -c /etc/ringway/ringway.toml\n\n\
        Forwarding stops and its flows are forgotten. A stop does this by itself. Needs root.")]
    Detach(DetachArgs),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
struct DetachArgs {
    /// The interface, with the default of xdp.pins.
    #[arg(long, value_name = "NAME", group = "where")]
    interface: Option<String>,
    /// The config file that the process had.
    #[arg(short, long, value_name = "FILE", group = "where")]
    config: Option<PathBuf>,
}

/// Does it, and says what was there.
pub(super) fn xdp(args: &XdpArgs, out: &mut impl Write) -> Result<(), Error> {
    let What::Detach(args) = &args.what;
    let pins = pins(args)?;
    let folder = pins.display();
    if unpin(&pins).map_err(|error| Error::Failed(error.to_string()))? {
        writeln!(out, "detached, and {folder} removed")?;
    } else {
        writeln!(out, "nothing is pinned at {folder}")?;
    }
    Ok(())
}

fn pins(args: &DetachArgs) -> Result<PathBuf, Error> {
    if let Some(interface) = &args.interface {
        if interface.contains('/') {
            let message = format!("`{interface}` isn't the name of an interface, such as eth0");
            return Err(Error::Usage(message));
        }
        return Ok(XdpConfig::new(interface.clone(), XdpMode::Auto).pins);
    }
    let Some(path) = &args.config else {
        return Err(Error::Usage("--interface or --config is missing".to_owned()));
    };
    match config::load(path)?.xdp {
        Some(xdp) if xdp.crash == Crash::Keep => Ok(xdp.pins),
        _ => Err(Error::Usage(format!(
            "`{}` has no [xdp] with crash = \"keep\", so nothing is left behind",
            path.display()
        ))),
    }
}
