//! Each operation once, and each promise of its documentation.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use super::{echo_server, local, on_each, pair, pattern};
use crate::runtime::{
    DriverChoice, DriverKind, Either, ListenOptions, Options, PooledFuture, Recv, Runtime, SendBuf,
    SpliceError, SpliceStep, TcpListener, TcpStream, Timer, executor::TASK_SLOT_SIZE, lease,
    mailbox, now, now_uncached, op::OpSlot, race, shard, sleep, sockets::Socket, spawn, splice,
    timers::TIMER_SLOT_SIZE, usage, yield_now,
};

#[test]
fn what_is_sent_is_received() {
    on_each(&Options::default(), async || {
        let stream = TcpStream::connect(echo_server()).await.unwrap();
        for round in 0..100_u8 {
            let (sent, buf) = stream.send_all(vec![round; 1000]).await;
            sent.unwrap();
            assert!(matches!(buf, SendBuf::Vec(bytes) if bytes.len() == 1000));
            let mut seen = 0;
            while seen < 1000 {
                let piece = stream.recv().await.unwrap();
                assert!(piece.iter().all(|byte| *byte == round));
                seen += piece.len();
            }
        }
        assert_eq!(stream.sent_bytes(), 100_000);
    });
}

#[test]
fn a_registered_descriptor_ends_with_its_stream() {
    /// Registered by the third receive; its end must still reach the other side, and what moves
    /// away leaves no trace.
    async fn talk(client: &TcpStream, server: &TcpStream) {
        for _ in 0..4 {
            client.send_all("over").await.0.unwrap();
            assert_eq!(&*server.recv().await.unwrap(), b"over");
            server.send_all("back").await.0.unwrap();
            assert_eq!(&*client.recv().await.unwrap(), b"back");
        }
    }
    let registered = || shard::with(|shard| shard.driver.borrow().registered());
    on_each(&Options::default(), async || {
        let is_ring = shard::with(|shard| shard.driver.borrow().kind() == DriverKind::IoUring);
        // The numbers of closed descriptors, and with them the slots, are used again.
        for round in 0..20 {
            let (client, server) = pair().await;
            talk(&client, &server).await;
            assert_eq!(registered(), if is_ring { 2 } else { 0 }, "round {round}");
            drop(server);
            assert!(client.recv().await.unwrap().is_empty(), "the other side hears of the end");
            drop(client);
            assert_eq!(registered(), 0);
        }
        let (client, server) = pair().await;
        talk(&client, &server).await;
        let moved = server.into_owned();
        assert_eq!(registered(), usize::from(is_ring));
        drop(moved);
        assert!(client.recv().await.unwrap().is_empty(), "nothing holds it open");
    });
}

#[test]
fn the_end_of_a_stream_is_an_empty_buffer() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        client.send_all("last words").await.0.unwrap();
        client.shutdown_write().unwrap();
        assert_eq!(&*server.recv().await.unwrap(), b"last words");
        assert!(server.recv().await.unwrap().is_empty());
        assert!(server.recv().await.unwrap().is_empty());
        server.send_all("answer").await.0.unwrap();
        drop(server);
        assert_eq!(&*client.recv().await.unwrap(), b"answer");
        assert!(client.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_reset_is_an_error_and_not_an_end() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        server.reset_on_close();
        drop(server);
        let error = client.recv().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_refused_connection_says_so() {
    on_each(&Options::default(), async || {
        let listener = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        sleep(Duration::from_millis(1)).await;
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_parked_receive_becomes_ready_and_can_be_cancelled() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        let parked = server.recv();
        yield_now().await;
        assert!(!parked.is_ready());
        assert!(parked.cancel().await.unwrap().is_none(), "nothing had been received");

        let parked = server.recv();
        client.send_all("x").await.0.unwrap();
        while !parked.is_ready() {
            yield_now().await;
        }
        assert_eq!(usage().buffers_in_use, 1);
        assert_eq!(&*parked.cancel().await.unwrap().unwrap(), b"x");
        assert_eq!(usage().buffers_in_use, 0);
    });
}

#[test]
fn a_stream_that_is_dropped_cancels_its_receive() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        let parked = server.recv();
        drop(server);
        assert_eq!(parked.await.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert!(client.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_dropped_receive_loses_nothing_that_comes_later() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        for _ in 0..10 {
            drop(server.recv());
        }
        // The cancels are ahead of what is sent now.
        yield_now().await;
        client.send_all("kept").await.0.unwrap();
        assert_eq!(&*server.recv().await.unwrap(), b"kept");
    });
}

#[test]
fn large_bodies_pass_through_leases() {
    const LEN: usize = 3 << 20;
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        let sender = async {
            let bytes: Vec<u8> = (0..LEN).map(pattern).collect();
            client.send_all(bytes).await.0.unwrap();
            pending::<()>().await;
        };
        let receiver = async {
            let mut lease = lease().unwrap();
            let mut seen = 0;
            while seen < LEN {
                let (received, back) = server.recv_lease(lease, 0).await;
                let n = received.unwrap();
                assert!(n > 0);
                assert!(back[..n].iter().enumerate().all(|(i, b)| *b == pattern(seen + i)));
                seen += n;
                lease = back;
            }
        };
        race(receiver, sender).await;
    });
}

#[test]
fn leases_have_a_limit_and_are_reused_last_in_first_out() {
    on_each(&Options { lease_bytes_max: 2 * (256 << 10), ..Options::default() }, async || {
        let mut first = lease().unwrap();
        let second = lease().unwrap();
        assert!(lease().is_none());
        first[0] = 77;
        drop(second);
        drop(first);
        assert_eq!(lease().unwrap()[0], 77, "the one given back last comes first");
    });
}

#[test]
fn splice_moves_exactly_what_is_asked() {
    const LEN: usize = 5 << 20;
    on_each(&Options::default(), async || {
        let (client, front) = pair().await;
        let (back, upstream) = pair().await;
        assert!(front.can_splice());
        let sender = async {
            let bytes: Vec<u8> = (0..LEN).map(pattern).collect();
            client.send_all(bytes).await.0.unwrap();
            client.send_all("tail").await.0.unwrap();
            pending::<()>().await;
        };
        let receiver = async {
            let mut seen = 0;
            while seen < LEN {
                let piece = upstream.recv().await.unwrap();
                assert!(piece.iter().enumerate().all(|(i, b)| *b == pattern(seen + i)));
                seen += piece.len();
            }
            assert_eq!(seen, LEN);
            pending::<()>().await;
        };
        let mut total = 0;
        let relay = async {
            splice(&front, &back, LEN as u64, |step| {
                if let SpliceStep::Moved(bytes) = step {
                    total += bytes;
                }
            })
            .await
            .unwrap();
            assert_eq!(&*front.recv().await.unwrap(), b"tail", "nothing more was taken");
        };
        race(relay, race(sender, receiver)).await;
        assert_eq!(total, LEN as u64);
        assert_eq!(back.sent_bytes(), LEN as u64);
    });
}

#[test]
fn splice_says_which_side_ended() {
    on_each(&Options::default(), async || {
        let (client, front) = pair().await;
        let (back, upstream) = pair().await;
        client.send_all(vec![1; 1000]).await.0.unwrap();
        client.shutdown_write().unwrap();
        let error = splice(&front, &back, 5000, |_| ()).await.unwrap_err();
        assert!(matches!(error, SpliceError::Ended { moved: 1000 }), "{error:?}");
        assert_eq!(upstream.recv().await.unwrap().len(), 1000);
    });
}

#[test]
fn a_dropped_splice_closes_its_pipe() {
    on_each(&Options::default(), async || {
        let (client, front) = pair().await;
        let (back, _upstream) = pair().await;
        // Nobody reads, so the pipe fills up behind the full socket.
        let sender = client.send_all(vec![0; 64 << 20]);
        let relay = splice(&front, &back, 64 << 20, |_| ());
        let timed = race(sleep(Duration::from_millis(50)), race(sender, relay)).await;
        assert!(matches!(timed, Either::First(())));
    });
}

#[test]
fn accept_hands_out_every_connection() {
    on_each(&Options::default(), async || {
        let listener = TcpListener::bind(local(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..200 {
            let opened = opened.clone();
            spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                opened.borrow_mut().push(stream);
            });
        }
        let mut accepted = Vec::new();
        for round in 0..150 {
            if round % 3 == 0 {
                // A dropped accept loses nothing.
                let mut dropped = pin!(listener.accept());
                poll_fn(|cx| match dropped.as_mut().poll(cx) {
                    Poll::Ready(found) => {
                        accepted.push(found.unwrap());
                        Poll::Ready(())
                    }
                    Poll::Pending => Poll::Ready(()),
                })
                .await;
            }
            if accepted.len() < 200 {
                accepted.push(listener.accept().await.unwrap());
            }
        }
        while opened.borrow().len() < 200 {
            yield_now().await;
        }
        accepted.extend(listener.stop().await);
        assert_eq!(accepted.len(), 200);
        let mut ports: Vec<u16> = accepted.iter().map(|(_, from)| from.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 200);
        opened.borrow_mut().clear();
    });
}

#[test]
fn timers_guard_and_expire() {
    on_each(&Options::default(), async || {
        let timer = Timer::new();
        assert!(!timer.is_expired());
        timer.set(now() + Duration::from_millis(20));
        let begun = now_uncached();
        assert!(timer.guard(pending::<()>()).await.is_err());
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert!(timer.is_expired());
        timer.set(now() + Duration::from_secs(60));
        assert_eq!(timer.guard(async { 7 }).await, Ok(7));
        timer.clear();
        assert!(!timer.is_expired());
    });
}

#[test]
fn tasks_can_be_aborted_from_outside_and_from_within() {
    struct SetOnDrop(Rc<Cell<bool>>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    on_each(&Options::default(), async || {
        let dropped = Rc::new(Cell::new(false));
        let guard = SetOnDrop(dropped.clone());
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(!task.is_finished());
        task.abort();
        assert!(task.is_finished() && dropped.get());

        let handle = Rc::new(RefCell::new(None::<crate::runtime::Task>));
        let inner = handle.clone();
        let after = Rc::new(Cell::new(false));
        let mark = after.clone();
        *handle.borrow_mut() = Some(spawn(async move {
            yield_now().await;
            if let Some(task) = &*inner.borrow() {
                task.abort();
            }
            yield_now().await;
            mark.set(true);
        }));
        while !handle.borrow().as_ref().unwrap().is_finished() {
            yield_now().await;
        }
        assert!(!after.get(), "an aborted task doesn't pass its next await");
    });
}

#[test]
fn a_foreign_future_is_woken_from_another_thread() {
    on_each(&Options::default(), async || {
        let (send, receive) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new()
            .spawn(move || {
                std::thread::yield_now();
                send.send(42).unwrap();
            })
            .unwrap();
        assert_eq!(receive.await, Ok(42));
        thread.join().unwrap();
    });
}

#[test]
fn a_mailbox_delivers_in_order_and_ends_with_its_senders() {
    on_each(&Options::default(), async || {
        let (send, mut receive) = mailbox::channel::<u32>(4);
        let thread = std::thread::Builder::new()
            .spawn(move || {
                for mut message in 0..1000 {
                    while let Err(back) = send.send(message) {
                        message = back;
                        std::thread::yield_now();
                    }
                }
            })
            .unwrap();
        for expected in 0..1000 {
            assert_eq!(receive.recv().await, Some(expected));
        }
        assert_eq!(receive.recv().await, None);
        thread.join().unwrap();
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    on_each(&Options::default(), async || {
        let (send, receive) = mailbox::channel(2);
        assert_eq!(send.send(1), Ok(()));
        assert_eq!(send.send(2), Ok(()));
        assert_eq!(send.send(3), Err(3));
        drop(receive);
        assert_eq!(send.send(4), Err(4));
    });
}

#[test]
fn a_connection_moves_to_another_runtime() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        let owned = server.into_owned();
        let thread = std::thread::Builder::new()
            .spawn(move || {
                let runtime = Runtime::new(&Options::default()).unwrap();
                runtime.block_on(async {
                    let server = TcpStream::from_owned(owned);
                    let piece = server.recv().await.unwrap();
                    server.send_all(piece).await.0.unwrap();
                });
            })
            .unwrap();
        client.send_all("moved").await.0.unwrap();
        assert_eq!(&*client.recv().await.unwrap(), b"moved");
        thread.join().unwrap();
    });
}

#[test]
fn readiness_is_reported() {
    on_each(&Options::default(), async || {
        let (client, server) = pair().await;
        client.writable().await.unwrap();
        let mut readable = pin!(server.readable());
        assert!(matches!(race(&mut readable, yield_now()).await, Either::Second(())));
        client.send_all("now").await.0.unwrap();
        readable.await.unwrap();
        assert_eq!(&*server.recv().await.unwrap(), b"now");
    });
}

#[test]
fn pooled_futures_run_on_the_runtime() {
    on_each(&Options::default(), async || {
        let answer = PooledFuture::new(async {
            yield_now().await;
            5
        });
        assert_eq!(answer.await, 5);
    });
}

#[test]
fn a_choice_is_kept_and_explained() {
    let options = Options { driver: DriverChoice::Epoll, ..Options::default() };
    let runtime = Runtime::new(&options).unwrap();
    assert_eq!(runtime.driver(), DriverKind::Epoll);
    assert_eq!(runtime.driver_reason(), "epoll: as configured");
    let second = Runtime::new(&Options::default()).unwrap_err();
    assert_eq!(second.to_string(), "this thread has a runtime already");
}

#[test]
fn options_out_of_range_are_refused() {
    for (buffer_count, buffer_size) in [(0, 1), (40_000, 1), (1, 0)] {
        let options = Options { buffer_count, buffer_size, ..Options::default() };
        let error = Runtime::new(&options).unwrap_err();
        assert!(error.to_string().starts_with("buffer_count must be"), "{error}");
    }
}

#[test]
fn an_idle_connection_is_small() {
    // A task that waits for a receive under a deadline: everything but its future.
    let parts = [
        size_of::<OpSlot>(),
        size_of::<Socket>(),
        TASK_SLOT_SIZE,
        TIMER_SLOT_SIZE,
        size_of::<TcpStream>() + size_of::<Timer>() + size_of::<Recv>(),
    ];
    println!("operation, socket, task, timer, handles: {parts:?}");
    assert!(parts.iter().sum::<usize>() <= 300, "{parts:?}");
}
