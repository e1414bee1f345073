//! A process's life: reloads under load, drains, endpoints that die, checks that notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    endpoint::{Endpoint, nobody, ok, spawn},
    rig::{Plan, Rig, on_both, own_address, timed},
    wire::Wire,
};

/// Keep-alive clients that ask again and again until told to stop.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(rig: &Rig, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients).map(|_| {
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            let address = rig.address;
            spawn(move || {
                let mut wire = Wire::connect(address);
                while !is_over.load(Ordering::Relaxed) {
                    let response = wire.get("/");
                    assert_eq!(response.status(), 200, "{}", response.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { is_over, answered, clients }
    }

    /// Waits until so many more have been answered, or a client has failed.
    fn more(&self, count: usize) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        while self.answered.load(Ordering::Relaxed) < until {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client failed");
            std::thread::yield_now();
        }
    }

    /// Ends it; panics when any request failed. Returns how many were answered.
    fn finish(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let mut plan = Plan::to(&[served.address]);
        plan.shards = 2;
        let rig = plan.start(driver);
        let load = Load::start(&rig, 4);
        for number in 0..100 {
            plan.route = format!("headers.response = {{ set = {{ x-number = '{number}' }} }}");
            rig.rewrite(&plan);
            rig.signal("HUP");
            rig.logged(&["configuration applied"]);
            load.more(4);
        }
        let answered = load.finish();
        assert!(answered >= 400 && served.requests() == answered, "{answered}");
        assert_eq!(rig.client().get("/").field("x-number"), Some("99"));
        let status = rig.status();
        assert_eq!((status.config.generation, status.config.reloads), (101, 100));
        assert!(served.connections() <= 8, "pools outlive a reload: {}", served.connections());
    });
}

#[test]
fn an_invalid_file_changes_nothing_and_listeners_come_and_go() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let plan = Plan::to(&[served.address]);
        let rig = plan.start(driver);
        let mut kept = rig.client();
        assert_eq!(kept.get("/").status(), 200);
        rig.rewrite(&plan.clone().route("nonsense = 1"));
        let error = rig.admin().reload().unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
        rig.signal("HUP");
        assert!((0..10_000).any(|_| rig.status().config.reloads_failed == 2));
        rig.logged(&["nonsense"]);
        assert_eq!(kept.get("/").status(), 200);
        assert_eq!(rig.client().get("/").status(), 200);
        assert_eq!(rig.status().config.generation, 1);
        let second = own_address();
        rig.rewrite(&plan.clone().more(&format!("[listener.second]\naddress = '{second}'")));
        rig.admin().reload().unwrap();
        assert_eq!(Wire::connect(second).get("/").status(), 200);
        rig.rewrite(&plan);
        rig.admin().reload().unwrap();
        // A shard carries its orders out a moment after the answer.
        let (is_gone, _) =
            timed(|| (0..10_000).any(|_| std::net::TcpStream::connect(second).is_err()));
        assert!(is_gone);
        assert_eq!(kept.get("/").status(), 200);
    });
}

#[test]
fn a_listener_can_be_renamed_and_its_address_widened_by_one_reload() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = Plan::to(&[served.address]).start(driver);
        let before = std::fs::read_to_string(rig.file()).unwrap();
        let load = Load::start(&rig, 2);
        let apply = |text: &str| {
            std::fs::write(rig.file(), text).unwrap();
            rig.admin().reload().unwrap();
            load.more(10);
            assert_eq!(rig.client().get("/").text(), "fine");
        };
        let names =
            || rig.status().listeners.iter().map(|own| own.name.clone()).collect::<Vec<_>>();
        apply(&before.replace("[listener.web]", "[listener.www]"));
        assert_eq!(names(), ["www"]);
        assert_eq!(rig.status().listeners[0].addresses, [rig.address]);
        apply(&before);
        assert_eq!(names(), ["web"]);
        let port = rig.address.port();
        apply(&before.replace(&rig.address.to_string(), &format!("0.0.0.0:{port}")));
        apply(&before);
        load.finish();
    });
}

#[test]
fn a_reload_during_a_drain_is_refused() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut busy = rig.client();
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        rig.signal("TERM");
        rig.logged(&["draining"]);
        rig.signal("HUP");
        rig.logged(&["ringway is ending, and takes no new configuration"]);
        let error = rig.admin().reload().unwrap_err().to_string();
        assert!(error.contains("takes no new configuration"), "{error}");
        let is_closed = (0..10_000).any(|_| std::net::TcpStream::connect(rig.address).is_err());
        assert!(is_closed, "nobody listens any more");
        upstream.send(ok("last"));
        assert_eq!(busy.response().text(), "last");
        assert_eq!(rig.exited().code(), Some(0));
    });
}

#[test]
fn a_drain_lets_what_is_in_flight_end_and_closes_what_is_idle() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut rig = Plan::to(&[endpoint.address()]).start(driver);
        let mut idle = rig.client();
        idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(ok("first"));
        idle.response();
        let mut busy = rig.client();
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        upstream.head();
        rig.signal("TERM");
        idle.closed();
        upstream.send(ok("second"));
        let response = busy.response();
        assert_eq!((response.text(), response.field("connection")), ("second", Some("close")));
        busy.closed();
        let (status, took) = timed(|| rig.exited());
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn a_drain_ends_in_time_whoever_does_not() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let mut plan = Plan::to(&[endpoint.address()]);
        plan.runtime = "drain_timeout = '300ms'".to_owned();
        let mut rig = plan.start(driver);
        let mut busy = rig.client();
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        rig.signal("TERM");
        assert_eq!(rig.exited().code(), Some(0));
        busy.ended();
    });
}

/// Runs in a process of its own, when the test below starts this binary again; else does nothing.
#[test]
fn as_an_endpoint_process() {
    let Ok(address) = std::env::var("RINGWAY_TEST_ENDPOINT") else { return };
    let listener = std::net::TcpListener::bind(address).unwrap();
    let served = Endpoint::of(listener).serve(|_| ok("fine").into());
    assert!(served.connections() == 0);
    loop {
        std::thread::park();
    }
}

fn endpoint_process(address: std::net::SocketAddr) -> std::process::Child {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxy::life::as_an_endpoint_process"])
        .env("RINGWAY_TEST_ENDPOINT", address.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let is_up = (0..1_000_000).any(|_| std::net::TcpStream::connect(address).is_ok());
    assert!(is_up);
    child
}

#[test]
fn an_endpoint_killed_under_load_fails_no_get() {
    on_both(|driver| {
        let addresses = [own_address(), own_address(), own_address()];
        let mut children = addresses.map(endpoint_process);
        let mut plan = Plan::to(&addresses);
        plan.shards = 2;
        plan.upstream = String::new();
        let rig = plan.start(driver);
        let load = Load::start(&rig, 4);
        load.more(200);
        children[1].kill().unwrap();
        children[1].wait().unwrap();
        load.more(500);
        load.finish();
        for mut child in children {
            drop(child.kill());
            child.wait().unwrap();
        }
    });
}

#[test]
fn checks_take_an_endpoint_out_and_back_and_say_so_once() {
    on_both(|driver| {
        let good = Endpoint::listen().serve(|_| ok("good").into());
        let is_sick = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_sick);
        let other = Endpoint::listen().serve(move |request| {
            let is_check = request.head.starts_with("GET /health ");
            if is_check && told.load(Ordering::SeqCst) {
                return b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            ok("other").into()
        });
        let mut plan = Plan::to(&[good.address, other.address]);
        plan.upstream =
            "health = { http = '/health', interval = '30ms', rise = 2, fall = 2 }".to_owned();
        let rig = plan.start(driver);
        let address = other.address.to_string();
        let state = |wanted: usize| while rig.status().upstreams[0].available != wanted {};
        state(2);
        is_sick.store(true, Ordering::SeqCst);
        rig.logged(&["unhealthy", &address]);
        state(1);
        let mut client = rig.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "good");
        }
        is_sick.store(false, Ordering::SeqCst);
        rig.logged(&["healthy", &address]);
        state(2);
        let texts: Vec<_> = (0..10).map(|_| client.get("/").text().to_owned()).collect();
        assert!(texts.contains(&"other".to_owned()));
        assert_eq!(rig.count_logged(&["healthy", &address]), 0, "each change once");
    });
}

#[test]
fn what_happened_is_in_metrics_status_and_access_log() {
    on_both(|driver| {
        let served = Endpoint::listen().serve(|_| ok("fine").into());
        let scratch = crate::scratch::Scratch::new();
        let log = scratch.path("access.log");
        let plan = Plan::to(&[nobody(), served.address]).more(&format!(
            "[log]\naccess = {{ path = '{}', format = '${{method}} ${{path}} ${{status}} \
             ${{route}} ${{attempts}} ${{error}}' }}",
            log.display()
        ));
        let rig = plan.start(driver);
        let mut client = rig.client();
        for number in 0..4 {
            assert_eq!(client.get(&format!("/{number}?q")).status(), 200);
        }
        assert_eq!(client.ask("GET / HTTP/1.1\r\n\r\n").status(), 400);
        client.closed();
        let mut lines = Vec::new();
        while lines.len() < 5 {
            lines = std::fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect();
        }
        assert!(lines[..4].iter().any(|line| line.ends_with(" 200 all 2 -")), "{lines:#?}");
        assert!(lines[..4].iter().any(|line| line.ends_with(" 200 all 1 -")), "{lines:#?}");
        assert!(lines[4].contains("400") && lines[4].ends_with("bad_request"), "{lines:#?}");
        let metrics = rig.admin().metrics().unwrap();
        assert!(metrics.contains("ringway_requests_total"), "{metrics}");
        assert!(
            metrics.lines().any(|line| line.contains("retries_total") && !line.ends_with(" 0"))
        );
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["status", "--json", "--admin"])
            .arg(format!("unix:{}", rig.scratch.path("admin.sock").display()))
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(status["driver"], driver);
    });
}
