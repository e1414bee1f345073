//! TCP: half-close, resets, failover, big transfers, idle connections, TLS by name.

use super::{L4, PATIENCE, echo, endpoint, is_cut, named, nobody, rest};
use crate::proxy::rig::on_both;
use socket2::SockRef;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, mpsc},
    time::Duration,
};

#[test]
fn each_side_ends_its_stream_by_itself() {
    on_both(|driver| {
        // The endpoint speaks first, and again after the client's end; the client hears all of it.
        let server = endpoint(|mut stream| {
            stream.write_all(b"220 hello\r\n").unwrap();
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            write!(stream, "bye {}", seen.len()).unwrap();
        });
        // And the other way round: the endpoint ends first, the client goes on.
        let (tell, told) = mpsc::channel();
        let first = endpoint(move |mut stream| {
            stream.write_all(b"last word").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            tell.send(rest(&mut stream).unwrap()).unwrap();
        });
        let l4 = L4::tcp(&[server]);
        let _rig = l4.start(driver);
        let mut client = l4.connect();
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 hello\r\n");
        client.write_all(b"12345").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client).unwrap(), b"bye 5");

        let l4 = L4::tcp(&[first]);
        let _rig = l4.start(driver);
        let mut client = l4.connect();
        assert_eq!(rest(&mut client).unwrap(), b"last word");
        client.write_all(b"still here").unwrap();
        drop(client);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"still here");
    });
}

#[test]
fn a_reset_is_passed_on_as_one_both_ways() {
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let server = endpoint(move |mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            if &byte == b"r" {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            stream.write_all(b"x").unwrap();
            tell.send(is_cut(&rest(&mut stream))).unwrap();
        });
        let l4 = L4::tcp(&[server]);
        let _rig = l4.start(driver);
        let mut client = l4.connect();
        client.write_all(b"r").unwrap();
        assert!(is_cut(&rest(&mut client)), "the endpoint's reset reaches the client");
        let mut client = l4.connect();
        client.write_all(b"c").unwrap();
        client.read_exact(&mut [0]).unwrap();
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert!(told.recv_timeout(PATIENCE).unwrap(), "the client's reset reaches the endpoint");
    });
}

#[test]
fn an_endpoint_that_is_gone_is_skipped_before_a_byte_is_sent() {
    on_both(|driver| {
        let l4 = L4::tcp(&[endpoint(echo), nobody(), endpoint(echo)]);
        let rig = l4.start(driver);
        for _ in 0..30 {
            let mut client = l4.connect();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        let status = rig.status();
        assert_eq!(status.flows[0].failed, 0, "{:?}", status.flows);
    });
}

#[test]
fn a_connection_that_nobody_takes_is_reset() {
    on_both(|driver| {
        let l4 = L4::tcp(&[nobody()]);
        let _rig = l4.start(driver);
        assert!(is_cut(&rest(&mut l4.connect())));
    });
}

#[test]
fn a_gibibyte_arrives_whole_both_ways_at_once() {
    // Far beyond every buffer, through ring buffers and splice alike.
    const LENGTH: usize = 1 << 30;
    let bytes = Pattern::new();
    on_both(|driver| {
        let of_server = bytes.clone();
        let server = endpoint(move |stream| exchange(&stream, &of_server, LENGTH));
        let l4 = L4::tcp(&[server]);
        let rig = l4.start(driver);
        exchange(&l4.connect(), &bytes, LENGTH);
        // Its end is counted when both sides' are in.
        let flow = loop {
            let flow = rig.status().flows.remove(0);
            if flow.ended > 0 {
                break flow;
            }
        };
        let length = LENGTH as u64;
        assert_eq!((flow.bytes_in, flow.bytes_out, flow.failed), (length, length, 0));
    });
}

/// Sends a known stream and holds every byte of the one that comes against it.
fn exchange(stream: &TcpStream, bytes: &Pattern, length: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut to, mut at) = (stream, 0);
            while at < length {
                let piece = bytes.piece(at, Pattern::PIECE.min(length - at));
                to.write_all(piece).unwrap();
                at += piece.len();
            }
            to.shutdown(Shutdown::Write).unwrap();
        });
        let (mut from, mut at) = (stream, 0);
        let mut buf = vec![0; Pattern::PIECE];
        loop {
            let read = from.read(&mut buf).unwrap();
            if read == 0 {
                break;
            }
            assert!(buf[..read] == *bytes.piece(at, read), "bytes from {at} on");
            at += read;
        }
        assert_eq!(at, length);
    });
}

/// An endless stream whose bytes tell where they belong: its period is a prime number, so that
/// nothing that buffers lose, repeat or exchange leaves it as it was.
#[derive(Clone)]
struct Pattern(Arc<[u8]>);

impl Pattern {
    /// Most bytes of a piece.
    const PIECE: usize = 256 << 10;
    const PERIOD: usize = 65_537;

    fn new() -> Self {
        let word = |at: usize| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
        Self((0..Self::PERIOD + Self::PIECE).map(|at| word(at % Self::PERIOD)).collect())
    }

    /// `length` bytes of the stream, from `at` on.
    fn piece(&self, at: usize, length: usize) -> &[u8] {
        &self.0[at % Self::PERIOD..][..length]
    }
}

#[test]
fn a_reader_that_stalls_stops_the_writer() {
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let server = endpoint(move |mut stream| {
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let piece = [7; 64 << 10];
            let mut sent = 0;
            while stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            tell.send(sent).unwrap();
        });
        let l4 = L4::tcp(&[server]);
        let rig = l4.start(driver);
        let client = l4.connect();
        let sent = told.recv_timeout(PATIENCE).unwrap();
        assert!(sent < 64 << 20, "{sent} bytes went into a connection that nobody reads");
        let shards = rig.status().shards;
        assert!(shards[0].buffers_in_use <= 2, "{shards:?}");
        drop(client);
    });
}

#[test]
fn readers_that_stall_hold_nothing_that_others_need() {
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let server = endpoint(move |mut stream| {
            let mut word = [0];
            stream.read_exact(&mut word).unwrap();
            if &word == b"e" {
                return echo(stream);
            }
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            while stream.write_all(&[7; 64 << 10]).is_ok() {}
            tell.send(()).unwrap();
            drop(rest(&mut stream));
        });
        let l4 = L4::tcp(&[server]);
        let mut plan = l4.plan();
        // Larger than what comes at once: nothing goes by a pipe.
        plan.runtime = "buffers = { count = 16, size = '1MiB' }".to_owned();
        let rig = plan.start(driver);
        let mut stalled: Vec<_> = (0..24).map(|_| l4.connect()).collect();
        for client in &mut stalled {
            client.write_all(b"s").unwrap();
        }
        for _ in &stalled {
            told.recv_timeout(PATIENCE).unwrap();
        }
        let mut other = l4.connect();
        other.write_all(b"e").unwrap();
        other.write_all(b"hello").unwrap();
        let mut heard = [0; 5];
        other.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        assert!(rig.status().shards[0].buffers_in_use <= 2);
    });
}

#[test]
fn silence_ends_a_connection_and_traffic_keeps_it() {
    on_both(|driver| {
        let l4 = L4::new("tcp", &[endpoint(echo)], "", "timeouts = { idle = '400ms' }", "");
        let _rig = l4.start(driver);
        let mut client = l4.connect();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        for _ in 0..4 {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            // Less than the idle time, together more: the pause is the read's own timeout.
            assert!(client.read(&mut [0]).is_err());
        }
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(is_cut(&rest(&mut client)), "a silent connection is reset");
    });
}

#[test]
fn a_reload_leaves_connections_alone_and_sends_new_ones_elsewhere() {
    on_both(|driver| {
        let (old, new) = (endpoint(echo), endpoint(named(b"new")));
        let mut l4 = L4::tcp(&[old]);
        let rig = l4.start(driver);
        let mut client = l4.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        l4.text = l4.text.replace(&old.to_string(), &new.to_string());
        rig.rewrite(&l4.plan());
        rig.admin().reload().unwrap();
        assert_eq!(rest(&mut l4.connect()).unwrap(), b"new");
        client.write_all(b"y").unwrap();
        client.read_exact(&mut [0]).unwrap();
    });
}

/// A ClientHello for `name` that offers `alpn`.
fn hello(name: &str, alpn: &str) -> Vec<u8> {
    let block =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let sni = block(&[&[0], &block(name.as_bytes())[..]].concat());
    let length = u8::try_from(alpn.len()).unwrap();
    let alpn = block(&[&[length], alpn.as_bytes()].concat());
    let extensions =
        [&[0, 0][..], &block(&sni), &[0, 16], &block(&alpn), &[0, 51], &block(&[9; 1300])].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &block(&extensions)].concat();
    let mut message = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    message[0] = 1;
    message.extend_from_slice(&body);
    [&[22, 3, 1][..], &block(&message)].concat()
}

#[test]
fn tls_is_routed_by_name_and_protocol_without_being_touched() {
    on_both(|driver| {
        // Each endpoint says its name once the whole hello is there, and then what it was.
        let told = |name: &'static str| {
            endpoint(move |mut stream| {
                let mut head = [0; 5];
                stream.read_exact(&mut head).unwrap();
                let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
                stream.read_exact(&mut body).unwrap();
                stream.write_all(name.as_bytes()).unwrap();
                stream.write_all(&head).unwrap();
                stream.write_all(&body).unwrap();
            })
        };
        let names = ["exact", "h2", "wild", "deep"];
        let mut l4 = L4::new("tls", &[told("exact")], "limits.header_timeout = '5s'", "", "");
        l4.text = l4.text.replace("upstream = 'own'\n", "upstream = 'own'\nmatch.sni = 'a.test'\n");
        for (name, matches) in [
            ("h2", "{ sni = 'a.test', alpn = 'h2' }"),
            ("wild", "{ sni = '*.test' }"),
            ("deep", "{ sni = '*.b.test' }"),
        ] {
            l4.text += &format!(
                "[upstream.{name}]\nendpoints = ['{}']\n[[route]]\nname = '{name}'\n\
                 listener = 'l4'\nupstream = '{name}'\nmatch = {matches}\n",
                told(name)
            );
        }
        let rig = l4.start(driver);
        for (sni, alpn, expected) in [
            ("A.test", "http/1.1", "exact"),
            ("a.test", "h2", "h2"),
            ("x.test", "h2", "wild"),
            ("x.b.test", "h2", "deep"),
            ("b.test", "h2", "wild"),
        ] {
            let hello = hello(sni, alpn);
            let mut client = l4.connect();
            // In pieces: the key share alone is larger than some segments.
            for piece in hello.chunks(400) {
                client.write_all(piece).unwrap();
            }
            let answer = rest(&mut client).unwrap();
            let name = names.iter().find(|name| answer.starts_with(name.as_bytes()));
            assert_eq!(name, Some(&expected), "{sni} {alpn}");
            assert_eq!(answer[expected.len()..], hello, "the hello arrives as it was");
        }
        for refused in [&hello("other.example", "h2")[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let mut client = l4.connect();
            client.write_all(refused).unwrap();
            assert!(is_cut(&rest(&mut client)));
        }
        assert_eq!(rig.status().flows.len(), 4);
    });
}
