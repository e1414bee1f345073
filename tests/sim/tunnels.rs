//! Upgrades and CONNECT under odd networks: every byte both ways, in order, and the end of each
//! direction on its own.

use std::{cell::Cell, rc::Rc, time::Duration};

use ringway::{
    proxy::Pipeline,
    runtime::{SimOptions, TcpStream, now, sleep},
};

use crate::{
    both::both,
    random::{Random, body, byte},
    scene::play_on,
};

/// How a tunnel is asked for, and granted.
const KINDS: [(&str, &str, u16); 2] = [
    (
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        101,
    ),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "HTTP/1.1 200 Go\r\n\r\n", 200),
];

/// Sends the whole body of `salt` in pieces, then ends this side.
async fn flood(stream: &TcpStream, salt: u64, length: usize, seed: u64) {
    let mut random = Random::new(seed);
    let whole = body(salt, length);
    let mut rest = &whole[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.within(1, 20_000).min(rest.len()));
        stream.send_all(piece.to_vec()).await.0.unwrap();
        rest = after;
        if random.percent(20) {
            sleep(random.millis(50)).await;
        }
    }
    stream.shutdown_write().unwrap();
}

/// Reads to the end; whether every byte was that of `salt`, and how many.
async fn swallow(stream: &TcpStream, salt: u64, before: &[u8]) -> usize {
    let mut length = 0;
    let mut check = |bytes: &[u8]| {
        for (index, seen) in bytes.iter().enumerate() {
            assert_eq!(*seen, byte(salt, length + index), "at {}", length + index);
        }
        length += bytes.len();
    };
    check(before);
    loop {
        let bytes = stream.recv().await.unwrap();
        if bytes.is_empty() {
            return length;
        }
        check(&bytes);
    }
}

#[test]
fn a_tunnel_carries_every_byte_both_ways_and_each_end_on_its_own() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut options = SimOptions::calm();
        options.short_read = random.pick(&[0.0, 0.5]);
        options.short_write = random.pick(&[0.0, 0.5]);
        options.no_buffer = random.pick(&[0.0, 0.1]);
        options.window = random.pick(&[1000, 64 << 10]);
        let (ask, grant, status) = random.pick(&KINDS);
        let (up, down) = (random.length(), random.length());
        let seen = Rc::new(Cell::new(0));
        let done = Rc::clone(&seen);
        play_on(
            seed,
            &options,
            ("connect = true", "", "upgrade = true"),
            |scope| Pipeline::new(scope.snapshot(), scope.shard()),
            async move |stage| {
                let mut client = stage.client().await;
                client.send(ask).await;
                let mut endpoint = stage.accept().await;
                endpoint.reader.head().await.unwrap();
                endpoint.send(grant).await;
                assert_eq!(client.status().await, status);
                let from_client = both(
                    flood(&client.stream, 1, up, seed),
                    swallow(&endpoint.stream, 1, endpoint.reader.rest()),
                );
                let from_endpoint = both(
                    flood(&endpoint.stream, 2, down, seed + 1),
                    swallow(&client.stream, 2, client.reader.rest()),
                );
                let (((), at_endpoint), ((), at_client)) = both(from_client, from_endpoint).await;
                assert_eq!((at_endpoint, at_client), (up, down), "seed {seed}");
                let began = now();
                while stage.stats.open.get() > 0 && now() - began < Duration::from_secs(5) {
                    sleep(Duration::from_millis(10)).await;
                }
                assert_eq!((stage.stats.open.get(), stage.stats.tunnels.get()), (0, 0));
                done.set(at_endpoint + at_client + 1);
            },
        );
        assert!(seen.get() > 0, "seed {seed} never came to its end");
    }
}
