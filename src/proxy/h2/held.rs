//! Responses that have begun: their exchanges hear of them when they are whole, or a moment later.
//!
//! An endpoint that answers many requests at once sends many heads and then many bodies, or more
//! than one receive can take. Told at once, each exchange would send its head alone and its body
//! behind it: two sends where one would do. So a response that isn't whole yet waits as long as each
//! turn brings more of the connection, [`LOOKS_MAX`] turns at most.

use std::{cell::Cell, cell::RefCell, collections::VecDeque};

use crate::protocol::h2::StreamId;

/// The streams of a session whose exchanges haven't heard of their response yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By the receive that brought the head; some are whole by now.
    streams: RefCell<VecDeque<(u64, StreamId)>>,
    receives: Cell<u64>,
}

impl Held {
    /// The head of `stream`'s response has come, and is not all of it.
    pub(super) fn push(&self, stream: StreamId) {
        self.streams.borrow_mut().push_back((self.receives.get(), stream));
    }

    /// Whether the next turn is worth a look before anybody waits.
    pub(super) fn is_any(&self) -> bool {
        !self.streams.borrow().is_empty()
    }

    /// A receive is over.
    pub(super) fn note_receive(&self) {
        self.receives.set(self.receives.get() + 1);
    }

    /// One that has waited long enough.
    pub(super) fn pop_late(&self) -> Option<StreamId> {
        let mut streams = self.streams.borrow_mut();
        let receives = self.receives.get();
        streams.pop_front_if(|(came, _)| receives - *came > LOOKS_MAX).map(|(_, id)| id)
    }

    /// Any: nothing came for them.
    pub(super) fn pop(&self) -> Option<StreamId> {
        self.streams.borrow_mut().pop_front().map(|(_, id)| id)
    }
}

/// Turns that a response waits for its rest while each brings something: with ring buffers of 16 KiB
/// as much as a batch of 128 KiB.
const LOOKS_MAX: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_late_when_so_many_receives_have_not_made_it_whole() {
        let held = Held::default();
        held.push(StreamId(1));
        held.note_receive();
        held.push(StreamId(3));
        for _ in 1..LOOKS_MAX {
            held.note_receive();
            assert_eq!(held.pop_late(), None);
        }
        held.note_receive();
        assert_eq!((held.pop_late(), held.pop_late()), (Some(StreamId(1)), None));
        held.note_receive();
        assert_eq!(held.pop_late(), Some(StreamId(3)));
        assert!(!held.is_any());
    }

    #[test]
    fn all_are_told_when_nothing_comes() {
        let held = Held::default();
        for id in [1, 3] {
            held.push(StreamId(id));
        }
        assert!(held.is_any());
        assert_eq!(
            (held.pop(), held.pop(), held.pop()),
            (Some(StreamId(1)), Some(StreamId(3)), None)
        );
    }
}
