//! Small rules of connections and counters, exact because nothing else happens.

use std::time::Duration;

use ringway::runtime::{now, sleep};

use crate::{
    scene::{Side, play, timed},
    wire::{Broken, Framing},
};

const SECOND: Duration = Duration::from_secs(1);
const OK: &str = "HTTP/1.1 200 Well\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Takes a request without a body, answers, and takes the answer at the client.
async fn answer(endpoint: &mut Side, client: &mut Side) {
    endpoint.reader.head().await.unwrap();
    endpoint.send(OK).await;
    assert_eq!(client.status().await, 200);
    client.reader.body(Framing::Length(2), |_| {}).await.unwrap();
}

#[test]
fn a_full_queue_is_asked_once() {
    let route = "retry = { attempts = 3, on = ['connect_failure', '503'] }\n\
                 [upstream.web.limits]\nconnections = 1\npending = 1\nqueue_timeout = '5s'";
    play("", route, async |stage| {
        let (mut first, mut second, mut third) =
            (stage.client().await, stage.client().await, stage.client().await);
        first.send(GET).await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        second.send(GET).await;
        sleep(SECOND).await;
        third.send(GET).await;
        let ((status, page), took) = timed(async {
            let head = third.reader.head().await.unwrap();
            let length = usize::try_from(head.number("content-length").unwrap()).unwrap();
            let mut page = Vec::new();
            let body = third.reader.body(Framing::Length(length), |bytes| page.extend(bytes));
            body.await.unwrap();
            (head.status(), String::from_utf8(page).unwrap())
        })
        .await;
        assert_eq!(status, Some(503));
        assert!(page.contains("as many requests as it may have"), "{page}");
        assert!(took < SECOND, "{took:?}");
        assert_eq!(stage.endpoint.totals().queue_full, 1, "no second attempt");
        // The one that waits is not asked again either.
        assert_eq!(second.status().await, 503);
        assert_eq!(stage.endpoint.totals().queue_timeouts, 1);
        endpoint.send(OK).await;
        assert_eq!(first.status().await, 200);
    });
}

#[test]
fn a_put_whose_head_could_not_be_sent_is_repeated_with_its_body() {
    let route = "retry = { attempts = 1, on = ['no_response'] }";
    play("", route, async |stage| {
        let mut client = stage.client().await;
        // A head larger than the window: the endpoint is gone before all of it was sent.
        let long = "y".repeat(12_000);
        let head =
            format!("PUT / HTTP/1.1\r\nHost: a\r\nX: {long}\r\nContent-Length: 100000\r\n\r\n");
        client.send(head).await;
        let first = stage.accept().await;
        sleep(SECOND).await;
        first.stream.reset_on_close();
        drop(first);
        let mut second = stage.accept().await;
        second.reader.head().await.unwrap();
        let body = async {
            let mut length = 0;
            let read = second.reader.body(Framing::Length(100_000), |piece| length += piece.len());
            read.await.unwrap();
            length
        };
        let (_, length) = crate::both::both(client.send(vec![b'x'; 100_000]), body).await;
        assert_eq!(length, 100_000);
        second.send(OK).await;
        assert_eq!(client.status().await, 200);
    });
}

#[test]
fn an_empty_line_behind_a_body_begins_no_request() {
    play("header_timeout = '10s'", "", async |stage| {
        let mut client = stage.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n").await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        endpoint.reader.body(Framing::Length(2), |_| {}).await.unwrap();
        endpoint.send(OK).await;
        assert_eq!(client.status().await, 200);
        client.reader.body(Framing::Length(2), |_| {}).await.unwrap();
        sleep(30 * SECOND).await;
        // And once more, sent on its own.
        client.send(GET).await;
        answer(&mut endpoint, &mut client).await;
        client.send("\r\n").await;
        sleep(30 * SECOND).await;
        client.send(GET).await;
        answer(&mut endpoint, &mut client).await;
        assert_eq!(stage.stats.client_timeouts.get(), 0);
    });
}

#[test]
fn a_client_that_leaves_after_an_interim_response_is_noticed_soon() {
    play("", "", async |stage| {
        let mut client = stage.client().await;
        client.send(GET).await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        endpoint.send("HTTP/1.1 103 Hints\r\n\r\n").await;
        assert_eq!(client.status().await, 103);
        client.stream.reset_on_close();
        drop(client);
        let ((), took) = timed(endpoint.reader.drain()).await;
        assert!(took < SECOND, "{took:?}");
    });
}

#[test]
fn pipelined_bytes_are_counted_once() {
    play("", "", async |stage| {
        let mut client = stage.client().await;
        let all = GET.repeat(3);
        client.send(&all).await;
        let mut endpoint = stage.accept().await;
        for _ in 0..3 {
            answer(&mut endpoint, &mut client).await;
        }
        sleep(SECOND).await;
        assert_eq!(stage.stats.received_bytes.get(), all.len() as u64);
    });
}

#[test]
fn what_was_sent_of_a_broken_body_is_counted() {
    play("", "", async |stage| {
        let mut client = stage.client().await;
        client.send(GET).await;
        let mut endpoint = stage.accept().await;
        endpoint.reader.head().await.unwrap();
        endpoint.send("HTTP/1.1 200 Well\r\nContent-Length: 1000000\r\n\r\n").await;
        let half = async {
            endpoint.send(vec![b'x'; 500_000]).await;
            drop(endpoint);
        };
        let read = async {
            assert_eq!(client.status().await, 200);
            let mut length = 0;
            let read =
                client.reader.body(Framing::Length(1_000_000), |piece| length += piece.len());
            let read = read.await;
            assert!(matches!(read, Err(Broken::Cut | Broken::Failed(_))), "{read:?}");
            length
        };
        let ((), length) = crate::both::both(half, read).await;
        assert_eq!(length, 500_000);
        let began = now();
        while stage.stats.open.get() > 0 && now() - began < 10 * SECOND {
            sleep(SECOND).await;
        }
        let sent = stage.stats.sent_bytes.get();
        assert!((500_000..500_500).contains(&sent), "{sent}");
    });
}
