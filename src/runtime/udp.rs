//! UDP sockets: many datagrams a system call.
//!
//! ```text
//!   listening socket ─ readable ─▶ recvmmsg ─▶ Datagrams: up to 32, each up to 64 KiB
//!   flow's socket ──── readable ─▶ recvmsg ──▶ Outbox ─┐  the reply's bytes are received where
//!   flow's socket ──── readable ─▶ recvmsg ──▶ Outbox ─┴▶ sendmmsg on the listening socket
//! ```
//! Readiness comes from the driver; the datagrams themselves are moved by non-blocking system calls,
//! the same on every real driver. Where the kernel joins the datagrams of one sender (UDP_GRO, Linux
//! 5.0) they stay joined, and those that come beside each other are joined here (`train`): they go
//! on in one send that the kernel cuts again (UDP_SEGMENT, 4.18). A socket that listens on all
//! addresses tells to which one a datagram came, and replies from there. There is no UDP in the
//! simulation.

#![expect(unsafe_code, reason = "recvmmsg(2), sendmmsg(2) and their control messages")]

mod control;
mod train;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::{IntoRawFd, RawFd},
    ptr,
};

use socket2::{Domain, Protocol, Socket, Type};

use self::{
    control::Control,
    train::{Cut, datagrams},
};
use crate::runtime::{
    op::poll::{self, Interest},
    shard, sys,
    sys::SocketAddress,
};

pub use self::train::Train;

/// A bound or connected UDP socket; closing is dropping.
pub struct UdpSocket {
    socket: u32,
}

impl UdpSocket {
    /// Takes over a bound socket of std.
    ///
    /// # Errors
    /// When it can't be made non-blocking.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let fd = socket.into_raw_fd();
        if local.ip().is_unspecified() {
            tell_destination(fd, local.is_ipv4());
        }
        Ok(Self::adopt(fd))
    }

    /// A socket that talks to `address` alone. `from` is the address it shows, which need not be
    /// one of this machine (IP_TRANSPARENT: CAP_NET_ADMIN, and routes that lead the replies here).
    ///
    /// # Errors
    /// Those of `socket(2)`, `setsockopt(2)`, `bind(2)` and `connect(2)`.
    pub fn connect(address: SocketAddr, from: Option<SocketAddr>) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        if let Some(from) = from {
            sys::show_source(&socket, from)?;
        }
        socket.connect(&address.into())?;
        Ok(Self::adopt(socket.into_raw_fd()))
    }

    fn adopt(fd: RawFd) -> Self {
        // Without it every datagram is received alone: slower, not wrong.
        drop(sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1));
        Self { socket: shard::with(|shard| shard.add_socket(fd, 0)) }
    }

    /// Waits until a datagram can be received, or an error. Cancel safe.
    ///
    /// # Errors
    /// `ECANCELED` when the socket is dropped meanwhile.
    pub async fn readable(&self) -> io::Result<()> {
        poll::run(self.socket, Interest::Read).await
    }

    /// Receives what is there, as much as `into` has room for; returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; else those of `recvmmsg(2)`.
    pub fn recv_batch(&self, into: &mut Datagrams) -> io::Result<usize> {
        into.receive(self.fd())
    }

    /// Sends datagrams to the connected address.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`; `WouldBlock` when the socket's buffer is full: a datagram is not
    /// worth waiting for.
    pub fn send(&self, train: &Train<'_>) -> io::Result<()> {
        let fd = self.fd();
        if train.cut.segment == 0 {
            return send_one(fd, train.first());
        }
        match send_cut(fd, train) {
            Err(error) if is_for_the_size(&error) => {
                train.datagrams().try_for_each(|datagram| send_one(fd, datagram))
            }
            sent => sent,
        }
    }

    /// The address of this side.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        sys::local_addr(self.fd())
    }

    fn fd(&self) -> RawFd {
        shard::with(|shard| shard.fd(self.socket))
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        shard::try_with(|shard| shard.close_socket(self.socket));
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("socket", &self.socket).finish()
    }
}

/// A datagram that was received, or several of one sender that the kernel has joined.
#[derive(Debug, Clone, Copy)]
struct Datagram<'a> {
    from: SocketAddr,
    /// The address it was sent to, where the socket has many.
    to: Option<IpAddr>,
    bytes: &'a [u8],
    /// Size of each of the joined ones but the last; 0 when it is a single one.
    segment: u16,
}

/// Room for a batch of received datagrams: 32 of 64 KiB, touched only as far as they are used.
pub struct Datagrams {
    memory: Box<[u8]>,
    places: Vec<Place>,
    received: usize,
}

/// Where one message's address and control data go. Boxed: the kernel gets pointers to it.
struct Place {
    name: Box<libc::sockaddr_storage>,
    control: Box<Control>,
    vector: Box<libc::iovec>,
    header: libc::mmsghdr,
}

impl Datagrams {
    /// The most that one receive brings.
    pub const CAPACITY: usize = BATCH;

    /// Room for a batch.
    #[must_use]
    pub fn new() -> Self {
        let memory = vec![0; BATCH * DATAGRAM_MAX].into_boxed_slice();
        Self { memory, places: (0..BATCH).map(|_| Place::new()).collect(), received: 0 }
    }

    /// What the last receive brought, each sender's in its order.
    pub fn trains(&self) -> impl Iterator<Item = Train<'_>> {
        let mut waiting = [None; BATCH];
        let places = self.places.iter().zip(self.memory.chunks(DATAGRAM_MAX)).take(self.received);
        for (place, (read, memory)) in waiting.iter_mut().zip(places) {
            *place = read.read(memory);
        }
        let mut at = 0;
        std::iter::from_fn(move || {
            let ahead = waiting.get_mut(at..)?;
            let first = ahead.iter().position(Option::is_some)?;
            at += first + 1;
            let (first, behind) = ahead.get_mut(first..)?.split_first_mut()?;
            let first = first.take()?;
            let mut train = Train::new(&first);
            let is_own = |next: &Datagram<'_>| next.from == first.from && next.to == first.to;
            for place in behind {
                if let Some(next) = place.as_ref().filter(|next| is_own(next)) {
                    if !train.couple(next) {
                        break;
                    }
                    *place = None;
                }
            }
            Some(train)
        })
    }

    fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        self.received = 0;
        let mut headers = [EMPTY; BATCH];
        for ((place, memory), header) in
            self.places.iter_mut().zip(self.memory.chunks_mut(DATAGRAM_MAX)).zip(&mut headers)
        {
            *header = place.prepare(memory);
        }
        let most = libc::c_uint::try_from(BATCH).unwrap_or(1);
        let first = headers.as_mut_ptr();
        // SAFETY: the headers point to names, controls, vectors and memory that `self` owns and
        // nobody else touches during the call.
        let got = unsafe { libc::recvmmsg(fd, first, most, libc::MSG_DONTWAIT, ptr::null_mut()) };
        self.received = usize::try_from(sys::check(got)?).unwrap_or(0).min(BATCH);
        for (place, header) in self.places.iter_mut().zip(&headers).take(self.received) {
            place.header = *header;
        }
        Ok(self.received)
    }
}

impl Default for Datagrams {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("received", &self.received).finish_non_exhaustive()
    }
}

impl Place {
    fn new() -> Self {
        // SAFETY: all zero is a valid `sockaddr_storage`.
        let name = unsafe { std::mem::zeroed::<libc::sockaddr_storage>() };
        Self {
            name: Box::new(name),
            control: Box::new(Control::EMPTY),
            vector: Box::new(libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }),
            header: EMPTY,
        }
    }

    fn prepare(&mut self, memory: &mut [u8]) -> libc::mmsghdr {
        *self.vector = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
        let mut header = EMPTY;
        header.msg_hdr.msg_name = ptr::from_mut(&mut *self.name).cast();
        header.msg_hdr.msg_namelen = sys::socklen(size_of::<libc::sockaddr_storage>());
        header.msg_hdr.msg_iov = &raw mut *self.vector;
        header.msg_hdr.msg_iovlen = 1;
        self.control.receive_into(&mut header.msg_hdr);
        header
    }

    fn read<'m>(&self, memory: &'m [u8]) -> Option<Datagram<'m>> {
        let length = usize::try_from(self.header.msg_len).ok()?;
        let bytes = memory.get(..length)?;
        if self.header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None; // Longer than a datagram can be: not one of ours to pass on cut.
        }
        let from = sys::address_of(&self.name)?;
        let said = self.control.said(self.header.msg_hdr.msg_controllen);
        let segment = if usize::from(said.segment) >= length { 0 } else { said.segment };
        Some(Datagram { from, to: said.destination, bytes, segment })
    }
}

/// Replies on their way to clients: received here, sent together.
#[derive(Debug)]
pub struct Outbox {
    memory: Vec<u8>,
    replies: Vec<Reply>,
    used: usize,
}

#[derive(Debug, Clone, Copy)]
struct Reply {
    to: SocketAddr,
    from: Option<IpAddr>,
    start: usize,
    cut: Cut,
}

/// What one receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Datagrams.
    pub count: usize,
    /// Their bytes together.
    pub bytes: usize,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { memory: vec![0; OUTBOX_SIZE], replies: Vec::with_capacity(BATCH), used: 0 }
    }

    /// Whether another reply may not have room: [`flush`](Self::flush) first.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.replies.len() >= BATCH || self.memory.len() - self.used < DATAGRAM_MAX
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Receives from a connected socket what is to be sent to `to`, from the address `from` where
    /// the listening socket has many.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; `ConnectionRefused` when nobody listens there; `Other`
    /// when the box is full.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> io::Result<Received> {
        if self.is_full() {
            return Err(io::ErrorKind::Other.into());
        }
        let room = self.memory.get_mut(self.used..).unwrap_or_default();
        let cut = receive_one(socket.fd(), room)?;
        let reply = Reply { to, from, start: self.used, cut };
        // It lies right behind the one before.
        if !self.replies.last_mut().is_some_and(|last| last.couple(&reply)) {
            self.replies.push(reply);
        }
        self.used += cut.length;
        Ok(Received { count: cut.count(), bytes: cut.length })
    }

    /// Sends everything on `socket`; what it can't take at once is dropped, as the network would.
    /// Returns how many sends failed.
    pub fn flush(&mut self, socket: &UdpSocket) -> usize {
        let fd = socket.fd();
        let mut failed = 0;
        let mut done = 0;
        while done < self.replies.len() {
            match self.send_from(fd, done) {
                Ok(sent) => done += sent.max(1),
                Err(_) => {
                    // The first one was refused: maybe for being cut; alone it may pass.
                    if let Some(reply) = self.replies.get(done)
                        && self.send_apart(fd, *reply).is_err()
                    {
                        failed += 1;
                    }
                    done += 1;
                }
            }
        }
        self.replies.clear();
        self.used = 0;
        failed
    }

    /// Sends as many as the kernel takes, beginning with reply `first`.
    fn send_from(&self, fd: RawFd, first: usize) -> io::Result<usize> {
        let mut names = [SocketAddress::unspecified(); BATCH];
        let mut controls = [Control::EMPTY; BATCH];
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [EMPTY; BATCH];
        let replies = self.replies.get(first..).unwrap_or_default();
        let each = replies.iter().zip(&mut names).zip(&mut controls).zip(&mut vectors);
        let mut count = 0;
        for ((((reply, name), control), vector), header) in each.zip(&mut headers) {
            *name = SocketAddress::new(reply.to);
            let (address, length) = name.as_raw();
            let bytes = self.bytes(*reply);
            *vector =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_name = address.cast_mut().cast();
            header.msg_hdr.msg_namelen = length;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            control.attach(&mut header.msg_hdr, reply.cut.segment, reply.from);
            count += 1;
        }
        // SAFETY: the headers point into the arrays above and into `memory`, all alive and, for
        // what the kernel only reads, unchanged during the call.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        sys::check(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
    }

    /// Sends a reply's datagrams one by one.
    fn send_apart(&self, fd: RawFd, reply: Reply) -> io::Result<()> {
        let name = SocketAddress::new(reply.to);
        let (address, length) = name.as_raw();
        datagrams(self.bytes(reply), reply.cut.size()).try_for_each(|piece| {
            let mut control = Control::EMPTY;
            let mut vector =
                libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            let mut header = EMPTY.msg_hdr;
            header.msg_name = address.cast_mut().cast();
            header.msg_namelen = length;
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            control.attach(&mut header, 0, reply.from);
            // SAFETY: the header points to values of this function and to `piece`.
            let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT) };
            sys::check_len(sent).map(drop)
        })
    }

    fn bytes(&self, reply: Reply) -> &[u8] {
        self.memory.get(reply.start..reply.start + reply.cut.length).unwrap_or_default()
    }
}

impl Reply {
    /// Takes `next`, which lies behind it; false when they can't travel together.
    fn couple(&mut self, next: &Self) -> bool {
        if next.to != self.to || next.from != self.from {
            return false;
        }
        let joint = self.cut.joint(next.cut);
        self.cut = joint.unwrap_or(self.cut);
        joint.is_some()
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

fn send_one(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length describe `bytes`.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    sys::check_len(sent).map(drop)
}

/// Sends a train whole; the kernel cuts it.
fn send_cut(fd: RawFd, train: &Train<'_>) -> io::Result<()> {
    let mut control = Control::EMPTY;
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut count = 0;
    for (vector, piece) in vectors.iter_mut().zip(train.pieces()) {
        *vector = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
        count += 1;
    }
    let mut header = EMPTY.msg_hdr;
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = count;
    control.attach(&mut header, train.cut.segment, None);
    // SAFETY: the header points to values of this function and to the train's bytes, which are only
    // read.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT) };
    sys::check_len(sent).map(drop)
}

/// Whether datagrams that were refused together may pass one by one: the path's packets are smaller
/// than they are, or its device can't cut them.
fn is_for_the_size(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}

/// What one receive brings: a datagram, or joined ones.
fn receive_one(fd: RawFd, room: &mut [u8]) -> io::Result<Cut> {
    let mut control = Control::EMPTY;
    let mut vector =
        libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len().min(DATAGRAM_MAX) };
    let mut header = EMPTY.msg_hdr;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    control.receive_into(&mut header);
    // SAFETY: the header points to values of this function and to `room`, which is ours to write.
    let got = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
    let length = sys::check_len(got)?;
    let segment = control.said(header.msg_controllen).segment;
    Ok(Cut { length, segment: if usize::from(segment) >= length { 0 } else { segment } })
}

/// Has the kernel say to which of the machine's addresses each datagram came.
fn tell_destination(fd: RawFd, is_v4: bool) {
    let (level, option) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    if let Err(error) = sys::set_option(fd, level, option, 1) {
        tracing::warn!(%error, "replies may come from another address than clients asked");
    }
}

/// A header without anything.
const EMPTY: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

/// Datagrams of one system call.
const BATCH: usize = 32;
/// No UDP payload is longer, joined ones included.
const DATAGRAM_MAX: usize = 64 << 10;
/// Replies that wait for one flush: room for four of the largest.
const OUTBOX_SIZE: usize = 4 * DATAGRAM_MAX;
