//! The binary in the balancer's namespace: its configuration, and what it says of itself.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use ringway::{control::status::Status, runtime::now_uncached, xdp::Action};

use crate::net::Net;

/// A running ringway in the balancer's namespace; killed when dropped.
pub(crate) struct Product {
    child: Child,
    pub(crate) folder: PathBuf,
}

/// What differs between the tests' configurations.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) mode: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) vip: SocketAddr,
    pub(crate) protocol: &'static str,
    /// More of the listener.
    pub(crate) listener: String,
    pub(crate) endpoints: Vec<String>,
    /// More of `[xdp]`.
    pub(crate) xdp: String,
    /// The shards of `[runtime]`.
    pub(crate) shards: &'static str,
    /// More of `[runtime]`.
    pub(crate) runtime: &'static str,
    /// More of the upstream.
    pub(crate) upstream: &'static str,
}

impl Setup {
    /// A listener whose packets have this action, in front of all three reals.
    pub(crate) fn new(action: Action, vip: SocketAddr) -> Self {
        let (listener, port) = match action {
            Action::Dsr => ("forward = 'dsr'", 80),
            Action::Ipip => ("forward = 'ipip'", 80),
            Action::Nat => ("forward = 'nat'", 8080),
            Action::Local => ("", 8080),
        };
        let net = if vip.is_ipv4() { "10.77.0." } else { "[fd77::" };
        let close = if vip.is_ipv4() { "" } else { "]" };
        let endpoints = [11, 12, 13].map(|last| format!("{net}{last}{close}:{port}"));
        Self {
            mode: "native",
            interface: "eth0",
            vip,
            protocol: "tcp",
            listener: listener.to_owned(),
            endpoints: endpoints.to_vec(),
            xdp: String::new(),
            shards: "shards = 1\npin = false",
            runtime: "",
            upstream: "",
        }
    }

    pub(crate) fn text(&self, folder: &Path) -> String {
        let Self { mode, interface, vip, protocol, listener, endpoints, .. } = self;
        let Self { xdp, shards, runtime, upstream, .. } = self;
        let admin = folder.join("admin.sock");
        format!(
            "version = 1
[runtime]
{shards}
{runtime}
[admin]
listen = 'unix:{}'
[xdp]
mode = '{mode}'
interface = '{interface}'
flows = 10_000
{xdp}
[listener.front]
address = '{vip}'
protocol = '{protocol}'
{listener}
[[route]]
name = 'front'
listener = 'front'
upstream = 'reals'
[upstream.reals]
endpoints = {endpoints:?}
{upstream}
",
            admin.display()
        )
    }
}

impl Product {
    /// Starts it and waits until every endpoint can be sent to.
    pub(crate) fn start(net: &Net, setup: &Setup) -> Self {
        let product = Self::spawn(net, setup);
        product.settle(setup.endpoints.len());
        product
    }

    pub(crate) fn spawn(net: &Net, setup: &Setup) -> Self {
        Self::spawn_by(net, setup, &[])
    }

    /// The same by a command in front of it, such as one that takes capabilities away.
    pub(crate) fn spawn_by(net: &Net, setup: &Setup, before: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-xdp-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let config = folder.join("ringway.toml");
        fs::write(&config, setup.text(&folder)).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = net.inside("lb", || {
            let words = [before, &[BINARY, "run", "-c"]].concat();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(&config).stdout(Stdio::null()).stderr(log);
            command.spawn().unwrap()
        });
        Self { child, folder }
    }

    pub(crate) fn verb(&self, verb: &[&str]) -> std::process::Output {
        let config = self.folder.join("ringway.toml");
        Command::new(BINARY).args(verb).arg("-c").arg(config).output().unwrap()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        let output = self.verb(&["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits until the status is as it is to be.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Status) -> bool) {
        let give_up = now_uncached() + Duration::from_secs(20);
        while !self.status().is_some_and(|status| is_so(&status)) {
            let log = self.log();
            assert!(now_uncached() < give_up, "{what}: {:#?}\n{log}", self.status());
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    pub(crate) fn settle(&self, endpoints: usize) {
        self.wait("endpoints can be sent to", |status| {
            let known = &status.xdp.as_ref().unwrap().endpoints;
            known.len() == endpoints && known.iter().all(|own| own.fault.is_empty())
        });
    }

    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        let xdp = self.status().unwrap().xdp.unwrap();
        xdp.endpoints.into_iter().map(|own| (own.address.to_string(), own.state)).collect()
    }

    pub(crate) fn reload(&self, setup: &Setup) {
        fs::write(self.folder.join("ringway.toml"), setup.text(&self.folder)).unwrap();
        let output = self.verb(&["reload"]);
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        assert!(self.verb(&["stop"]).status.success());
        let status = self.exit();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// How it ends, which it does soon.
    pub(crate) fn exit(&mut self) -> std::process::ExitStatus {
        let give_up = now_uncached() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(now_uncached() < give_up, "still running: {}", self.log());
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// What every thread says of itself in its status.
    pub(crate) fn threads(&self) -> Vec<BTreeMap<String, String>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        };
        tasks
            .map(|task| {
                let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
                text.lines().map(field).collect()
            })
            .collect()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_ringway");
