//! The table beside a naive model of it, over seeded lives of many clients.

use super::{Ended, Ending, FlowId, FlowKey, Flows, Full, Limits, Opened};
use crate::balance::{Balance, Candidate, Key, Maglev, Member, Rng, Tried};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
fn start() -> Instant {
    Instant::now()
}

const IDLE: Duration = Duration::from_secs(40);

fn limits(flows_max: usize) -> Limits {
    Limits { flows_max, idle: IDLE, replies: None }
}

fn key(client: u16) -> FlowKey {
    FlowKey { client: SocketAddr::from(([192, 0, 2, 1], client)), to: None }
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn a_flow_lives_until_it_is_silent_for_its_time() {
    let t = start();
    let mut flows = Flows::new(limits(10), 1);
    let id = flows.open(t, key(1), 1, "a").unwrap().id;
    assert_eq!(flows.request(after(t, 30), &key(1), 1), Some(id));
    assert_eq!(flows.next_timeout(), Some(after(t, 70)));
    assert_eq!(flows.handle_timeout(after(t, 69)), None);
    assert_eq!(flows.reply(after(t, 69), id, 1), None);
    assert_eq!(flows.handle_timeout(after(t, 108)), None);
    let ended = Ended { key: key(1), data: "a", why: Ending::Idle };
    assert_eq!(flows.handle_timeout(after(t, 109)), Some(ended));
    assert_eq!((flows.len(), flows.next_timeout()), (0, None));
    // Its name is nobody's.
    let next = flows.open(after(t, 110), key(1), 1, "b").unwrap().id;
    assert_ne!(next, id);
    assert_eq!((flows.data(id), flows.data(next)), (None, Some(&"b")));
    assert_eq!(flows.reply(after(t, 110), id, 1), None);
}

#[test]
fn a_flow_ends_with_its_last_reply_where_replies_are_counted() {
    let t = start();
    let mut flows = Flows::new(Limits { replies: Some(1), ..limits(10) }, 1);
    let id = flows.open(t, key(1), 2, ()).unwrap().id;
    assert_eq!(flows.request(t, &key(1), 1), Some(id));
    assert_eq!(flows.reply(t, id, 2), None);
    assert_eq!(flows.reply(t, id, 1).unwrap().why, Ending::Answered);
    assert_eq!(flows.len(), 0);
}

#[test]
fn a_full_table_gives_up_who_was_never_answered_first() {
    let t = start();
    let mut flows = Flows::new(limits(3), 1);
    let first = flows.open(t, key(1), 1, 1).unwrap().id;
    flows.open(t, key(2), 1, 2).unwrap();
    flows.open(t, key(3), 1, 3).unwrap();
    flows.reply(t, first, 1);
    let ended = flows.open(after(t, 1), key(4), 1, 4).unwrap().ended;
    assert_eq!(ended.map(|ended| (ended.data, ended.why)), Some((2, Ending::Evicted)));
    // Asking again makes one the newest.
    flows.request(after(t, 2), &key(3), 1);
    let ended = flows.open(after(t, 2), key(5), 1, 5).unwrap().ended;
    assert_eq!(ended.map(|ended| ended.data), Some(4));
}

#[test]
fn flows_that_talk_are_given_up_only_when_they_rest() {
    let t = start();
    let mut flows = Flows::new(limits(2), 1);
    for client in [1, 2] {
        let id = flows.open(t, key(client), 1, client).unwrap().id;
        flows.reply(t, id, 1);
    }
    assert_eq!(flows.open(after(t, 9), key(3), 1, 3), Err((Full, 3)));
    let ended = flows.open(after(t, 10), key(3), 1, 3).unwrap().ended;
    assert_eq!(ended.map(|ended| ended.data), Some(1));
}

#[test]
fn a_flood_leaves_talking_flows_alone() {
    let t = start();
    let mut flows = Flows::new(limits(100), 7);
    let talking: Vec<FlowId> = (0..60)
        .map(|client| {
            let id = flows.open(t, key(client), 1, client).unwrap().id;
            flows.reply(t, id, 1);
            id
        })
        .collect();
    for flood in 1000..50_000 {
        flows.open(after(t, 1), key(flood), 1, flood).unwrap();
        assert!(flows.len() <= 100);
    }
    assert!(talking.iter().all(|id| flows.data(*id).is_some()));
}

/// What the table should be, kept the slow way.
#[derive(Debug, Clone)]
struct Model {
    endpoint: usize,
    heard: Instant,
    is_talking: bool,
    order: u64,
    id: FlowId,
}

#[test]
fn seeded_lives_agree_with_a_naive_model() {
    for seed in 0..200 {
        simulate(seed);
    }
}

/// Clients ask, endpoints reply, endpoints come and go, time passes.
fn simulate(seed: u64) {
    let rng = Rng::new(seed);
    let most = 2 + rng.below(40);
    let mut flows = Flows::new(limits(most), seed);
    let mut model: BTreeMap<FlowKey, Model> = BTreeMap::new();
    let names: Vec<String> = (0..5).map(|index| format!("10.0.0.{index}:53")).collect();
    let members: Vec<_> =
        names.iter().map(|name| Member { name, weight: 1, backup: false }).collect();
    let maglev = Maglev::new(&members);
    let mut endpoints =
        vec![Candidate { weight: 1, in_flight: 0, available: true, backup: false }; 5];
    let mut now = start();
    for order in 0..2000_u64 {
        now += Duration::from_millis(u64::try_from(rng.below(3000)).unwrap());
        expire(&mut flows, &mut model, now, seed);
        match rng.below(10) {
            0..6 => {
                let key = key(u16::try_from(rng.below(60)).unwrap());
                ask(&mut flows, &mut model, (now, order, key), (&maglev, &endpoints), (most, seed));
            }
            6..9 => {
                let Some((key, known)) = nth(&model, &rng) else { continue };
                assert_eq!(flows.reply(now, known.id, 1), None, "seed {seed}");
                let entry = model.get_mut(&key).unwrap();
                (entry.heard, entry.is_talking, entry.order) = (now, true, order);
            }
            _ => {
                // An endpoint leaves: its flows end, all others stay where they are.
                let index = rng.below(5);
                endpoints[index].available = !endpoints[index].available;
                if !endpoints[index].available {
                    let ended = flows.retain(|endpoint| *endpoint != index);
                    assert!(ended.iter().all(|ended| ended.data == index), "seed {seed}");
                    let before = model.len();
                    model.retain(|_, known| known.endpoint != index);
                    assert_eq!(ended.len(), before - model.len(), "seed {seed}");
                }
            }
        }
        assert_eq!(flows.len(), model.len(), "seed {seed}, step {order}");
        assert!(flows.len() <= most, "seed {seed}");
        let next = model.values().map(|known| known.heard + IDLE).min();
        assert_eq!(flows.next_timeout(), next, "seed {seed}, step {order}");
        for known in model.values() {
            assert_eq!(flows.data(known.id), Some(&known.endpoint), "seed {seed}, step {order}");
        }
    }
}

fn ask(
    flows: &mut Flows<usize>,
    model: &mut BTreeMap<FlowKey, Model>,
    (now, order, key): (Instant, u64, FlowKey),
    (maglev, endpoints): (&Maglev, &[Candidate]),
    (most, seed): (usize, u64),
) {
    if let Some(known) = model.get_mut(&key) {
        assert_eq!(flows.request(now, &key, 1), Some(known.id), "seed {seed}");
        (known.heard, known.order) = (now, order);
        return;
    }
    assert_eq!(flows.request(now, &key, 1), None, "seed {seed}");
    let place = Key::of_ip(key.client.ip());
    let Some(endpoint) = maglev.pick(endpoints, &Tried::new(), Some(place)) else { return };
    let victim = (model.len() >= most).then(|| {
        let oldest = |is_talking: bool| {
            let mut each: Vec<_> =
                model.iter().filter(|(_, known)| known.is_talking == is_talking).collect();
            each.sort_by_key(|(_, known)| known.order);
            each.first().map(|(key, known)| (**key, known.heard))
        };
        let resting = |(_, heard): &(FlowKey, Instant)| *heard + IDLE / 4 <= now;
        oldest(false).or_else(|| oldest(true).filter(resting)).map(|(key, _)| key)
    });
    match (flows.open(now, key, 1, endpoint), victim) {
        (Ok(Opened { id, ended: None }), None) => {
            model.insert(key, Model { endpoint, heard: now, is_talking: false, order, id });
        }
        (Ok(Opened { id, ended: Some(ended) }), Some(Some(victim))) => {
            assert_eq!((ended.key, ended.why), (victim, Ending::Evicted), "seed {seed}");
            model.remove(&victim);
            model.insert(key, Model { endpoint, heard: now, is_talking: false, order, id });
        }
        (Err((Full, _)), Some(None)) => {}
        (got, want) => panic!("seed {seed}: {got:?} instead of {want:?}"),
    }
}

fn expire(flows: &mut Flows<usize>, model: &mut BTreeMap<FlowKey, Model>, now: Instant, seed: u64) {
    while let Some(ended) = flows.handle_timeout(now) {
        let known = model.remove(&ended.key).unwrap();
        assert!(known.heard + IDLE <= now && ended.why == Ending::Idle, "seed {seed}");
    }
    assert!(model.values().all(|known| known.heard + IDLE > now), "seed {seed}");
}

fn nth(model: &BTreeMap<FlowKey, Model>, rng: &Rng) -> Option<(FlowKey, Model)> {
    if model.is_empty() {
        return None;
    }
    model.iter().nth(rng.below(model.len())).map(|(key, known)| (*key, known.clone()))
}
