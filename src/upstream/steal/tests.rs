//! Stealing: the protocol by hand against one shard, then two shards on two threads.

use super::{Message, Moving, Neighbours, UNASKED, neighbours};
use crate::{
    config::{PoolConfig, Share, UpstreamConfig, UpstreamLimits},
    runtime::{Task, TcpStream, now, sleep, spawn, yield_now},
    transport::Stream,
    upstream::{
        Lent, Pool, Pools, Totals, Upstream,
        endpoint::Seat,
        testing::{
            CONNECT, Running, Server, Shard, config, exchange, on_each_driver, on_two_shards, port,
            until,
        },
    },
};
use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Shard 0 for real, its neighbour played by the test.
struct Play {
    server: Server,
    upstream: Arc<Upstream>,
    pool: Rc<Pool>,
    neighbour: Neighbours,
    _pools: Rc<Pools>,
}

impl Play {
    fn start() -> Self {
        let server = Server::start();
        let upstream = Arc::new(Upstream::build(&config([server.address]), 2, now(), None));
        let mut places = neighbours(2);
        let neighbour = places.pop().unwrap();
        let pools = Pools::start(places.pop().unwrap(), 1);
        let pool = pools.open(&upstream);
        Self { server, upstream, pool, neighbour, _pools: pools }
    }

    /// Makes the neighbour look as if it had idle connections.
    fn show_idle(&self, count: u32) {
        self.upstream.endpoints[0].counters(1).unwrap().idle.store(count, Ordering::Relaxed);
    }

    /// Starts a lend and waits for the question that it makes.
    async fn asked(&mut self) -> (Lending, u64) {
        let lent = Rc::new(Cell::new(None));
        let (pool, place) = (Rc::clone(&self.pool), Rc::clone(&lent));
        let task = spawn(async move { place.set(Some(pool.lend(0, CONNECT).await.unwrap())) });
        let message = self.neighbour.receiver.recv().await;
        let Some(Message::Ask { endpoint, from: 0, serial }) = message else {
            panic!("not a question");
        };
        assert_eq!(endpoint, self.upstream.endpoints[0].id());
        (Lending { task, lent }, serial)
    }

    /// A connection as a neighbour would send it.
    async fn moving(&self) -> (Moving, u16) {
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let port = stream.local_addr().unwrap().port();
        let seat = Seat::take(&self.upstream.endpoints[0], None).unwrap();
        (Moving { socket: Stream::from(stream).into_owned(), seat, uses: 1 }, port)
    }

    fn say(&self, message: Message) {
        assert!(self.neighbour.senders[0].send(message).is_ok());
    }

    fn give(&self, serial: u64, connection: Moving) {
        let endpoint = self.upstream.endpoints[0].id();
        self.say(Message::Give { endpoint, serial, connection });
    }

    fn totals(&self) -> Totals {
        self.upstream.endpoints[0].totals()
    }
}

/// A lend that goes on in a task of its own.
struct Lending {
    task: Task,
    lent: Rc<Cell<Option<Lent>>>,
}

impl Lending {
    async fn lent(self) -> Lent {
        until("lent", || self.task.is_finished()).await;
        self.lent.take().unwrap()
    }
}

#[test]
fn a_given_connection_is_lent_and_counts_as_reused() {
    on_each_driver(async || {
        let mut play = Play::start();
        play.show_idle(1);
        let (lending, serial) = play.asked().await;
        let (moving, moving_port) = play.moving().await;
        play.give(serial, moving);
        let lent = lending.lent().await;
        assert_eq!(port(&lent), moving_port);
        assert!(lent.is_reused());
        exchange(&lent).await;
        lent.give_back();
        let totals = play.totals();
        assert_eq!((totals.stolen, totals.connects, totals.reused), (1, 0, 1));
        assert_eq!(play.upstream.endpoints[0].connections(), 1);
    });
}

#[test]
fn a_refused_asker_connects() {
    on_each_driver(async || {
        let mut play = Play::start();
        play.show_idle(1);
        let (lending, serial) = play.asked().await;
        play.say(Message::Refuse { serial });
        let lent = lending.lent().await;
        assert!(!lent.is_reused());
        exchange(&lent).await;
        assert_eq!((play.totals().refused, play.totals().connects), (1, 1));
    });
}

#[test]
fn an_asker_without_an_answer_connects_and_a_late_connection_is_kept() {
    on_each_driver(async || {
        let mut play = Play::start();
        play.show_idle(1);
        let (lending, serial) = play.asked().await;
        let before = now();
        let lent = lending.lent().await;
        assert!(!lent.is_reused());
        assert!(now().duration_since(before) < Duration::from_secs(1));
        assert_eq!(play.totals().unanswered, 1);
        // Who doesn't answer isn't asked again for a while.
        let second = play.pool.lend(0, CONNECT).await.unwrap();
        assert_eq!(play.totals().unanswered, 1);
        assert!(play.neighbour.receiver.try_recv().is_none());
        drop((lent, second));

        let (moving, moving_port) = play.moving().await;
        play.give(serial, moving);
        until("kept", || play.pool.idle() == 1).await;
        let lent = play.pool.lend(0, CONNECT).await.unwrap();
        assert_eq!(port(&lent), moving_port);
        exchange(&lent).await;
    });
}

#[test]
fn a_connection_for_an_asker_that_gave_up_goes_to_the_pool() {
    on_each_driver(async || {
        let mut play = Play::start();
        play.show_idle(1);
        // Given up before the answer, and given up with the answer on the table.
        for (number, turns) in [(1, 0), (2, 1), (3, 2)] {
            let (lending, serial) = play.asked().await;
            let (moving, _) = play.moving().await;
            if turns == 0 {
                lending.task.abort();
            }
            play.give(serial, moving);
            for _ in 1..turns {
                yield_now().await;
            }
            lending.task.abort();
            until("kept or lent", || {
                play.pool.idle() == 1 || lending.task.is_finished() && lent_is_some(&lending)
            })
            .await;
            drop(lending);
            // However it went: nothing leaked.
            let endpoint = &play.upstream.endpoints[0];
            assert_eq!(endpoint.in_flight(), 0, "round {number}");
            assert_eq!(endpoint.connections() as usize, play.pool.idle(), "round {number}");
            while play.pool.idle() > 0 {
                drop(play.pool.lend(0, CONNECT).await.unwrap());
            }
        }
    });
}

fn lent_is_some(lending: &Lending) -> bool {
    let lent = lending.lent.take();
    let is_some = lent.is_some();
    lending.lent.set(lent);
    is_some
}

#[test]
fn a_given_connection_that_died_on_the_way_is_not_lent() {
    on_each_driver(async || {
        for blurts in [true, false] {
            let mut play = Play::start();
            play.show_idle(1);
            let (moving, bad) = play.moving().await;
            until("accepted", || play.server.open() == 1).await;
            let (lending, serial) = play.asked().await;
            if blurts {
                play.server.blurt(bad).await;
            } else {
                play.server.close(bad);
            }
            play.give(serial, moving);
            let lent = lending.lent().await;
            assert_ne!(port(&lent), bad);
            exchange(&lent).await;
            assert_eq!(play.totals().discarded, 1);
            assert_eq!(play.upstream.endpoints[0].connections(), 1);
        }
    });
}

#[test]
fn a_full_mailbox_is_not_waited_for() {
    on_each_driver(async || {
        let play = Play::start();
        play.show_idle(1);
        let mut count = 0;
        while play.neighbour.senders[1].send(Message::Refuse { serial: UNASKED }).is_ok() {
            count += 1;
        }
        assert_eq!(count, super::MAILBOX_MESSAGES);
        let lent = play.pool.lend(0, CONNECT).await.unwrap();
        assert!(!lent.is_reused());
        assert_eq!(play.totals().unanswered, 0);
    });
}

#[test]
fn a_shard_gives_its_oldest_and_keeps_its_last_while_it_is_hot() {
    on_each_driver(async || {
        let mut play = Play::start();
        let lent =
            [play.pool.lend(0, CONNECT).await.unwrap(), play.pool.lend(0, CONNECT).await.unwrap()];
        let oldest = port(&lent[0]);
        for lent in lent {
            exchange(&lent).await;
            lent.give_back();
        }
        let ask =
            |serial| Message::Ask { endpoint: play.upstream.endpoints[0].id(), from: 1, serial };
        play.say(ask(7));
        let Some(Message::Give { serial: 7, connection, .. }) =
            play.neighbour.receiver.recv().await
        else {
            panic!("two were idle");
        };
        assert_eq!(connection.uses, 1);
        let moved = Stream::from_owned(connection.socket);
        assert_eq!(moved.local_addr().unwrap().port(), oldest);
        // Still counted: it holds its seat until it is closed.
        assert_eq!(play.upstream.endpoints[0].connections(), 2);
        drop((moved, connection.seat));
        assert_eq!(play.upstream.endpoints[0].connections(), 1);
        assert_eq!(play.totals().given, 1);

        let ask =
            |serial| Message::Ask { endpoint: play.upstream.endpoints[0].id(), from: 1, serial };
        let lent = play.pool.lend(0, CONNECT).await.unwrap();
        lent.give_back();
        play.say(ask(8));
        let answer = play.neighbour.receiver.recv().await;
        assert!(matches!(answer, Some(Message::Refuse { serial: 8 })));
        sleep(super::HOT).await;
        play.say(ask(9));
        let answer = play.neighbour.receiver.recv().await;
        assert!(matches!(answer, Some(Message::Give { serial: 9, .. })));
        assert_eq!(play.pool.idle(), 0);
    });
}

#[test]
fn a_shard_never_gives_a_connection_that_is_not_good() {
    on_each_driver(async || {
        let mut play = Play::start();
        let mut lent = Vec::new();
        for _ in 0..3 {
            lent.push(play.pool.lend(0, CONNECT).await.unwrap());
        }
        let ports: Vec<_> = lent.iter().map(port).collect();
        for lent in lent {
            exchange(&lent).await;
            lent.give_back();
        }
        play.server.close(ports[0]);
        play.server.blurt(ports[1]).await;
        sleep(super::HOT).await;
        let endpoint = play.upstream.endpoints[0].id();
        play.say(Message::Ask { endpoint, from: 1, serial: 3 });
        let Some(Message::Give { connection, .. }) = play.neighbour.receiver.recv().await else {
            panic!("one good one was idle");
        };
        let moved = Stream::from_owned(connection.socket);
        assert_eq!(moved.local_addr().unwrap().port(), ports[2]);
        assert_eq!(play.totals().discarded, 2);
    });
}

#[test]
fn questions_about_unknown_endpoints_are_refused() {
    on_each_driver(async || {
        let mut play = Play::start();
        let other = Upstream::build(&config([play.server.address]), 2, now(), None);
        play.say(Message::Ask { endpoint: other.endpoints[0].id(), from: 1, serial: 5 });
        let answer = play.neighbour.receiver.recv().await;
        assert!(matches!(answer, Some(Message::Refuse { serial: 5 })));
        // And a connection for one is closed.
        let (moving, _) = play.moving().await;
        let moving = Moving { seat: Seat::take(&other.endpoints[0], None).unwrap(), ..moving };
        play.say(Message::Give {
            endpoint: other.endpoints[0].id(),
            serial: UNASKED,
            connection: moving,
        });
        until("closed", || other.endpoints[0].connections() == 0).await;
    });
}

#[test]
fn an_empty_pool_takes_from_a_neighbour_before_it_connects() {
    on_two_shards(
        |config| config,
        &|mut shard| {
            Box::pin(async move {
                let lent = [
                    shard.pool.lend(0, CONNECT).await.unwrap(),
                    shard.pool.lend(0, CONNECT).await.unwrap(),
                ];
                for lent in lent {
                    exchange(&lent).await;
                    lent.give_back();
                }
                shard.meet().await;
                shard.meet().await;
                assert_eq!((shard.pool.idle(), shard.totals().given), (1, 1));
            })
        },
        &|mut shard| {
            Box::pin(async move {
                shard.meet().await;
                let lent = shard.pool.lend(0, CONNECT).await.unwrap();
                assert!(lent.is_reused());
                exchange(&lent).await;
                lent.give_back();
                let totals = shard.totals();
                assert_eq!((totals.connects, totals.stolen), (2, 1));
                shard.meet().await;
            })
        },
    );
}

#[test]
fn with_sharing_off_each_shard_connects_for_itself() {
    on_two_shards(
        |config| {
            let pool = PoolConfig { share: Share::Off, ..PoolConfig::default() };
            UpstreamConfig { pool, ..config }
        },
        &|mut shard| {
            Box::pin(async move {
                shard.load(1, 10).await;
                shard.meet().await;
                shard.meet().await;
            })
        },
        &|mut shard| {
            Box::pin(async move {
                shard.meet().await;
                shard.load(1, 10).await;
                let totals = shard.totals();
                assert_eq!((totals.connects, totals.stolen, totals.refused), (2, 0, 0));
                shard.meet().await;
            })
        },
    );
}

#[test]
fn two_shards_with_eight_clients_reuse_99_of_100_connections() {
    fn body(mut shard: Shard) -> Running {
        Box::pin(async move {
            shard.load(4, 50).await;
            shard.meet().await;
            let before = shard.totals();
            shard.meet().await;
            shard.load(4, 500).await;
            shard.meet().await;
            let after = shard.totals();
            shard.meet().await;
            let (lent, connects) =
                (after.requests - before.requests, after.connects - before.connects);
            assert_eq!(lent, 4000);
            assert!(connects * 100 <= lent, "{connects} connects for {lent} requests: {after:?}");
            assert!(after.connects <= 16, "{after:?}");
        })
    }
    on_two_shards(|config| config, &body, &body);
}

#[test]
fn load_that_moves_to_another_shard_takes_its_connections_along() {
    on_two_shards(
        |config| config,
        &|mut shard| {
            Box::pin(async move {
                shard.load(8, 20).await;
                shard.meet().await;
                shard.meet().await;
            })
        },
        &|mut shard| {
            Box::pin(async move {
                shard.meet().await;
                let before = shard.totals();
                shard.load(8, 200).await;
                let after = shard.totals();
                let connects = after.connects - before.connects;
                // The last one may still have been hot.
                assert!(connects <= 1, "{connects} connects: {after:?}");
                assert!(after.stolen + 1 >= before.connects.min(8), "{after:?}");
                shard.meet().await;
            })
        },
    );
}

#[test]
fn requests_that_come_seldom_share_one_connection() {
    // What a pool per core is worst at: hardly any traffic, spread over the cores.
    const ROUNDS: u64 = 6;
    let body = |is_first: bool| {
        move |mut shard: Shard| -> Running {
            Box::pin(async move {
                for round in 0..2 * ROUNDS {
                    if (round % 2 == 0) == is_first {
                        shard.load(1, 1).await;
                        sleep(super::HOT).await;
                    }
                    shard.meet().await;
                }
                let totals = shard.totals();
                assert_eq!((totals.connects, totals.reused), (1, 2 * ROUNDS - 1), "{totals:?}");
                shard.meet().await;
            })
        }
    };
    on_two_shards(|config| config, &body(true), &body(false));
}

/// Loads both shards with one connection between them; neither may be far behind the other.
fn take_turns(configure: fn(UpstreamConfig) -> UpstreamConfig, check: fn(&Totals)) {
    const CLIENTS: usize = 4;
    // Long enough that a shard whose thread the machine holds up for a moment still gets its turns.
    const REQUESTS: usize = 400;
    let body = |shard: usize| {
        move |mut place: Shard| -> Running {
            Box::pin(async move {
                place.meet().await;
                place.load(CLIENTS, REQUESTS).await;
                let endpoint = &place.pool.upstream().endpoints[0];
                assert!(endpoint.connections() <= 1);
                let others = endpoint.counters(1 - shard).unwrap().requests.get();
                let others = usize::try_from(others).unwrap();
                assert!(others >= CLIENTS * REQUESTS / 4, "the other one had {others}");
                place.meet().await;
                let totals = place.totals();
                assert_eq!(totals.queue_timeouts, 0, "{totals:?}");
                assert_eq!(totals.requests, 2 * (CLIENTS * REQUESTS) as u64);
                check(&totals);
            })
        }
    };
    on_two_shards(configure, &body(0), &body(1));
}

fn only_one(config: UpstreamConfig) -> UpstreamConfig {
    let limits = UpstreamLimits {
        connections: Some(1),
        queue_timeout: Duration::from_secs(20),
        ..UpstreamLimits::default()
    };
    UpstreamConfig { limits, ..config }
}

#[test]
fn shards_take_turns_with_the_only_connection() {
    take_turns(only_one, |totals| assert!(totals.connects <= 2, "{totals:?}"));
}

#[test]
fn shards_take_turns_with_the_only_seat_when_connections_do_not_last() {
    let once = |config| {
        let pool = PoolConfig { max_reuse: Some(1), ..PoolConfig::default() };
        UpstreamConfig { pool, ..only_one(config) }
    };
    take_turns(once, |totals| assert_eq!(totals.reused, 0, "{totals:?}"));
}

#[test]
fn shards_that_share_nothing_take_turns_with_the_only_seat() {
    let apart = |config| {
        let pool = PoolConfig { share: Share::Off, ..PoolConfig::default() };
        UpstreamConfig { pool, ..only_one(config) }
    };
    take_turns(apart, |totals| assert_eq!(totals.stolen, 0, "{totals:?}"));
}
