//! Datagrams of one sender that go on in one send: as many as there are of one size, and a shorter
//! one at their end.
//!
//! ```text
//!   received:   a512  b512  a512  a100  b512  a512
//!   trains:     a 512·512·100     b 512·512     a 512
//! ```
//! The kernel cuts a train where it leaves the machine or reaches a socket (UDP_SEGMENT), so that
//! the way there is gone once and not for each of them: sending is most of what a datagram costs.

use std::net::{IpAddr, SocketAddr};

use super::Datagram;

/// Datagrams of one sender, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The address they were sent to, where the socket has many.
    pub to: Option<IpAddr>,
    pieces: [&'a [u8]; PIECES_MAX],
    used: usize,
    pub(super) cut: Cut,
}

/// Bytes, and into which datagrams they are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// All of them.
    pub(super) length: usize,
    /// Size of each datagram but the last, which may be shorter; 0: it is a single one.
    pub(super) segment: u16,
}

impl<'a> Train<'a> {
    pub(super) fn new(first: &Datagram<'a>) -> Self {
        let mut pieces = [&[][..]; PIECES_MAX];
        pieces[0] = first.bytes;
        let cut = Cut { length: first.bytes.len(), segment: first.segment };
        Self { from: first.from, to: first.to, pieces, used: 1, cut }
    }

    /// Puts a datagram of the same sender at the end; false when it can't be: it begins another
    /// train.
    pub(super) fn couple(&mut self, next: &Datagram<'a>) -> bool {
        let Some(place) = self.pieces.get_mut(self.used) else { return false };
        let more = Cut { length: next.bytes.len(), segment: next.segment };
        let Some(joint) = self.cut.joint(more) else { return false };
        *place = next.bytes;
        self.used += 1;
        self.cut = joint;
        true
    }

    /// The bytes of the first datagram, and of those that the kernel had joined to it.
    #[must_use]
    pub fn first(&self) -> &'a [u8] {
        self.pieces[0]
    }

    /// The bytes, in pieces as they were received.
    pub(super) fn pieces(&self) -> &[&'a [u8]] {
        self.pieces.get(..self.used).unwrap_or_default()
    }

    /// Each datagram by itself.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> {
        let size = self.cut.size();
        self.pieces().iter().flat_map(move |piece| datagrams(piece, size))
    }

    /// How many datagrams it is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cut.count()
    }

    /// Their bytes together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cut.length
    }
}

impl Cut {
    /// This with `more` behind it, if one send can carry both as the datagrams that they are.
    pub(super) fn joint(self, more: Self) -> Option<Self> {
        let size = self.size();
        let is_alike = more.segment == 0 && (1..=size).contains(&more.length);
        // Behind a shorter one there is no place.
        let is_open = self.length > 0 && self.length.is_multiple_of(size);
        let has_room = size <= SIZE_MAX && self.count() < COUNT_MAX;
        let segment = u16::try_from(size).ok()?;
        (is_alike && is_open && has_room)
            .then_some(Self { length: self.length + more.length, segment })
    }

    /// How many datagrams it is.
    pub(super) fn count(self) -> usize {
        if self.segment == 0 { 1 } else { self.length.div_ceil(self.size()).max(1) }
    }

    /// The size of each but the last; never 0.
    pub(super) fn size(self) -> usize {
        if self.segment == 0 { self.length.max(1) } else { self.segment.into() }
    }
}

/// `bytes` cut into datagrams of `size`; an empty one is one, too.
pub(super) fn datagrams(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(size))
}

/// Larger ones don't fit into a packet of Ethernet over IPv6, and what is cut by the kernel must.
const SIZE_MAX: usize = 1500 - 40 - 8;
/// Most datagrams that are joined here. The kernel takes 64; what is saved by more is little.
const COUNT_MAX: usize = 16;
/// Most pieces of a train.
const PIECES_MAX: usize = COUNT_MAX;

const _: () = assert!(SIZE_MAX * COUNT_MAX < 1 << 15, "no UDP payload is longer than 64 KiB");

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(bytes: &[u8], segment: u16) -> Datagram<'_> {
        Datagram { from: SocketAddr::from(([127, 0, 0, 1], 9)), to: None, bytes, segment }
    }

    fn sizes(train: &Train<'_>) -> Vec<usize> {
        train.datagrams().map(<[u8]>::len).collect()
    }

    #[test]
    fn datagrams_of_one_size_travel_together_and_a_shorter_one_ends_the_train() {
        let bytes = [7; 512];
        let mut train = Train::new(&datagram(&bytes, 0));
        assert_eq!((train.cut.segment, train.count()), (0, 1), "one is sent as it is");
        assert!(train.couple(&datagram(&bytes, 0)));
        assert!(!train.couple(&datagram(&[7; 513], 0)), "a longer one would be cut");
        assert!(!train.couple(&datagram(&[], 0)), "an empty one would be lost");
        assert!(train.couple(&datagram(&bytes[..100], 0)));
        assert!(!train.couple(&datagram(&bytes[..100], 0)), "nothing goes behind a shorter one");
        assert_eq!(sizes(&train), [512, 512, 100]);
        assert_eq!((train.cut.segment, train.count(), train.bytes()), (512, 3, 1124));
    }

    #[test]
    fn what_the_kernel_had_joined_goes_on_if_its_last_one_is_whole() {
        let bytes = [7; 1024];
        let mut train = Train::new(&datagram(&bytes, 512));
        assert!(train.couple(&datagram(&bytes[..512], 0)));
        assert_eq!(sizes(&train), [512, 512, 512]);
        let mut train = Train::new(&datagram(&bytes[..1000], 512));
        assert!(!train.couple(&datagram(&bytes[..512], 0)));
        let mut train = Train::new(&datagram(&bytes[..512], 0));
        assert!(!train.couple(&datagram(&bytes, 512)), "two joined ones are two sends");
        assert_eq!(sizes(&train), [512]);
    }

    #[test]
    fn a_train_has_an_end_and_nothing_that_is_larger_than_a_packet() {
        let bytes = [7; SIZE_MAX + 1];
        let mut train = Train::new(&datagram(&bytes[..SIZE_MAX], 0));
        let coupled = (0..100).filter(|_| train.couple(&datagram(&bytes[..SIZE_MAX], 0))).count();
        assert_eq!(coupled + 1, COUNT_MAX);
        let mut train = Train::new(&datagram(&bytes, 0));
        assert!(!train.couple(&datagram(&bytes, 0)));
        let mut train = Train::new(&datagram(&[], 0));
        assert!(!train.couple(&datagram(&[], 0)));
        assert_eq!(sizes(&train), [0]);
    }
}
