//! Who is let in and who is announced: PROXY headers both ways, lists, limits; for L4 and HTTP.

use super::{L4, PATIENCE, echo, endpoint, is_cut, rest};
use crate::proxy::rig::{Plan, on_both};
use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::mpsc,
    time::Duration,
};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// An endpoint that tells what it got until the client's end.
fn told() -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let (tell, told) = mpsc::channel();
    let address = endpoint(move |mut stream| {
        // A reset is told as nothing.
        tell.send(rest(&mut stream).unwrap_or_default()).unwrap();
    });
    (address, told)
}

const TAKES: &str = "proxy_protocol = { from = ['127.0.0.0/8'] }";

#[test]
fn an_announced_client_is_announced_again() {
    on_both(|driver| {
        let (server, told) = told();
        let l4 = L4::new("tcp", &[server], TAKES, "", "proxy_protocol = 'v1'");
        let _rig = l4.start(driver);
        let v2 = [V2, b"\x21\x11\0\x0c", &[203, 0, 113, 7, 203, 0, 113, 8, 4, 87, 8, 174]].concat();
        for header in [&b"PROXY TCP4 203.0.113.7 203.0.113.8 1111 2222\r\n"[..], &v2] {
            let mut client = l4.connect();
            // In pieces, and with the payload right behind.
            for piece in [header, b"payload"].concat().chunks(9) {
                client.write_all(piece).unwrap();
            }
            drop(client);
            let expected = b"PROXY TCP4 203.0.113.7 203.0.113.8 1111 2222\r\npayload";
            assert_eq!(
                told.recv_timeout(PATIENCE).unwrap().escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    });
}

#[test]
fn version_2_carries_an_id_and_a_checksum() {
    on_both(|driver| {
        use ringway::protocol::proxy_protocol::{Accept, Parsed, parse};
        let (server, told) = told();
        let l4 = L4::new("tcp", &[server], "", "", "proxy_protocol = 'v2'");
        let _rig = l4.start(driver);
        let mut client = l4.connect();
        let own = client.local_addr().unwrap();
        client.write_all(b"payload").unwrap();
        drop(client);
        let got = told.recv_timeout(PATIENCE).unwrap();
        let Ok(Parsed::Complete { header, consumed }) = parse(&got, Accept::V2) else {
            panic!("{}", got.escape_ascii());
        };
        let addresses = header.addresses.unwrap();
        assert_eq!((addresses.source, addresses.destination), (own, l4.address));
        assert_eq!(header.unique_id.map(|id| id.len()), Some(16));
        assert_eq!(&got[consumed..], b"payload");
    });
}

#[test]
fn a_missing_or_malformed_header_is_refused_where_one_is_required() {
    on_both(|driver| {
        let (server, told) = told();
        let l4 = L4::new("tcp", &[server], TAKES, "", "");
        let rig = l4.start(driver);
        let refused = [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            b"PROXY TCP4 999.1.1.1 1.1.1.1 1 2\r\nx",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\nx",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\nx",
        ];
        for header in refused {
            let mut client = l4.connect();
            client.write_all(header).unwrap();
            assert!(is_cut(&rest(&mut client)), "{}", header.escape_ascii());
        }
        assert!(told.try_recv().is_err(), "no endpoint was asked");
        let listeners = rig.status().listeners;
        assert_eq!(listeners.iter().find(|own| own.name == "l4").unwrap().refused, 4);
        // From others no header is taken: they are refused where one is required.
        let others = TAKES.replace("127.0.0.0/8", "10.0.0.0/8");
        let l4 = L4::new("tcp", &[endpoint(echo)], &others, "", "");
        let _rig = l4.start(driver);
        assert!(is_cut(&rest(&mut l4.connect())));
    });
}

#[test]
fn an_optional_header_may_be_missing() {
    on_both(|driver| {
        let optional = "proxy_protocol = { from = ['127.0.0.0/8'], required = false }\n\
                        limits.header_timeout = '300ms'";
        let l4 = L4::new("tcp", &[endpoint(echo)], optional, "", "");
        let _rig = l4.start(driver);
        for (sent, expected) in [
            (&b"PROXY UNKNOWN\r\nhello"[..], &b"hello"[..]),
            (b"hello", b"hello"),
            (b"PROXI", b"PROXI"),
        ] {
            let mut client = l4.connect();
            client.write_all(sent).unwrap();
            let mut got = [0; 5];
            client.read_exact(&mut got).unwrap();
            assert_eq!(&got, expected);
        }
        // A client that waits for the server to speak first is let through.
        let greeter = endpoint(|mut stream| drop(stream.write_all(b"220\r\n")));
        let l4 = L4::new("tcp", &[greeter], optional, "", "");
        let _rig = l4.start(driver);
        assert_eq!(rest(&mut l4.connect()).unwrap(), b"220\r\n");
    });
}

#[test]
fn limits_hold_for_the_announced_client() {
    on_both(|driver| {
        let limits = format!("{TAKES}\nlimits.connections_per_ip = 1");
        let l4 = L4::new("tcp", &[endpoint(echo)], &limits, "", "");
        let _rig = l4.start(driver);
        let open = |ip: &str| {
            let mut client = l4.connect();
            write!(client, "PROXY TCP4 {ip} 192.0.2.1 1 2\r\nx").unwrap();
            let is_in = client.read_exact(&mut [0]).is_ok();
            (client, is_in)
        };
        let (first, is_in) = open("203.0.113.1");
        assert!(is_in);
        assert!(!open("203.0.113.1").1, "a second one of the same client");
        assert!(open("203.0.113.2").1, "another client");
        drop(first);
        let mut tries = 0;
        while !open("203.0.113.1").1 {
            tries += 1;
            assert!(tries < 1000, "the place is given back");
        }
    });
}

#[test]
fn http_listeners_have_the_same_gate() {
    on_both(|driver| {
        let server = endpoint(|mut stream| {
            let mut seen = Vec::new();
            let mut buf = [0; 1024];
            while !seen.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut buf).unwrap();
                assert!(read > 0);
                seen.extend_from_slice(&buf[..read]);
            }
            let body = String::from_utf8(seen).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .unwrap();
        });
        let plan = Plan {
            upstream: "proxy_protocol = 'v1'".to_owned(),
            listener: TAKES.to_owned(),
            ..Plan::to(&[server])
        };
        let rig = plan.start(driver);
        let mut client = super::connect(rig.address);
        client
            .write_all(
                b"PROXY TCP4 203.0.113.7 203.0.113.8 1111 2222\r\n\
                  GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            )
            .unwrap();
        let answer = String::from_utf8(rest(&mut client).unwrap()).unwrap().to_lowercase();
        // The client that was announced to us is the one that endpoints hear of, on a connection
        // of its own for each request.
        assert_eq!(answer.matches("x-forwarded-for: 203.0.113.7").count(), 2, "{answer}");
        assert_eq!(answer.matches("proxy tcp4 203.0.113.7 ").count(), 2, "{answer}");
        let mut client = super::connect(rig.address);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(is_cut(&rest(&mut client)), "no header, no service");

        let plan = Plan { listener: "deny = '127.0.0.0/8'".to_owned(), ..Plan::to(&[server]) };
        let rig = plan.start(driver);
        assert!(is_cut(&rest(&mut super::connect(rig.address))));
        assert_eq!(rig.status().listeners[0].refused, 1);
    });
}

#[test]
fn new_connections_come_at_their_rate() {
    on_both(|driver| {
        let limits = "limits = { new_connections_per_ip = '3/min' }";
        let l4 = L4::new("tcp", &[endpoint(echo)], limits, "", "");
        let _rig = l4.start(driver);
        let served = (0..5).filter(|_| {
            let mut client = l4.connect();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // A reset may come before, during or after the write.
            client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
        });
        assert_eq!(served.count(), 3);
    });
}

#[test]
fn whoever_sends_no_header_has_a_place_all_the_same() {
    on_both(|driver| {
        let plan = Plan {
            runtime: "max_connections = 1".to_owned(),
            listener: TAKES.to_owned(),
            ..Plan::to(&[])
        };
        let rig = Plan { shards: 1, ..plan }.start(driver);
        let mut first = super::connect(rig.address);
        // The second is refused once the first has been accepted.
        while rig.status().shards[0].connections == 0 {}
        assert!(is_cut(&rest(&mut super::connect(rig.address))));
        first.write_all(b"PROXY UNKNOWN\r\nGET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(rest(&mut first).unwrap().starts_with(b"HTTP/1.1 404 "));
        // Its place is free again.
        let is_served = |_| {
            let mut client = super::connect(rig.address);
            let asked = client.write_all(b"PROXY UNKNOWN\r\nGET / HTTP/1.0\r\n\r\n");
            asked.is_ok() && rest(&mut client).is_ok_and(|answer| !answer.is_empty())
        };
        assert!((0..1000).any(is_served));
    });
}
