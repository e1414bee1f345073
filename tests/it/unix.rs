//! Unix sockets: listeners of HTTP and TCP, endpoints of both, and the files themselves.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    proxy::{
        rig::{Plan, Rig, on_both},
        wire::PATIENCE,
    },
    scratch::Scratch,
};

/// A listener `own` at `socket`, with everything to one upstream of these endpoints.
fn plan(protocol: &str, socket: &Path, endpoints: &[String], lines: &str) -> Plan {
    let list: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    let route = if protocol == "http" { "match = { path = '/*' }" } else { "" };
    Plan { shards: 2, ..Plan::default() }.more(&format!(
        "[listener.own]\naddress = 'unix:{}'\nprotocol = '{protocol}'\n{lines}\n\
         [upstream.own]\nendpoints = [{}]\n\
         [[route]]\nname = 'own'\nlistener = 'own'\nupstream = 'own'\n{route}\n",
        socket.display(),
        list.join(", ")
    ))
}

/// An endpoint at `path` that does `serve` with each connection, in a thread of its own.
fn endpoint(path: &Path, serve: impl Fn(UnixStream) + Send + Clone + 'static) -> String {
    let listener = UnixListener::bind(path).unwrap();
    run(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            run(move || serve(stream));
        }
    });
    format!("unix:{}", path.display())
}

#[expect(clippy::disallowed_methods, reason = "a test's own thread")]
fn run(work: impl FnOnce() + Send + 'static) {
    drop(thread::spawn(work));
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Answers each request with its head, `200` and a length.
fn tell_head(mut stream: UnixStream) {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..read]);
        if seen.ends_with(b"\r\n\r\n") {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
            if stream.write_all(&[head.as_bytes(), &seen].concat()).is_err() {
                return;
            }
            seen.clear();
        }
    }
}

/// Sends one request on a connection of its own; gives the whole answer.
fn ask(path: &Path, fields: &str) -> String {
    let mut stream = connect(path);
    let request = format!("GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_go_from_socket_to_socket_and_their_client_is_unix() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("web.sock");
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let rig = plan("http", &socket, std::slice::from_ref(&server), "forwarded = 'both'")
            .start(driver);
        for _ in 0..8 {
            let answer = ask(&socket, "X-Forwarded-For: 10.1.1.1\r\n").to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
            assert!(answer.contains("\r\nx-forwarded-for: unix:\r\n"), "{answer}");
            assert!(answer.contains("for=unknown;host=test;proto=http\r\n"), "{answer}");
        }
        let status = rig.status();
        let own = status.listeners.iter().find(|listener| listener.name == "own").unwrap();
        assert_eq!(own.addresses[0].to_string(), format!("unix:{}", socket.display()));
        assert_eq!(status.upstreams[0].endpoints[0].address.to_string(), server);
        assert_eq!(status.upstreams[0].endpoints[0].requests, 8);
    });
}

#[test]
fn a_client_that_is_trusted_by_its_socket_names_another() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("web.sock");
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let lines = "trusted_proxies = ['unix:']\nallow = ['unix:']";
        let _rig = plan("http", &socket, &[server], lines).start(driver);
        let answer = ask(&socket, "X-Forwarded-For: 203.0.113.9\r\n").to_ascii_lowercase();
        assert!(answer.contains("\r\nx-forwarded-for: 203.0.113.9, unix:\r\n"), "{answer}");
    });
}

#[test]
fn who_is_not_let_in_gets_nothing() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("web.sock");
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let _rig = plan("http", &socket, &[server], "allow = ['0.0.0.0/0']").start(driver);
        let mut stream = connect(&socket);
        // It may be closed before or after it is written to.
        drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty());
    });
}

#[test]
fn a_tcp_listener_relays_all_of_it_both_ways_and_each_end_alone() {
    const LENGTH: usize = 32 << 20;
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("tcp.sock");
        // Half of it comes back when all of it has gone up.
        let server = endpoint(&scratch.path("app.sock"), |mut stream| {
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            stream.write_all(&seen[..seen.len() / 2]).unwrap();
        });
        let _rig = plan("tcp", &socket, &[server], "").start(driver);
        let sent: Vec<u8> = (0..LENGTH).map(|at| ((at / 251) ^ at).to_le_bytes()[0]).collect();
        let mut stream = connect(&socket);
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == sent[..LENGTH / 2], "{} bytes", answer.len());
    });
}

#[test]
fn a_header_in_pieces_announces_the_client_of_a_unix_socket() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("tcp.sock");
        let server = endpoint(&scratch.path("app.sock"), |mut stream| {
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            stream.write_all(&seen).unwrap();
        });
        let mut plan = plan("tcp", &socket, &[server], "proxy_protocol = { from = ['unix:'] }");
        plan.more = plan.more.replace("[[route]]", "proxy_protocol = 'v1'\n[[route]]");
        let _rig = plan.start(driver);
        let header = "PROXY TCP4 203.0.113.7 203.0.113.8 1111 2222\r\n";
        for (said, told) in [(header, header), ("PROXY UNKNOWN\r\n", "PROXY UNKNOWN\r\n")] {
            let mut stream = connect(&socket);
            for piece in format!("{said}payload").as_bytes().chunks(7) {
                stream.write_all(piece).unwrap();
                // The proxy looks at what is there; that needs time in between.
                thread::yield_now();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, format!("{told}payload"));
        }
    });
}

#[test]
fn an_endpoint_that_is_gone_is_passed_over() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("web.sock");
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let stale = scratch.path("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let gone = [
            format!("unix:{}", stale.display()),
            format!("unix:{}", scratch.path("never.sock").display()),
        ];
        let endpoints = [&gone[..], &[server]].concat();
        let mut plan = plan("http", &socket, &endpoints, "");
        plan.more += "retry = { attempts = 2 }\n";
        let _rig = plan.start(driver);
        for _ in 0..6 {
            assert!(ask(&socket, "").starts_with("HTTP/1.1 200 "));
        }
    });
}

#[test]
fn probes_ask_at_unix_sockets() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let socket = scratch.path("web.sock");
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let gone = format!("unix:{}", scratch.path("never.sock").display());
        let mut plan = plan("http", &socket, &[server, gone], "");
        plan.more = plan.more.replace(
            "[[route]]",
            "health = { http = '/', interval = '50ms', timeout = '50ms', fall = 1 }\n[[route]]",
        );
        let rig = plan.start(driver);
        rig.logged(&["never.sock", "unhealthy"]);
        for _ in 0..4 {
            let answer = ask(&socket, "");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    });
}

#[test]
fn the_file_has_its_mode_stays_over_a_reload_and_goes_with_its_address_and_the_process() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let (first, second) = (scratch.path("first.sock"), scratch.path("second.sock"));
        // Left over by a process that died.
        drop(UnixListener::bind(&first).unwrap());
        let server = endpoint(&scratch.path("app.sock"), tell_head);
        let plan = |sockets: &[&PathBuf], lines: &str| {
            let mut plan = plan("http", &first, std::slice::from_ref(&server), lines);
            let list: Vec<_> =
                sockets.iter().map(|path| format!("'unix:{}'", path.display())).collect();
            let one = format!("address = 'unix:{}'", first.display());
            plan.more = plan.more.replace(&one, &format!("address = [{}]", list.join(", ")));
            plan
        };
        let mut rig: Rig = plan(&[&first], "socket_mode = 0o640").start(driver);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&first), 0o640);

        let mut kept = connect(&first);
        rig.rewrite(&plan(&[&first, &second], ""));
        rig.admin().reload().unwrap();
        assert_eq!((mode(&first), mode(&second)), (0o640, 0o666));
        for socket in [&first, &second] {
            assert!(ask(socket, "").starts_with("HTTP/1.1 200 "));
        }
        rig.rewrite(&plan(&[&second], ""));
        rig.admin().reload().unwrap();
        assert!(!first.exists());
        assert!(ask(&second, "").starts_with("HTTP/1.1 200 "));
        // A connection from before lives on.
        kept.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        kept.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

        rig.signal("TERM");
        assert!(rig.exited().success());
        assert!(!second.exists());
    });
}

#[test]
fn what_is_in_use_or_no_socket_is_not_replaced() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let (used, file) = (scratch.path("used.sock"), scratch.path("file"));
        let _used = UnixListener::bind(&used).unwrap();
        fs::write(&file, "words").unwrap();
        let rig = Plan { shards: 2, ..Plan::default() }.start(driver);
        for (path, why) in [(&used, "another process listens there"), (&file, "isn't a socket")] {
            rig.rewrite(&plan("http", path, &["127.0.0.1:1".to_owned()], ""));
            let error = rig.admin().reload().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"words");
    });
}

#[test]
fn a_full_queue_is_waited_for_within_the_connect_timeout() {
    on_both(|driver| {
        let scratch = Scratch::new();
        let (socket, busy) = (scratch.path("web.sock"), scratch.path("busy.sock"));
        let listener = UnixListener::bind(&busy).unwrap();
        // One place, and it is taken.
        socket2::SockRef::from(&listener).listen(0).unwrap();
        let _first = UnixStream::connect(&busy).unwrap();
        let endpoints = [format!("unix:{}", busy.display())];
        let mut plan = plan("http", &socket, &endpoints, "");
        plan.more += "timeouts = { connect = '300ms' }\nretry = { attempts = 0 }\n";
        let _rig = plan.start(driver);
        let answer = ask(&socket, "");
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let mut waiting = connect(&socket);
        waiting.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let (_taken, _) = listener.accept().unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        tell_head(stream);
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}
