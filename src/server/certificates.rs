//! The files that listeners' `tls` tables name: read on the control thread, made ready for shards,
//! and with the ticket keys that outlive them.

use std::{sync::Arc, time::SystemTime};

use crate::{
    config::{Config, ConfigErrors, ListenerConfig, ListenerTls, Problem},
    runtime::wall_now_uncached,
    transport::tls::{self, Expiry, ServerTls, TicketKeys},
};

/// What a server keeps of TLS over reloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    tickets: TicketKeys,
}

/// The TLS of every listener, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) listeners: Vec<Option<Arc<ServerTls>>>,
    /// What works but is likely not meant, ready to print with its place.
    pub(super) warnings: Vec<String>,
}

impl Certificates {
    /// Reads what `config` names.
    pub(super) fn load(&mut self, config: &Config, expiry: Expiry) -> Result<Ready, ConfigErrors> {
        let now = wall_now_uncached();
        let mut ready = Ready { listeners: Vec::new(), warnings: Vec::new() };
        let mut problems = Vec::new();
        for listener in &config.listeners {
            let made = match &listener.tls {
                None => Ok(None),
                Some(tls) => {
                    self.listener(listener, tls, now, expiry, &mut ready.warnings).map(Some)
                }
            };
            match made {
                Ok(tls) => ready.listeners.push(tls),
                Err(wrong) => problems.extend(wrong),
            }
        }
        if problems.is_empty() { Ok(ready) } else { Err(errors(problems)) }
    }

    fn listener(
        &mut self,
        listener: &ListenerConfig,
        tls: &ListenerTls,
        now: SystemTime,
        expiry: Expiry,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<ServerTls>, Vec<Problem>> {
        let loaded = tls::load(tls, now, expiry)?;
        warnings.extend(loaded.warnings.iter().map(ToString::to_string));
        let built = ServerTls::build(listener, tls, &loaded, &mut self.tickets);
        built.map(Arc::new).map_err(|error| {
            let place = tls.certificates.first().map(|certificate| &certificate.cert);
            place.map(|file| file.problem(format!("can't be used: {error}"))).into_iter().collect()
        })
    }
}

/// Holds the files that `config` names against its rules, as a start and a reload would: for
/// `ringway check`. Returns what works but is likely not meant.
///
/// # Errors
/// Every file that is wrong, with the place that names it.
pub fn check_files(config: &Config) -> Result<Vec<String>, ConfigErrors> {
    let mut config = config.clone();
    for tls in config.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
        // A check writes nothing.
        tls.key_log = None;
    }
    Certificates::default().load(&config, Expiry::Refused).map(|ready| ready.warnings)
}

fn errors(mut problems: Vec<Problem>) -> ConfigErrors {
    let omitted = problems.len().saturating_sub(ConfigErrors::PROBLEMS_MAX);
    problems.truncate(ConfigErrors::PROBLEMS_MAX);
    ConfigErrors { problems, omitted }
}
