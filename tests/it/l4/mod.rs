//! L4 through real sockets, on both drivers: the program as a process, the tests as its clients and
//! endpoints.

mod admission;
mod failing;
mod real;
mod tcp;
mod transparent;
mod udp;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::proxy::rig::{Plan, Rig, own_address};

/// Nothing on loopback takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener of L4, its route, and an upstream of these endpoints.
struct L4 {
    address: SocketAddr,
    text: String,
}

impl L4 {
    /// `listener`, `route` and `upstream` are further lines of those tables.
    fn new(
        protocol: &str,
        endpoints: &[SocketAddr],
        listener: &str,
        route: &str,
        upstream: &str,
    ) -> Self {
        let address = own_address();
        let list: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
        let text = format!(
            "[listener.l4]\naddress = '{address}'\nprotocol = '{protocol}'\n{listener}\n\
             [upstream.own]\nendpoints = [{}]\n{upstream}\n\
             [[route]]\nname = 'own'\nlistener = 'l4'\nupstream = 'own'\n{route}\n",
            list.join(", ")
        );
        Self { address, text }
    }

    fn tcp(endpoints: &[SocketAddr]) -> Self {
        Self::new("tcp", endpoints, "", "timeouts = { connect = '500ms' }", "")
    }

    fn plan(&self) -> Plan {
        Plan { shards: 1, ..Plan::default() }.more(&self.text)
    }

    fn start(&self, driver: &'static str) -> Rig {
        self.plan().start(driver)
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// An endpoint that does `serve` with each connection, in a thread of its own.
fn endpoint(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    run(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let serve = serve.clone();
            run(move || serve(stream));
        }
    });
    address
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own thread")]
fn run(work: impl FnOnce() + Send + 'static) {
    drop(thread::spawn(work));
}

/// Sends back what comes, until its end.
fn echo(mut stream: TcpStream) {
    let mut buf = [0; 64 << 10];
    while let Ok(read @ 1..) = stream.read(&mut buf) {
        if stream.write_all(&buf[..read]).is_err() {
            return;
        }
    }
    drop(stream.shutdown(Shutdown::Write));
}

fn named(name: &'static [u8]) -> impl Fn(TcpStream) + Send + Sync + Clone + 'static {
    move |mut stream| drop(stream.write_all(name))
}

/// Everything up to the end of the stream; a reset is an error.
fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

fn is_cut(result: &std::io::Result<Vec<u8>>) -> bool {
    match result {
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
        Ok(_) => false,
    }
}
