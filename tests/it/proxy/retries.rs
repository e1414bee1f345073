//! When a request is sent once more, and when it never is.

use super::{
    endpoint::{Endpoint, Served, nobody, ok},
    rig::{Plan, on_both},
};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// An endpoint that answers each request with these bytes; none closes the connection.
fn answering(bytes: &'static str) -> Served {
    Endpoint::listen().serve(move |_| bytes.into())
}

#[test]
fn a_failed_connect_goes_to_the_next_endpoint_whatever_the_method() {
    on_both(|driver| {
        let good = Endpoint::listen().serve(|_| ok("fine").into());
        let rig = Plan::to(&[nobody(), good.address]).start(driver);
        let mut client = rig.client();
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "fine");
            assert_eq!(client.ask(POST).text(), "fine");
        }
        assert_eq!(good.requests(), 8);
    });
}

#[test]
fn a_post_whose_endpoint_dies_over_it_is_sent_once() {
    on_both(|driver| {
        let (first, second) = (answering(""), answering(""));
        let rig = Plan::to(&[first.address, second.address])
            .route("retry = { attempts = 3, on = ['connect_failure', 'no_response', 'timeout', '502'] }")
            .start(driver);
        assert_eq!(rig.client().ask(POST).status(), 502);
        assert_eq!(first.requests() + second.requests(), 1, "a POST is never sent twice");
        // A GET may be: to the first attempt come three.
        assert_eq!(rig.client().get("/").status(), 502);
        assert_eq!(first.requests() + second.requests(), 1 + 4);
    });
}

#[test]
fn a_kept_alive_connection_that_closed_costs_a_get_nothing_and_a_post_is_not_repeated() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()]).route("retry = { attempts = 0 }").start(driver);
        let mut client = rig.client();
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send(ok("one"));
        assert_eq!(client.response().text(), "one");
        // It takes the second request and closes without a word.
        client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(upstream.head().starts_with("GET /2 "));
        drop(upstream);
        let mut fresh = endpoint.accept();
        assert!(fresh.head().starts_with("GET /2 "));
        fresh.send(ok("two"));
        assert_eq!(client.response().text(), "two");
        client.send(POST);
        assert!(fresh.head().starts_with("POST / "));
        drop(fresh);
        assert_eq!(client.response().status(), 502);
        endpoint.untouched();
    });
}

#[test]
fn statuses_are_retried_only_where_the_route_says_so() {
    on_both(|driver| {
        let busy = answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        let plan = Plan::to(&[busy.address]);
        assert_eq!(plan.start(driver).client().get("/").status(), 503);
        assert_eq!(busy.requests(), 1);
        let rig =
            Plan::to(&[busy.address]).route("retry = { attempts = 2, on = ['503'] }").start(driver);
        assert_eq!(rig.client().get("/").status(), 503, "the last answer is the answer");
        assert_eq!(busy.requests(), 1 + 3);
        assert_eq!(rig.client().ask(POST).status(), 503);
        assert_eq!(busy.requests(), 1 + 3 + 1, "a POST is not repeated");
    });
}

#[test]
fn nothing_is_repeated_after_a_byte_of_a_response() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let rig = Plan::to(&[endpoint.address()])
            .route("retry = { attempts = 3, on = ['no_response', 'timeout'] }")
            .start(driver);
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut upstream = endpoint.accept();
        upstream.head();
        upstream.send("HTTP/1.1 2");
        drop(upstream);
        assert_eq!(client.response().status(), 502);
        endpoint.untouched();
    });
}
