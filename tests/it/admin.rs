//! The control thread with its admin socket and dashboard, around a node without shards.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use ringway::{
    config::{AdminConfig, HealthConfig, LogConfig, Probe, UpstreamProtocol},
    control::{
        Control, ControlError, Phase, ReloadError, Reloaded, Stop,
        admin::socket::BindError,
        client::{AdminClient, ClientError},
        status::EndpointState,
    },
};
use tokio::sync::watch;

use crate::{
    exposition::{Dialect, read},
    node::{FakeNode, reloaded, started_at},
    scratch::Scratch,
};

/// A running control thread; stopped when dropped.
struct Running {
    client: AdminClient,
    dashboard: SocketAddr,
    phase: Arc<watch::Sender<Phase>>,
    stops: mpsc::Receiver<Stop>,
    thread: Option<JoinHandle<Result<(), ControlError>>>,
    scratch: Scratch,
}

impl Running {
    fn start(reloads: impl FnOnce(&Scratch) -> Vec<Result<Reloaded, ReloadError>>) -> Self {
        Self::start_probing(reloads, None)
    }

    fn start_probing(
        reloads: impl FnOnce(&Scratch) -> Vec<Result<Reloaded, ReloadError>>,
        probed: Option<(SocketAddr, HealthConfig)>,
    ) -> Self {
        let scratch = Scratch::new();
        let reloads = reloads(&scratch);
        let config = admin(&scratch, "admin.sock");
        let (control, sinks) = Control::bind(&config, &LogConfig::default(), 2, None).unwrap();
        assert_eq!(sinks.len(), 2);
        let dashboard = control.dashboard_address().unwrap();
        let phase = Arc::new(watch::Sender::new(Phase::Serving));
        let (stops, told) = mpsc::channel();
        let for_node = Arc::clone(&phase);
        let thread = thread::Builder::new()
            .spawn(move || {
                control.run(Box::new(FakeNode { phase: for_node, stops, reloads, probed }))
            })
            .unwrap();
        let client = AdminClient::new(scratch.path("admin.sock"));
        Self { client, dashboard, phase, stops: told, thread: Some(thread), scratch }
    }

    fn wait(&mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

fn admin(scratch: &Scratch, name: &str) -> AdminConfig {
    let dashboard = Some("127.0.0.1:0".parse().unwrap());
    AdminConfig { listen: Some(scratch.path(name)), dashboard }
}

/// Sends bytes, returns all that comes back.
fn talk(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A refusal may come, and the connection close, before all is sent.
    let _refused_early = stream.write_all(request);
    let mut answer = Vec::new();
    let _reset_after_answer = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    talk(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn status_tells_what_the_view_holds() {
    let running = Running::start(|_| Vec::new());
    let status = running.client.status().unwrap();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.phase, "serving");
    assert_eq!(status.started_at, "2026-11-24T14:56:02.000Z");
    assert!(started_at().elapsed().is_err() || status.uptime >= 0.0);
    assert_eq!((status.driver.as_str(), status.requests), ("epoll", 100));
    assert_eq!(status.config.last_error.as_deref(), Some("ringway.toml:3:1: no"));
    let latency = status.latency.unwrap();
    assert!((latency.p50 - 3.0).abs() < 0.1 && latency.p99 > 85_000.0, "{latency:?}");
    assert_eq!(status.shards.len(), 2);
    assert_eq!((status.listeners[0].open, status.listeners[0].refused), (4, 7));
    assert_eq!(status.routes[0].requests, 101);
    let upstream = &status.upstreams[0];
    assert_eq!((upstream.available, upstream.reuse_ratio), (1, Some(0.98)));
    assert_eq!(upstream.endpoints[0].state, EndpointState::Unprobed);
    assert_eq!(upstream.endpoints[1].state, EndpointState::Ejected);
    assert_eq!(upstream.endpoints[1].failures, 2);
}

#[test]
fn metrics_are_served_on_both_sides_in_the_dialect_asked_for() {
    let running = Running::start(|_| Vec::new());
    let text = running.client.metrics().unwrap();
    assert!(read(&text, Dialect::Prometheus).unwrap().contains_key("ringway_requests_total"));
    let answer = talk(
        running.dashboard,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\
          Connection: close\r\n\r\n",
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    read(body, Dialect::OpenMetrics).unwrap();
}

#[test]
fn healthz_follows_the_phase() {
    let running = Running::start(|_| Vec::new());
    let answer = get(running.dashboard, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("serving\n"), "{answer}");
    running.phase.send_replace(Phase::Draining);
    let answer = get(running.dashboard, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("draining\n"), "{answer}");
}

#[test]
fn the_dashboard_steers_nothing() {
    let running = Running::start(|_| Vec::new());
    for path in ["/v1/status", "/v1/reload", "/v1/stop", "/"] {
        let answer = get(running.dashboard, path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        let post = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = talk(running.dashboard, post.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    assert!(running.stops.try_recv().is_err());
}

#[test]
fn a_reload_tells_its_changes_or_its_errors() {
    let running = Running::start(|scratch| {
        let problems = vec!["ringway.toml:3:16: no".to_owned(), "ringway.toml:9:1: nor".to_owned()];
        let worked = reloaded(4, admin(scratch, "admin.sock"));
        vec![Err(ReloadError { problems }), Ok(worked)]
    });
    let answer = running.client.reload().unwrap();
    assert_eq!(answer.generation, 4);
    assert_eq!(answer.changes, ["listener `web` added"]);
    assert_eq!(answer.warnings, ["route `a` hides route `b`"]);
    let error = running.client.reload().unwrap_err();
    assert!(!error.is_unreachable());
    let text = error.to_string();
    assert!(text.ends_with("\nringway.toml:3:16: no\nringway.toml:9:1: nor"), "{text}");
}

#[test]
fn a_reload_moves_the_admin_socket() {
    let running = Running::start(|scratch| vec![Ok(reloaded(2, admin(scratch, "moved.sock")))]);
    let (old, new) = (running.scratch.path("admin.sock"), running.scratch.path("moved.sock"));
    running.client.reload().unwrap();
    AdminClient::new(&new).status().unwrap();
    assert!(!old.exists(), "the old name is gone");
    assert!(running.client.status().unwrap_err().is_unreachable());
}

#[test]
fn stop_is_answered_before_it_happens() {
    let mut running = Running::start(|_| Vec::new());
    running.client.stop(Stop::Drain(None)).unwrap();
    assert_eq!(running.stops.recv().unwrap(), Stop::Drain(None));
    running.client.stop(Stop::Drain(Some(Duration::from_millis(1_500)))).unwrap();
    let limit = Duration::from_millis(1_500);
    assert_eq!(running.stops.recv().unwrap(), Stop::Drain(Some(limit)));
    assert_eq!(running.client.status().unwrap().phase, "draining");
    running.client.stop(Stop::Now).unwrap();
    assert_eq!(running.stops.recv().unwrap(), Stop::Now);
    running.wait();
    assert!(!running.client.path().exists(), "its socket is gone");
    let error = running.client.status().unwrap_err().to_string();
    let expected = format!(
        "no ringway answers at unix:{0} (no such file): is it running? `ringway run -c FILE` listens \
         there when FILE says `[admin] listen = \"unix:{0}\"`",
        running.client.path().display()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_stop_that_makes_no_sense_is_refused() {
    let running = Running::start(|_| Vec::new());
    for query in ["drain=soon", "drian=5s"] {
        let mut stream = UnixStream::connect(running.client.path()).unwrap();
        let request =
            format!("POST /v1/stop?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{query}: {answer}");
    }
    assert!(running.stops.try_recv().is_err());
}

#[test]
fn oversized_and_strange_requests_are_refused_and_nothing_breaks() {
    let running = Running::start(|_| Vec::new());
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let answer = talk(running.dashboard, long.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(talk(running.dashboard, b"\x16\x03\x01\x02\x00\x01").len() < 300);
    // A body is never read: the answer doesn't wait for it.
    let body = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\
                Connection: close\r\n\r\n";
    assert!(talk(running.dashboard, body.as_bytes()).starts_with("HTTP/1.1 200 "));
    running.client.status().unwrap();
}

#[test]
fn the_socket_is_private_and_a_dead_one_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left over by a dead process");
    let config = AdminConfig { listen: Some(path.clone()), dashboard: None };
    let bind = || Control::bind(&config, &LogConfig::default(), 1, None);
    let (control, _sinks) = bind().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = bind().err().unwrap();
    assert!(matches!(error, ControlError::Bind(BindError::InUse(_))), "{error}");
    assert!(error.to_string().contains("another process listens there"), "{error}");
    drop(control);
    assert!(!path.exists());
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0, "no file is left");
}

#[test]
fn a_socket_that_was_replaced_by_another_process_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("admin.sock");
    let config = AdminConfig { listen: Some(path.clone()), dashboard: None };
    let (control, _sinks) = Control::bind(&config, &LogConfig::default(), 1, None).unwrap();
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    drop(control);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_never_touched() {
    let scratch = Scratch::new();
    let path = scratch.path("precious.txt");
    fs::write(&path, "data").unwrap();
    let config = AdminConfig { listen: Some(path.clone()), dashboard: None };
    let error = Control::bind(&config, &LogConfig::default(), 1, None).err().unwrap();
    assert!(matches!(error, ControlError::Bind(BindError::NotASocket(_))), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn a_taken_dashboard_address_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = AdminConfig { listen: None, dashboard: Some(address) };
    let error = Control::bind(&config, &LogConfig::default(), 1, None).err().unwrap().to_string();
    assert!(error.starts_with(&format!("dashboard address `{address}`: ")), "{error}");
}

#[test]
fn the_client_tells_the_ways_of_failing_apart() {
    let scratch = Scratch::new();
    let dead = scratch.path("dead.sock");
    drop(UnixListener::bind(&dead).unwrap());
    let error = AdminClient::new(&dead).status().unwrap_err();
    assert!(error.to_string().contains("(connection refused)"), "{error}");

    let answered = |answer: &'static str| -> ClientError {
        let path: PathBuf = scratch.path("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = thread::Builder::new()
            .spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                if !answer.is_empty() {
                    let mut request = [0; 1024];
                    let _read = stream.read(&mut request).unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            })
            .unwrap();
        let error = AdminClient::new(&path).status().unwrap_err();
        other.join().unwrap();
        fs::remove_file(&path).unwrap();
        error
    };
    let denied = answered("");
    assert!(matches!(denied, ClientError::Denied(_)), "{denied:?}");
    for strange in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops",
    ] {
        let error = answered(strange);
        assert!(matches!(error, ClientError::Strange { .. }), "{error:?}");
        assert!(error.to_string().contains("answers, but not as a ringway"), "{error}");
    }
}

#[test]
fn probes_run_and_their_verdict_is_in_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let health = HealthConfig {
        probe: Probe::Tcp,
        protocol: UpstreamProtocol::Http11,
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(50),
        rise: 1,
        fall: 1,
        expect: vec![200..=399],
    };
    let running = Running::start_probing(|_| Vec::new(), Some((address, health)));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let status = running.client.status().unwrap();
        let endpoint = &status.upstreams[0].endpoints[0];
        if endpoint.state == EndpointState::Unhealthy {
            assert_eq!(endpoint.reason, "connect refused");
            assert_eq!(status.upstreams[0].available, 0);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{endpoint:?}");
    }
}

/// The mode of the file keeps others out; this is about a file that was made accessible.
#[test]
fn another_user_is_turned_away_even_where_the_file_lets_him_in() {
    let ringway = env!("CARGO_BIN_EXE_ringway");
    let as_nobody = |arguments: &[&str]| {
        let identity = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        std::process::Command::new("setpriv").args(identity).arg(ringway).args(arguments).output()
    };
    if !as_nobody(&["--version"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs root, setpriv and a build that others may execute");
        return;
    }
    let running = Running::start(|_| Vec::new());
    let path = running.client.path();
    let address = format!("unix:{}", path.display());
    for mode in [0o600, 0o666] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for verb in ["status", "stop"] {
            let output = as_nobody(&[verb, "--admin", &address]).unwrap();
            assert_eq!(output.status.code(), Some(4), "{mode:o} {verb}");
            let error = String::from_utf8(output.stderr).unwrap();
            let expected = "lets only root and the user that ringway runs as in";
            assert!(error.contains(expected), "{mode:o} {verb}: {error}");
        }
    }
    assert!(running.stops.try_recv().is_err());
    running.client.status().unwrap();
}
