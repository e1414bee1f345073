//! The access log from a shard's sink to the file.

use std::{fs, io, path::Path, thread, time::Duration, time::UNIX_EPOCH};

use ringway::{
    base::access::{AccessFormat, AccessRecord, AccessSink, LogField, LogPiece, RING_BYTES},
    config::LogPath,
    control::access_log::{AccessLogWriter, OpenAccessLog},
};

use crate::scratch::Scratch;

fn record(path: &[u8]) -> AccessRecord<'_> {
    AccessRecord {
        time: UNIX_EPOCH,
        client_ip: "192.0.2.1".parse().unwrap(),
        method: b"GET",
        scheme: "http",
        host: None,
        path: Some(path),
        query: None,
        version: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 5,
        duration: Duration::from_micros(1_500),
        upstream_duration: None,
        listener: "web",
        route: None,
        upstream: None,
        endpoint: None,
        attempts: 0,
        request_id: None,
        referer: None,
        user_agent: None,
        tls: None,
        error: None,
    }
}

fn start(path: Option<&LogPath>, shards: usize) -> io::Result<(AccessLogWriter, Vec<AccessSink>)> {
    let (log, sinks) = OpenAccessLog::open(path, shards)?;
    Ok((log.start()?, sinks))
}

fn path_only() -> AccessFormat {
    AccessFormat::Template(vec![LogPiece::Field(LogField::Path)])
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn file(path: &Path) -> LogPath {
    LogPath::File(path.to_owned())
}

#[test]
fn every_line_of_every_shard_arrives_whole_and_in_order() {
    const LINES: usize = 20_000;
    let scratch = Scratch::new();
    let path = scratch.path("access.log");
    let (writer, sinks) = start(Some(&file(&path)), 3).unwrap();
    let shards: Vec<_> = sinks
        .into_iter()
        .enumerate()
        .map(|(shard, sink)| {
            thread::Builder::new()
                .spawn(move || {
                    for i in 0..LINES {
                        sink.log(&record(format!("/{shard}/{i}").as_bytes()), &path_only());
                    }
                    sink.dropped()
                })
                .unwrap()
        })
        .collect();
    let dropped: u64 = shards.into_iter().map(|shard| shard.join().unwrap()).sum();
    let view = writer.view();
    writer.finish();
    let lines = lines(&path);
    assert_eq!(lines.len() as u64 + dropped, 3 * LINES as u64);
    assert_eq!(view.shards.iter().map(|(lines, _)| lines).sum::<u64>(), lines.len() as u64);
    for shard in 0..3 {
        let numbers: Vec<usize> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("/{shard}/")))
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(numbers.is_sorted() && numbers.windows(2).all(|w| w[0] != w[1]));
    }
}

#[test]
fn a_line_arrives_without_any_further_line() {
    let scratch = Scratch::new();
    let path = scratch.path("access.log");
    let (_writer, sinks) = start(Some(&file(&path)), 1).unwrap();
    sinks[0].log(&record(b"/alone"), &path_only());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while lines(&path).is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "not within its interval");
        thread::yield_now();
    }
    assert_eq!(lines(&path), ["/alone"]);
}

#[test]
fn a_rotated_log_loses_nothing_and_goes_on_under_its_name() {
    let scratch = Scratch::new();
    let (path, rotated) = (scratch.path("access.log"), scratch.path("access.log.1"));
    let (mut writer, sinks) = start(Some(&file(&path)), 1).unwrap();
    sinks[0].log(&record(b"/before"), &path_only());
    fs::rename(&path, &rotated).unwrap();
    sinks[0].log(&record(b"/renamed"), &path_only());
    writer.reopen().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while lines(&rotated).len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "written before the switch");
        thread::yield_now();
    }
    sinks[0].log(&record(b"/after"), &path_only());
    writer.finish();
    assert_eq!(lines(&rotated), ["/before", "/renamed"]);
    assert_eq!(lines(&path), ["/after"]);
}

#[test]
fn a_log_that_cannot_be_opened_again_stays_where_it_is() {
    let scratch = Scratch::new();
    let path = scratch.path("access.log");
    let (mut writer, sinks) = start(Some(&file(&path)), 1).unwrap();
    let elsewhere = scratch.path("no/such/directory.log");
    let error = writer.set_path(Some(&file(&elsewhere))).unwrap_err().to_string();
    assert!(error.contains("no/such/directory.log"), "{error}");
    assert_eq!(writer.path(), Some(&file(&path)));
    sinks[0].log(&record(b"/still"), &path_only());
    writer.finish();
    assert_eq!(lines(&path), ["/still"]);
}

#[test]
fn a_full_disk_loses_counted_lines_and_stops_nobody() {
    let (mut writer, sinks) = start(Some(&LogPath::File("/dev/full".into())), 1).unwrap();
    for _ in 0..50 {
        sinks[0].log(&record(b"/lost"), &path_only());
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while writer.view().lines_lost < 50 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", writer.view());
        thread::yield_now();
    }
    let scratch = Scratch::new();
    let path = scratch.path("access.log");
    let view = writer.view();
    assert_eq!((view.lines_lost, view.bytes_written, view.shards[0].1), (50, 0, 0));
    writer.set_path(Some(&file(&path))).unwrap();
    // The order empties the queue to the old place first; only then does the new one begin.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while lines(&path).is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        sinks[0].log(&record(b"/kept"), &path_only());
        thread::yield_now();
    }
    writer.finish();
    assert!(lines(&path).iter().all(|line| line == "/kept"));
}

#[test]
fn without_a_place_lines_are_thrown_away_until_there_is_one() {
    let scratch = Scratch::new();
    let path = scratch.path("access.log");
    let (mut writer, sinks) = start(None, 1).unwrap();
    sinks[0].log(&record(b"/nowhere"), &path_only());
    writer.set_path(Some(&file(&path))).unwrap();
    // The order empties the queue first; only then does the new place begin.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while lines(&path).is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        sinks[0].log(&record(b"/there"), &path_only());
        thread::yield_now();
    }
    writer.finish();
    assert!(lines(&path).iter().all(|line| line == "/there"));
}

#[test]
fn a_queue_that_nobody_empties_drops_and_counts() {
    // A pipe without a reader that is full: the writer waits in its write, the shard does not.
    let scratch = Scratch::new();
    let fifo = scratch.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let (writer, sinks) = start(Some(&file(&fifo)), 1).unwrap();
    let long = vec![b'a'; 4_000];
    let mut logged = 0;
    while sinks[0].dropped() < 10 {
        sinks[0].log(&record(&long), &path_only());
        logged += 1;
        assert!(logged < 10 * RING_BYTES / 4_000, "nothing is dropped");
    }
    // Let the writer end: somebody reads.
    let drain = thread::Builder::new()
        .spawn(move || {
            use std::io::Read;
            let mut reader = reader;
            let mut bytes = [0; 65_536];
            let mut total = 0;
            while total < (logged - 10) * 4_001 {
                total += reader.read(&mut bytes).unwrap();
            }
            total
        })
        .unwrap();
    writer.finish();
    assert_eq!(drain.join().unwrap(), (logged - 10) * 4_001, "what wasn't dropped was written");
}
