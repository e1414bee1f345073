//! The `ringway` binary: the command line, and nothing else.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
