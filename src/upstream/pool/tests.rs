//! One shard's pools over real sockets, on both drivers.

use super::{NoneAvailable, Pool, Pools};
use crate::{
    balance::Tried,
    config::{BalancePolicy, PoolConfig, UpstreamConfig, UpstreamLimits},
    runtime::{Either, now, race, spawn, yield_now},
    upstream::{
        ConnectError, Fault, Lent, Outcome, Upstream, Verdict,
        testing::{CONNECT, Server, alone, config, exchange, on_each_driver, opened, port, until},
    },
};
use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

async fn lend(pool: &Pool) -> Lent {
    pool.lend(0, CONNECT).await.unwrap()
}

async fn used(pool: &Pool) -> Lent {
    let lent = lend(pool).await;
    exchange(&lent).await;
    lent
}

fn limited(address: SocketAddr, connections: u32, pending: u32, wait: Duration) -> UpstreamConfig {
    let limits = UpstreamLimits { connections: Some(connections), pending, queue_timeout: wait };
    UpstreamConfig { limits, ..config([address]) }
}

fn pooled(address: SocketAddr, pool: PoolConfig) -> UpstreamConfig {
    UpstreamConfig { pool, ..config([address]) }
}

#[test]
fn the_connection_given_back_last_is_lent_first() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&config([server.address]));
        let (first, second) = (used(&pool).await, used(&pool).await);
        let (first_port, second_port) = (port(&first), port(&second));
        assert!(!first.is_reused());
        first.give_back();
        second.give_back();
        assert_eq!(pool.idle(), 2);
        let again = lend(&pool).await;
        assert!(again.is_reused());
        assert_eq!(port(&again), second_port);
        assert_eq!(port(&lend(&pool).await), first_port);
        let totals = pool.upstream().endpoints[0].totals();
        assert_eq!((totals.requests, totals.connects, totals.reused), (4, 2, 2));
        assert_eq!(totals.reuse_ratio(), Some(0.5));
    });
}

#[test]
fn a_lent_connection_carries_many_exchanges_one_after_another() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&config([server.address]));
        for _ in 0..100 {
            used(&pool).await.give_back();
        }
        assert_eq!(server.accepted(), 1);
        assert_eq!(pool.upstream().endpoints[0].connections(), 1);
        assert_eq!(pool.upstream().endpoints[0].in_flight(), 0);
    });
}

#[test]
fn a_connection_that_the_endpoint_closed_is_never_lent() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&config([server.address]));
        let (alive, dead) = (used(&pool).await, used(&pool).await);
        let (alive_port, dead_port) = (port(&alive), port(&dead));
        alive.give_back();
        dead.give_back();
        server.close(dead_port);
        // What the kernel knows, the armed receive knows a turn later.
        settle().await;
        let lent = used(&pool).await;
        assert_eq!(port(&lent), alive_port);
        assert_eq!(pool.upstream().endpoints[0].totals().discarded, 1);
        server.close(alive_port);
        lent.give_back();
        settle().await;
        // None is left: a new one.
        let lent = used(&pool).await;
        assert!(!lent.is_reused());
        assert_eq!(pool.upstream().endpoints[0].totals().discarded, 2);
        assert_eq!(pool.upstream().endpoints[0].connections(), 1);
    });
}

#[test]
fn a_connection_with_bytes_that_nobody_asked_for_is_never_lent() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&config([server.address]));
        let lent = used(&pool).await;
        let bad = port(&lent);
        lent.give_back();
        server.blurt(bad).await;
        settle().await;
        let lent = used(&pool).await;
        assert_ne!(port(&lent), bad);
        assert_eq!(server.accepted(), 2);
        until("the bad one is closed", || server.open() == 1).await;
    });
}

#[test]
fn dropping_a_lent_connection_closes_it() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&config([server.address]));
        let lent = used(&pool).await;
        let endpoint = &pool.upstream().endpoints[0];
        assert_eq!((endpoint.connections(), endpoint.in_flight()), (1, 1));
        drop(lent);
        assert_eq!((endpoint.connections(), endpoint.in_flight()), (0, 0));
        until("closed at the endpoint", || server.open() == 0).await;
        assert_eq!(pool.idle(), 0);
    });
}

#[test]
fn a_connection_is_closed_after_max_reuse_requests() {
    on_each_driver(async || {
        let server = Server::start();
        let pool = PoolConfig { max_reuse: Some(3), ..PoolConfig::default() };
        let (_pools, pool) = opened(&pooled(server.address, pool));
        for _ in 0..9 {
            used(&pool).await.give_back();
        }
        assert_eq!(server.accepted(), 3);
        assert_eq!(pool.idle(), 0);
        // One that was lent and not used has not spent a request.
        used(&pool).await.give_back();
        used(&pool).await.give_back();
        lend(&pool).await.give_back();
        assert_eq!(pool.idle(), 1);
    });
}

#[test]
fn what_is_above_idle_per_endpoint_is_kept_for_a_second() {
    on_each_driver(async || {
        let server = Server::start();
        let pool = PoolConfig { idle_per_endpoint: 2, ..PoolConfig::default() };
        let (_pools, pool) = opened(&pooled(server.address, pool));
        let (swept, endpoint) = (&pool.endpoints[0], &pool.upstream().endpoints[0]);
        let burst = async || {
            let mut lent = Vec::new();
            for _ in 0..5 {
                lent.push(used(&pool).await);
            }
            for lent in lent {
                lent.give_back();
            }
        };
        // The next burst finds what the one before has left.
        for _ in 0..3 {
            burst().await;
            swept.sweep(now() + Duration::from_millis(900));
            assert_eq!((pool.idle(), server.accepted()), (5, 5));
        }
        let warm = used(&pool).await;
        swept.sweep(now() + Duration::from_secs(1));
        assert_eq!((pool.idle(), endpoint.connections()), (2, 3));
        // Two of the two that may stay: what comes back is kept, too, for a while.
        warm.give_back();
        swept.sweep(now());
        assert_eq!(pool.idle(), 3);
        swept.sweep(now() + Duration::from_secs(1));
        assert_eq!((pool.idle(), endpoint.connections()), (2, 2));
    });
}

#[test]
fn with_idle_per_endpoint_0_none_is_kept() {
    on_each_driver(async || {
        let server = Server::start();
        let pool = PoolConfig { idle_per_endpoint: 0, ..PoolConfig::default() };
        let (_pools, pool) = opened(&pooled(server.address, pool));
        let lent = [used(&pool).await, used(&pool).await];
        for lent in lent {
            lent.give_back();
        }
        assert_eq!((pool.idle(), pool.upstream().endpoints[0].connections()), (0, 0));
    });
}

#[test]
fn the_sweep_closes_what_is_old_and_what_is_dead() {
    on_each_driver(async || {
        let server = Server::start();
        let rules = PoolConfig { idle_timeout: Duration::from_secs(60), ..PoolConfig::default() };
        let (_pools, pool) = opened(&pooled(server.address, rules));
        let lent = [used(&pool).await, used(&pool).await, used(&pool).await];
        let dead = port(&lent[1]);
        for lent in lent {
            lent.give_back();
        }
        let swept = &pool.endpoints[0];
        swept.sweep(now() + Duration::from_secs(59));
        assert_eq!(pool.idle(), 3);
        server.close(dead);
        settle().await;
        swept.sweep(now());
        assert_eq!(pool.idle(), 2);
        swept.sweep(now() + Duration::from_secs(60));
        assert_eq!(pool.idle(), 0);
        assert_eq!(pool.upstream().endpoints[0].connections(), 0);
        assert_eq!(pool.upstream().endpoints[0].totals().discarded, 3);
    });
}

#[test]
fn the_shard_sweeps_by_itself() {
    on_each_driver(async || {
        let server = Server::start();
        let rules = PoolConfig { idle_timeout: Duration::ZERO, ..PoolConfig::default() };
        let (_pools, pool) = opened(&pooled(server.address, rules));
        used(&pool).await.give_back();
        assert_eq!(pool.idle(), 1);
        until("swept", || pool.idle() == 0).await;
    });
}

#[test]
fn requests_beyond_the_cap_wait_in_line() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&limited(server.address, 2, 100, CONNECT));
        let (one, two) = (used(&pool).await, used(&pool).await);
        let served = Rc::new(RefCell::new(Vec::new()));
        for number in 0..6 {
            let (pool, served) = (Rc::clone(&pool), Rc::clone(&served));
            let _detached = spawn(async move {
                let lent = used(&pool).await;
                assert!(lent.is_reused());
                served.borrow_mut().push(number);
                lent.give_back();
            });
            yield_now().await;
        }
        until("all wait", || pool.upstream().pending() == 6).await;
        assert_eq!(pool.upstream().endpoints[0].pending(), 6);
        one.give_back();
        until("all served", || served.borrow().len() == 6).await;
        assert_eq!(*served.borrow(), [0, 1, 2, 3, 4, 5]);
        two.give_back();
        assert_eq!((server.most(), pool.upstream().pending()), (2, 0));
        assert_eq!(pool.upstream().endpoints[0].totals().queued, 6);
    });
}

#[test]
fn a_closed_connection_lets_the_next_in_line_open_one() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&limited(server.address, 1, 100, CONNECT));
        let lent = used(&pool).await;
        let waiting = used(&pool);
        let closing = async {
            until("it waits", || pool.upstream().pending() == 1).await;
            drop(lent);
            std::future::pending::<()>().await;
        };
        let Either::First(lent) = race(waiting, closing).await else { unreachable!() };
        assert!(!lent.is_reused());
        assert_eq!(server.accepted(), 2);
        assert_eq!(pool.upstream().endpoints[0].connections(), 1);
    });
}

#[test]
fn a_full_queue_turns_away_at_once() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&limited(server.address, 1, 1, CONNECT));
        let lent = used(&pool).await;
        let waiting = {
            let pool = Rc::clone(&pool);
            spawn(async move { used(&pool).await.give_back() })
        };
        until("one waits", || pool.upstream().pending() == 1).await;
        let error = pool.lend(0, CONNECT).await.unwrap_err();
        assert!(matches!(error, ConnectError::QueueFull { pending: 1, .. }), "{error:?}");
        assert_eq!(error.fault(), Fault::Us);
        lent.give_back();
        until("the waiter was served", || waiting.is_finished()).await;
        // Our own limit is no failure of the endpoint.
        assert_eq!(pool.upstream().endpoints[0].totals().connect_failures, 0);
        assert_eq!(pool.upstream().endpoints[0].totals().queue_full, 1);
    });
}

#[test]
fn nobody_waits_longer_than_queue_timeout() {
    on_each_driver(async || {
        let server = Server::start();
        let wait = Duration::from_millis(30);
        let (_pools, pool) = opened(&limited(server.address, 1, 10, wait));
        let lent = used(&pool).await;
        let before = now();
        let error = pool.lend(0, CONNECT).await.unwrap_err();
        assert!(matches!(error, ConnectError::QueueTimeout { after, .. } if after == wait));
        assert!(now().duration_since(before) >= wait);
        assert_eq!((pool.upstream().pending(), pool.upstream().endpoints[0].in_flight()), (0, 1));
        // Nobody is left in line: the connection goes to the idle ones.
        lent.give_back();
        assert_eq!(pool.idle(), 1);
    });
}

#[test]
fn what_a_dropped_waiter_was_granted_goes_to_the_next() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&limited(server.address, 1, 10, CONNECT));
        for give_back in [true, false] {
            let lent = used(&pool).await;
            let first = {
                let pool = Rc::clone(&pool);
                spawn(async move { used(&pool).await.give_back() })
            };
            until("one waits", || pool.upstream().pending() == 1).await;
            let second = {
                let pool = Rc::clone(&pool);
                spawn(async move { used(&pool).await.give_back() })
            };
            until("two wait", || pool.upstream().pending() == 2).await;
            if give_back {
                lent.give_back();
            } else {
                drop(lent);
            }
            // Granted, but its task hasn't run yet.
            first.abort();
            until("the second was served", || second.is_finished()).await;
            assert_eq!(pool.upstream().pending(), 0);
            assert_eq!(pool.upstream().endpoints[0].in_flight(), 0);
            assert_eq!(pool.upstream().endpoints[0].connections(), 1);
        }
    });
}

#[test]
fn refused_connections_say_so_and_eject_the_endpoint() {
    on_each_driver(async || {
        let server = Server::start();
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let (_pools, pool) = opened(&config([nobody, server.address]));
        for _ in 0..5 {
            assert!(pool.upstream().endpoints[0].is_available(now()));
            let error = pool.lend(0, CONNECT).await.unwrap_err();
            assert!(matches!(error, ConnectError::Refused(address) if address == nobody));
            assert_eq!(error.to_string(), format!("`{nobody}` refuses connections"));
            assert_eq!(error.fault(), Fault::Endpoint);
        }
        assert!(!pool.upstream().endpoints[0].is_available(now()));
        let endpoint = &pool.upstream().endpoints[0];
        assert_eq!((endpoint.connections(), endpoint.in_flight()), (0, 0));
        assert_eq!(endpoint.totals().connect_failures, 5);
        for _ in 0..10 {
            assert_eq!(pool.pick(&mut Tried::new(), None), Ok(1));
        }
    });
}

#[test]
fn an_endpoint_that_does_not_accept_times_out() {
    on_each_driver(async || {
        // A full backlog: the kernel drops further handshakes.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _fills = std::net::TcpStream::connect(address).unwrap();
        let (_pools, pool) = opened(&config([address]));
        let timeout = Duration::from_millis(50);
        let error = pool.lend(0, timeout).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Timeout { after, .. } if after == timeout),
            "{error:?}"
        );
        assert_eq!(error.fault(), Fault::Endpoint);
        assert_eq!(pool.upstream().endpoints[0].connections(), 0);
    });
}

#[test]
fn a_seat_of_a_dropped_connect_is_free_again() {
    on_each_driver(async || {
        let server = Server::start();
        let (_pools, pool) = opened(&limited(server.address, 1, 10, CONNECT));
        {
            let lending = std::pin::pin!(pool.lend(0, CONNECT));
            let Either::Second(()) = race(lending, std::future::ready(())).await else {
                return; // Connected at once: nothing to abandon.
            };
        }
        assert_eq!(pool.upstream().endpoints[0].connections(), 0);
        assert_eq!(pool.upstream().endpoints[0].in_flight(), 0);
        used(&pool).await.give_back();
    });
}

#[test]
fn a_reload_keeps_connections_and_closes_those_of_removed_endpoints() {
    on_each_driver(async || {
        let (stays, goes) = (Server::start(), Server::start());
        let pools = Pools::start(alone(), 1);
        let before =
            Arc::new(Upstream::build(&config([goes.address, stays.address]), 1, now(), None));
        let old = pools.open(&before);
        assert!(Rc::ptr_eq(&old, &pools.open(&before)));
        let kept = old.lend(1, CONNECT).await.unwrap();
        exchange(&kept).await;
        let kept_port = port(&kept);
        kept.give_back();
        let leaving = old.lend(0, CONNECT).await.unwrap();
        exchange(&leaving).await;
        assert!(old.budget().withdraw(now(), 0.0));

        let rules = PoolConfig { max_reuse: Some(2), ..PoolConfig::default() };
        let next = pooled(stays.address, rules);
        let after = Arc::new(Upstream::build(&next, 1, now(), Some(&before)));
        let new = pools.open(&after);
        assert!(std::ptr::eq(new.budget(), old.budget()));
        // Opened is only prepared: the earlier rules hold, and would go on if nothing followed.
        let again = old.lend(1, CONNECT).await.unwrap();
        exchange(&again).await;
        again.give_back();
        assert_eq!(old.idle(), 1);
        pools.apply(&after);
        drop((old, before));
        // The exchange that began on the old snapshot ends in peace; its connection isn't kept.
        exchange(&leaving).await;
        leaving.give_back();
        until("the removed endpoint's connection is closed", || goes.open() == 0).await;
        let lent = new.lend(0, CONNECT).await.unwrap();
        assert_eq!(port(&lent), kept_port);
        exchange(&lent).await;
        // The new rules hold for the old connection.
        lent.give_back();
        assert_eq!(new.idle(), 0);
    });
}

#[test]
fn picks_respect_health_and_say_when_there_is_nothing() {
    on_each_driver(async || {
        let addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for balance in [BalancePolicy::RoundRobin, BalancePolicy::LeastRequest { choices: 2 }] {
            let mut config = UpstreamConfig { balance, ..config(addresses) };
            config.endpoints[2].backup = true;
            let (_pools, pool) = opened(&config);
            let upstream = pool.upstream();
            let mut tried = Tried::new();
            let mut order: Vec<_> = (0..3).map(|_| pool.pick(&mut tried, None).unwrap()).collect();
            assert_eq!(order.pop(), Some(2));
            order.sort_unstable();
            assert_eq!(order, [0, 1]);
            upstream.set_probe(0, Verdict::Fails, "refused", now());
            upstream.set_probe(1, Verdict::Fails, "refused", now());
            assert_eq!(pool.pick(&mut Tried::new(), None), Ok(2));
            upstream.set_probe(2, Verdict::Fails, "refused", now());
            assert_eq!(pool.pick(&mut Tried::new(), None), Err(NoneAvailable));
        }
    });
}

#[test]
fn least_request_sees_what_is_lent() {
    on_each_driver(async || {
        let servers = [Server::start(), Server::start()];
        let config = UpstreamConfig {
            balance: BalancePolicy::LeastRequest { choices: 2 },
            ..config(servers.each_ref().map(|server| server.address))
        };
        let (_pools, pool) = opened(&config);
        let mut lent = Vec::new();
        for _ in 0..10 {
            let index = pool.pick(&mut Tried::new(), None).unwrap();
            lent.push(pool.lend(index, CONNECT).await.unwrap());
        }
        let in_flight = pool.upstream().endpoints.iter().map(|endpoint| endpoint.in_flight());
        assert_eq!(in_flight.collect::<Vec<_>>(), [5, 5]);
    });
}

#[test]
fn a_report_ejects_and_the_shard_brings_back() {
    on_each_driver(async || {
        let addresses = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut config = config(addresses);
        config.outlier.eject = Duration::from_millis(20);
        let (_pools, pool) = opened(&config);
        for _ in 0..4 {
            assert_eq!(pool.report(0, Outcome::Malformed), None);
        }
        assert!(pool.report(0, Outcome::Malformed).is_some());
        assert_eq!(pool.pick(&mut Tried::new(), None), Ok(1));
        until("its time is over", || pool.upstream().endpoints[0].is_available(now())).await;
    });
}

#[test]
fn errors_of_the_kernel_get_words() {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let error = |errno| {
        let source = std::io::Error::from_raw_os_error(errno);
        ConnectError::from_io(address.into(), source)
    };
    assert!(matches!(error(libc::ECONNREFUSED), ConnectError::Refused(_)));
    assert!(matches!(error(libc::EHOSTUNREACH), ConnectError::Unreachable { .. }));
    assert!(matches!(error(libc::ENETUNREACH), ConnectError::Unreachable { .. }));
    assert!(matches!(error(libc::ETIMEDOUT), ConnectError::Unreachable { .. }));
    let none_left = error(libc::EADDRNOTAVAIL);
    assert_eq!(none_left.fault(), Fault::Us);
    assert!(none_left.to_string().contains("ip_local_port_range"), "{none_left}");
    let none_left = error(libc::EMFILE);
    assert_eq!(none_left.fault(), Fault::Us);
    assert!(none_left.to_string().contains("ulimit -n"), "{none_left}");
    assert!(matches!(error(libc::EPERM), ConnectError::Failed { .. }));
}

/// Lets everything happen that is on its way on this machine's loopback.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}
