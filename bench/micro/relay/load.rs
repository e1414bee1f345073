//! The load of the relay bench: clients that bounce 1 KiB off an echo server through the relay, all
//! on one spinning thread, so that the relay's core is kept busy by one other core. Counts round
//! trips; a reply that differs from what was sent ends the run.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const MESSAGE_BYTES: usize = 1024;
pub(crate) const CLIENTS: usize = 64;
const LISTENER: Token = Token(1 << 20);

/// The echo server, bound before the relay starts, and the loop that drives both ends.
pub(crate) struct Load {
    poll: Poll,
    listener: TcpListener,
    served: Vec<Line>,
    clients: Vec<Line>,
    message: Vec<u8>,
}

/// One connection and how much of the current message has come through it.
struct Line {
    stream: TcpStream,
    received: usize,
}

#[expect(clippy::disallowed_methods, reason = "the bench is its own clock")]
fn now() -> Instant {
    Instant::now()
}

impl Load {
    pub(crate) fn bind() -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let message = (0..=250).cycle().take(MESSAGE_BYTES).collect();
        Ok(Self { poll, listener, served: Vec::new(), clients: Vec::new(), message })
    }

    pub(crate) fn echo_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Connects the clients to the relay, each with a message on its way.
    pub(crate) fn connect(&mut self, relay: SocketAddr) -> io::Result<()> {
        self.clients.clear();
        self.served.clear();
        for index in 0..CLIENTS {
            // Blocking: the relay must have taken the connection before the first message.
            let plain = std::net::TcpStream::connect(relay)?;
            plain.set_nodelay(true)?;
            plain.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(plain);
            self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            stream.write_all(&self.message)?;
            self.clients.push(Line { stream, received: 0 });
        }
        Ok(())
    }

    /// Bounces messages for `time`; gives the round trips that ended.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<u64> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 16 << 10];
        let mut trips = 0;
        let end = now() + time;
        while now() < end {
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let token = event.token();
                if token == LISTENER {
                    self.accept()?;
                } else if let Some(client) = self.clients.get_mut(token.0) {
                    trips += client.bounce(&mut scratch, &self.message)?;
                } else if let Some(line) = self.served.get_mut(token.0 - CLIENTS) {
                    line.echo(&mut scratch)?;
                }
            }
        }
        Ok(trips)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(CLIENTS + self.served.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.served.push(Line { stream, received: 0 });
        }
    }
}

impl Line {
    /// Reads what has come. Each message is small, so one read drains the socket.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    fn echo(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        let n = self.read(scratch)?;
        self.stream.write_all(&scratch[..n])
    }

    /// Checks the reply and, when it's whole, sends the next message. Gives the replies that ended.
    fn bounce(&mut self, scratch: &mut [u8], message: &[u8]) -> io::Result<u64> {
        let n = self.read(scratch)?;
        let end = self.received + n;
        if message.get(self.received..end) != Some(&scratch[..n]) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the reply isn't what was sent",
            ));
        }
        self.received = end;
        if end < message.len() {
            return Ok(0);
        }
        self.received = 0;
        self.stream.write_all(message)?;
        Ok(1)
    }
}
