//! `ketama`: points on a circle, where nginx's `hash … consistent` puts them.
//!
//! ```text
//!   endpoint ─▶ 160 × weight points: crc(host \0 port, point before)    sorted by hash
//!   key ─▶ crc(key) ─▶ the first point at or behind it ─▶ its endpoint; else the next point, …
//! ```
//! The same keys go to the same endpoints as with nginx 1.7.2 and later (and the memcached clients
//! that follow Cache::Memcached::Fast), so one can be exchanged for the other under load. nginx
//! gives up after 20 points and takes turns; we send the key where [`Rendezvous`] says.

use super::{BEST_TIER, Balance, Candidates, Key, Member, Rendezvous, Tried, tier};
use crate::base::crc::CRC32;
use std::sync::Arc;

/// Picks by the circle.
#[derive(Debug, Clone)]
pub struct Ketama {
    circle: Arc<Circle>,
}

#[derive(Debug)]
struct Circle {
    /// Sorted by hash, each hash once.
    points: Box<[Point]>,
    otherwise: Rendezvous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    hash: u32,
    index: u32,
}

impl Ketama {
    /// For these endpoints, in the order of the candidates. Backups get no points.
    #[must_use]
    pub fn new(members: &[Member<'_>]) -> Self {
        let primaries = members.iter().enumerate().filter(|(_, member)| !member.backup);
        let mut points: Vec<Point> =
            primaries.flat_map(|(index, member)| points(index, member)).collect();
        points.sort_unstable();
        points.dedup_by_key(|point| point.hash);
        let circle = Circle { points: points.into(), otherwise: Rendezvous::new(members) };
        Self { circle: Arc::new(circle) }
    }
}

/// The points of one endpoint: each hash begins with the endpoint's and adds the one before.
fn points(index: usize, member: &Member<'_>) -> impl Iterator<Item = Point> + use<> {
    let (host, port) = split(member.name);
    let base = CRC32.begin().update(host.as_bytes()).update(&[0]).update(port.as_bytes());
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let mut before = 0_u32;
    (0..u64::from(member.weight.max(1)) * POINTS_PER_WEIGHT).map(move |_| {
        before = base.update(&before.to_le_bytes()).finish();
        Point { hash: before, index }
    })
}

/// `host:port` cut as nginx does: `[::1]` keeps its brackets, a Unix socket has no port.
fn split(name: &str) -> (&str, &str) {
    if let Some(path) = name.strip_prefix("unix:") {
        return (path, "");
    }
    name.rsplit_once(':').unwrap_or((name, ""))
}

impl Balance for Ketama {
    fn pick(
        &self,
        candidates: &(impl Candidates + ?Sized),
        tried: &Tried,
        key: Option<Key>,
    ) -> Option<usize> {
        let key = key.unwrap_or(super::KEYLESS);
        let points = &self.circle.points;
        let first = points.partition_point(|point| point.hash < key.crc());
        for step in 0..POINTS_LOOKED_AT.min(points.len()) {
            let index = points[(first + step) % points.len()].index as usize;
            if index < candidates.len()
                && tier(&candidates.candidate(index), tried.contains(index)) == Some(BEST_TIER)
            {
                return Some(index);
            }
        }
        self.circle.otherwise.place(candidates, tried, key)
    }
}

/// nginx's number.
const POINTS_PER_WEIGHT: u64 = 160;
/// Points that a key whose endpoint is gone walks on; nginx's number, too.
const POINTS_LOOKED_AT: usize = 20;
