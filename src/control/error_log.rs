//! The error log: what the process has to say, one line an event.
//!
//! `2026-11-24T14:56:02.123456Z  WARN endpoint is unhealthy upstream=app endpoint=10.0.0.1:80 …`
//!
//! Written at once by whoever speaks, in one `write`, to stderr or a file opened for appending. Data
//! of clients may be in an event: controls are shown as `\xHH`, so that no request can forge a line.
//! Libraries below us are heard from `warn` up, whatever the level.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use tokio::sync::watch;
use tracing::Level;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    reload,
};

use crate::{
    config::{ErrorLog, LogLevel, LogPath},
    control::access_log,
};

/// Steers the error log after its start.
#[derive(Debug)]
pub struct ErrorLogHandle {
    file: watch::Sender<Arc<File>>,
    filter: reload::Handle<Targets, Registry>,
    config: ErrorLog,
}

/// Why there's no error log.
#[derive(Debug, thiserror::Error)]
pub enum ErrorLogError {
    /// The file can't be opened.
    #[error("error log {0}")]
    Open(#[from] io::Error),
    /// This process has a subscriber already.
    #[error("error log: another one is in use in this process")]
    InUse,
}

/// Opens the log and makes it the one that `tracing`'s macros of the whole process write to.
///
/// # Errors
/// When the file can't be opened, or a subscriber is there already.
pub fn init(config: &ErrorLog) -> Result<ErrorLogHandle, ErrorLogError> {
    let (subscriber, handle) = build(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| ErrorLogError::InUse)?;
    Ok(handle)
}

/// The subscriber by itself, for whoever doesn't want it to be the process's.
///
/// # Errors
/// When the file can't be opened.
pub fn build(
    config: &ErrorLog,
) -> Result<(impl tracing::Subscriber + Send + Sync + use<>, ErrorLogHandle), ErrorLogError> {
    let file = watch::Sender::new(Arc::new(access_log::open(&config.path)?));
    let (filter, handle) = reload::Layer::new(filter_of(config.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(Lines(file.subscribe()))
        .with_filter(filter);
    let subscriber = Registry::default().with(lines);
    Ok((subscriber, ErrorLogHandle { file, filter: handle, config: config.clone() }))
}

impl ErrorLogHandle {
    /// Applies a changed `[log] error`. On an error the old file stays in use.
    ///
    /// # Errors
    /// When the new file can't be opened.
    pub fn apply(&mut self, config: &ErrorLog) -> io::Result<()> {
        if config.path != self.config.path {
            self.file.send_replace(Arc::new(access_log::open(&config.path)?));
            self.config.path = config.path.clone();
        }
        if config.level != self.config.level {
            // Fails only if the subscriber is gone, and then nobody listens.
            if self.filter.reload(filter_of(config.level)).is_ok() {
                self.config.level = config.level;
            }
        }
        Ok(())
    }

    /// Opens the file again under its name, for log rotation. On an error the old file stays in
    /// use.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn reopen(&self) -> io::Result<()> {
        if matches!(self.config.path, LogPath::File(_)) {
            self.file.send_replace(Arc::new(access_log::open(&self.config.path)?));
        }
        Ok(())
    }
}

fn filter_of(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = LevelFilter::from_level(level.min(Level::WARN));
    Targets::new().with_default(others).with_target("ringway", level)
}

/// Gives each event the file of the moment.
struct Lines(watch::Receiver<Arc<File>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Arc::clone(&self.0.borrow()))
    }
}

/// Writes one event as one line.
struct Line(Arc<File>);

impl Write for Line {
    /// The subscriber hands over a whole event with its newline in one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let is_plain = |byte: &u8| *byte >= 0x20 && *byte != 0x7f;
        if body.iter().all(is_plain) {
            (&*self.0).write_all(event)?;
        } else {
            let mut line = Vec::with_capacity(event.len() + 16);
            for byte in body {
                match byte {
                    b'\n' => line.extend_from_slice(b"\\n"),
                    byte if is_plain(byte) => line.push(*byte),
                    byte => write!(line, "\\x{byte:02x}")?,
                }
            }
            line.push(b'\n');
            (&*self.0).write_all(&line)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, process};

    fn temporary(name: &str) -> std::path::PathBuf {
        env::temp_dir().join(format!("ringway-{name}-{}.log", process::id()))
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let path = temporary("error-lines");
        let config = ErrorLog { path: LogPath::File(path.clone()), level: LogLevel::Info };
        let (subscriber, _handle) = build(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(upstream = "app", "endpoint is unhealthy");
            tracing::info!("a\nb\r\u{1b}[31m");
            tracing::debug!("not this");
        });
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].ends_with("WARN endpoint is unhealthy upstream=\"app\""), "{text}");
        assert!(lines[0].starts_with("20") && lines[0].contains("Z "), "{text}");
        assert!(lines[1].contains("INFO a\\nb\\x0d\\x1b[31m"), "{text}");
    }

    #[test]
    fn a_reopened_log_goes_on_under_its_name_and_takes_a_new_level() {
        let (path, rotated) = (temporary("error-reopen"), temporary("error-rotated"));
        let config = ErrorLog { path: LogPath::File(path.clone()), level: LogLevel::Error };
        let (subscriber, mut handle) = build(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("one");
            fs::rename(&path, &rotated).unwrap();
            tracing::error!("two");
            handle.reopen().unwrap();
            tracing::error!("three");
            tracing::info!("too quiet");
            handle.apply(&ErrorLog { level: LogLevel::Info, ..config.clone() }).unwrap();
            tracing::info!("four");
        });
        let (old, new) =
            (fs::read_to_string(&rotated).unwrap(), fs::read_to_string(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::remove_file(&rotated).unwrap();
        assert!(old.contains("one") && old.contains("two") && old.lines().count() == 2, "{old}");
        assert!(new.contains("three") && new.contains("four"), "{new}");
        assert!(new.lines().count() == 2, "{new}");
    }

    #[test]
    fn a_log_that_cannot_be_opened_says_which() {
        let path = LogPath::File("/nonexistent/ringway.log".into());
        let error = build(&ErrorLog { path, level: LogLevel::Info }).err().unwrap().to_string();
        assert!(error.starts_with("error log /nonexistent/ringway.log: "), "{error}");
    }
}
