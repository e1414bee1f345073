//! Ends NAT's flows that have been silent for too long, so that their ports serve others.
//!
//! The program ends nothing by itself: it only takes over the port of a flow that is past its time.
//! A sweep walks the way-back table a slice at a time, decides by the newer of both directions, and
//! deletes both entries; then it walks the flows for entries whose way back is gone (the kernel evicts
//! the longest unused of each table by itself when it is full).

use aya::maps::{HashMap, MapData, MapError};

use super::{
    balancer::Balancer,
    error::XdpError,
    layout::{
        Back, BackKey4, BackKey6, Flow, REALS_MAX, Real, SEEN_FIN, SEEN_REPLY, SEEN_RST, Settings,
        TCP, TICK_SHIFT, Tuple4, Tuple6, octets4,
    },
    sys,
    tables::gone,
};

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Flows that go on.
    pub kept: u32,
    /// Flows that were ended.
    pub ended: u32,
}

impl Balancer {
    /// Walks both families' NAT tables once and ends what is past its time.
    ///
    /// Takes about a microsecond a flow; nothing of the data path waits.
    ///
    /// # Errors
    /// A map can't be read or written.
    pub fn sweep_all(&mut self) -> Result<Swept, XdpError> {
        let settings = self.tables.settings()?;
        let now = tick(&settings);
        let tables = &mut self.tables;
        let mut swept = Swept::default();
        sweep(&mut tables.nat4, &mut tables.flows4, &settings, now, &mut swept)
            .and_then(|()| sweep(&mut tables.nat6, &mut tables.flows6, &settings, now, &mut swept))
            .map_err(|source| XdpError::map("nat", source))?;
        let reals = self.reals()?;
        let tables = &mut self.tables;
        orphans(&tables.nat4, &mut tables.flows4, &reals)
            .and_then(|()| orphans(&tables.nat6, &mut tables.flows6, &reals))
            .map_err(|source| XdpError::map("flows", source))?;
        Ok(swept)
    }

    /// How many NAT entries there are: flows, and ways back. They are the same number when nothing
    /// is in between.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn nat_entries(&self) -> Result<(usize, usize), XdpError> {
        let tables = &self.tables;
        let v4 = tables.flows4.iter().filter_map(|entry| Some(entry.ok()?.1));
        let v6 = tables.flows6.iter().filter_map(|entry| Some(entry.ok()?.1));
        let flows = v4.chain(v6).filter(|flow| flow.is_nat == 1).count();
        Ok((flows, tables.nat4.keys().count() + tables.nat6.keys().count()))
    }

    fn reals(&self) -> Result<Vec<Real>, XdpError> {
        (0..REALS_MAX).map(|id| self.tables.real(id)).collect()
    }
}

/// The program's clock, in ticks: the kernel's monotonic one, whose coarse form it reads.
fn tick(settings: &Settings) -> u32 {
    let nanos = sys::monotonic_nanos().wrapping_add(settings.clock_add);
    // Wraps as the program's does; only differences count.
    u32::try_from(nanos >> TICK_SHIFT & u64::from(u32::MAX)).unwrap_or(0)
}

/// Keys of one family: how a way back and its flow name each other.
trait Ways: aya::Pod {
    type Tuple: aya::Pod;
    fn protocol(&self) -> u8;
    fn nat_port(&self) -> [u8; 2];
    fn flow(&self, back: &Back) -> Self::Tuple;
    fn of(tuple: &Self::Tuple, flow: &Flow, real: &Real) -> Self;
}

impl Ways for BackKey4 {
    type Tuple = Tuple4;

    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn nat_port(&self) -> [u8; 2] {
        self.nat_port
    }

    fn flow(&self, back: &Back) -> Tuple4 {
        Tuple4 {
            source: octets4(back.client),
            destination: octets4(back.vip),
            source_port: back.client_port,
            destination_port: back.vip_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }

    fn of(tuple: &Tuple4, flow: &Flow, real: &Real) -> Self {
        Self {
            real: octets4(real.address),
            real_port: real.port,
            nat_port: flow.nat_port,
            protocol: tuple.protocol,
            zero: [0; 3],
        }
    }
}

impl Ways for BackKey6 {
    type Tuple = Tuple6;

    fn protocol(&self) -> u8 {
        self.protocol
    }

    fn nat_port(&self) -> [u8; 2] {
        self.nat_port
    }

    fn flow(&self, back: &Back) -> Tuple6 {
        Tuple6 {
            source: back.client,
            destination: back.vip,
            source_port: back.client_port,
            destination_port: back.vip_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }

    fn of(tuple: &Tuple6, flow: &Flow, real: &Real) -> Self {
        Self {
            real: real.address,
            real_port: real.port,
            nat_port: flow.nat_port,
            protocol: tuple.protocol,
            zero: [0; 3],
        }
    }
}

fn sweep<K: Ways>(
    backs: &mut HashMap<MapData, K, Back>,
    flows: &mut HashMap<MapData, K::Tuple, Flow>,
    settings: &Settings,
    now: u32,
    swept: &mut Swept,
) -> Result<(), MapError> {
    // Deleting while walking would begin the walk anew: the keys first.
    let mut ended = Vec::new();
    for entry in backs.iter() {
        let Ok((key, back)) = entry else { continue };
        let tuple = key.flow(&back);
        let flow = flows.get(&tuple, 0).ok();
        let own = flow.filter(|flow| {
            flow.is_nat == 1 && flow.nat_port == key.nat_port() && flow.real == back.real
        });
        let last = own.map_or(back.tick, |flow| later(flow.tick, back.tick));
        let client_seen = own.map_or(0, |flow| flow.seen);
        let patience = patience(settings, key.protocol(), client_seen, back.seen);
        // A packet may have come since `now` was read.
        if now.wrapping_sub(last).cast_signed() > patience.cast_signed() {
            ended.push((key, own.map(|_| tuple)));
        } else {
            swept.kept += 1;
        }
    }
    for (key, tuple) in ended {
        if let Some(tuple) = tuple {
            gone(flows.remove(&tuple))?;
        }
        gone(backs.remove(&key))?;
        swept.ended += 1;
    }
    Ok(())
}

/// Deletes flows whose way back was evicted: their next packet begins anew.
fn orphans<K: Ways>(
    backs: &HashMap<MapData, K, Back>,
    flows: &mut HashMap<MapData, K::Tuple, Flow>,
    reals: &[Real],
) -> Result<(), MapError> {
    let mut orphans = Vec::new();
    for entry in flows.iter() {
        let Ok((tuple, flow)) = entry else { continue };
        if flow.is_nat != 1 {
            continue;
        }
        let real = reals.get(flow.real as usize).filter(|real| real.generation == flow.generation);
        let has_back = real.is_some_and(|real| backs.get(&K::of(&tuple, &flow, real), 0).is_ok());
        if !has_back {
            orphans.push(tuple);
        }
    }
    for tuple in orphans {
        gone(flows.remove(&tuple))?;
    }
    Ok(())
}

fn later(one: u32, other: u32) -> u32 {
    if one.wrapping_sub(other).cast_signed() > 0 { one } else { other }
}

/// How long a flow of this kind may be silent, in ticks: `patience` of bpf/src/nat.h.
fn patience(settings: &Settings, protocol: u8, client_seen: u8, real_seen: u8) -> u32 {
    if protocol != TCP {
        return settings.idle_udp;
    }
    let is_reset = (client_seen | real_seen) & SEEN_RST != 0;
    if is_reset || client_seen & real_seen & SEEN_FIN != 0 {
        return settings.idle_closed;
    }
    if real_seen & SEEN_REPLY != 0 { settings.idle_tcp } else { settings.idle_opening }
}
