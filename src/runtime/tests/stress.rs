//! Many connections, little of everything, and futures dropped at any await: nothing is lost,
//! nothing hangs, nothing leaks. Seeded; a failure prints its seed.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use super::{drivers, echo_server, local, on_each, pair, pattern};
use crate::runtime::{
    DriverChoice, Either, ListenOptions, Options, RecvBuf, Runtime, SendBuf, TcpListener,
    TcpStream, Timer, lease, mailbox, now, race, sim::random::Random, sleep, sleep_until, spawn,
    splice, usage, yield_now,
};

/// Waits until `count` tasks have reported, within half a minute.
async fn all_done(done: &Cell<usize>, count: usize, seed: u64) {
    let begun = now();
    while done.get() < count {
        sleep(Duration::from_millis(10)).await;
        let waited = now() - begun;
        assert!(waited < Duration::from_secs(30), "seed {seed}: {} of {count} done", done.get());
    }
}

/// Sends bytes `0..len` of the pattern in pieces of every kind of payload.
async fn send_pattern(stream: &TcpStream, len: usize, random: &mut Random) {
    let mut sent = 0;
    while sent < len {
        let piece = random.length((len - sent).min(200_000));
        let bytes = (sent..sent + piece).map(pattern);
        let payload = match random.below(3) {
            0 => SendBuf::Bytes(bytes.collect::<Vec<u8>>().into()),
            1 if let Some(mut lease) = lease() => {
                let piece = piece.min(lease.len() - 7);
                for (place, byte) in lease[7..7 + piece].iter_mut().zip(bytes) {
                    *place = byte;
                }
                SendBuf::Lease(lease, 7..7 + piece)
            }
            _ => SendBuf::Vec(bytes.collect()),
        };
        sent += payload.as_slice().len();
        stream.send_all(payload).await.0.unwrap();
    }
}

/// Receives in every way that loses nothing, cancels included, and checks each byte.
async fn receive_pattern(stream: &TcpStream, len: usize, random: &mut Random, seed: u64) {
    let mut seen = 0;
    let check = |bytes: &[u8], seen: usize| {
        let is_right = bytes.iter().enumerate().all(|(i, byte)| *byte == pattern(seen + i));
        assert!(is_right, "seed {seed}: wrong bytes at {seen}");
    };
    while seen < len {
        match random.below(4) {
            0 if let Some(mut lease) = lease() => {
                let offset = random.length(1000);
                let (received, back) = stream.recv_lease(lease, offset).await;
                let n = received.unwrap();
                assert!(n > 0, "seed {seed}: ended at {seen}");
                lease = back;
                check(&lease[offset..offset + n], seen);
                seen += n;
            }
            1 => {
                let parked = stream.recv();
                for _ in 0..random.below(3) {
                    yield_now().await;
                }
                if let Some(piece) = parked.cancel().await.unwrap() {
                    check(&piece, seen);
                    seen += piece.len();
                }
            }
            2 => {
                stream.readable().await.unwrap();
            }
            _ => {
                let piece: RecvBuf = stream.recv().await.unwrap();
                assert!(!piece.is_empty(), "seed {seed}: ended at {seen}");
                check(&piece, seen);
                seen += piece.len();
            }
        }
    }
    assert_eq!(seen, len, "seed {seed}");
}

#[test]
fn cancelled_receives_lose_no_byte() {
    const PAIRS: usize = 24;
    for seed in 0..4 {
        on_each(&Options { buffer_count: 64, ..Options::default() }, async || {
            let done = Rc::new(Cell::new(0));
            for number in 0..PAIRS {
                let (client, server) = pair().await;
                let mut random = Random::new(seed << 32 | number as u64);
                let len = 50_000 + random.length(1 << 20);
                let mut other = random.clone();
                spawn(async move { send_pattern(&client, len, &mut random).await });
                let done = done.clone();
                spawn(async move {
                    receive_pattern(&server, len, &mut other, seed).await;
                    done.set(done.get() + 1);
                });
            }
            all_done(&done, PAIRS, seed).await;
        });
    }
}

/// Does something, and drops it somewhere in the middle.
async fn chaos(address: SocketAddr, random: &mut Random) {
    let Ok(stream) = TcpStream::connect(address).await else { return };
    let other = TcpStream::connect(address);
    for _ in 0..random.length(12) {
        let patience = async |random: &mut Random| {
            for _ in 0..random.below(4) {
                yield_now().await;
            }
        };
        let len = random.length(300_000);
        match random.below(7) {
            0 => drop(race(stream.send_all(vec![1; len]), patience(random)).await),
            1 => drop(race(stream.recv(), patience(random)).await),
            2 => {
                if let Some(lease) = lease() {
                    drop(race(stream.recv_lease(lease, 0), patience(random)).await);
                }
            }
            3 => drop(race(stream.readable(), patience(random)).await),
            4 => {
                let parked = stream.recv();
                patience(random).await;
                drop(parked);
            }
            5 => drop(race(stream.writable(), patience(random)).await),
            _ => {
                let both = race(stream.recv(), stream.send_all(vec![2; len]));
                drop(race(both, patience(random)).await);
            }
        }
    }
    match random.below(4) {
        0 => stream.reset_on_close(),
        1 => drop(stream.shutdown_write()),
        2 => {
            if let Ok(other) = other.await {
                drop(stream.send_all(vec![3; 100_000]).await);
                let moved = splice(&stream, &other, 90_000, |_| ());
                drop(race(moved, sleep(Duration::from_millis(20))).await);
            }
        }
        _ => {
            let parked = stream.recv();
            drop(stream);
            drop(parked.await);
        }
    }
}

#[test]
fn futures_dropped_anywhere_leak_nothing() {
    const TASKS: usize = 60;
    for seed in 0..6 {
        let options = Options { buffer_count: 16, buffer_size: 4096, ..Options::default() };
        on_each(&options, async || {
            let address = echo_server();
            let done = Rc::new(Cell::new(0));
            let mut tasks = Vec::new();
            for number in 0..TASKS {
                let mut random = Random::new(seed << 32 | number as u64);
                let done = done.clone();
                tasks.push(spawn(async move {
                    chaos(address, &mut random).await;
                    done.set(done.get() + 1);
                }));
                if number % 8 == 0 {
                    yield_now().await;
                }
            }
            // Some are aborted in the middle of whatever they do.
            sleep(Duration::from_millis(15)).await;
            let mut aborted = 0;
            for task in tasks.iter().step_by(5) {
                if !task.is_finished() {
                    task.abort();
                    aborted += 1;
                }
            }
            all_done(&done, TASKS - aborted, seed).await;
        });
    }
}

#[test]
fn two_buffers_serve_a_hundred_connections() {
    const CLIENTS: usize = 100;
    let options = Options { buffer_count: 2, buffer_size: 1024, ..Options::default() };
    on_each(&options, async || {
        let address = echo_server();
        let done = Rc::new(Cell::new(0));
        for number in 0..CLIENTS {
            let done = done.clone();
            spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                for round in 0..20 {
                    let len = 1 + (number * 37 + round * 101) % 3000;
                    stream.send_all((0..len).map(pattern).collect::<Vec<u8>>()).await.0.unwrap();
                    let mut seen = 0;
                    while seen < len {
                        let piece = stream.recv().await.unwrap();
                        assert!(piece.iter().enumerate().all(|(i, b)| *b == pattern(seen + i)));
                        seen += piece.len();
                    }
                }
                done.set(done.get() + 1);
            });
        }
        all_done(&done, CLIENTS, 0).await;
        assert!(usage().buffer_waits > 0, "two buffers are too few for so many");
    });
}

#[test]
fn orphaned_receives_release_their_buffers() {
    on_each(&Options { buffer_count: 4, ..Options::default() }, async || {
        let (client, server) = pair().await;
        for _ in 0..200 {
            let orphan = server.recv();
            client.send_all("taken by nobody").await.0.unwrap();
            drop(orphan);
        }
        // However many of them had received something, all buffers come back.
        client.send_all("end").await.0.unwrap();
        let mut tail = Vec::new();
        while !tail.ends_with(b"end") {
            tail.extend_from_slice(&server.recv().await.unwrap());
        }
        assert_eq!(usage().buffers_in_use, 0);
    });
}

#[test]
fn a_waiting_receive_can_be_dropped_and_closed() {
    on_each(&Options { buffer_count: 1, ..Options::default() }, async || {
        let (client, server) = pair().await;
        let (second, other) = pair().await;
        client.send_all("holds the only buffer").await.0.unwrap();
        let held = server.recv().await.unwrap();
        second.send_all("waits").await.0.unwrap();
        let waits = usage().buffer_waits;
        let dropped = other.recv();
        while usage().buffer_waits == waits {
            yield_now().await;
        }
        drop(dropped);
        let closed = other.recv();
        yield_now().await;
        yield_now().await;
        drop(other);
        assert_eq!(closed.await.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        drop(held);
    });
}

#[test]
fn waiting_receives_without_data_do_not_starve_the_one_with_data() {
    on_each(&Options { buffer_count: 1, ..Options::default() }, async || {
        let (client, server) = pair().await;
        client.send_all("holds the only buffer").await.0.unwrap();
        let held = server.recv().await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..50 {
            idle.push(pair().await);
        }
        let parked: Vec<_> = idle.iter().map(|(_, server)| server.recv()).collect();
        let (busy, other) = pair().await;
        busy.send_all("data").await.0.unwrap();
        let last = other.recv();
        while usage().buffer_waits < 51 {
            yield_now().await;
        }
        drop(held);
        // The idle ones are tried first and take no buffer; nobody will ever recycle one for them.
        let timer = Timer::new();
        timer.set(now() + Duration::from_secs(5));
        let piece = timer.guard(last).await.expect("starved").unwrap();
        assert_eq!(&*piece, b"data");
        drop(parked);
    });
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    on_each(&Options::default(), async || {
        let begun = now();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let mut random = Random::new(5);
        for _ in 0..1000 {
            let at = begun + Duration::from_micros(random.below(100_000));
            let fired = fired.clone();
            spawn(async move {
                sleep_until(at).await;
                assert!(now() >= at, "never early");
                fired.borrow_mut().push(at);
            });
        }
        sleep(Duration::from_millis(200)).await;
        let fired = fired.borrow();
        assert_eq!(fired.len(), 1000);
        assert!(fired.is_sorted());
    });
}

#[test]
fn a_mailbox_loses_nothing_of_many_threads() {
    const THREADS: usize = 4;
    const MESSAGES: u32 = 20_000;
    on_each(&Options::default(), async || {
        let (send, mut receive) = mailbox::channel::<(usize, u32)>(64);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let send = send.clone();
                let run = move || {
                    for number in 0..MESSAGES {
                        let mut message = (thread, number);
                        while let Err(back) = send.send(message) {
                            message = back;
                            std::thread::yield_now();
                        }
                    }
                };
                std::thread::Builder::new().spawn(run).unwrap()
            })
            .collect();
        drop(send);
        let mut next = [0; THREADS];
        while let Some((thread, number)) = receive.recv().await {
            assert_eq!(number, next[thread], "in order");
            next[thread] += 1;
        }
        assert_eq!(next, [MESSAGES; THREADS]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn full_queues_are_no_limit() {
    // Eight submissions and 64 completions at a time, for 300 busy connections.
    const CLIENTS: usize = 300;
    on_each(&Options { ring_entries: 8, ..Options::default() }, async || {
        let address = echo_server();
        let done = Rc::new(Cell::new(0));
        for _ in 0..CLIENTS {
            let done = done.clone();
            spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                for _ in 0..20 {
                    stream.send_all("ping").await.0.unwrap();
                    assert_eq!(&*stream.recv().await.unwrap(), b"ping");
                }
                done.set(done.get() + 1);
            });
        }
        all_done(&done, CLIENTS, 0).await;
        println!("completion queue overflows: {}", usage().cq_overflows);
    });
}

#[test]
fn a_closed_descriptor_is_not_touched_by_late_operations() {
    // Numbers are reused at once: what a dropped operation did late would hit another connection.
    for seed in 0..3 {
        on_each(&Options::default(), async || {
            let address = echo_server();
            let mut random = Random::new(seed);
            for round in 0..300_u32 {
                let doomed = TcpStream::connect(address).await.unwrap();
                let parked = doomed.recv();
                drop(race(doomed.send_all(vec![9; 5000]), yield_now()).await);
                if random.below(2) == 0 {
                    drop(parked);
                    drop(doomed);
                } else {
                    drop(doomed);
                    drop(parked);
                }
                let fresh = TcpStream::connect(address).await.unwrap();
                let text = format!("seed {seed} round {round}");
                fresh.send_all(text.clone().into_bytes()).await.0.unwrap();
                let mut seen = Vec::new();
                while seen.len() < text.len() {
                    seen.extend_from_slice(&fresh.recv().await.unwrap());
                }
                assert_eq!(seen, text.as_bytes());
            }
        });
    }
}

#[test]
fn a_listener_that_is_dropped_resets_what_it_had_accepted() {
    on_each(&Options::default(), async || {
        let listener = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(race(listener.accept(), yield_now()).await);
        let stream = TcpStream::connect(address).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        drop(listener);
        let ended = race(stream.recv(), sleep(Duration::from_secs(5))).await;
        assert!(matches!(ended, Either::First(_)), "the connection doesn't hang");
    });
}

#[test]
fn a_runtime_that_is_dropped_in_the_middle_frees_everything() {
    for driver in drivers() {
        let runtime = Runtime::new(&Options { driver, ..Options::default() }).unwrap();
        runtime.block_on(async {
            let address = echo_server();
            for _ in 0..50 {
                spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    loop {
                        stream.send_all(vec![1; 100_000]).await.0.unwrap();
                        drop(stream.recv().await.unwrap());
                    }
                });
            }
            sleep(Duration::from_millis(50)).await;
        });
        drop(runtime);
        // The thread is free for the next one.
        let epoll = Options { driver: DriverChoice::Epoll, ..Options::default() };
        assert!(Runtime::new(&epoll).is_ok());
    }
}
