//! Everything at once: two shards on two threads, many tasks that lend, exchange, give back,
//! drop and give up at random, an endpoint that closes connections at random, and a cap that
//! keeps the queue busy. Whatever the interleaving, nothing may leak, no cap be exceeded and no
//! response reach another exchange. The seed decides the operations, the machine their order.

use super::{
    ConnectError,
    testing::{CONNECT, Running, Shard, ask, on_two_shards},
};
use crate::{
    balance::Rng,
    config::{PoolConfig, Share, UpstreamConfig, UpstreamLimits},
    runtime::{Either, race, sleep, spawn, yield_now},
};
use std::{rc::Rc, time::Duration};

const TASKS: usize = 8;
const OPERATIONS: usize = 150;
const CAP: u32 = 5;
const PENDING: u32 = 12;

fn limited(config: UpstreamConfig) -> UpstreamConfig {
    let limits = UpstreamLimits {
        connections: Some(CAP),
        pending: PENDING,
        queue_timeout: Duration::from_secs(20),
    };
    let pool = PoolConfig {
        idle_per_endpoint: 3,
        max_reuse: Some(40),
        share: Share::Steal,
        idle_timeout: Duration::from_millis(200),
    };
    UpstreamConfig { limits, pool, ..config }
}

async fn operate(shard: Rc<Shard>, rng: Rng, seed: u64) {
    let endpoint = &shard.pool.upstream().endpoints[0];
    for _ in 0..OPERATIONS {
        let patience = async {
            // Gives up at once, soon, or never.
            match rng.below(4) {
                0 => {
                    for _ in 0..rng.below(6) {
                        yield_now().await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        let lent = match race(shard.pool.lend(0, CONNECT), patience).await {
            Either::First(Ok(lent)) => lent,
            Either::First(Err(ConnectError::QueueFull { .. })) => {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
            Either::First(Err(error)) => panic!("seed {seed}: {error:?}"),
            Either::Second(()) => continue,
        };
        assert!(endpoint.connections() <= CAP, "seed {seed}");
        assert!(endpoint.pending() <= PENDING, "seed {seed}");
        match rng.below(10) {
            0 => drop(lent),
            1 => lent.give_back(),
            2 => {
                // The endpoint closes right after the response: the pool has to find out.
                if ask(&lent, b"quit").await.is_ok() {
                    lent.give_back();
                }
            }
            3 => {
                let given_up = race(ask(&lent, b"ping"), yield_now()).await;
                if matches!(given_up, Either::First(Ok(()))) {
                    lent.give_back();
                }
            }
            _ => match ask(&lent, b"ping").await {
                Ok(()) => lent.give_back(),
                Err(error) => assert!(lent.is_reused(), "seed {seed}: a new connection: {error}"),
            },
        }
    }
}

#[test]
fn nothing_leaks_whatever_the_interleaving() {
    for seed in 0..6 {
        let body = |shard: Shard| -> Running {
            Box::pin(async move {
                let shard = Rc::new(shard);
                let tasks: Vec<_> = (0..TASKS)
                    .map(|task| {
                        let rng = Rng::new(seed * 1000 + task as u64);
                        spawn(operate(Rc::clone(&shard), rng, seed))
                    })
                    .collect();
                for task in tasks {
                    while !task.is_finished() {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                let endpoint = &shard.pool.upstream().endpoints[0];
                assert!(endpoint.connections() <= CAP, "seed {seed}");
                let totals = shard.totals();
                assert_eq!(totals.queue_timeouts, 0, "seed {seed}: {totals:?}");
                let mut shard =
                    Rc::try_unwrap(shard).unwrap_or_else(|_| panic!("seed {seed}: a task lives"));
                shard.meet().await;
            })
        };
        // It checks that nothing is counted once both shards are gone.
        on_two_shards(limited, &body, &body);
    }
}
