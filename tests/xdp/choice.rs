//! The choice among sockets that share an address: by CPU, and what a shard's end means to it.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use ringway::xdp::Chooser;
use socket2::{Domain, Socket, Type};

fn listen(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(256).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Over loopback the sender's CPU receives.
fn connect_from(cpu: usize, address: SocketAddr, count: usize) -> Vec<TcpStream> {
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut set = CpuSet::new();
            set.set(cpu).unwrap();
            sched_setaffinity(Pid::from_raw(0), &set).unwrap();
            (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
        });
        connecting.join().unwrap()
    })
}

fn accepted(listener: &TcpListener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

#[test]
fn a_shard_that_ends_moves_nobody_elses_connections() {
    let mut chooser = match Chooser::load(&[1, 0]) {
        Ok(chooser) => chooser,
        Err(error) => {
            let is_required = std::env::var("XDP_TESTS").is_ok_and(|value| value == "require");
            assert!(!is_required, "XDP_TESTS=require, but {error}");
            eprintln!("skipped: {error}");
            return;
        }
    };
    if thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: one CPU leaves nothing to choose");
        return;
    }
    let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = first.local_addr().unwrap();
    let second = listen(address);
    chooser.set(0, &first).unwrap();
    chooser.set(1, &second).unwrap();
    chooser.attach(&first).unwrap();
    let mut held = connect_from(1, address, 100);
    assert_eq!((accepted(&first), accepted(&second)), (100, 0), "CPU 1 is shard 0's");
    held.extend(connect_from(0, address, 100));
    assert_eq!((accepted(&first), accepted(&second)), (0, 100), "CPU 0 is shard 1's");

    // Shard 0 ends: its connections go to who is there, shard 1's stay.
    drop(first);
    held.extend(connect_from(1, address, 50));
    assert_eq!(accepted(&second), 50);
    // It begins again, bound last: with classic BPF it would be number 1 now.
    let first = listen(address);
    chooser.set(0, &first).unwrap();
    held.extend(connect_from(1, address, 100));
    assert_eq!((accepted(&first), accepted(&second)), (100, 0));
    held.extend(connect_from(0, address, 100));
    assert_eq!((accepted(&first), accepted(&second)), (0, 100));
    assert!(chooser.cpus() >= 2);
    drop(held);
}
