//! An endpoint of an upstream: by hand (the test accepts and answers itself, so that no thread and
//! no sleep is needed for the order of things), or served by threads for the sake of load.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::wire::{Message, PATIENCE, Tls, Wire};

#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    pub(crate) fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub(crate) fn of(listener: TcpListener) -> Self {
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Wire {
        // std cannot bound an accept: a receive timeout of the listening socket does.
        socket2::SockRef::from(&self.listener).set_read_timeout(Some(PATIENCE)).unwrap();
        Wire::new(self.listener.accept().expect("a connection to the endpoint").0)
    }

    /// Asserts that nobody has connected since the last accept.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        if let Ok((stream, _)) = accepted {
            let (bytes, _) = Wire::new(stream).rest();
            panic!("a connection came with {:?}", String::from_utf8_lossy(&bytes));
        }
    }

    /// The next connection, over TLS.
    #[track_caller]
    pub(crate) fn accept_secure(&self, config: &Arc<rustls::ServerConfig>) -> Wire {
        let mut wire = self.accept();
        let tls = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
        wire.tls = Some(Box::new(Tls::Server(tls)));
        wire
    }

    /// Answers every request by `answer`, in a thread per connection, until the process ends.
    /// An empty answer closes the connection. Counts requests.
    pub(crate) fn serve(
        self,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Served {
        let address = self.address();
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, opened) = (Arc::clone(&requests), Arc::clone(&connections));
        let answer = Arc::new(answer);
        spawn(move || {
            for stream in self.listener.incoming() {
                let Ok(stream) = stream else { return };
                opened.fetch_add(1, Ordering::SeqCst);
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                spawn(move || serve_one(Wire::new(stream), &*answer, &counted));
            }
        });
        Served { address, requests, connections }
    }
}

fn serve_one(mut wire: Wire, answer: &dyn Fn(&Message) -> Vec<u8>, counted: &AtomicUsize) {
    wire.stream.set_read_timeout(None).unwrap();
    let mut byte = [0];
    while wire.stream.peek(&mut byte).is_ok_and(|length| length > 0) {
        let request = wire.request();
        counted.fetch_add(1, Ordering::SeqCst);
        let bytes = answer(&request);
        if bytes.is_empty() || !wire.try_send(bytes) {
            return;
        }
    }
}

/// An endpoint that threads serve.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Served {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A `200` with `body`.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::Builder::new().spawn(work).unwrap()
}
