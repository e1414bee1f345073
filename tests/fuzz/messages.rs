//! Makes HTTP/1 messages: valid ones from the grammar, with odd pieces thrown in, then mutated.
//!
//! Odd pieces are what smuggling is made of, so that most cases stand near the border between
//! accepted and refused, where parsers disagree.

use crate::random::Random;

/// A request that may be broken.
pub(crate) fn request(random: &mut Random) -> Vec<u8> {
    let mut wire = Vec::new();
    if random.once_in(20) {
        wire.extend_from_slice(random.pick(&[&b"\r\n"[..], b"\r\n\r\n", b"\n", b" "]));
    }
    wire.extend_from_slice(METHODS.pick(random));
    wire.push(b' ');
    wire.extend_from_slice(DESTINATIONS.pick(random));
    wire.extend_from_slice(VERSIONS.pick(random));
    if !random.once_in(30) {
        let host = HOSTS.pick(random);
        line(&mut wire, b"Host", host, random);
    }
    message(wire, random)
}

/// A response that may be broken.
pub(crate) fn response(random: &mut Random) -> Vec<u8> {
    let mut wire = STATUS_LINES.pick(random).to_vec();
    wire.extend_from_slice(b"\r\n");
    message(wire, random)
}

/// Adds fields and a body to a start line and mutates the whole.
fn message(mut wire: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..random.below(5) {
        let (name, value) = (NAMES.pick(random), VALUES.pick(random));
        line(&mut wire, name, value, random);
    }
    let body = body(random);
    match random.below(4) {
        0 => {}
        1 | 2 => {
            let coding = CODINGS.pick(random);
            line(&mut wire, b"Transfer-Encoding", coding, random);
            if random.once_in(10) {
                let length = LENGTHS.pick(random);
                line(&mut wire, b"Content-Length", length, random);
            }
        }
        _ => {
            let length = if random.once_in(4) {
                LENGTHS.pick(random).to_vec()
            } else {
                body.len().to_string().into_bytes()
            };
            line(&mut wire, b"Content-Length", &length, random);
        }
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(&body);
    if random.once_in(4) {
        wire.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n");
    }
    for _ in 0..[0, 0, 0, 1, 1, 3][random.below(6)] {
        mutate(&mut wire, random);
    }
    wire
}

fn line(wire: &mut Vec<u8>, name: &[u8], value: &[u8], random: &mut Random) {
    wire.extend_from_slice(name);
    wire.extend_from_slice(COLONS.pick(random));
    wire.extend_from_slice(value);
    wire.extend_from_slice(if random.once_in(40) { random.pick(LINE_ENDS) } else { b"\r\n" });
}

/// A chunked body more often than not.
fn body(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..random.below(4) {
        let data = vec![b'a'; random.below(40) + 1];
        let size = if random.once_in(10) {
            SIZES.pick(random).to_vec()
        } else {
            format!("{:x}", data.len()).into_bytes()
        };
        body.extend_from_slice(&size);
        if random.once_in(3) {
            body.extend_from_slice(EXTENSIONS.pick(random));
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n");
    if random.once_in(3) {
        let (name, value) = (NAMES.pick(random), VALUES.pick(random));
        line(&mut body, name, value, random);
    }
    body.extend_from_slice(b"\r\n");
    body
}

/// One change of the kind that attackers and broken software make.
fn mutate(wire: &mut Vec<u8>, random: &mut Random) {
    if wire.is_empty() {
        return;
    }
    let at = random.below(wire.len());
    let end = (at + random.below(12) + 1).min(wire.len());
    match random.below(8) {
        0 => wire[at] = SPECIAL[random.below(SPECIAL.len())],
        1 => wire.insert(at, SPECIAL[random.below(SPECIAL.len())]),
        2 => wire[at] ^= 1 << random.below(8),
        3 => drop(wire.drain(at..end)),
        4 => {
            let copy = wire[at..end].to_vec();
            let place = random.below(wire.len());
            wire.splice(place..place, copy).for_each(drop);
        }
        5 => repeat_line(wire, random),
        6 => wire.truncate(at),
        _ => wire.splice(at..at, random.pick(PIECES).iter().copied()).for_each(drop),
    }
}

/// Copies a whole line to the place of another.
fn repeat_line(wire: &mut Vec<u8>, random: &mut Random) {
    let starts: Vec<usize> = memchr::memchr_iter(b'\n', wire).map(|at| at + 1).collect();
    if starts.len() < 2 {
        return;
    }
    let from = random.below(starts.len() - 1);
    let copy = wire[starts[from]..starts[from + 1]].to_vec();
    let place = starts[random.below(starts.len())];
    wire.splice(place..place, copy).for_each(drop);
}

/// Pieces that are right, and pieces that smell.
struct Choice {
    good: &'static [&'static [u8]],
    odd: &'static [&'static [u8]],
}

impl Choice {
    /// An odd one about once in thirty times, so that most messages have none or one.
    fn pick(&self, random: &mut Random) -> &'static [u8] {
        let choices = if random.once_in(30) { self.odd } else { self.good };
        choices[random.below(choices.len())]
    }
}

const SPECIAL: &[u8] = b"\r\n\0\t :;,\"\\#?/@%\x0b\x0c\x7f\x80\xff019AZaz-+";

const METHODS: Choice = Choice {
    good: &[b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"M-SEARCH"],
    odd: &[b"CONNECT", b"PRI", b"G(T"],
};

const DESTINATIONS: Choice = Choice {
    good: &[
        b"/",
        b"/a/b?c=d",
        b"/%2e%2e/x",
        b"//x//..",
        b"/?",
        b"http://h:1/x?y",
        b"HTTPS://[::1]",
        b"http://h?q",
    ],
    odd: &[b"*", b"http://u@h/", b"h:443", b"/#f", b"/a b", b"/\xc3\xa4", b"ws://h/"],
};

const VERSIONS: Choice = Choice {
    good: &[b" HTTP/1.1\r\n", b" HTTP/1.3\r\n"],
    odd: &[b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b" HTTP/1.1 \r\n", b" HTTP/1.1\n", b"\r\n"],
};

const HOSTS: Choice = Choice {
    good: &[b"h", b"a.example:80", b"[::1]:8080", b"127.0.0.1", b"h:"],
    odd: &[b"", b"a b", b"u@h", b"h:99999"],
};

const STATUS_LINES: Choice = Choice {
    good: &[
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 404",
        b"HTTP/1.1 999 \xfc",
    ],
    odd: &[b"HTTP/1.0 200 OK", b"HTTP/1.1 099 Low", b"HTTP/2.0 200 OK", b"ICY 200 OK"],
};

const NAMES: Choice = Choice {
    good: &[
        b"Accept",
        b"X-A",
        b"Connection",
        b"Keep-Alive",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"Expect",
        b"Cookie",
        b"X-Forwarded-For",
        b"Content_Length",
        b"Date",
    ],
    odd: &[
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"content-length",
        b"TRANSFER-ENCODING",
        b"X Y",
        b"",
        b"Content-Length ",
    ],
};

const VALUES: Choice = Choice {
    good: &[
        b"a",
        b"",
        b"  a b\t ",
        b"close",
        b"keep-alive, X-A",
        b"upgrade",
        b"trailers",
        b"websocket",
        b"h2c",
        b"100-continue",
        b"chunked",
        b"5",
        b"\xff\x80",
        b"1.2.3.4, ::1",
    ],
    odd: &[b"host", b"content-length", b"a\0b", b"a\x0bb", b"a\r\n b", b"a\rb"],
};

const COLONS: Choice = Choice { good: &[b": ", b":", b":\t "], odd: &[b" : ", b":\r\n "] };

const LINE_ENDS: &[&[u8]] = &[b"\n", b"\r", b"\r\r\n", b" \r\n", b"\r\n ", b"\r\n\r\n", b"\0\r\n"];

const CODINGS: Choice = Choice {
    good: &[b"chunked", b"CHUNKED "],
    odd: &[
        b"gzip, chunked",
        b"chunked, chunked",
        b"chunked, identity",
        b"xchunked",
        b"chunked;a=b",
        b"\x0bchunked",
        b"chunked,",
        b"identity",
    ],
};

const LENGTHS: Choice = Choice {
    good: &[b"0", b"5", b"007"],
    odd: &[
        b"5, 5",
        b"+5",
        b"-1",
        b"0x5",
        b"",
        b"5 ",
        b"99999999999999999999",
        b"9999999999999999999",
        b"5 5",
    ],
};

const SIZES: Choice = Choice {
    good: &[b"00000005", b"7fffffffffffffff"],
    odd: &[b"0x5", b"+5", b" 5", b"5 ", b"", b"FFFFFFFFFFFFFFFF", b"100000000000000005", b"5g"],
};

const EXTENSIONS: Choice = Choice {
    good: &[b";a", b" ; a = \"b;c\\\"\"", b";a=b;c"],
    odd: &[b";", b";a=\n", b";a=\"\r\n\"", b";\0", b" "],
};

const PIECES: &[&[u8]] = &[
    b"\r\n\r\n",
    b"\r\n",
    b"\r\n\t",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nContent-Length: 4",
    b"\r\nHost: evil",
    b"\r\nConnection: host",
    b" HTTP/1.1\r\n",
    b"0\r\n\r\n",
    b"%00",
    b"/../",
];
