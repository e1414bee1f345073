//! Who is let in: before TLS, before any byte of a protocol, the same for L4 and L7.
//!
//! ```text
//!   accepted ─▶ address listed? ─▶ too many of this listener? ─▶ of this client? ─▶ too fast? ─▶ Pass
//!                  └ Refusal::Denied   └──── OverConnections ────────┘    └ OverRate
//! ```
//! One [`Gate`] per listener, shared by all shards and carried over reloads that don't change it.
//! What it counts are atomics. A [`Pass`] is a connection's place, given back when dropped.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::rate_table::{RateTable, Verdict};
use crate::{base::units::Rate, config::AdmissionConfig};

/// The gate of one listener.
#[derive(Debug)]
pub struct Gate {
    config: AdmissionConfig,
    open: AtomicU32,
    clients: Option<ClientCounts>,
    rate: Option<RateTable>,
    client_rate: Option<RateTable>,
}

/// Why a connection isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its address isn't in `allow`, or is in `deny`.
    #[error("the client's address isn't let in")]
    Denied,
    /// `limits.connections` or `limits.connections_per_ip`.
    #[error("there are too many connections")]
    OverConnections,
    /// `limits.new_connections` or `limits.new_connections_per_ip`.
    #[error("connections come too fast")]
    OverRate,
}

impl Refusal {
    /// One word for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::OverConnections => "over_connections",
            Self::OverRate => "over_rate",
        }
    }
}

impl Gate {
    /// The gate of `config`; the one before, with its counts, if nothing has changed.
    #[must_use]
    pub fn new(config: &AdmissionConfig, now: Instant, before: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(kept) = before
            && kept.config == *config
        {
            return Arc::clone(kept);
        }
        let table = |rate: Rate, clients| RateTable::new(rate, rate.count, clients, now);
        Arc::new(Self {
            open: AtomicU32::new(0),
            clients: config.connections_per_ip.map(|_| ClientCounts::new()),
            rate: config.new_connections.map(|rate| table(rate, 1)),
            client_rate: config.new_connections_per_ip.map(|rate| table(rate, CLIENTS)),
            config: config.clone(),
        })
    }

    /// As configured.
    #[must_use]
    pub fn config(&self) -> &AdmissionConfig {
        &self.config
    }

    /// Whether `client` may connect at all.
    #[must_use]
    pub fn lets_in(&self, client: IpAddr) -> bool {
        let is_in =
            |blocks: &[crate::base::cidr::Cidr]| blocks.iter().any(|block| block.contains(client));
        (self.config.allow.is_empty() || is_in(&self.config.allow)) && !is_in(&self.config.deny)
    }

    /// Asks for a connection of `client`.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(self: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Pass, Refusal> {
        if self.config.is_open() {
            return Ok(Pass { gate: None, cell: None });
        }
        if !self.lets_in(client) {
            return Err(Refusal::Denied);
        }
        let mut pass = Pass { gate: None, cell: None };
        let most = self.config.connections.unwrap_or(u32::MAX);
        let enter = |open: u32| (open < most).then(|| open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .map_err(|_| Refusal::OverConnections)?;
        // From here on the pass gives back what was taken.
        pass.gate = Some(Arc::clone(self));
        if let (Some(clients), Some(most)) = (&self.clients, self.config.connections_per_ip) {
            match clients.enter(client, most) {
                Entered::Counted(cell) => pass.cell = Some(cell),
                Entered::Uncounted => {}
                Entered::Full => return Err(Refusal::OverConnections),
            }
        }
        // Rates last: a refused connection doesn't use them up. All clients share one cell.
        let everybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let asked = [(&self.client_rate, client), (&self.rate, everybody)];
        for (table, key) in asked {
            if let Some(table) = table
                && table.ask(key, now) != Verdict::Allowed
            {
                return Err(Refusal::OverRate);
            }
        }
        Ok(pass)
    }
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Pass {
    gate: Option<Arc<Gate>>,
    cell: Option<usize>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(gate) = &self.gate else { return };
        gate.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(clients), Some(cell)) = (&gate.clients, self.cell) {
            clients.leave(cell);
        }
    }
}

/// How many connections each client has: a table of fixed size, without locks.
///
/// ```text
///   hash(client) ── first of 16 cells ─▶ │ tag:40 count:24 │ … │     an empty cell is anybody's
/// ```
/// A client that finds its 16 cells taken by others is let in uncounted: better than to let a crowd
/// of addresses shut others out.
#[derive(Debug)]
struct ClientCounts {
    cells: Box<[AtomicU64]>,
    hasher: RandomState,
}

enum Entered {
    Counted(usize),
    Uncounted,
    Full,
}

impl ClientCounts {
    fn new() -> Self {
        Self { cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    fn enter(&self, client: IpAddr, most: u32) -> Entered {
        let hash = self.hasher.hash_one(owner(client));
        let tag = (hash >> COUNT_BITS).max(1);
        let first = usize::try_from(hash & (CELLS as u64 - 1)).unwrap_or(0);
        for step in 0..WINDOW {
            let place = (first + step) % CELLS;
            let Some(cell) = self.cells.get(place) else { break };
            let mut seen = cell.load(Ordering::Relaxed);
            loop {
                let count = seen & COUNT_MASK;
                let is_own = seen >> COUNT_BITS == tag && count > 0;
                if !is_own && count > 0 {
                    break; // Somebody else's.
                }
                // A free cell may lie before one of ours that was taken when this one wasn't free:
                // look on before taking it.
                if !is_own && self.holds_later(first, step + 1, tag) {
                    break;
                }
                if count >= u64::from(most) {
                    return Entered::Full;
                }
                let next = tag << COUNT_BITS | (count + 1);
                let swap = cell.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
                match swap {
                    Ok(_) => return Entered::Counted(place),
                    Err(now) => seen = now,
                }
            }
        }
        Entered::Uncounted
    }

    fn holds_later(&self, first: usize, from: usize, tag: u64) -> bool {
        (from..WINDOW).any(|step| {
            let cell = self.cells.get((first + step) % CELLS);
            cell.is_some_and(|cell| {
                let seen = cell.load(Ordering::Relaxed);
                seen >> COUNT_BITS == tag && seen & COUNT_MASK > 0
            })
        })
    }

    fn leave(&self, place: usize) {
        if let Some(cell) = self.cells.get(place) {
            // The tag stays until somebody else needs the cell.
            let before = cell.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before & COUNT_MASK > 0, "each leave follows an enter");
        }
    }
}

/// Whom a count is for: an IPv4 address, or the /64 of an IPv6 address.
fn owner(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        }
    }
}

/// Cells of a table, 8 bytes each: 512 KiB.
const CELLS: usize = 1 << 16;
/// Cells that one client may be counted in.
const WINDOW: usize = 16;
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Clients whose rate is remembered at a time.
const CLIENTS: usize = 65_536;

const _: () = assert!(CELLS.is_power_of_two() && WINDOW <= CELLS);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a moment to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    fn gate(config: &AdmissionConfig) -> Arc<Gate> {
        Gate::new(config, start(), None)
    }

    #[test]
    fn lists_decide_first_and_deny_beats_allow() {
        let gate = gate(&AdmissionConfig {
            allow: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            deny: vec!["192.0.2.128/25".parse().unwrap()],
            ..AdmissionConfig::default()
        });
        let admit = |text: &str| gate.admit(text.parse().unwrap(), start()).map(drop);
        assert_eq!(admit("192.0.2.5"), Ok(()));
        assert_eq!(admit("::ffff:192.0.2.5"), Ok(()));
        assert_eq!(admit("2001:db8::1"), Ok(()));
        assert_eq!(admit("192.0.2.200"), Err(Refusal::Denied));
        assert_eq!(admit("198.51.100.1"), Err(Refusal::Denied));
    }

    #[test]
    fn places_are_given_back() {
        let config = AdmissionConfig {
            connections: Some(3),
            connections_per_ip: Some(2),
            ..AdmissionConfig::default()
        };
        let gate = gate(&config);
        let now = start();
        let first = gate.admit(ip(1), now).unwrap();
        let second = gate.admit(ip(1), now).unwrap();
        assert_eq!(gate.admit(ip(1), now).map(drop), Err(Refusal::OverConnections));
        let third = gate.admit(ip(2), now).unwrap();
        assert_eq!(gate.admit(ip(3), now).map(drop), Err(Refusal::OverConnections));
        drop(first);
        assert_eq!(gate.open.load(Ordering::Relaxed), 2);
        drop((gate.admit(ip(1), now).unwrap(), second, third));
        assert_eq!(gate.open.load(Ordering::Relaxed), 0);
        // An unchanged configuration keeps the counts, another one begins anew.
        assert!(Arc::ptr_eq(&gate, &Gate::new(&config, now, Some(&gate))));
        let other = AdmissionConfig { connections: Some(4), ..config };
        assert!(!Arc::ptr_eq(&gate, &Gate::new(&other, now, Some(&gate))));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let gate =
            gate(&AdmissionConfig { connections_per_ip: Some(1), ..AdmissionConfig::default() });
        let _first = gate.admit("2001:db8::1".parse().unwrap(), start()).unwrap();
        let same = gate.admit("2001:db8::2".parse().unwrap(), start());
        assert_eq!(same.map(drop), Err(Refusal::OverConnections));
        assert!(gate.admit("2001:db8:0:1::1".parse().unwrap(), start()).is_ok());
    }

    #[test]
    fn rates_hold_for_one_and_for_all() {
        let gate = gate(&AdmissionConfig {
            new_connections: Some("5/s".parse().unwrap()),
            new_connections_per_ip: Some("2/s".parse().unwrap()),
            ..AdmissionConfig::default()
        });
        let now = start();
        let verdicts: Vec<_> =
            [1, 1, 1, 2, 2, 3, 4].map(|last| gate.admit(ip(last), now).map(drop)).into();
        let over = Err(Refusal::OverRate);
        assert_eq!(verdicts, [Ok(()), Ok(()), over, Ok(()), Ok(()), Ok(()), over]);
    }

    #[test]
    fn counts_are_exact_between_threads() {
        let clients = ClientCounts::new();
        let most = 50;
        let entered = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if let Entered::Counted(_) = clients.enter(ip(9), most) {
                            entered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), most);
    }

    #[test]
    fn a_crowd_does_not_shut_others_out() {
        let clients = ClientCounts::new();
        for number in 0..200_000_u32 {
            let client = IpAddr::V4(Ipv4Addr::from_bits(number));
            assert!(!matches!(clients.enter(client, 1), Entered::Full), "{client}");
        }
    }
}
