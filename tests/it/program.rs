//! Programs built on the library: the example as a process, and the pieces that docs/FRAMEWORK.md
//! shows, in a server of this process.

use std::{
    cell::Cell,
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use ringway::{
    Admission, Admit, Arriving, Balance, Body, Error, Filter, Handler, Observe, Request, Respond,
    Response, Server, ShardScope, Status, Summary,
    balance::{Candidates, Key, Tried},
    config::{self, Alpn},
    control::{Stop, client::AdminClient, demo_upstream},
    proxy::{DynFilter, Fault},
    runtime,
};

use crate::{proxy::h2_wire::H2, scratch::Scratch};

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends one request on a connection of its own; gives the whole answer.
fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.lines().take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(": "));
    fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The example's process, ended when dropped.
struct Example {
    child: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, more: &[String]) -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
        let address = free_address();
        let mut command = Command::new(program);
        command.arg(address.to_string()).args(more).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("phase=\"serving\"")), "it never served");
        Self { child, address }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn page(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_examples_are_short_and_the_page_shows_them_whole() {
    for name in ["hello-proxy", "shared-port"] {
        let example = page(&format!("docs/examples/{name}.rs"));
        assert!(example.lines().count() < 40, "{name}: {} lines", example.lines().count());
        let shown = page("docs/FRAMEWORK.md").contains(&example);
        assert!(shown, "docs/FRAMEWORK.md shows another {name}");
    }
}

#[test]
fn the_configuration_files_of_the_pages_are_right() {
    for path in ["README.md", "docs/OPERATIONS.md"] {
        let text = page(path);
        let mut blocks = text.split("```toml\n").skip(1).peekable();
        assert!(blocks.peek().is_some(), "{path} shows none");
        for block in blocks {
            let block = block.split("```").next().unwrap();
            let listens = "version = 1\n[listener.x]\naddress = '127.0.0.1:1'\n";
            let whole = block.contains("version = 1");
            let text = if whole { block.to_owned() } else { format!("{listens}{block}") };
            let config = config::parse(path, &text);
            assert!(config.is_ok(), "{}", config.unwrap_err());
        }
    }
}

#[test]
fn the_first_example_does_what_its_page_says() {
    let example = Example::start("hello-proxy", &[]);
    let answer = ask(example.address, "GET /there?is=query HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(": GET /there?is=query\n"), "{answer}");
    assert_eq!(field(&answer, "x-request-id").unwrap().len(), 24, "{answer}");
    assert!(field(&answer, "x-answered").unwrap().starts_with("1 by shard "), "{answer}");
}

#[test]
fn a_limit_made_in_code_is_exact_over_all_shards() {
    let example = Example::start("hello-proxy", &[]);
    let started = runtime::now_uncached();
    let (mut passed, mut limited) = (0, 0);
    for _ in 0..130 {
        let answer = ask(example.address, "GET / HTTP/1.1");
        if answer.starts_with("HTTP/1.1 200 ") {
            passed += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
            assert!(field(&answer, "retry-after").is_some(), "{answer}");
            limited += 1;
        }
    }
    // A hundred at once, and one more each 600 ms since.
    let regained =
        u32::try_from((runtime::now_uncached() - started).as_millis() / 600).unwrap() + 1;
    assert!((100..=100 + regained).contains(&passed), "{passed} passed, {limited} limited");
}

#[test]
fn the_shared_port_tells_ssh_from_http_and_refuses_all_else() {
    let ssh = TcpListener::bind("127.0.0.1:0").unwrap();
    let example = Example::start("shared-port", &[ssh.local_addr().unwrap().to_string()]);
    let answer = ask(example.address, "GET /there HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(": GET /there\n"), "{answer}");

    // The first bytes in two pieces: what was looked at arrives once.
    let mut client = TcpStream::connect(example.address).unwrap();
    client.write_all(b"SS").unwrap();
    client.write_all(b"H-2.0-test\r\n").unwrap();
    let (mut server, _) = ssh.accept().unwrap();
    let mut banner = [0; 14];
    server.read_exact(&mut banner).unwrap();
    assert_eq!(banner.escape_ascii().to_string(), "SSH-2.0-test\\r\\n");
    server.write_all(b"SSH-2.0-own\r\n").unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "SSH-2.0-own\r\n");

    let mut client = TcpStream::connect(example.address).unwrap();
    client.write_all(b"\x16\x03\x01\x02").unwrap();
    let refused = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionReset);
}

/// Runs `make`'s handler while `test` talks to it; two shards, one upstream `web`.
fn with_server<H: Handler + 'static>(
    make: fn(&ShardScope) -> Result<H, Error>,
    test: impl FnOnce(SocketAddr),
) {
    let scratch = Scratch::new();
    let admin = scratch.path("admin.sock");
    let address = free_address();
    let web = [demo_upstream::start("a", 0).unwrap()];
    let socket = admin.clone();
    let server = Server::listen(address).upstream("web", web).configure(|config| {
        config.runtime.shards = vec![0, 0];
        config.runtime.pin = false;
        config.admin.listen = Some(socket);
        config.listeners[0].alpn = vec![Alpn::H2, Alpn::Http11];
    });
    thread::scope(|scope| {
        let running = scope.spawn(move || server.run(make));
        let client = AdminClient::new(admin);
        while client.status().is_err() {
            assert!(!running.is_finished(), "{:?}", running.join());
            thread::yield_now();
        }
        test(address);
        client.stop(Stop::Now).unwrap();
        running.join().unwrap().unwrap();
    });
}

/// Appends its letter on the way down and on the way up.
struct Letter(char);

impl Filter for Letter {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or(b"").to_vec()).unwrap();
        let down = text(req.headers.get("x-down"));
        req.headers.set("x-down", format!("{down}{}", self.0))?;
        let res = next.handle(req).await?;
        let up = text(res.headers.get("x-up"));
        Ok(res.with("x-up", format!("{up}{}", self.0)))
    }
}

/// Answers with what the filters made of the request.
struct Echo;

impl Handler for Echo {
    async fn handle(&self, req: &mut Request) -> Result<Response, Error> {
        let down = req.headers.get("x-down").unwrap_or(b"nothing").to_vec();
        Ok(Response::text(Status::OK, down))
    }
}

fn listed(_: &ShardScope) -> Result<impl Handler + use<>, Error> {
    let list = |letters: &str| -> Vec<Box<dyn DynFilter>> {
        letters.chars().map(|letter| -> Box<dyn DynFilter> { Box::new(Letter(letter)) }).collect()
    };
    Ok((list("abc"), list(""), Letter('d'), Some(Letter('e')), None::<Letter>).around(Echo))
}

#[test]
fn a_list_of_dynamic_filters_runs_in_its_order() {
    with_server(listed, |address| {
        let answer = ask(address, "GET / HTTP/1.1");
        assert!(answer.ends_with("\r\n\r\nabcde"), "{answer}");
        assert_eq!(field(&answer, "x-up"), Some("edcba"), "{answer}");
    });
}

/// Leaves nothing of a body.
struct Emptied;

impl Filter for Emptied {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        Ok(next.handle(req).await?.with_body(Body::empty()))
    }
}

fn emptied(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    Ok(Emptied.around(shard.forward("web")?))
}

#[test]
fn a_body_that_a_filter_takes_away_leaves_no_length_behind() {
    with_server(emptied, |address| {
        let answer = ask(address, "GET / HTTP/1.1");
        assert_eq!(field(&answer, "content-length"), Some("0"), "{answer}");
        let mut client = H2::connect(address);
        let asked = client.get("/");
        let heard = client.whole(asked);
        assert_eq!((heard.status, heard.reset), (200, None), "{heard:?}");
    });
}

/// Capitals, and a guard that the body holds.
struct Loud(Arc<AtomicU32>);

struct Left(Arc<AtomicU32>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Filter for Loud {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        let left = Left(Arc::clone(&self.0));
        let mut res = next.handle(req).await?;
        let before = self.0.load(Ordering::Relaxed);
        let body = res.body.take().hold(left);
        res.body = body.map(|chunk| Ok(chunk.to_ascii_uppercase().into()));
        Ok(res.with("x-left-before", before.to_string()))
    }
}

fn loud(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    Ok(Loud(shard.shared("left", AtomicU32::default)).around(shard.forward("web")?))
}

#[test]
fn a_mapped_body_is_changed_and_its_guard_lives_to_the_last_byte() {
    with_server(loud, |address| {
        for earlier in 0..3 {
            let answer = ask(address, "GET /quiet HTTP/1.1");
            assert!(answer.contains("HELLO FROM A: GET /QUIET\n"), "{answer}");
            assert_eq!(field(&answer, "transfer-encoding"), Some("chunked"), "{answer}");
            assert_eq!(field(&answer, "content-length"), None, "{answer}");
            assert_eq!(field(&answer, "x-left-before"), Some(&*earlier.to_string()), "{answer}");
        }
    });
}

/// Refuses, answers, and explains failures.
struct Door(Rc<Cell<u64>>, Arc<AtomicU64>);

impl Filter for Door {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        self.0.set(self.0.get() + 1);
        let all = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        if req.path() == "/secret" {
            return Err(Error::rejected(Status::FORBIDDEN, "not for you"));
        }
        let res = match next.handle(req).await {
            Err(error) if error.fault() == Fault::Ours => {
                Response::text(Status::INTERNAL_SERVER_ERROR, error.to_string())
            }
            answer => answer?,
        };
        Ok(res.with("x-own", self.0.get().to_string()).with("x-all", all.to_string()))
    }
}

fn door(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    let all = shard.shared("all", AtomicU64::default);
    let answer = Respond::new(Status::OK, Vec::new(), "inside");
    Ok(Door(Rc::default(), all).around(answer))
}

#[test]
fn state_is_a_shards_own_unless_it_is_shared() {
    with_server(door, |address| {
        let (mut own, rounds) = (0, 20);
        for round in 1..=rounds {
            let answer = ask(address, "GET / HTTP/1.1");
            assert_eq!(field(&answer, "x-all"), Some(&*round.to_string()), "{answer}");
            own = own.max(field(&answer, "x-own").unwrap().parse::<u64>().unwrap());
        }
        assert!((1..=rounds).contains(&own));
        let refused = ask(address, "GET /secret HTTP/1.1");
        assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
        assert!(refused.contains("not for you\nrequest id: "), "{refused}");
    });
}

/// Counts connections inside, and lets two in at a time over all shards.
struct TwoInside(Arc<AtomicU32>);

impl Admit for TwoInside {
    fn admit(&self, arriving: &Arriving<'_>) -> Admission {
        assert_eq!(arriving.listener, "http");
        assert!(arriving.local().is_some_and(|local| local.ip() == arriving.client.ip()));
        let more = |inside: u32| (inside < 2).then_some(inside + 1);
        let result = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        if result.is_ok() { Admission::Admitted } else { Admission::Refused }
    }

    fn leave(&self, _client: SocketAddr) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn two_inside(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    shard.admit(TwoInside(shard.shared("inside", AtomicU32::default)));
    Ok(Respond::new(Status::OK, Vec::new(), "inside"))
}

#[test]
fn a_program_decides_who_may_connect() {
    with_server(two_inside, |address| {
        let enter = || TcpStream::connect(address).unwrap();
        let hello = |mut stream: &TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).map(|()| assert_eq!(&answer, b"HTTP/1.1 200"))
        };
        let (first, second) = (enter(), enter());
        hello(&first).unwrap();
        hello(&second).unwrap();
        // A reset may come before the client's kernel has told of the connection.
        if let Ok(third) = TcpStream::connect(address) {
            assert!(hello(&third).is_err());
        }
        drop(first);
        // Its end is told a moment later.
        let came_in = |_| TcpStream::connect(address).is_ok_and(|stream| hello(&stream).is_ok());
        assert!((0..1000).any(came_in), "the place of the first is free");
    });
}

/// Remembers the last exchange.
struct Last(Arc<AtomicU64>);

impl Observe for Last {
    fn observe(&self, summary: &Summary<'_>) {
        assert!(summary.sent > 0 && summary.received > 0 && summary.failure.is_none());
        assert!(summary.duration() >= summary.upstream_duration().unwrap());
        assert_eq!((summary.attempts(), summary.endpoint().is_some()), (1, true));
        let mark = u64::from(summary.status) + summary.request.path().len() as u64 * 1000;
        self.0.store(mark, Ordering::SeqCst);
    }
}

/// The same endpoint for all, whatever the configuration says.
struct Third;

impl Balance for Third {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        _tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        assert!(key.is_some(), "the client's address, at least");
        (candidates.len() == 1).then_some(0)
    }
}

fn hooked(shard: &ShardScope) -> Result<impl Handler + use<>, Error> {
    shard.observe(Last(shard.shared("last", AtomicU64::default)));
    shard.balance("web", Third)?;
    let forward = shard.forward("web")?;
    let error = shard.balance("web", Third).unwrap_err().to_string();
    assert!(error.contains("`web` is forwarded to before its balancer"), "{error}");
    Ok(Marked(shard.shared("last", AtomicU64::default)).around(forward))
}

/// Tells what was observed before.
struct Marked(Arc<AtomicU64>);

impl Filter for Marked {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        let before = self.0.load(Ordering::SeqCst);
        Ok(next.handle(req).await?.with("x-before", before.to_string()))
    }
}

#[test]
fn a_program_is_told_of_each_exchange_and_picks_the_endpoint() {
    with_server(hooked, |address| {
        let first = ask(address, "GET /four HTTP/1.1");
        assert_eq!(field(&first, "x-before"), Some("0"), "{first}");
        // The next request may come before the shard has told of the first.
        let told = |_| field(&ask(address, "GET /four HTTP/1.1"), "x-before") == Some("5200");
        assert!((0..1000).any(told));
    });
}

#[test]
fn what_the_file_would_refuse_a_program_may_not_ask_for() {
    let server = Server::listen("127.0.0.1:8080".parse().unwrap()).upstream("web", []);
    let error = server.run(|shard| shard.forward("web")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("upstream `web`: endpoints"), "{text}");
    assert_eq!(format!("{error:?}"), text);
}

#[test]
fn an_upstream_that_does_not_exist_ends_the_start() {
    let server = Server::listen(free_address());
    let error = server.run(|shard| shard.forward("web")).unwrap_err();
    assert!(error.to_string().ends_with("no upstream is named `web`"), "{error}");
}

#[test]
fn a_demo_whose_address_is_taken_says_so_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["demo", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("cannot listen on `{address}`")), "{error}");
}
