//! Ringway itself, as a process: started with a file, watched by its error log, stopped by signal.

use std::{
    cell::RefCell,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{self, Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ringway::control::{client::AdminClient, status::Status};

use super::{
    endpoint::spawn,
    wire::{PATIENCE, Wire},
};
use crate::scratch::Scratch;

/// What is under test: each claim is held on both.
pub(crate) const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// Holds `claim` on both drivers, at the same time.
pub(crate) fn on_both(claim: impl Fn(&'static str) + Sync) {
    thread::scope(|scope| {
        for driver in DRIVERS {
            let name = format!("on {driver}");
            let claim = &claim;
            thread::Builder::new().name(name).spawn_scoped(scope, move || claim(driver)).unwrap();
        }
    });
}

/// A configuration, most of which is the same in every test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    /// Lines of `[runtime]`.
    pub(crate) runtime: String,
    /// Lines of `[listener.web]`.
    pub(crate) listener: String,
    /// Lines of the route `all`, which takes everything.
    pub(crate) route: String,
    /// Lines of `[upstream.api]`.
    pub(crate) upstream: String,
    /// Its endpoints.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// More tables.
    pub(crate) more: String,
}

impl Plan {
    /// Everything goes to these endpoints, which are never ejected.
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Self {
        Self {
            shards: 1,
            endpoints: endpoints.to_vec(),
            upstream: "outlier = { consecutive_failures = 'off' }".to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listener = lines.to_owned();
        self
    }

    pub(crate) fn route(mut self, lines: &str) -> Self {
        self.route = lines.to_owned();
        self
    }

    pub(crate) fn more(mut self, tables: &str) -> Self {
        self.more = tables.to_owned();
        self
    }

    /// The file's text.
    pub(crate) fn text(&self, driver: &str, address: SocketAddr, scratch: &Scratch) -> String {
        let Self { shards, runtime, listener, route, upstream, endpoints, more } = self;
        let admin = scratch.path("admin.sock");
        let mut text = format!(
            "version = 1\n[runtime]\nshards = {shards}\npin = false\nio_driver = '{driver}'\n\
             {runtime}\n[admin]\nlisten = 'unix:{}'\n[listener.web]\naddress = '{address}'\n\
             {listener}\n",
            admin.display()
        );
        if !endpoints.is_empty() {
            let list: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
            text += &format!(
                "[upstream.api]\nendpoints = [{}]\n{upstream}\n[[route]]\nname = 'all'\n\
                 upstream = 'api'\n{route}\n",
                list.join(", ")
            );
        }
        text + more + "\n"
    }

    /// Starts ringway with this.
    pub(crate) fn start(&self, driver: &'static str) -> Rig {
        Rig::start(self, driver)
    }
}

/// A running ringway; killed when dropped.
pub(crate) struct Rig {
    child: Child,
    log: mpsc::Receiver<String>,
    seen: RefCell<Vec<String>>,
    driver: String,
    pub(crate) scratch: Scratch,
    /// Of the listener `web`.
    pub(crate) address: SocketAddr,
}

impl Rig {
    fn start(plan: &Plan, driver: &str) -> Self {
        let scratch = Scratch::new();
        let file = scratch.path("ringway.toml");
        let address = own_address();
        fs::write(&file, plan.text(driver, address, &scratch)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["run", "-c", file.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = follow(child.stderr.take().unwrap());
        let seen = RefCell::default();
        let rig = Self { child, log, seen, driver: driver.to_owned(), scratch, address };
        // It listens before it hears signals: the phase comes last.
        rig.logged(&["phase=\"serving\""]);
        rig
    }

    /// Waits for a line of the error log that has all of `parts` and that no call has had before.
    #[track_caller]
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        let is_it = |line: &String| parts.iter().all(|part| line.contains(part));
        let mut seen = self.seen.borrow_mut();
        if let Some(at) = seen.iter().position(is_it) {
            return seen.remove(at);
        }
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else {
                panic!("no log line has {parts:?}: {seen:#?}");
            };
            if is_it(&line) {
                return line;
            }
            seen.push(line);
        }
    }

    /// Log lines so far with all of `parts`, without waiting.
    pub(crate) fn count_logged(&self, parts: &[&str]) -> usize {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.log.try_iter());
        seen.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// A new client.
    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::new(self.scratch.path("admin.sock"))
    }

    pub(crate) fn status(&self) -> Status {
        self.admin().status().unwrap()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.scratch.path("ringway.toml")
    }

    /// Writes another file; nothing reads it yet.
    pub(crate) fn rewrite(&self, plan: &Plan) {
        let text = plan.text(&self.driver, self.address, &self.scratch);
        // At once: a reader sees the old file or the new one.
        let next = self.scratch.path("next.toml");
        fs::write(&next, text).unwrap();
        fs::rename(&next, self.file()).unwrap();
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the process's end.
    pub(crate) fn exited(&mut self) -> ExitStatus {
        // The log ends with the process: waiting for that is bounded, `wait` isn't.
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.borrow_mut().push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("ringway still runs"),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.log.try_iter());
            // Not the macro: a broken stderr must not panic in a panic.
            drop(writeln!(io::stderr(), "log, {}:\n{}", self.driver, seen.join("\n")));
        }
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that no other test has: all of 127.0.0.0/8 is ours, so the process's number chooses
/// the host and a counter the port. (A port that the kernel gave could be taken meanwhile.)
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 64 | high & 63, middle, low], port))
}

fn follow(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (lines, log) = mpsc::channel();
    drop(spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    }));
    log
}

/// How long `work` takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = tokio::time::Instant::now();
    let result = work();
    (result, started.elapsed())
}
