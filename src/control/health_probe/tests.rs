//! Probes against real sockets; time only passes in the probe's own short intervals.

use super::*;
use crate::config::Probe as How;
use std::{future::Future, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    task::LocalSet,
    time::timeout,
};

type Verdicts = mpsc::UnboundedReceiver<(bool, String)>;

struct Told(mpsc::UnboundedSender<(bool, String)>);
impl Verdict for Told {
    fn set_health(&self, healthy: bool, reason: &str) {
        // A test that has seen enough doesn't listen any more.
        let _gone = self.0.send((healthy, reason.to_owned()));
    }
}

fn told() -> (Rc<dyn Verdict>, Verdicts) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Rc::new(Told(sender)), receiver)
}

fn health(probe: How) -> HealthConfig {
    HealthConfig {
        probe,
        protocol: crate::config::UpstreamProtocol::Http11,
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(2_000),
        rise: 2,
        fall: 2,
        expect: vec![200..=299, 304..=304],
    }
}

fn http() -> HealthConfig {
    health(How::Http { path: "/healthz?full=1".to_owned(), host: Some("app.test".to_owned()) })
}

fn probed(address: SocketAddr, health: HealthConfig, endpoint: Rc<dyn Verdict>) -> Probed {
    let address = address.into();
    Probed { upstream: "app".to_owned(), address, preface: Vec::new(), health, tls: None, endpoint }
}

fn on_the_control_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new()
        .block_on(&runtime, async { timeout(Duration::from_secs(20), work).await.unwrap() })
}

/// Answers every connection with the bytes that `answer` holds at that time.
async fn server(answer: Rc<RefCell<&'static str>>) -> (SocketAddr, Rc<RefCell<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Rc::new(RefCell::new(String::new()));
    let requests = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            *requests.borrow_mut() = String::from_utf8_lossy(&request[..read]).into_owned();
            let text = *answer.borrow();
            let _closed_by_then = stream.write_all(text.as_bytes()).await;
        }
    });
    (address, seen)
}

async fn answer_of(answer: &'static str, health: &HealthConfig) -> Result<String, String> {
    let (address, _seen) = server(Rc::new(RefCell::new(answer))).await;
    ask::ask(address.into(), b"", health, None).await
}

#[test]
fn a_get_names_its_host_and_path() {
    on_the_control_thread(async {
        let (address, seen) =
            server(Rc::new(RefCell::new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))).await;
        assert_eq!(ask::ask(address.into(), b"", &http(), None).await, Ok("status 200".to_owned()));
        let request = seen.borrow().clone();
        assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\nHost: app.test\r\n"));
        assert!(request.ends_with("Connection: close\r\n\r\n"), "{request}");
    });
}

#[test]
fn a_preface_comes_before_the_question() {
    on_the_control_thread(async {
        let (address, seen) =
            server(Rc::new(RefCell::new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))).await;
        let preface = b"PROXY UNKNOWN\r\n";
        assert_eq!(
            ask::ask(address.into(), preface, &http(), None).await,
            Ok("status 200".to_owned())
        );
        // One read of the server may end between the two.
        assert!(seen.borrow().starts_with("PROXY UNKNOWN\r\n"), "{}", seen.borrow());
    });
}

#[test]
fn each_answer_has_its_reason() {
    on_the_control_thread(async {
        let bad = |text: &str| Err(text.to_owned());
        let http = http();
        let ok = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n";
        assert_eq!(answer_of(ok, &http).await, Ok("status 304".to_owned()));
        assert_eq!(
            answer_of("HTTP/1.0 503 No\r\n\r\n", &http).await,
            bad("status 503, expected 200-299, 304")
        );
        assert_eq!(answer_of("", &http).await, bad("closed before a response"));
        let garbage = answer_of("SSH-2.0-x\r\n", &http).await.unwrap_err();
        assert!(garbage.starts_with("response isn't HTTP: "), "{garbage}");
        let endless = answer_of(Box::leak("HTTP/1.1 100 C\r\n\r\n".repeat(20).into()), &http).await;
        assert_eq!(endless, bad("no end of 1xx responses"));
        assert_eq!(answer_of("", &health(How::Tcp)).await, Ok("connected".to_owned()));
    });
}

#[test]
fn a_head_without_end_is_refused() {
    on_the_control_thread(async {
        let flood: String =
            "HTTP/1.1 200 OK\r\n".to_owned() + &"X-Filler: 0123456789abcdef\r\n".repeat(4_000);
        let answer = answer_of(Box::leak(flood.into()), &http()).await.unwrap_err();
        assert!(answer.starts_with("response isn't HTTP: "), "{answer}");
    });
}

#[test]
fn nobody_listening_and_nobody_answering_are_told_apart() {
    on_the_control_thread(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let quick = HealthConfig { timeout: Duration::from_millis(30), ..http() };
        assert_eq!(
            ask::ask(address.into(), b"", &quick, None).await,
            Err("timed out after 30ms".to_owned())
        );
        drop(listener);
        assert_eq!(
            ask::ask(address.into(), b"", &quick, None).await,
            Err("connect refused".to_owned())
        );
    });
}

#[test]
fn verdicts_come_once_per_change() {
    on_the_control_thread(async {
        let answer = Rc::new(RefCell::new("HTTP/1.1 200 OK\r\n\r\n"));
        let (address, _seen) = server(Rc::clone(&answer)).await;
        let (endpoint, mut verdicts) = told();
        let mut prober = Prober::default();
        prober.apply(vec![probed(address, http(), endpoint)]);
        assert_eq!(verdicts.recv().await.unwrap(), (true, "status 200".to_owned()));
        *answer.borrow_mut() = "HTTP/1.1 500 Oh\r\n\r\n";
        let expected = (false, "status 500, expected 200-299, 304".to_owned());
        assert_eq!(verdicts.recv().await.unwrap(), expected);
        *answer.borrow_mut() = "HTTP/1.1 204 Fine\r\n\r\n";
        assert_eq!(verdicts.recv().await.unwrap(), (true, "status 204".to_owned()));
    });
}

#[test]
fn a_reload_keeps_what_is_unchanged_and_frees_what_is_gone() {
    on_the_control_thread(async {
        let answer = Rc::new(RefCell::new("HTTP/1.1 500 Oh\r\n\r\n"));
        let (address, _seen) = server(Rc::clone(&answer)).await;
        let (endpoint, mut verdicts) = told();
        let mut prober = Prober::default();
        prober.apply(vec![probed(address, http(), Rc::clone(&endpoint))]);
        assert!(!verdicts.recv().await.unwrap().0);
        let task = prober.running.values().next().unwrap().task.id();

        prober.apply(vec![probed(address, http(), endpoint)]);
        assert_eq!(prober.running.values().next().unwrap().task.id(), task, "the same task");
        assert!(verdicts.try_recv().is_err(), "nothing new to tell");

        let (replaced, mut later) = told();
        prober.apply(vec![probed(address, http(), Rc::clone(&replaced))]);
        assert!(!later.recv().await.unwrap().0, "a new object learns the verdict");

        let slower = HealthConfig { interval: Duration::from_millis(25), rise: 1, ..http() };
        prober.apply(vec![probed(address, slower, replaced)]);
        assert_ne!(prober.running.values().next().unwrap().task.id(), task);
        *answer.borrow_mut() = "HTTP/1.1 200 OK\r\n\r\n";
        assert!(later.recv().await.unwrap().0, "the old verdict held until the new rise");
        *answer.borrow_mut() = "HTTP/1.1 500 Oh\r\n\r\n";
        assert!(!later.recv().await.unwrap().0);

        prober.apply(Vec::new());
        assert_eq!(later.recv().await.unwrap(), (true, "not probed any more".to_owned()));
        assert!(prober.running.is_empty());
    });
}

#[test]
fn the_interval_varies_by_a_tenth_and_keeps_its_mean() {
    let mut random = 7;
    let interval = Duration::from_secs(1);
    let all: Vec<Duration> = (0..10_000).map(|_| jittered(interval, &mut random)).collect();
    let bounds = Duration::from_millis(900)..=Duration::from_millis(1_100);
    assert!(all.iter().all(|length| bounds.contains(length)));
    let mean = all.iter().sum::<Duration>() / 10_000;
    assert!(
        (Duration::from_millis(990)..=Duration::from_millis(1_010)).contains(&mean),
        "{mean:?}"
    );
}
