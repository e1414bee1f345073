//! UDP: flows apart, of any size, over a reload; endpoints that go.

use super::{L4, PATIENCE, run};
use crate::proxy::rig::on_both;
use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

/// An endpoint that answers each datagram with its name and the datagram.
fn server(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    run(move || {
        let mut buf = vec![0; 65_536];
        while let Ok((read, from)) = socket.recv_from(&mut buf) {
            let answer = [name.as_bytes(), &buf[..read]].concat();
            drop(socket.send_to(&answer, from));
        }
    });
    address
}

fn client(l4: &L4) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(l4.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ask(socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    socket.send(question).unwrap();
    let mut buf = vec![0; 65_536];
    let read = socket.recv(&mut buf).unwrap();
    buf.truncate(read);
    buf
}

#[test]
fn clients_get_their_own_replies_of_any_size() {
    on_both(|driver| {
        let l4 = L4::new("udp", &[server("")], "", "", "");
        let rig = l4.start(driver);
        let clients: Vec<_> = (0..50).map(|_| client(&l4)).collect();
        for (index, client) in clients.iter().enumerate() {
            client.send(format!("c{index}").as_bytes()).unwrap();
        }
        let mut buf = [0; 100];
        for (index, client) in clients.iter().enumerate() {
            let read = client.recv(&mut buf).unwrap();
            assert_eq!(&buf[..read], format!("c{index}").as_bytes());
        }
        for size in [0, 1, 512, 1472, 8000, 30_000, 65_000] {
            let question = vec![b'q'; size];
            assert_eq!(ask(&clients[0], &question), question, "{size} bytes");
        }
        let flow = rig.status().flows.remove(0);
        assert_eq!((flow.open, flow.datagrams_lost), (50, 0));
    });
}

#[test]
fn a_flow_keeps_its_endpoint_over_a_reload_until_that_is_gone() {
    on_both(|driver| {
        let (a, b, c) = (server("a"), server("b"), server("c"));
        let mut l4 = L4::new("udp", &[a, b], "", "", "");
        let rig = l4.start(driver);
        let clients = [client(&l4), client(&l4)];
        let before: Vec<_> = clients.iter().map(|client| ask(client, b"")).collect();
        assert_ne!(before[0], before[1], "in turn");
        // One more endpoint: nobody moves.
        l4.text = l4.text.replace(&format!("'{b}'"), &format!("'{b}', '{c}'"));
        rig.rewrite(&l4.plan());
        rig.admin().reload().unwrap();
        for (client, before) in clients.iter().zip(&before) {
            assert_eq!(ask(client, b""), *before);
        }
        // One endpoint less: its flow moves, the other doesn't.
        l4.text = l4.text.replace(&format!("'{a}', "), "");
        rig.rewrite(&l4.plan());
        rig.admin().reload().unwrap();
        for (client, before) in clients.iter().zip(&before) {
            let now = ask(client, b"");
            assert!(if before == b"a" { now != b"a" } else { now == *before });
        }
    });
}

#[test]
fn an_endpoint_that_refuses_is_left_with_the_next_datagram() {
    on_both(|driver| {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let l4 = L4::new("udp", &[nobody, server("b")], "", "", "balance = 'first'");
        let _rig = l4.start(driver);
        let client = client(&l4);
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // The refusal comes back after a datagram or two; five of them eject the endpoint.
        let mut buf = [0; 10];
        let answered = (0..100).any(|_| {
            client.send(b"?").unwrap();
            client.recv(&mut buf).is_ok()
        });
        assert!(answered && buf.starts_with(b"b?"));
    });
}

#[test]
fn flows_end_by_silence_and_with_their_last_reply() {
    on_both(|driver| {
        let l4 = L4::new("udp", &[server("")], "limits.replies = 1", "", "");
        let rig = l4.start(driver);
        let asked = client(&l4);
        assert_eq!(ask(&asked, b"one"), b"one");
        assert_eq!(rig.status().flows[0].ended, 1, "one reply ends it");
        assert_eq!(ask(&asked, b"two"), b"two", "and the next question begins another");

        let l4 = L4::new("udp", &[server("")], "", "timeouts.idle = '200ms'", "");
        let rig = l4.start(driver);
        assert_eq!(ask(&client(&l4), b"one"), b"one");
        let mut looks = 0;
        while rig.status().flows[0].open > 0 {
            looks += 1;
            assert!(looks < 100_000, "the flow never ends");
        }
    });
}

#[test]
fn a_full_table_refuses_and_lists_are_held() {
    on_both(|driver| {
        let l4 = L4::new("udp", &[server("")], "limits.flows = 2", "", "");
        let rig = l4.start(driver);
        let clients = [client(&l4), client(&l4), client(&l4)];
        assert_eq!(ask(&clients[0], b"a"), b"a");
        assert_eq!(ask(&clients[1], b"b"), b"b");
        clients[2].send(b"c").unwrap();
        assert_eq!(ask(&clients[0], b"d"), b"d", "both that talk go on");
        assert_eq!(rig.status().listeners.iter().find(|own| own.name == "l4").unwrap().refused, 1);

        let l4 = L4::new("udp", &[server("")], "deny = ['127.0.0.0/8']", "", "");
        let rig = l4.start(driver);
        client(&l4).send(b"x").unwrap();
        while rig.status().listeners.iter().find(|own| own.name == "l4").unwrap().refused == 0 {}
        assert_eq!(rig.status().flows[0].open, 0);
    });
}

#[test]
fn bursts_arrive_in_their_order_and_cut_as_they_were() {
    on_both(|driver| {
        let l4 = L4::new("udp", &[server("")], "", "", "");
        let rig = l4.start(driver);
        let clients = [client(&l4), client(&l4)];
        let bursts = [
            [512; 8],
            [512, 512, 100, 512, 0, 0, 512, 513],
            [1452, 1452, 1, 1453, 1453, 8000, 8000, 9],
        ];
        for burst in bursts {
            let datagrams: Vec<_> = (0..).zip(burst).map(|(name, size)| vec![name; size]).collect();
            for datagram in &datagrams {
                for client in &clients {
                    client.send(datagram).unwrap();
                }
            }
            for client in &clients {
                let mut buf = [0; 9000];
                for datagram in &datagrams {
                    let read = client.recv(&mut buf).unwrap();
                    assert!(buf[..read] == **datagram, "{read} bytes for {}", datagram.len());
                }
            }
        }
        let flow = rig.status().flows.remove(0);
        let bytes = 2 * bursts.concat().iter().sum::<usize>() as u64;
        assert_eq!((flow.bytes_in, flow.bytes_out, flow.datagrams_lost), (bytes, bytes, 0));
    });
}
