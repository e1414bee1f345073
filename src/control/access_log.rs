//! The access log's writer: a thread of its own that takes lines from the shards' queues and
//! writes them in large pieces.
//!
//! It sleeps for [`FLUSH_INTERVAL`] at most and is woken earlier by a shard whose queue fills. A
//! slow or full disk makes it wait or fail, never a shard: lines that find no room in their queue
//! are dropped and counted there, lines whose write fails are counted here. After a write that
//! broke off inside a line the next one starts with a newline, so that at most one line is torn.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    base::{
        access::{AccessCounts, AccessSink, AccessSource, WriterWaker, access_queue},
        metrics::SharedCounter,
    },
    config::LogPath,
    control::view::AccessLogView,
};

/// How long a line may wait before it is written.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of one write; the buffer can be longer by one line.
const WRITE_BYTES: usize = 256 * 1024;

/// How often a failing log says so in the error log.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The running writer, as the control thread holds it. Dropping it writes what is queued and ends
/// the thread, like [`finish`](Self::finish).
#[derive(Debug)]
pub struct AccessLogWriter {
    orders: Sender<Order>,
    waker: Arc<WriterWaker>,
    counts: Vec<AccessCounts>,
    losses: Arc<Losses>,
    path: Option<LogPath>,
    thread: Option<JoinHandle<()>>,
}

/// A log that is open, and whose thread hasn't begun: a process gives up its privileges in between.
#[derive(Debug)]
pub struct OpenAccessLog {
    handle: AccessLogWriter,
    writer: Writer,
}

/// What the writer counts.
#[derive(Debug, Default)]
struct Losses {
    bytes_written: SharedCounter,
    /// Lines that a failed write lost.
    lines_lost: SharedCounter,
}

#[derive(Debug)]
enum Order {
    /// Write there from now on; `None` throws lines away.
    Use(Option<File>),
    /// Write what is queued and end.
    Finish,
}

impl OpenAccessLog {
    /// Opens `path`. Gives back one sink per shard; they cost nothing until they are used, and keep
    /// lines until the thread begins.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(path: Option<&LogPath>, shards: usize) -> io::Result<(Self, Vec<AccessSink>)> {
        let file = path.map(open).transpose()?;
        let waker = Arc::new(WriterWaker::default());
        let (sinks, sources): (Vec<_>, Vec<_>) =
            (0..shards as u64).map(|seed| access_queue(Arc::clone(&waker), seed)).unzip();
        let (orders, inbox) = mpsc::channel();
        let losses = Arc::new(Losses::default());
        let counts = sources.iter().map(AccessSource::counts).collect();
        let writer = Writer {
            sources,
            inbox,
            file,
            waker: Arc::clone(&waker),
            buffer: Vec::with_capacity(WRITE_BYTES),
            losses: Arc::clone(&losses),
            is_torn: false,
            complained_at: None,
        };
        let path = path.cloned();
        let handle = AccessLogWriter { orders, waker, counts, losses, path, thread: None };
        Ok((Self { handle, writer }, sinks))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(self) -> io::Result<AccessLogWriter> {
        let Self { mut handle, writer } = self;
        let thread = thread::Builder::new().name("ringway-log".to_owned());
        handle.thread = Some(thread.spawn(move || writer.run())?);
        Ok(handle)
    }
}

impl AccessLogWriter {
    /// Writes to another place from now on, or nowhere. The same place is opened again. On an
    /// error the old place stays in use.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn set_path(&mut self, path: Option<&LogPath>) -> io::Result<()> {
        let file = path.map(open).transpose()?;
        self.path = path.cloned();
        self.order(Order::Use(file));
        Ok(())
    }

    /// Opens the file again under its name, for log rotation. On an error the old file stays in
    /// use.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn reopen(&mut self) -> io::Result<()> {
        let path = self.path.take();
        let result = self.set_path(path.as_ref());
        self.path = path;
        result
    }

    /// Where lines go now.
    pub fn path(&self) -> Option<&LogPath> {
        self.path.as_ref()
    }

    /// Counts so far.
    pub fn view(&self) -> AccessLogView {
        AccessLogView {
            shards: self.counts.iter().map(|c| (c.lines(), c.dropped())).collect(),
            bytes_written: self.losses.bytes_written.get(),
            lines_lost: self.losses.lines_lost.get(),
        }
    }

    /// Writes what is queued and ends the thread. Waits for the disk.
    pub fn finish(self) {
        drop(self);
    }

    fn order(&self, order: Order) {
        // The writer outlives this handle's last order; a failed send means that it panicked, and
        // then there is nothing left to tell.
        if self.orders.send(order).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.order(Order::Finish);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's writer panicked");
        }
    }
}

/// Opens a log's destination for appending.
pub(crate) fn open(path: &LogPath) -> io::Result<File> {
    match path {
        // The descriptor itself, without the standard library's line buffer and lock.
        LogPath::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogPath::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        LogPath::File(path) => {
            OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        }
    }
}

/// The thread's state.
#[derive(Debug)]
struct Writer {
    sources: Vec<AccessSource>,
    inbox: Receiver<Order>,
    file: Option<File>,
    waker: Arc<WriterWaker>,
    buffer: Vec<u8>,
    losses: Arc<Losses>,
    /// The last write ended inside a line.
    is_torn: bool,
    complained_at: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        self.waker.register(thread::current());
        loop {
            // Before looking, so that what comes after the look wakes us again.
            self.waker.rearm();
            let is_finished = self.obey();
            self.write_queued();
            if is_finished {
                return;
            }
            if self.file.is_some() {
                thread::park_timeout(FLUSH_INTERVAL);
            } else {
                thread::park();
            }
        }
    }

    /// Carries out what was ordered; true when that was to finish.
    fn obey(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Use(file)) => {
                    // What was queued before the order belongs to the old place.
                    self.write_queued();
                    self.file = file;
                    self.is_torn = false;
                }
                Ok(Order::Finish) | Err(mpsc::TryRecvError::Disconnected) => return true,
                Err(mpsc::TryRecvError::Empty) => return false,
            }
        }
    }

    /// Writes what the queues hold, one look at each.
    fn write_queued(&mut self) {
        let mut lines = 0;
        for index in 0..self.sources.len() {
            loop {
                let taken = self.sources[index].take(&mut self.buffer, WRITE_BYTES);
                lines += taken as u64;
                if self.buffer.len() < WRITE_BYTES {
                    break;
                }
                self.write_buffer(&mut lines);
            }
        }
        if !self.buffer.is_empty() {
            self.write_buffer(&mut lines);
        }
    }

    fn write_buffer(&mut self, lines: &mut u64) {
        if let Some(file) = &mut self.file {
            let newline: &[u8] = if self.is_torn { b"\n" } else { b"" };
            let (written, result) = write_pieces(file, [newline, &self.buffer]);
            self.losses.bytes_written.add(written as u64);
            if written > 0 {
                let last = written.checked_sub(newline.len() + 1).map(|at| self.buffer[at]);
                self.is_torn = last.is_some_and(|byte| byte != b'\n');
            }
            if let Err(error) = result {
                let kept = &self.buffer[..written.saturating_sub(newline.len())];
                let lost = *lines - memchr::memchr_iter(b'\n', kept).count() as u64;
                self.losses.lines_lost.add(lost);
                self.complain(&error);
            }
        }
        *lines = 0;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES);
    }

    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.complained_at.is_none_or(|at| now - at >= COMPLAINT_INTERVAL) {
            self.complained_at = Some(now);
            let lost = self.losses.lines_lost.get();
            tracing::error!(%error, lost, "access log can't be written, lines are lost");
        }
    }
}

/// Writes all pieces; says how many bytes went out even when it fails.
fn write_pieces(out: &mut impl Write, pieces: [&[u8]; 2]) -> (usize, io::Result<()>) {
    let mut written = 0;
    for mut piece in pieces {
        while !piece.is_empty() {
            match out.write(piece) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    written += n;
                    piece = &piece[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
    }
    (written, Ok(()))
}
