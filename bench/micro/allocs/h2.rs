//! HTTP/2 by hand, both ends, with frames that are made once: neither allocates for a request.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
};

use crate::{Client, answer_in_threads};

/// A client that sends a GET on one stream after the other.
pub(crate) struct H2Client {
    wire: Wire,
    stream: u32,
}

impl H2Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let mut wire = Wire::new(stream);
        wire.write(PREFACE);
        wire.send(SETTINGS, 0, 0, &[]);
        // Once, for all that will ever come.
        wire.send(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        Self { wire, stream: 1 }
    }
}

impl Client for H2Client {
    fn send(&mut self) {
        self.wire.send(HEADERS, END_STREAM | END_HEADERS, self.stream, GET);
    }

    fn receive(&mut self) {
        let mut length = 0;
        loop {
            let frame = self.wire.next().expect("the proxy closed a connection");
            if frame.stream != self.stream {
                continue;
            }
            match frame.kind {
                // `:status 200`, the first of the static table's statuses.
                HEADERS => assert_eq!(self.wire.payload[0], 0x88),
                kind => {
                    assert_eq!(kind, DATA);
                    length += frame.length;
                }
            }
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
        assert_eq!(length, crate::BODY_BYTES);
        self.stream += 2;
    }
}

/// A backend that answers every stream alike.
pub(crate) fn start_backend() -> std::net::SocketAddr {
    answer_in_threads(|stream| {
        let mut wire = Wire::new(stream);
        wire.skip(PREFACE.len());
        wire.send(SETTINGS, 0, 0, &[]);
        let body = [b'x'; crate::BODY_BYTES];
        let mut answer = Vec::new();
        while let Some(frame) = wire.next() {
            if frame.kind == HEADERS {
                answer.clear();
                put(&mut answer, HEADERS, END_HEADERS, frame.stream, STATUS_AND_LENGTH);
                put(&mut answer, DATA, END_STREAM, frame.stream, &body);
                wire.write(&answer);
            }
        }
    })
}

/// A connection, frame by frame.
struct Wire {
    reader: BufReader<TcpStream>,
    payload: [u8; FRAME_BYTES],
    out: Vec<u8>,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream), payload: [0; FRAME_BYTES], out: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.clear();
        put(&mut self.out, kind, flags, stream, payload);
        self.reader.get_mut().write_all(&self.out).unwrap();
    }

    fn skip(&mut self, length: usize) {
        self.reader.read_exact(&mut self.payload[..length]).unwrap();
    }

    /// The next frame, its payload in `payload`; what wants an acknowledgement gets it. None at the
    /// end.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.reader.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, s, t, u, v] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.reader.read_exact(&mut self.payload[..length]).ok()?;
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => {
                let payload: [u8; 8] = self.payload[..8].try_into().unwrap();
                self.send(PING, ACK, 0, &payload);
            }
            _ => {}
        }
        let stream = u32::from_be_bytes([s, t, u, v]);
        Some(Frame { kind, flags, stream, length })
    }
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_BYTES: usize = 16_384;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method GET`, `:scheme http`, `:path /`, `:authority bench`, `user-agent bench`: no entry of a
/// dynamic table.
const GET: &[u8] = b"\x82\x86\x84\x01\x05bench\x0f\x2b\x05bench";
/// `:status 200`, `content-length 1024`.
const STATUS_AND_LENGTH: &[u8] = b"\x88\x0f\x0d\x041024";
