//! `transparent = true`: an endpoint sees the client's own address, and its answers come back through
//! us by policy routing.
//!
//! ```text
//!   namespace of the client          namespace of ringway and the endpoint
//!   192.0.2.2 ───── veth ─────▶ 192.0.2.1 listener ─▶ 10.9.0.1 endpoint
//!                                      ▲─ to 192.0.2.2, but local: table 100 ─┘
//! ```

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::mpsc::{self, Sender},
    thread,
};

use nix::sched::{CloneFlags, unshare};

use super::{L4, PATIENCE, run};
use crate::{
    proxy::rig::on_both,
    real::{is_there, missing},
};

const CLIENT: &str = "192.0.2.2";
const LISTENER: &str = "192.0.2.1:7000";
const ENDPOINT: &str = "10.9.0.1:7001";

/// Runs `ip` in the namespace of this thread, once a line.
fn ip(lines: &str) {
    for line in lines.lines() {
        let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {line}: {output:?}");
    }
}

/// The number of this thread, by which others name its namespace.
fn thread_number() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Gives this thread a namespace of its own that has the endpoint, does `work` in it, and `visit` in
/// one that has the client.
fn in_namespaces<T: Send>(work: impl FnOnce(), visit: impl FnOnce() -> T + Send) -> T {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip("link set lo up\n\
        addr add 10.9.0.1/32 dev lo\n\
        link add a0 type veth peer name b0\n\
        addr add 192.0.2.1/24 dev a0\n\
        link set a0 up\n\
        rule add from 10.9.0.1 lookup 100\n\
        route add local 0.0.0.0/0 dev lo table 100");
    let (tell, told) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(thread_number()).unwrap();
            begun.recv().unwrap();
            ip("addr add 192.0.2.2/24 dev b0\nlink set b0 up");
            visit()
        });
        ip(&format!("link set b0 netns {}", told.recv().unwrap()));
        work();
        begin.send(()).unwrap();
        client.join().unwrap()
    })
}

fn may() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    is_there("ip") && status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Between a listener and an endpoint of one network.
fn transparent(protocol: &str) -> L4 {
    let mut l4 = L4::new(protocol, &[ENDPOINT.parse().unwrap()], "", "", "transparent = true");
    l4.text = l4.text.replace(&l4.address.to_string(), LISTENER);
    l4
}

/// `endpoint` answers one client, and tells whom it sees; `client` returns what it has heard.
fn is_seen_as_it_is(protocol: &str, endpoint: fn(Sender<IpAddr>), client: fn() -> Vec<u8>) {
    if !may() {
        return missing("root, or ip");
    }
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let mut rig = None;
        let work = || {
            endpoint(tell);
            rig = Some(transparent(protocol).start(driver));
        };
        assert_eq!(in_namespaces(work, client), b"both");
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), CLIENT.parse::<IpAddr>().unwrap());
    });
}

#[test]
fn an_endpoint_sees_the_clients_address_of_a_connection() {
    let endpoint = |tell: Sender<IpAddr>| {
        let listener = TcpListener::bind(ENDPOINT).unwrap();
        run(move || {
            let (mut stream, from) = listener.accept().unwrap();
            tell.send(from.ip()).unwrap();
            let mut said = [0; 4];
            stream.read_exact(&mut said).unwrap();
            stream.write_all(&said).unwrap();
        });
    };
    is_seen_as_it_is("tcp", endpoint, || {
        let mut client = TcpStream::connect(LISTENER).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"both").unwrap();
        let mut heard = [0; 4];
        client.read_exact(&mut heard).unwrap();
        heard.to_vec()
    });
}

#[test]
fn an_endpoint_sees_the_clients_address_of_a_flow() {
    let endpoint = |tell: Sender<IpAddr>| {
        let socket = UdpSocket::bind(ENDPOINT).unwrap();
        run(move || {
            let mut buf = [0; 16];
            let (read, from) = socket.recv_from(&mut buf).unwrap();
            tell.send(from.ip()).unwrap();
            socket.send_to(&buf[..read], from).unwrap();
        });
    };
    is_seen_as_it_is("udp", endpoint, || {
        let client = UdpSocket::bind(SocketAddr::from(([0; 4], 0))).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(LISTENER).unwrap();
        client.send(b"both").unwrap();
        let mut heard = [0; 16];
        let read = client.recv(&mut heard).unwrap();
        heard[..read].to_vec()
    });
}
