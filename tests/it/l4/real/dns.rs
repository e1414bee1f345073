//! `dig` to a DNS server of the test's own, over UDP and TCP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::Command,
};

use crate::{
    l4::{L4, endpoint, run},
    proxy::rig::on_both,
    real::{is_there, missing, said},
};

#[test]
fn dig_gets_short_and_long_answers() {
    if !is_there("dig") {
        return missing("dig");
    }
    on_both(|driver| {
        let datagrams = L4::new("udp", &[server()], "limits.replies = 1", "", "");
        let rig = datagrams.start(driver);
        for number in 1..=20 {
            assert_eq!(dig(&datagrams, &[&format!("h{number}.test"), "A"]), "192.0.2.7\n");
        }
        let text = dig(&datagrams, &["long.test", "TXT"]);
        assert_eq!(text.matches('x').count(), 3_000, "{text}");
        let flow = rig.status().flows.remove(0);
        assert_eq!((flow.open, flow.ended, flow.failed), (0, 21, 0), "each ended with its answer");

        let streams = L4::tcp(&[endpoint(answer_stream)]);
        let _rig = streams.start(driver);
        assert_eq!(dig(&streams, &["+tcp", "h.test", "A"]), "192.0.2.7\n");
        let text = dig(&streams, &["+tcp", "long.test", "TXT"]);
        assert_eq!(text.matches('x').count(), 3_000, "{text}");
    });
}

fn dig(l4: &L4, what: &[&str]) -> String {
    let (host, port) = (format!("@{}", l4.address.ip()), l4.address.port().to_string());
    let mut dig = Command::new("dig");
    dig.args([&host, "-p", &port, "+short", "+tries=1", "+time=10", "+bufsize=4096"]);
    said(dig.args(what), b"")
}

/// Answers datagrams.
fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    run(move || {
        let mut buf = [0; 4096];
        while let Ok((read, from)) = socket.recv_from(&mut buf) {
            drop(socket.send_to(&answer(&buf[..read]), from));
        }
    });
    address
}

/// Answers the messages of a connection, each behind its length (RFC 1035 §4.2.2).
fn answer_stream(mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).unwrap();
        let message = answer(&query);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &message].concat()).unwrap();
    }
}

/// Every A is 192.0.2.7, every TXT 3,000 times `x` (RFC 1035 §4).
fn answer(query: &[u8]) -> Vec<u8> {
    // The name ends with an empty label; type and class follow.
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap() + 13;
    let is_text = query[name..name + 2] == [0, 16];
    let data: Vec<u8> = match is_text {
        false => vec![192, 0, 2, 7],
        true => (0..15).flat_map(|_| std::iter::once(200).chain([b'x'; 200])).collect(),
    };
    let mut message = query[..2].to_vec();
    // A response, authoritative; one question, one answer.
    message.extend([0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend(&query[12..name + 4]);
    // The question's name again, its type and class, a time to live.
    message.extend([0xc0, 12]);
    message.extend(&query[name..name + 4]);
    message.extend([0, 0, 0, 60]);
    message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    message.extend(data);
    message
}
