//! Routes, rewrites, the built-in filters, and what endpoints are told of the client.

use super::{
    endpoint::{Endpoint, nobody, ok},
    h2_wire::H2,
    rig::{Plan, on_both},
};

/// An endpoint that sends the request's head back as the body.
fn echoing() -> super::endpoint::Served {
    Endpoint::listen().serve(|request| ok(&request.head).into())
}

#[test]
fn the_most_specific_route_wins() {
    on_both(|driver| {
        let route = |name: &str, matches: &str| {
            format!(
                "[[route]]\nname = '{name}'\nmatch = {matches}\nrespond = {{ body = '{name}' }}\n"
            )
        };
        let rig = Plan { shards: 1, ..Plan::default() }
            .more(
                &[
                    route("any", "{ path = '/*' }"),
                    route("prefix", "{ path = '/a/*' }"),
                    route("longer", "{ path = '/a/b/*' }"),
                    route("exact", "{ path = '/a/b/c' }"),
                    route("pattern", "{ path = '/users/*/posts' }"),
                    route("post", "{ path = '/a/*', method = ['POST'] }"),
                    route("header", "{ path = '/*', header = { 'x-env' = 'test' } }"),
                    route("host", "{ host = ['api.example.com'], path = '/*' }"),
                    route("wild", "{ host = ['*.example.com'], path = '/*' }"),
                ]
                .concat(),
            )
            .start(driver);
        let mut client = rig.client();
        let mut ask = |method: &str, path: &str, host: &str, more: &str| {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{more}\r\n"
            );
            client.ask(request).text().to_owned()
        };
        for (path, name) in [
            ("/", "any"),
            ("/a", "prefix"),
            ("/a/x", "prefix"),
            ("/ab", "any"),
            ("/a/b/x", "longer"),
            ("/a/b/c", "exact"),
            ("/a/b/c?q", "exact"),
            ("/users/7/posts", "pattern"),
            ("/users/7/posts/1", "any"),
            ("/x/../a/b/c", "exact"),
            ("//a/./b/%63", "exact"),
        ] {
            assert_eq!(ask("GET", path, "other", ""), name, "{path}");
        }
        assert_eq!(ask("POST", "/a/x", "other", ""), "post");
        assert_eq!(ask("GET", "/", "other", "X-Env: test\r\n"), "header");
        assert_eq!(ask("GET", "/a/b/c", "API.example.com:8080", ""), "host");
        assert_eq!(ask("GET", "/", "www.example.com", ""), "wild");
        assert_eq!(ask("GET", "/", "example.com", ""), "any");
        let mut client = rig.client();
        let dodge = "GET /a/..%2fb HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(client.ask(dodge).status(), 400);
    });
}

#[test]
fn a_redirect_names_parts_of_the_request_and_a_prefix_is_stripped() {
    on_both(|driver| {
        let endpoint = echoing();
        let rig = Plan::to(&[endpoint.address])
            .route("match = { path = '/v1/*' }\nrewrite = { strip_prefix = '/v1' }")
            .more(
                "[[route]]\nname = 'old'\nmatch = { path = '/old/*' }\n\
                 redirect = { to = 'https://new.example/${path.rest}${query}', status = 308 }",
            )
            .start(driver);
        let mut client = rig.client();
        let moved = client.get("/old/a/b?c=d");
        assert_eq!(moved.status(), 308);
        assert_eq!(moved.field("location"), Some("https://new.example/a/b?c=d"));
        for (path, sent) in
            [("/v1/users?a", "/users?a"), ("/v1", "/"), ("//v1/x", "/x"), ("/x/../v1/y", "/y")]
        {
            let seen = client.get(path).text().to_owned();
            assert!(seen.starts_with(&format!("GET {sent} HTTP/1.1\r\n")), "{path}: {seen}");
        }
        assert_eq!(client.get("/v2").status(), 404);
    });
}

#[test]
fn a_client_cannot_have_what_we_set_removed() {
    on_both(|driver| {
        let endpoint = echoing();
        let rig = Plan::to(&[endpoint.address])
            .route("headers.request = { set = { 'x-user' = 'nobody' } }\nfilters = ['id']")
            .more("[filter.id]\ntype = 'request_id'")
            .start(driver);
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-user, x-request-id, x-mine\r\n\
                       X-User: root\r\nX-Mine: 1\r\n\r\n";
        let answer = rig.client().ask(request);
        let seen = answer.text().to_lowercase();
        assert!(seen.contains("\r\nx-user: nobody\r\n"), "{seen}");
        assert!(!seen.contains("root") && !seen.contains("x-mine"), "{seen}");
        let id = answer.field("x-request-id").expect("the response has the id");
        assert!(seen.contains(&format!("\r\nx-request-id: {id}\r\n")), "{seen}");
    });
}

#[test]
fn forwarding_fields_are_believed_from_trusted_proxies_only() {
    on_both(|driver| {
        let endpoint = echoing();
        let lies = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.9\r\n\
                    X-Forwarded-Proto: https\r\nForwarded: for=203.0.113.9\r\n\r\n";
        let rig = Plan::to(&[endpoint.address]).start(driver);
        let seen = rig.client().ask(lies).text().to_lowercase();
        assert!(seen.contains("\r\nx-forwarded-for: 127."), "{seen}");
        assert!(seen.contains("\r\nx-forwarded-proto: http\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-forwarded-host: a.example\r\n"), "{seen}");
        assert!(!seen.contains("203.0.113.9"), "{seen}");
        let rig = Plan::to(&[endpoint.address])
            .listener("trusted_proxies = ['127.0.0.0/8']")
            .start(driver);
        let seen = rig.client().ask(lies).text().to_lowercase();
        assert!(seen.contains("\r\nx-forwarded-for: 203.0.113.9, 127."), "{seen}");
        assert!(seen.contains("\r\nx-forwarded-proto: https\r\n"), "{seen}");
    });
}

#[test]
fn a_rate_limit_is_exact_over_shards_and_says_when_to_come_back() {
    on_both(|driver| {
        let endpoint = Endpoint::listen().serve(|_| ok("in").into());
        let mut plan = Plan::to(&[endpoint.address])
            .route("filters = ['slow']")
            .more("[filter.slow]\ntype = 'rate_limit'\nrate = '1/h'\nburst = 20");
        plan.shards = 2;
        let rig = plan.start(driver);
        let mut clients: Vec<_> = (0..8).map(|_| rig.client()).collect();
        let answers: Vec<_> = (0..64).map(|turn| clients[turn % 8].get("/")).collect();
        let passed = answers.iter().filter(|answer| answer.status() == 200).count();
        assert_eq!(passed, 20);
        let refused = answers.iter().find(|answer| answer.status() == 429).unwrap();
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((3_500..=3_600).contains(&wait), "{wait}");
        assert_eq!(endpoint.requests(), 20);
    });
}

#[test]
fn an_error_page_is_text_or_json_as_the_client_likes() {
    on_both(|driver| {
        let rig = Plan { shards: 1, ..Plan::default() }
            .more("[[route]]\nname = 'x'\nmatch = { path = '/x' }\nrespond = { status = 204 }")
            .start(driver);
        let mut client = rig.client();
        let page = client.get("/no");
        assert_eq!(page.status(), 404);
        assert_eq!(page.field("content-type"), Some("text/plain; charset=utf-8"));
        assert!(page.text().contains("request id: "), "{}", page.text());
        let page = client.ask("GET /no HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
        assert_eq!(page.field("content-type"), Some("application/json"));
        let page: serde_json::Value = serde_json::from_str(page.text()).unwrap();
        assert_eq!(page["status"], 404);
        assert_eq!(page["request_id"].as_str().unwrap().len(), 24);
    });
}

#[test]
fn names_that_endpoints_may_take_for_ours_are_dropped() {
    on_both(|driver| {
        let endpoint = echoing();
        let rig = Plan::to(&[endpoint.address])
            .listener("trusted_proxies = ['127.0.0.0/8']")
            .route("filters = ['id']")
            .more("[filter.id]\ntype = 'request_id'")
            .start(driver);
        let seen = rig.client().ask(
            "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: lie\r\nx-forwarded_proto: lie\r\n\
             X.Forwarded.Host: lie\r\nX_Request_Id: lie\r\nX_Mine: 1\r\nX-Forwarded-Foo: 2\r\n\r\n",
        );
        let seen = seen.text().to_lowercase();
        assert!(!seen.contains("lie"), "{seen}");
        assert!(seen.contains("\r\nx_mine: 1\r\nx-forwarded-foo: 2\r\n"), "{seen}");
    });
}

#[test]
fn every_answer_carries_the_id_that_its_page_shows() {
    on_both(|driver| {
        let rig = Plan::to(&[nobody()])
            .listener("trusted_proxies = ['127.0.0.0/8']")
            .route("match = { path = '/x/*' }\nfilters = ['slow', 'id']\nretry = { attempts = 0 }")
            .more(
                "[filter.id]\ntype = 'request_id'\nheader = 'x-trace'\ntrust = 'trusted_proxies'\n\
                 [filter.slow]\ntype = 'rate_limit'\nrate = '1/h'\nburst = 2",
            )
            .start(driver);
        // No endpoint, its id kept; no endpoint; over the rate; no route; no request at all.
        for (request, status) in [
            ("GET /x/1 HTTP/1.1\r\nHost: a\r\nX-Trace: mine\r\n\r\n", 502),
            ("GET /x/2 HTTP/1.1\r\nHost: a\r\n\r\n", 502),
            ("GET /x/3 HTTP/1.1\r\nHost: a\r\n\r\n", 429),
            ("GET /y HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET /x/4 HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ] {
            let page = rig.client().ask(request);
            assert_eq!(page.status(), status, "{request}");
            let id = page.field("x-trace").unwrap_or_else(|| panic!("{request}: {}", page.head));
            assert!(page.text().contains(&format!("request id: {id}\n")), "{}", page.text());
            assert_eq!(id == "mine", request.contains("mine"), "{id}");
        }
    });
}

#[test]
fn a_listener_sends_what_came_in_the_clear_to_https() {
    on_both(|driver| {
        let endpoint = Endpoint::listen();
        let plan = Plan::to(&[endpoint.address()]);
        let listener =
            "alpn = ['h2', 'http/1.1']\nredirect_https = true\ntrusted_proxies = '127.0.0.0/8'";
        let rig = plan.clone().listener(listener).start(driver);
        let location = |request: &str| {
            let response = rig.client().ask(request);
            assert_eq!((response.status(), response.text()), (308, ""));
            response.field("location").unwrap().to_owned()
        };
        for (request, expected) in [
            ("GET /a%20b?c=d&e HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test/a%20b?c=d&e"),
            ("GET / HTTP/1.1\r\nHost: a.test:8080\r\n\r\n", "https://a.test/"),
            ("GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "https://[::1]/x"),
            ("GET http://b.test/y HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://b.test/y"),
            ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test"),
            ("POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi", "https://a.test/p"),
        ] {
            assert_eq!(location(request), expected);
        }
        let mut client = H2::connect(rig.address);
        let stream = client.get("/over/h2?x");
        let heard = client.whole(stream);
        assert_eq!(heard.status, 308);
        assert_eq!(heard.field("location"), Some("https://example.com/over/h2?x"));
        assert_eq!(rig.client().ask("GET / HTTP/1.0\r\n\r\n").status(), 400);
        endpoint.untouched();
        // Somebody before us has ended TLS: there is nowhere better to go.
        let mut client = rig.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n");
        let mut wire = endpoint.accept();
        wire.request();
        wire.send(ok("served"));
        assert_eq!(client.response().text(), "served");

        let rig = plan.listener("redirect_https = 8443").start(driver);
        let response = rig.client().get("/a");
        assert_eq!(response.field("location"), Some("https://example.com:8443/a"));
    });
}
