//! Programs that not every machine has. What isn't installed is passed over with a word on stderr;
//! where `RINGWAY_REAL` is set that is a failure.

use std::{
    env,
    io::{Write, stderr},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Output, Stdio},
    thread,
};

use crate::proxy::wire::PATIENCE;

/// Passes a test over.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os("RINGWAY_REAL").is_none(), "{what} is missing");
    drop(stderr().write_all(format!("skipped: {what} is missing\n").as_bytes()));
}

/// Whether `program` can be run.
pub(crate) fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|place| place.join(program).is_file())
}

/// Runs a client to its end with `input`.
pub(crate) fn ran(command: &mut Command, input: &[u8]) -> Output {
    let pipe = Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // One that has failed reads nothing.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// The same; it must succeed. What it wrote.
pub(crate) fn said(command: &mut Command, input: &[u8]) -> String {
    let output = ran(command, input);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server of somebody else's; killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it, and waits until it listens at `address`.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self(child.spawn().unwrap());
        let started = tokio::time::Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(server.0.try_wait().unwrap().is_none(), "the server has ended");
            assert!(started.elapsed() < PATIENCE, "the server doesn't listen");
            thread::yield_now();
        }
        server
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end, which a signal has asked for.
    pub(crate) fn wait(&mut self) {
        let asked = tokio::time::Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(asked.elapsed() < PATIENCE, "the server doesn't end");
            thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
