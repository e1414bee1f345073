//! The simulated network: what it promises to whoever runs on it.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, time::Duration};

use super::{echo_server, local, pair, pattern};
use crate::runtime::{
    DriverKind, Either, ListenOptions, Runtime, SimOptions, SimReport, TcpListener, TcpStream, now,
    race, sleep, spawn, wall_now, yield_now,
};

/// A client that sends `len` bytes to an echo server and checks what comes back. The outcome is
/// the number of bytes that were echoed, or the error that ended it.
async fn echo_client(address: SocketAddr, len: usize) -> io::Result<usize> {
    let stream = Rc::new(TcpStream::connect(address).await?);
    let sender = stream.clone();
    let sent = spawn_result(async move {
        let bytes: Vec<u8> = (0..len).map(pattern).collect();
        sender.send_all(bytes).await.0?;
        sender.shutdown_write()
    });
    let mut seen = 0;
    loop {
        let piece = stream.recv().await?;
        if piece.is_empty() {
            break;
        }
        let is_right = piece.iter().enumerate().all(|(i, byte)| *byte == pattern(seen + i));
        assert!(is_right, "wrong bytes at {seen}");
        seen += piece.len();
    }
    while sent.get().is_none() {
        yield_now().await;
    }
    Ok(seen)
}

/// Runs a fallible future as a task; whether it succeeded, once it has ended.
fn spawn_result(future: impl Future<Output = io::Result<()>> + 'static) -> Rc<Cell<Option<bool>>> {
    let outcome = Rc::new(Cell::new(None));
    let place = outcome.clone();
    spawn(async move { place.set(Some(future.await.is_ok())) });
    outcome
}

/// Forty clients against an echo server: how many got everything back, and the report. No client
/// sends more than a window: client and server share the buffers here, so a server that waits for
/// its client to read could hold the buffer that the client needs.
fn echo_run(seed: u64, options: &SimOptions) -> (u32, SimReport) {
    const TIME_MAX: Duration = Duration::from_secs(3600);
    let runtime = Runtime::sim(seed, options).unwrap();
    assert_eq!(runtime.driver(), DriverKind::Sim);
    let whole = Rc::new(Cell::new(0));
    let count = whole.clone();
    runtime.block_on(async move {
        let address = echo_server();
        let (ended, begun) = (Rc::new(Cell::new(0)), now());
        for client in 0..40_usize {
            let (ended, count) = (ended.clone(), count.clone());
            spawn(async move {
                let len = 100 + client * 1500;
                if let Ok(seen) = echo_client(address, len).await
                    && seen == len
                {
                    count.set(count.get() + 1);
                }
                ended.set(ended.get() + 1);
            });
        }
        while ended.get() < 40 {
            sleep(Duration::from_millis(50)).await;
            assert!(now() - begun < TIME_MAX, "seed {seed}: hangs");
        }
    });
    (whole.get(), runtime.finish().unwrap())
}

#[test]
fn a_calm_network_loses_nothing() {
    for seed in 0..20 {
        let (whole, report) = echo_run(seed, &SimOptions::calm());
        assert_eq!(whole, 40, "seed {seed}: {report:?}");
        assert!(report.is_clean(), "seed {seed}: {report:?}");
    }
}

#[test]
fn a_hostile_network_breaks_connections_but_nothing_else() {
    let mut all = crate::runtime::SimEvents::default();
    for seed in 0..60 {
        let (whole, report) = echo_run(seed, &SimOptions::default());
        assert!(report.is_clean(), "seed {seed}: {report:?}");
        let faults = report.events.resets + report.events.refusals;
        let broken = u64::from(40 - whole);
        assert!(broken <= faults, "seed {seed}: {broken} broken by {faults} faults: {report:?}");
        all.resets += report.events.resets;
        all.refusals += report.events.refusals;
        all.short_reads += report.events.short_reads;
        all.short_writes += report.events.short_writes;
        all.no_buffers += report.events.no_buffers;
        all.no_descriptors += report.events.no_descriptors;
    }
    let scarce = all.no_buffers.min(all.no_descriptors);
    let met = [all.resets, all.refusals, all.short_reads, all.short_writes, scarce];
    assert!(met.iter().all(|count| *count > 0), "every fault is met: {all:?}");
}

#[test]
fn a_seed_repeats_a_run_and_another_one_does_not() {
    let options = SimOptions::default();
    let (_, first) = echo_run(7, &options);
    let (_, again) = echo_run(7, &options);
    assert_eq!(first, again);
    let (_, other) = echo_run(8, &options);
    assert_ne!(first.trace_hash, other.trace_hash);
}

#[test]
fn two_buffers_serve_many_connections() {
    let mut options = SimOptions { reset: 0.0, refuse: 0.0, ..SimOptions::default() };
    options.runtime.buffer_count = 2;
    options.runtime.buffer_size = 512;
    for seed in 0..20 {
        let (whole, report) = echo_run(seed, &options);
        assert_eq!(whole, 40, "seed {seed}: {report:?}");
        assert!(report.is_clean(), "seed {seed}: {report:?}");
    }
}

#[test]
fn time_is_virtual() {
    let runtime = Runtime::sim(1, &SimOptions::calm()).unwrap();
    let real = crate::runtime::now_uncached();
    runtime.block_on(async {
        let (begun, wall) = (now(), wall_now());
        sleep(Duration::from_secs(24 * 3600)).await;
        assert!(now() - begun >= Duration::from_secs(24 * 3600));
        assert!(wall_now().duration_since(wall).unwrap() >= Duration::from_secs(24 * 3600));
    });
    assert!(real.elapsed() < Duration::from_secs(60), "a day passes at once");
}

#[test]
fn closing_with_unread_data_resets() {
    let runtime = Runtime::sim(3, &SimOptions::calm()).unwrap();
    runtime.block_on(async {
        let (client, server) = pair().await;
        client.send_all("unread").await.0.unwrap();
        sleep(Duration::from_millis(50)).await;
        drop(server);
        let error = client.recv().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(client.recv().await.unwrap().is_empty(), "the error is told once");
        let error = client.send_all("more").await.0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
    assert!(runtime.finish().unwrap().is_clean());
}

#[test]
fn sending_to_a_closed_side_is_answered_by_a_reset() {
    let runtime = Runtime::sim(4, &SimOptions::calm()).unwrap();
    runtime.block_on(async {
        let (client, server) = pair().await;
        drop(server);
        assert!(client.recv().await.unwrap().is_empty());
        client.send_all("into the void").await.0.unwrap();
        let error = client.recv().await;
        // The end was seen already; the reset is an error for whoever asks next.
        assert!(error.is_ok_and(|piece| piece.is_empty()));
        sleep(Duration::from_millis(50)).await;
        assert!(client.send_all("again").await.0.is_err());
    });
    assert!(runtime.finish().unwrap().is_clean());
}

#[test]
fn a_window_bounds_what_is_under_way() {
    let options = SimOptions { window: 4096, ..SimOptions::calm() };
    let runtime = Runtime::sim(5, &options).unwrap();
    runtime.block_on(async {
        let (client, server) = pair().await;
        let sent = race(client.send_all(vec![0; 8192]), sleep(Duration::from_secs(10))).await;
        assert!(matches!(sent, Either::Second(())), "nobody reads");
        // The cancel of the dropped send takes its time.
        sleep(Duration::from_millis(50)).await;
        let mut seen = 0;
        while let Either::First(piece) = race(server.recv(), sleep(Duration::from_secs(1))).await {
            seen += piece.unwrap().len();
        }
        assert!(seen <= 4096 + 1, "{seen}");
    });
    assert!(runtime.finish().unwrap().is_clean());
}

#[test]
fn calm_ports_meet_no_faults() {
    let listening = SocketAddr::new(local().ip(), 8080);
    let options =
        SimOptions { refuse: 1.0, reset: 1.0, calm_ports: vec![8080], ..SimOptions::default() };
    let runtime = Runtime::sim(6, &options).unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(listening, &ListenOptions::default()).unwrap();
        let wild = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
        let client = TcpStream::connect(listening).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        client.send_all("calm").await.0.unwrap();
        assert!(!server.recv().await.unwrap().is_empty());
        assert!(TcpStream::connect(wild.local_addr().unwrap()).await.is_err());
    });
    assert!(runtime.finish().unwrap().is_clean());
}

#[test]
fn a_shared_address_reaches_each_of_its_listeners() {
    let runtime = Runtime::sim(9, &SimOptions::calm()).unwrap();
    runtime.block_on(async {
        let address = SocketAddr::new(local().ip(), 9000);
        let first = TcpListener::bind(address, &ListenOptions::default()).unwrap();
        let second = TcpListener::bind(address, &ListenOptions::default()).unwrap();
        let alone = ListenOptions { reuse_port: false, ..ListenOptions::default() };
        assert!(TcpListener::bind(address, &alone).is_err());
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(TcpStream::connect(address).await.unwrap());
        }
        let (first, second) = (first.stop().await, second.stop().await);
        assert_eq!(first.len() + second.len(), 20);
        assert!(!first.is_empty() && !second.is_empty());
    });
    assert!(runtime.finish().unwrap().is_clean());
}

#[test]
#[should_panic(expected = "seed 11: the run has stalled")]
fn a_run_in_which_nothing_can_happen_is_called_stalled() {
    let runtime = Runtime::sim(11, &SimOptions::calm()).unwrap();
    runtime.block_on(std::future::pending::<()>());
}

#[test]
fn after_a_reset_that_a_send_was_told_of_a_receive_ends() {
    let runtime = Runtime::sim(12, &SimOptions::calm()).unwrap();
    runtime.block_on(async {
        let (client, server) = pair().await;
        server.reset_on_close();
        drop(server);
        sleep(Duration::from_millis(50)).await;
        let error = client.send_all("told here").await.0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let piece = race(client.recv(), sleep(Duration::from_secs(1))).await;
        assert!(matches!(piece, Either::First(Ok(piece)) if piece.is_empty()));
    });
    assert!(runtime.finish().unwrap().is_clean());
}
