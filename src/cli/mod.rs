//! The command line: one file a verb. Parses, calls the library, prints, and maps what went wrong to
//! an exit code. Verbs write to a handle that is passed in, so that tests can read it.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use ringway::{config::ConfigErrors, control::client::ClientError, server};

mod cert;
mod check;
mod demo;
mod doctor;
mod print;
mod reload;
mod run;
mod status;
mod stop;
mod table;
mod xdp;

use check::ConfigVerbError;

const LONG_ABOUT: &str = "\
A load balancer on io_uring: HTTP/1.1 in front of your servers, one process, one pinned thread per core.

Try it, with no config and no other program:
  ringway demo

Balance over two servers, without a config file:
  ringway run --listen 0.0.0.0:8080 --to 10.0.0.1:80,10.0.0.2:80

Run it for real:
  ringway check -c /etc/ringway/ringway.toml
  ringway run   -c /etc/ringway/ringway.toml
  ringway status
  ringway reload";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed while running
  2  wrong arguments
  3  the configuration has errors
  4  the admin socket can't be reached
  5  this machine can't run it, such as io_uring refused while io_driver = \"io_uring\"

Signals of a running ringway:
  SIGHUP   reload          SIGTERM  drain, then stop
  SIGUSR1  reopen logs     SIGINT   drain for 5 s; a second one stops at once";

#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    about = "A load balancer on io_uring",
    long_about = LONG_ABOUT,
    after_help = EXIT_CODES,
    max_term_width = 100,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve: from a config file, or from two arguments.
    Run(run::RunArgs),
    /// Say whether a config file is right, and start nothing.
    Check(CheckArgs),
    /// Print the configuration with every default written out.
    Print(PrintArgs),
    /// Make a running ringway read its config file again.
    #[command(after_help = "Examples:\n  ringway reload\n  \
        ringway reload -c /etc/ringway/ringway.toml\n  \
        ringway reload --admin unix:/run/ringway/admin.sock\n\n\
        An invalid file changes nothing: its errors are printed and the exit code is 3.")]
    Reload(AdminArgs),
    /// Show what a running ringway does.
    Status(status::StatusArgs),
    /// Show certificates.
    Cert(cert::CertArgs),
    /// Stop a running ringway.
    Stop(stop::StopArgs),
    /// Look at this machine: what ringway needs, what it finds, what to do.
    Doctor(doctor::DoctorArgs),
    /// End what the fast path of a killed process has left.
    Xdp(xdp::XdpArgs),
    /// Run a load balancer over three small servers of its own, to try things on.
    #[command(after_help = "Example:\n  ringway demo\n\n\
        Listens on 127.0.0.1:8080 and prints what to try.")]
    Demo(demo::DemoArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringway check -c /etc/ringway/ringway.toml\n\n\
    Prints every error with its place, such as ringway.toml:3:16, and exits with 3 if there is one.")]
struct CheckArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringway print --effective -c ringway.toml > effective.toml\n\n\
    What is printed is a config file that means the same."
)]
struct PrintArgs {
    /// Print the configuration as it takes effect: includes resolved, defaults filled in.
    #[arg(long, required = true)]
    effective: bool,
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// How a verb finds the running ringway.
#[derive(Debug, Args)]
struct AdminArgs {
    /// The admin socket. Default: [admin] listen of the file given with -c, else
    /// unix:/run/ringway/admin.sock.
    #[arg(long, value_name = "unix:PATH", value_parser = parse_admin)]
    admin: Option<PathBuf>,
    /// A config file whose [admin] listen names the socket.
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

/// Where the admin socket is when nobody says.
const ADMIN_DEFAULT: &str = "/run/ringway/admin.sock";

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Admin(#[from] ClientError),
    #[error(
        "`{}` has no [admin] listen, so nothing says where the running ringway is reached; add one, or \
         use --admin unix:PATH", .0.display()
    )]
    NoAdmin(PathBuf),
    #[error("{0}")]
    Usage(String),
    #[error("the answer can't be written: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Server(#[from] server::Error),
    /// What is wrong has been printed.
    #[error("this machine can't run ringway as asked")]
    Unfit,
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Server(server::Error::Runtime { .. } | server::Error::Xdp(_)) | Self::Unfit => 5,
            Self::Failed(_) | Self::Output(_) | Self::Server(_) => 1,
            Self::Usage(_) | Self::NoAdmin(_) => 2,
            Self::Config(_) => 3,
            // A reload that was refused is about the config; the rest never got an answer.
            Self::Admin(ClientError::Refused(failure)) => {
                if failure.problems.is_empty() {
                    1
                } else {
                    3
                }
            }
            Self::Admin(_) => 4,
        }
    }
}

impl From<ConfigVerbError> for Error {
    fn from(error: ConfigVerbError) -> Self {
        match error {
            ConfigVerbError::Config(errors) => Self::Config(errors),
            ConfigVerbError::Output(error) => Self::Output(error),
        }
    }
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    // Not locked: `run` and `demo` live long, and other threads may want to write.
    let mut out = io::BufWriter::new(io::stdout());
    let result = dispatch(env::args_os(), &mut out);
    let flushed = out.flush();
    let code = match result {
        Ok(()) => match flushed {
            Ok(()) => 0,
            Err(error) => complain(&Error::Output(error)),
        },
        Err(Failure::Arguments(error)) => {
            // Help goes to stdout with 0, what is wrong to stderr with 2; clap knows.
            let code = if error.use_stderr() { 2 } else { 0 };
            if error.print().is_err() { 1 } else { code }
        }
        Err(Failure::Verb(error)) => complain(&error),
    };
    ExitCode::from(code)
}

/// Why nothing was done, or not enough.
#[derive(Debug)]
enum Failure {
    Arguments(clap::Error),
    Verb(Error),
}

fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let cli = Cli::try_parse_from(arguments).map_err(Failure::Arguments)?;
    let done = match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Check(args) => check::check(&args.config, out).map_err(Error::from),
        Verb::Print(args) => print::print_effective(&args.config, out).map_err(Error::from),
        Verb::Reload(args) => reload::reload(&args, out),
        Verb::Status(args) => status::status(&args, out),
        Verb::Cert(args) => cert::cert(&args, out),
        Verb::Stop(args) => stop::stop(&args, out),
        Verb::Doctor(args) => doctor::doctor(&args, out),
        Verb::Xdp(args) => xdp::xdp(&args, out),
        Verb::Demo(args) => demo::demo(&args),
    };
    done.map_err(Failure::Verb)
}

/// Says what went wrong; gives the exit code.
fn complain(error: &Error) -> u8 {
    // `ringway status | head` closes our stdout: nobody is there to be told.
    let is_closed_pipe =
        matches!(error, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe);
    if !is_closed_pipe && writeln!(io::stderr().lock(), "error: {error}").is_err() {
        return 1;
    }
    error.exit_code()
}

impl AdminArgs {
    /// The socket, from the argument, the file or the default.
    fn socket(&self) -> Result<PathBuf, Error> {
        if let Some(path) = &self.admin {
            return Ok(path.clone());
        }
        match &self.config {
            None => Ok(PathBuf::from(ADMIN_DEFAULT)),
            Some(file) => {
                let config = ringway::config::load(file)?;
                config.admin.listen.ok_or_else(|| Error::NoAdmin(file.clone()))
            }
        }
    }
}

/// `unix:/path`; a bare path is understood, too.
fn parse_admin(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(format!("`{text}` isn't a unix socket, such as unix:{ADMIN_DEFAULT}"))
    }
}

/// `ip:port`, or `:port` for every IPv4 address.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| match text.rsplit_once(':') {
        Some((name, port)) if is_name(name) && port.parse::<u16>().is_ok() => format!(
            "`{name}` is a name, and names aren't supported yet; give an address and port \
             (`getent hosts {name}` shows the address)"
        ),
        _ => format!("`{text}` isn't an address and port, such as 10.0.0.1:80, [::1]:80 or :8080"),
    })
}

/// Whether it looks like a host's name and not like an address gone wrong.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests;
