//! Time limits to the second, and who is blamed when one passes.

use std::{future::pending, rc::Rc, time::Duration};

use ringway::{
    Filter, Handler,
    proxy::{Error, Request, Response},
    runtime::{LEASE_SIZE, SendBuf, lease, now, sleep, spawn},
};

use crate::{
    scene::{Side, Stage, play, play_with, timed},
    wire::{Broken, Framing},
};

const SECOND: Duration = Duration::from_secs(1);
/// A tick of the timers, and the network's delays.
const SLACK: Duration = Duration::from_millis(1200);
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

fn assert_about(took: Duration, expected: Duration) {
    assert!(took >= expected && took < expected + SLACK, "{took:?} instead of {expected:?}");
}

#[test]
fn a_client_that_sends_a_byte_now_and_then_is_given_up() {
    play("", "", async |stage| {
        let mut client = stage.client().await;
        client.send(UPLOAD).await;
        client.trickle(29 * SECOND, 1000);
        let (status, took) = timed(client.status()).await;
        assert_eq!(status, 408);
        // Behind by two body_timeouts, less what the two bytes were worth.
        assert_about(took, 60 * SECOND);
        assert_eq!(stage.stats.slow_clients.get(), 1);
        assert_eq!(stage.stats.client_timeouts.get(), 0);
    });
}

#[test]
fn a_client_at_the_least_speed_is_served_however_long_it_takes() {
    play("min_rate = '1B/s', body_timeout = '5s'", "", async |stage| {
        let mut client = stage.client().await;
        client.send(UPLOAD).await;
        client.trickle(SECOND * 9 / 10, 1000);
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        let (read, took) = timed(endpoint.reader.body(Framing::Length(1000), |_| {})).await;
        read.unwrap();
        assert!(took > 890 * SECOND, "{took:?}");
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.status().await, 200);
    });
}

#[test]
fn the_least_speed_can_be_switched_off() {
    play("min_rate = 'off'", "", async |stage| {
        let client = stage.client().await;
        client.send(UPLOAD).await;
        client.trickle(29 * SECOND, 100);
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        let (read, took) = timed(endpoint.reader.body(Framing::Length(100), |_| {})).await;
        read.unwrap();
        assert!(took > 2800 * SECOND, "{took:?}");
    });
}

/// Takes a byte each `pause` until the connection ends.
async fn sip(client: &Side, pause: Duration) {
    loop {
        sleep(pause).await;
        let lease = lease().expect("leases are allowed here");
        // The room of one byte at the lease's end.
        let room = LEASE_SIZE - 1;
        match client.stream.recv_lease(lease, room).await.0 {
            Ok(length) if length > 0 => {}
            _ => return,
        }
    }
}

#[test]
fn a_client_that_takes_a_byte_now_and_then_is_given_up() {
    for length in [40_000_u32, 400_000] {
        play("", "", async |stage| {
            let client = stage.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let mut endpoint = stage.accept().await;
            endpoint.reader.head().await.unwrap();
            let head = format!("HTTP/1.1 200 Well\r\nContent-Length: {length}\r\n\r\n");
            endpoint.send(head).await;
            let stream = endpoint.stream;
            let _detached = spawn(async move {
                let body = vec![b'x'; length as usize];
                drop(stream.send_all(SendBuf::Vec(body)).await);
                pending::<()>().await;
            });
            let began = now();
            let _detached = spawn(async move {
                sip(&client, 20 * SECOND).await;
            });
            while stage.stats.open.get() > 0 {
                sleep(SECOND).await;
            }
            let took = now() - began;
            let (slow, stalled) = (&stage.stats.slow_clients, &stage.stats.client_timeouts);
            assert_eq!((slow.get(), stalled.get()), (1, 0), "{length}: after {took:?}");
            assert_about(took, 60 * SECOND);
        });
    }
}

#[test]
fn a_slow_endpoint_is_not_held_against_its_client() {
    play("min_rate = '1MiB/s', write_timeout = '1s'", "", async |stage| {
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 100\r\n\r\n").await;
        endpoint.trickle(10 * SECOND, 100);
        assert_eq!(client.status().await, 200);
        client.reader.body(Framing::Length(100), |_| {}).await.unwrap();
    });
}

#[test]
fn an_upload_that_takes_all_of_the_time_is_the_clients_fault() {
    let route = "timeouts = { total = '10s' }\nretry = { attempts = 2, on = ['timeout'] }";
    play("", route, async |stage| {
        let mut client = stage.client().await;
        client.send(UPLOAD).await;
        client.trickle(SECOND, 1000);
        let (status, took) = timed(client.status()).await;
        assert_eq!(status, 408);
        assert_about(took, 10 * SECOND);
        assert_eq!(stage.stats.client_timeouts.get(), 1);
        assert_eq!(stage.endpoint.totals().timeouts, 0, "the endpoint isn't to blame");
    });
}

#[test]
fn an_endpoint_that_takes_all_of_the_time_is_to_blame() {
    play("", "timeouts = { total = '10s' }", async |stage| {
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (status, took) = timed(client.status()).await;
        assert_eq!(status, 504);
        assert_about(took, 10 * SECOND);
        assert_eq!(stage.endpoint.totals().timeouts, 1);
        assert_eq!(stage.stats.client_timeouts.get(), 0);
    });
}

#[test]
fn a_wait_for_a_connection_counts() {
    let route = "timeouts = { total = '10s' }\n[upstream.web.limits]\nconnections = 1\n\
                 queue_timeout = '1m'";
    play("", route, async |stage| {
        let (first, mut second) = (stage.client().await, stage.client().await);
        first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        sleep(SECOND).await;
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 5\r\n\r\n").await;
        second.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (status, took) = timed(second.status()).await;
        // The first exchange ends at 10 s and frees its connection; the second has a second left.
        assert_eq!(status, 504);
        assert_about(took, 10 * SECOND);
    });
}

#[test]
fn a_response_body_ends_with_the_exchanges_time() {
    play("", "timeouts = { total = '10s' }", async |stage| {
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 100\r\n\r\n").await;
        endpoint.trickle(SECOND, 100);
        assert_eq!(client.status().await, 200);
        let began = now();
        let read = client.reader.body(Framing::Length(100), |_| {}).await;
        assert!(matches!(read, Err(Broken::Cut | Broken::Failed(_))), "{read:?}");
        assert_about(now() - began, 10 * SECOND);
    });
}

/// Reads the whole request, then the whole response.
struct Collects;

impl Filter for Collects {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        if req.path() == "/request" {
            let body = req.body.take().collect(10_000).await?;
            req.body = body.into();
        }
        let mut res = next.handle(req).await?;
        let body = res.body.take().collect(10_000).await?;
        Ok(res.with_body(body))
    }
}

/// Replaces the response by one of its own with the same body.
struct Wraps;

impl Filter for Wraps {
    async fn filter(&self, req: &mut Request, next: &impl Handler) -> Result<Response, Error> {
        let mut res = next.handle(req).await?;
        Ok(Response::new(res.status).with_body(res.body.take()))
    }
}

#[test]
fn a_filter_that_reads_the_response_lets_the_upload_go_on() {
    async fn scene(stage: Rc<Stage>) {
        let mut client = stage.client().await;
        client.send(UPLOAD).await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        // It answers at once, but says all of it only as the request comes.
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 1000\r\n\r\n").await;
        sleep(SECOND).await;
        client.send([b'x'; 1000]).await;
        let mut body = Vec::new();
        let whole = Framing::Length(1000);
        endpoint.reader.body(whole, |piece| body.extend_from_slice(piece)).await.unwrap();
        endpoint.send(body).await;
        let (status, took) = timed(client.status()).await;
        assert_eq!(status, 200);
        assert!(took < SECOND, "{took:?}");
        client.reader.body(whole, |_| {}).await.unwrap();
    }
    play_with("", "", |scope| Ok(Collects.around(scope.forward("web")?)), scene);
    play_with("", "", |scope| Ok(Wraps.around(scope.forward("web")?)), scene);
}

#[test]
fn a_client_that_waits_to_be_told_is_told_by_who_reads_first() {
    play_with(
        "",
        "",
        |scope| Ok(Collects.around(scope.forward("web")?)),
        async |stage| {
            let mut client = stage.client().await;
            client
                .send(
                    "POST /request HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                     Content-Length: 1000\r\n\r\n",
                )
                .await;
            let (status, took) = timed(client.status()).await;
            assert_eq!(status, 100);
            assert!(took < SLACK, "{took:?}");
            client.send([b'x'; 1000]).await;
            let mut endpoint = stage.accept().await;
            endpoint.reader.head().await.unwrap();
            let whole = Framing::Length(1000);
            endpoint.reader.body(whole, |_| {}).await.unwrap();
            endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(client.status().await, 200, "one invitation is enough");
        },
    );
}

#[test]
fn an_interim_response_is_never_cut_by_the_wait_for_another() {
    play("", "", async |stage| {
        let mut client = stage.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            .await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        // Larger than the window, to a client that takes it only after the wait is over.
        let long = "y".repeat(20_000);
        endpoint.send(format!("HTTP/1.1 103 Hints\r\nX-Long: {long}\r\n\r\n")).await;
        sleep(3 * SECOND).await;
        let head = client.reader.head().await.unwrap();
        assert_eq!((head.status(), head.get("x-long")), (Some(103), Some(&*long)));
        assert_eq!(client.status().await, 100);
        client.send("abc").await;
        endpoint.reader.body(Framing::Length(3), |_| {}).await.unwrap();
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.status().await, 200);
    });
}
