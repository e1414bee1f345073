//! One of three endpoints is killed, stalls, or answers no packet, while clients come and go: only
//! its own connections break, and new ones go elsewhere within the connect timeout.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{L4, PATIENCE, echo, endpoint};
use crate::{
    proxy::rig::{on_both, own_address, timed},
    real::{Server, is_there, missing},
};

/// The route's; tests wait for it a few times.
const CONNECT: Duration = Duration::from_secs(1);
const VISITORS: usize = 4;
/// Of each visitor, once the endpoint has failed.
const VISITS: usize = 20;

/// Says `b`, then echoes. Whom it doesn't accept soon waits in the kernel's queue, which has room
/// for two.
const ECHO: &str = "
import socket, sys, threading
def echo(client):
    client.sendall(b'b')
    while piece := client.recv(65536):
        client.sendall(piece)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen(1)
while True:
    threading.Thread(target=echo, args=server.accept()[:1]).start()
";

/// A process that echoes.
fn process(address: SocketAddr) -> Server {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    Server::start(Command::new("python3").args(["-c", ECHO, &host, &port]), address)
}

/// Three endpoints of which `mortal` is the second; the others say `a` before they echo.
fn three(mortal: SocketAddr) -> L4 {
    let other = || {
        endpoint(|mut stream| {
            if stream.write_all(b"a").is_ok() {
                echo(stream);
            }
        })
    };
    let route = format!("timeouts = {{ connect = '{}s' }}", CONNECT.as_secs());
    // One that failed so often in a row isn't asked again for a while.
    let upstream = "outlier = { consecutive_failures = 3, eject = '1m' }";
    L4::new("tcp", &[other(), mortal, other()], "", &route, upstream)
}

/// One byte there and back.
fn is_alive(mut client: &TcpStream) -> bool {
    client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
}

/// Nine clients that have been greeted, three by each endpoint.
fn nine(l4: &L4) -> Vec<TcpStream> {
    let greeted = |_| {
        let mut client = l4.connect();
        client.read_exact(&mut [0]).unwrap();
        assert!(is_alive(&client));
        client
    };
    (0..9).map(greeted).collect()
}

/// How many of them are served within `patience`.
fn alive(clients: &[TcpStream], patience: Duration) -> usize {
    let is_served = |client: &&TcpStream| {
        client.set_read_timeout(Some(patience)).unwrap();
        is_alive(client)
    };
    clients.iter().filter(is_served).count()
}

/// What one client saw.
#[derive(Debug)]
struct Visit {
    /// It came when the endpoint had failed.
    is_behind: bool,
    /// The endpoint that greeted it.
    greeting: Option<u8>,
    /// It was greeted and had its echoes.
    is_served: bool,
    /// From connecting to the greeting.
    took: Duration,
}

fn visit(l4: &L4, is_behind: bool) -> Visit {
    let mut client = l4.connect();
    client.set_read_timeout(Some(CONNECT * 3)).unwrap();
    let mut greeting = [0];
    let (greeted, took) = timed(|| client.read_exact(&mut greeting));
    let greeting = greeted.is_ok().then_some(greeting[0]);
    let is_served = greeting.is_some() && (0..3).all(|_| is_alive(&client));
    Visit { is_behind, greeting, is_served, took }
}

/// Clients come and go, and go on to do so when `fail` has happened.
fn under_load(l4: &L4, fail: impl FnOnce()) -> Vec<Visit> {
    let (has_failed, before) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let visitor = || {
            let mut visits: Vec<Visit> = Vec::new();
            while visits.iter().filter(|visit| visit.is_behind).count() < VISITS {
                visits.push(visit(l4, has_failed.load(Relaxed)));
                before.fetch_add(1, Relaxed);
            }
            visits
        };
        let visitors: Vec<_> = (0..VISITORS).map(|_| scope.spawn(visitor)).collect();
        while before.load(Relaxed) < VISITORS * 5 {
            thread::yield_now();
        }
        fail();
        has_failed.store(true, Relaxed);
        visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()).collect()
    })
}

#[test]
fn one_that_is_killed_takes_its_own_connections_only() {
    if !is_there("python3") {
        return missing("python3");
    }
    on_both(|driver| {
        let address = own_address();
        let mut mortal = process(address);
        let l4 = three(address);
        let _rig = l4.start(driver);
        let clients = nine(&l4);
        let visits = under_load(&l4, || {
            mortal.signal("KILL");
            mortal.wait();
        });
        for visit in &visits {
            if visit.is_behind {
                assert!(visit.is_served && visit.greeting == Some(b'a'), "{visit:?}");
                // It refuses at once, so that nobody waits.
                assert!(visit.took < CONNECT, "{visit:?}");
            } else {
                assert!(visit.is_served || visit.greeting != Some(b'a'), "{visit:?}");
            }
        }
        assert_eq!(alive(&clients, PATIENCE), 6, "of nine connections over three endpoints");
    });
}

#[test]
fn one_that_stalls_holds_its_own_connections_and_few_new_ones() {
    if !is_there("python3") {
        return missing("python3");
    }
    on_both(|driver| {
        let address = own_address();
        let stalling = process(address);
        let l4 = three(address);
        let rig = l4.start(driver);
        let clients = nine(&l4);
        let visits = under_load(&l4, || stalling.signal("STOP"));
        let behind = visits.iter().filter(|visit| visit.is_behind);
        let (served, stuck): (Vec<_>, Vec<_>) = behind.partition(|visit| visit.is_served);
        // Its kernel still takes what has room in the queue, and what was on its way to it.
        assert!(stuck.len() <= 2 + VISITORS, "{stuck:?}");
        for visit in &served {
            assert!(visit.greeting == Some(b'a') && visit.took < CONNECT * 2, "{visit:?}");
        }
        let states = rig.status().upstreams.remove(0).endpoints;
        assert_eq!(states[1].address, address);
        assert_ne!(states[1].state, states[0].state, "it has been ejected: {states:?}");
        assert_eq!(alive(&clients, CONNECT), 6);
        // And when it goes on, so do its connections.
        stalling.signal("CONT");
        assert_eq!(alive(&clients, PATIENCE), 9);
    });
}

#[test]
fn one_that_answers_no_packet_costs_new_connections_the_connect_timeout_until_it_is_ejected() {
    on_both(|driver| {
        // A queue of one that is full: the kernel drops every SYN, as a filter on the way would.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&silent).listen(0).unwrap();
        let address = silent.local_addr().unwrap();
        let _first = TcpStream::connect(address).unwrap();
        let l4 = three(address);
        let rig = l4.start(driver);
        let visits = under_load(&l4, || {});
        for visit in &visits {
            assert!(visit.is_served && visit.took < CONNECT * 2, "{visit:?}");
        }
        let slow = visits.iter().filter(|visit| visit.took > CONNECT / 2).count();
        assert!((3..3 + VISITORS).contains(&slow), "{slow} waited: then it is left out");
        assert_eq!(rig.status().flows[0].failed, 0);
    });
}
