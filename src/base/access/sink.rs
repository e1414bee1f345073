//! The two ends of one shard's line queue, and the flag by which shards wake the writer.
//!
//! The writer sleeps for a bounded time and looks at all queues when it wakes. A shard wakes it
//! earlier only when its queue passes [`WAKE_BYTES`], and then once: at most one system call for
//! some 800 lines.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    thread::Thread,
};

use crate::base::{
    access::{
        AccessFormat, AccessRecord,
        format::{VALUE_BYTES_MAX, format_line},
        ring::{RING_BYTES, Ring},
    },
    metrics::Counter,
    random,
};

/// A queue holding more than this wakes the writer before its time.
pub const WAKE_BYTES: usize = 256 * 1024;

/// A line's buffer is given back to the allocator after a line longer than this.
const SCRATCH_BYTES_KEPT: usize = 16 * 1024;

const _: () = assert!(WAKE_BYTES <= RING_BYTES / 4, "room for what comes while the writer wakes");
// Eight texts of a client at six bytes for each of theirs (`\u0000`): the longest line fits.
const _: () = assert!(8 * 6 * VALUE_BYTES_MAX < RING_BYTES);

/// The state both ends share.
#[derive(Debug)]
struct Queue {
    ring: Ring,
    lines: Counter,
    dropped: Counter,
}

/// A shard's end: formats and queues. One per shard; moved to its thread, never shared.
#[derive(Debug)]
pub struct AccessSink {
    queue: Arc<Queue>,
    waker: Arc<WriterWaker>,
    scratch: RefCell<Vec<u8>>,
    seen_head: Cell<usize>,
    /// The state of the sampler's generator.
    random: Cell<u64>,
}

/// The writer's end of one shard's queue.
#[derive(Debug)]
pub struct AccessSource {
    queue: Arc<Queue>,
}

/// Makes the two ends of a queue. `seed` decides which lines a sample below 1.0 keeps.
pub fn access_queue(waker: Arc<WriterWaker>, seed: u64) -> (AccessSink, AccessSource) {
    let queue = Arc::new(Queue {
        ring: Ring::new(RING_BYTES),
        lines: Counter::new(),
        dropped: Counter::new(),
    });
    let sink = AccessSink {
        queue: Arc::clone(&queue),
        waker,
        scratch: RefCell::new(Vec::new()),
        seen_head: Cell::new(0),
        random: Cell::new(seed),
    };
    (sink, AccessSource { queue })
}

impl AccessSink {
    /// Queues one line; never waits. A full queue counts the line as dropped.
    pub fn log(&self, record: &AccessRecord<'_>, format: &AccessFormat) {
        let mut line = self.scratch.borrow_mut();
        line.clear();
        format_line(record, format, &mut line);
        let mut seen_head = self.seen_head.get();
        match self.queue.ring.push(&line, &mut seen_head, WAKE_BYTES) {
            Some(used) => {
                self.queue.lines.increment();
                if used > WAKE_BYTES {
                    self.waker.wake();
                }
            }
            None => self.queue.dropped.increment(),
        }
        self.seen_head.set(seen_head);
        if line.capacity() > SCRATCH_BYTES_KEPT {
            *line = Vec::new();
        }
    }

    /// Whether the next exchange belongs to a sample of this share (0.0 to 1.0), decided by a
    /// generator of the sink's own. Ask before gathering the record.
    pub fn samples(&self, share: f64) -> bool {
        if share >= 1.0 {
            return true;
        }
        let (state, number) = random::step(self.random.get());
        self.random.set(state);
        // The top 53 bits as a number in [0, 1).
        let unit = (number >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }

    /// Lines queued since the start.
    pub fn lines(&self) -> u64 {
        self.queue.lines.get()
    }

    /// Lines dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.get()
    }
}

impl AccessSource {
    /// Moves queued lines to the end of `out` until it holds `bytes_max` bytes or none is left.
    /// Returns how many.
    pub fn take(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> usize {
        self.queue.ring.pop_into(out, bytes_max)
    }

    /// A reader of this queue's counts, for metrics.
    pub fn counts(&self) -> AccessCounts {
        AccessCounts { queue: Arc::clone(&self.queue) }
    }
}

/// Reads a queue's counts from any thread.
#[derive(Debug, Clone)]
pub struct AccessCounts {
    queue: Arc<Queue>,
}

impl AccessCounts {
    /// Lines queued since the start.
    pub fn lines(&self) -> u64 {
        self.queue.lines.get()
    }

    /// Lines dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.get()
    }
}

/// How shards wake the writer thread: at most one system call between two of its looks.
#[derive(Debug, Default)]
pub struct WriterWaker {
    thread: OnceLock<Thread>,
    is_woken: AtomicBool,
}

impl WriterWaker {
    /// The writer, once, from its own thread: whom to wake.
    pub fn register(&self, thread: Thread) {
        // A second writer would be a bug; the first stays.
        let is_first = self.thread.set(thread).is_ok();
        debug_assert!(is_first);
    }

    /// The writer, before it looks at the queues: the next full queue may wake it again.
    pub fn rearm(&self) {
        self.is_woken.store(false, Release);
    }

    /// Wakes the writer unless somebody did since its last look.
    pub fn wake(&self) {
        if !self.is_woken.swap(true, AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::access::format::tests::record;

    #[test]
    fn a_logged_line_arrives_and_is_counted() {
        let (sink, mut source) = access_queue(Arc::default(), 0);
        sink.log(&record(), &AccessFormat::Combined);
        let mut out = Vec::new();
        assert_eq!(source.take(&mut out, usize::MAX), 1);
        assert!(out.ends_with(b"\n"));
        assert_eq!((sink.lines(), source.counts().lines(), sink.dropped()), (1, 1, 0));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (sink, mut source) = access_queue(Arc::default(), 0);
        let mut logged = 0;
        while sink.dropped() == 0 {
            sink.log(&record(), &AccessFormat::Json);
            logged += 1;
        }
        let mut out = Vec::new();
        assert_eq!(source.take(&mut out, usize::MAX), logged - 1);
        assert!(out.len() <= RING_BYTES && out.len() > RING_BYTES * 9 / 10, "{}", out.len());
        assert_eq!(source.counts().dropped(), 1);
        sink.log(&record(), &AccessFormat::Json);
        assert_eq!(source.take(&mut out, usize::MAX), 1, "room again");
    }

    #[test]
    fn the_writer_is_woken_once_between_two_looks() {
        let waker = Arc::new(WriterWaker::default());
        let (sink, _source) = access_queue(Arc::clone(&waker), 0);
        while !waker.is_woken.load(std::sync::atomic::Ordering::Relaxed) {
            sink.log(&record(), &AccessFormat::Json);
        }
        assert_eq!(sink.dropped(), 0, "long before the queue is full");
        waker.rearm();
        sink.log(&record(), &AccessFormat::Json);
        assert!(waker.is_woken.load(std::sync::atomic::Ordering::Relaxed), "still over the mark");
    }

    #[test]
    fn the_longest_line_fits_and_its_buffer_is_given_back() {
        let (sink, mut source) = access_queue(Arc::default(), 0);
        let nuls = vec![0; 64 * 1024];
        let mut big = record();
        big.method = &nuls;
        for text in [
            &mut big.host,
            &mut big.path,
            &mut big.query,
            &mut big.request_id,
            &mut big.user_agent,
            &mut big.referer,
        ] {
            *text = Some(&nuls);
        }
        sink.log(&big, &AccessFormat::Json);
        assert_eq!(sink.dropped(), 0);
        assert!(sink.scratch.borrow().capacity() <= SCRATCH_BYTES_KEPT);
        assert_eq!(source.take(&mut Vec::new(), usize::MAX), 1);
    }

    #[test]
    fn a_sample_keeps_about_its_share() {
        let (sink, _source) = access_queue(Arc::default(), 42);
        let kept = (0..100_000).filter(|_| sink.samples(0.1)).count();
        assert!((9_500..10_500).contains(&kept), "{kept}");
        assert!((0..100).all(|_| sink.samples(1.0)));
        assert!(!(0..100).any(|_| sink.samples(0.0)));
    }
}
