//! `ringway check -c FILE`: whether a configuration is right, without starting anything.
//!
//! Reads the file, what it includes and the certificates that it names, opens no socket and asks no
//! endpoint. What is wrong is returned for the caller to print; what is likely not meant is told
//! beside the good news.

use std::io::{self, Write};
use std::path::Path;

use ringway::{
    config::{self, Config, ConfigErrors},
    server,
};

/// Why a verb over a configuration failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigVerbError {
    /// The configuration is wrong: every problem with its place, one a line.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The answer could not be written.
    #[error("the answer can't be written: {0}")]
    Output(#[from] io::Error),
}

/// Checks the file and writes one line about it, after the warnings.
pub(crate) fn check(path: &Path, out: &mut impl Write) -> Result<(), ConfigVerbError> {
    let config = config::load(path)?;
    let about_files = server::check_files(&config)?;
    for warning in config.warnings.iter().chain(&about_files) {
        writeln!(out, "{warning} (warning)")?;
    }
    writeln!(out, "{}: ok, {}", path.display(), summary(&config))?;
    Ok(())
}

/// "2 listeners, 3 routes, 1 upstream with 3 endpoints, 0 filters".
pub(crate) fn summary(config: &Config) -> String {
    let endpoints = config.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum();
    format!(
        "{}, {}, {} with {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.upstreams.len(), "upstream"),
        count(endpoints, "endpoint"),
        count(config.filters.len(), "filter"),
    )
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(name: &str, text: &str) -> Result<String, String> {
        let name = format!("ringway-check-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let result = check(&path, &mut out);
        std::fs::remove_file(&path).unwrap();
        let folder = format!("{}/", std::env::temp_dir().display());
        let told = |text: String| {
            text.replace(&folder, "").replace(&std::process::id().to_string(), "PID")
        };
        result
            .map(|()| told(String::from_utf8(out).unwrap()))
            .map_err(|error| told(error.to_string()))
    }

    #[test]
    fn a_right_file_is_summed_up() {
        let text = "version = 1\n[listener.web]\naddress = '127.0.0.1:80'\n[[route]]\nname = 'a'\nrespond = {}\n";
        let expected = "ringway-check-right-PID.toml: ok, 1 listener, 1 route, 0 upstreams with 0 endpoints, 0 filters\n";
        assert_eq!(check_text("right", text).unwrap(), expected);
    }

    #[test]
    fn warnings_come_first() {
        let told = check_text("warned", "version = 1\n[listener.web]\naddress = '127.0.0.1:80'\n")
            .unwrap();
        let first = "ringway-check-warned-PID.toml:1:1: there is no route; every request gets 404 (warning)";
        assert_eq!(told.lines().next(), Some(first));
    }

    #[test]
    fn a_wrong_file_gives_every_problem() {
        let told = check_text(
            "wrong",
            "version = 1\n[listener.web]\nadress = '127.0.0.1:80'\nalpn = 'h3'\n",
        )
        .unwrap_err();
        assert_eq!(
            told,
            "ringway-check-wrong-PID.toml:3:1: listener `web`: `adress` isn't a key; did you mean `address`?
ringway-check-wrong-PID.toml:4:8: listener `web`: alpn `h3` is not supported yet"
        );
    }
}
