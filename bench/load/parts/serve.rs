//! The backend of the benches: answers every request with a body of the size that its path names
//! (`/1k`, `/64k`, `/1m`), over kept-alive connections, from memory. Driven by a mio `Poll` that
//! the caller owns, so that it can share one thread (and one core) with the generator.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::SocketAddr,
};

use mio::{
    Interest, Registry, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};

use crate::wire;

/// Paths and the bytes of their bodies. Any other path gets the first.
pub(crate) const SIZES: &[(&str, usize)] =
    &[("/1k", 1 << 10), ("/64k", 64 << 10), ("/1m", 1 << 20)];

/// Longest request head that is kept while its rest is awaited.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One listener and the connections that came through it.
pub(crate) struct Serve {
    listener: TcpListener,
    /// The listener's token; connections have the ones after it.
    base: usize,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Whole responses, by index into `SIZES`.
    responses: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    pub(crate) counts: Counts,
}

/// What the backend saw: how well the proxy reuses its connections.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
}

struct Connection {
    stream: TcpStream,
    /// The front of a head whose rest hasn't come.
    head: Vec<u8>,
    /// Bytes of the request's body still to skip.
    body_left: u64,
    /// Responses to send: index into `responses` and bytes of it already sent.
    queue: VecDeque<(usize, usize)>,
}

impl Serve {
    /// Binds `address` and registers it with token `base`; all tokens from `base` up are the backend's.
    pub(crate) fn bind(address: SocketAddr, registry: &Registry, base: usize) -> io::Result<Self> {
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, Token(base), Interest::READABLE)?;
        let responses = SIZES.iter().map(|(_, bytes)| response(*bytes)).collect();
        let (connections, free, counts) = (Vec::new(), Vec::new(), Counts::default());
        Ok(Self {
            listener,
            base,
            connections,
            free,
            responses,
            scratch: vec![0; 64 << 10],
            counts,
        })
    }

    /// Handles one event whose token is `base` or above.
    pub(crate) fn handle(&mut self, registry: &Registry, event: &Event) -> io::Result<()> {
        if event.token().0 == self.base {
            return self.accept(registry);
        }
        let index = event.token().0 - self.base - 1;
        let Some(Some(connection)) = self.connections.get_mut(index) else { return Ok(()) };
        let read = if event.is_readable() {
            let is_closed = event.is_read_closed();
            connection.receive(&mut self.scratch, is_closed, &mut self.counts)
        } else {
            Ok(())
        };
        if read.and_then(|()| connection.send(&self.responses)).is_err() {
            self.connections[index] = None;
            self.free.push(index);
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            if index == self.connections.len() {
                self.connections.push(None);
            }
            registry.register(
                &mut stream,
                Token(self.base + 1 + index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            let connection =
                Connection { stream, head: Vec::new(), body_left: 0, queue: VecDeque::new() };
            self.connections[index] = Some(connection);
            self.counts.connections += 1;
        }
    }
}

impl Connection {
    /// Reads what has come and queues the answers. An error means: close.
    fn receive(
        &mut self,
        scratch: &mut [u8],
        is_closed: bool,
        counts: &mut Counts,
    ) -> io::Result<()> {
        loop {
            let n = match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take(&scratch[..n], counts)?;
            // A short read has drained the socket: what comes later is a new edge.
            if n < scratch.len() && !is_closed {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8], counts: &mut Counts) -> io::Result<()> {
        let joined;
        let mut bytes = bytes;
        if !self.head.is_empty() {
            self.head.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.head);
            bytes = &joined;
        }
        while !bytes.is_empty() {
            let skip = usize::try_from(self.body_left).unwrap_or(usize::MAX).min(bytes.len());
            self.body_left -= skip as u64;
            bytes = &bytes[skip..];
            let Some(head) = wire::head(bytes) else { break };
            counts.requests += 1;
            self.queue.push_back((size_of(bytes), 0));
            self.body_left = head.length;
            bytes = &bytes[head.bytes..];
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.head.extend_from_slice(bytes);
        Ok(())
    }

    fn send(&mut self, responses: &[Vec<u8>]) -> io::Result<()> {
        while let Some((index, sent)) = self.queue.front_mut() {
            let response = &responses[*index];
            match self.stream.write(&response[*sent..]) {
                Ok(n) => *sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *sent == response.len() {
                self.queue.pop_front();
            }
        }
        Ok(())
    }
}

/// The index into `SIZES` that a request's path names.
fn size_of(request: &[u8]) -> usize {
    let path = request.split(|byte| *byte == b' ').nth(1).unwrap_or(b"");
    SIZES.iter().position(|(name, _)| path == name.as_bytes()).unwrap_or(0)
}

fn response(bytes: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: \
         application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n"
    );
    let mut response = head.into_bytes();
    response.extend(wire::body(bytes));
    response
}
