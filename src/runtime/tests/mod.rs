//! The runtime over both real drivers: each test runs on io_uring and on epoll, so that one is the
//! other's oracle.

mod basics;
mod signal;
mod sim;
mod stress;

use std::{net::SocketAddr, rc::Rc};

use crate::runtime::{
    DriverChoice, ListenOptions, Options, Runtime, TcpListener, TcpStream, spawn,
};

/// The drivers of this machine. io_uring is left out where it is forbidden, loudly.
pub(crate) fn drivers() -> Vec<DriverChoice> {
    let mut drivers = vec![DriverChoice::Epoll];
    match crate::runtime::probe().io_uring {
        Ok(_) => drivers.push(DriverChoice::IoUring),
        Err(reason) => println!("not tested on io_uring: {reason}"),
    }
    drivers
}

/// Runs `test` on a runtime of each driver, and checks afterwards that nothing is left.
pub(crate) fn on_each(options: &Options, test: impl AsyncFn()) {
    for driver in drivers() {
        println!("driver: {driver:?}");
        let runtime = Runtime::new(&Options { driver, ..options.clone() }).unwrap();
        runtime.block_on(test());
        runtime.shard.shut_down();
        let usage = runtime.shard.usage();
        assert_eq!(usage.buffers_in_use, 0, "buffers leak on {driver:?}");
        assert_eq!(usage.leases_in_use, 0, "leases leak on {driver:?}");
        assert_eq!(usage.ops_in_flight, 0, "operations leak on {driver:?}");
        assert_eq!(usage.tasks, 0, "tasks leak on {driver:?}");
        assert_eq!(usage.sockets, 0, "sockets leak on {driver:?}");
        assert_eq!(runtime.shard.ops.live(), 0, "op slots leak on {driver:?}");
    }
}

pub(crate) fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Two connected streams, and the address of the listener.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).await.unwrap();
    let (server, from) = listener.accept().await.unwrap();
    assert_eq!(from, client.local_addr().unwrap());
    (client, server)
}

/// A listener whose connections echo until they end; its address.
pub(crate) fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(echo(Rc::new(stream)));
        }
    });
    address
}

async fn echo(stream: Rc<TcpStream>) {
    while let Ok(piece) = stream.recv().await
        && !piece.is_empty()
    {
        if stream.send_all(piece).await.0.is_err() {
            break;
        }
    }
}

/// Byte `i` of a stream that repeats only every 251 bytes, so that a shift shows.
pub(crate) fn pattern(i: usize) -> u8 {
    u8::try_from(i % 251).unwrap()
}
