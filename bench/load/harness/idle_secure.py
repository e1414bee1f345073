"""Idle connections over TLS: opens them, has one response on each, and weighs the proxy before and after."""

import socket
import ssl
import time

from . import proc, tools
from .proxies import PROXY_PORT, Failed

REQUEST = b"GET /1k HTTP/1.1\r\nHost: bench.test\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# :method GET, :scheme https, then :path and :authority as literals that enter no table (RFC 7541 §6.2.2).
FIELDS = b"\x82\x87" + b"\x04\x03/1k" + b"\x01\x0abench.test"
HEADERS, SETTINGS = 1, 4
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    """RFC 9113 §4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Buffered:
    """Reads exactly; fails when the proxy closes."""

    def __init__(self, stream):
        self.stream, self.bytes = stream, b""

    def more(self):
        piece = self.stream.recv(65536)
        if not piece:
            raise Failed("the proxy closed a connection that was to stay idle")
        self.bytes += piece

    def take(self, count):
        while len(self.bytes) < count:
            self.more()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken


def exchange_h1(stream):
    stream.sendall(REQUEST)
    reader = Buffered(stream)
    while b"\r\n\r\n" not in reader.bytes:
        reader.more()
    head, rest = reader.bytes.split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200"):
        raise Failed(f"an unexpected answer: {head[:80]!r}")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    reader.bytes = rest
    reader.take(int(lengths[0]))


def exchange_h2(stream):
    stream.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_STREAM | END_HEADERS, 1, FIELDS))
    reader = Buffered(stream)
    while True:
        head = reader.take(9)
        reader.take(int.from_bytes(head[:3], "big"))
        kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == SETTINGS and not flags & ACK:
            stream.sendall(frame(SETTINGS, ACK, 0))
        if number == 1 and kind not in (0, HEADERS):
            raise Failed(f"frame {kind} instead of a response")
        if number == 1 and flags & END_STREAM:
            return


def open_one(context, alpn):
    plain = socket.create_connection(("127.0.0.1", PROXY_PORT), timeout=10)
    stream = context.wrap_socket(plain, server_hostname="localhost")
    if stream.selected_alpn_protocol() not in (alpn, None if alpn == "http/1.1" else alpn):
        raise Failed(f"{stream.selected_alpn_protocol()} was agreed on, not {alpn}")
    (exchange_h2 if alpn == "h2" else exchange_h1)(stream)
    return stream


def measure(pids, count, alpn):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    with tools.Backend():
        # What the first connections make the proxy allocate for good isn't theirs.
        for stream in [open_one(context, alpn) for _ in range(100)]:
            stream.close()
        time.sleep(1)
        before = proc.pss(pids)
        streams = [open_one(context, alpn) for _ in range(count)]
        time.sleep(1)
        after = proc.pss(pids)
        for stream in streams:
            stream.close()
    return {"connections": count, "bytes": after - before}
