//! Ends NAT's flows that have been silent for too long, so that their ports serve others.
//!
//! The program ends nothing by itself: it only takes over the port of a flow that is past its time.
//! A sweep walks the way-back table, decides by the newer of both directions, and deletes both entries;
//! then it walks the flows for entries whose way back is gone (the kernel evicts the longest unused of
//! each table by itself when it is full).
//!
//! A walk takes its time, and the kernel has no "delete if": what was past its time may be a later flow's
//! by now. So each is looked at again before it is deleted, and meanwhile the program takes no port over.

use aya::maps::{Array, HashMap, MapData, MapError};

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
        let mut swept = Swept::default();
        let tables = &mut self.tables;
        let mut hold = Hold::begin(&mut tables.settings)?;
        sweep(&mut tables.nat4, &mut tables.flows4, &mut hold, &mut swept)?;
        sweep(&mut tables.nat6, &mut tables.flows6, &mut hold, &mut swept)?;
        hold.end()?;
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

/// While it lasts the program takes no port over. It runs out by itself, should its process die.
struct Hold<'t> {
    map: &'t mut Array<MapData, Settings>,
    settings: Settings,
    /// When the sweep began, in ticks.
    now: u32,
}

impl<'t> Hold<'t> {
    fn begin(map: &'t mut Array<MapData, Settings>) -> Result<Self, XdpError> {
        let settings = map.get(&0, 0).map_err(|source| XdpError::map("settings", source))?;
        let mut hold = Self { map, settings, now: tick(&settings) };
        hold.set(hold.now.wrapping_add(HOLD))?;
        Ok(hold)
    }

    /// Makes sure of a tick at least.
    fn go_on(&mut self) -> Result<(), XdpError> {
        let now = tick(&self.settings);
        let left = self.settings.sweep_tick.wrapping_sub(now).cast_signed();
        if left >= 2 { Ok(()) } else { self.set(now.wrapping_add(HOLD)) }
    }

    fn end(mut self) -> Result<(), XdpError> {
        self.set(0)
    }

    fn set(&mut self, sweep_tick: u32) -> Result<(), XdpError> {
        self.settings.sweep_tick = sweep_tick;
        self.map.set(0, self.settings, 0).map_err(|source| XdpError::map("settings", source))
    }
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
    hold: &mut Hold<'_>,
    swept: &mut Swept,
) -> Result<(), XdpError> {
    // Deleting while walking would begin the walk anew: the keys first.
    let mut past = Vec::new();
    for (key, back) in backs.iter().flatten() {
        if is_past(&key, &back, own_flow(&key, &back, flows).as_ref(), hold) {
            past.push(key);
        } else {
            swept.kept += 1;
        }
    }
    for key in past {
        hold.go_on()?;
        let Ok(back) = backs.get(&key, 0) else { continue };
        let flow = own_flow(&key, &back, flows);
        if !is_past(&key, &back, flow.as_ref(), hold) {
            swept.kept += 1;
            continue;
        }
        if flow.is_some() {
            let gone = gone(flows.remove(&key.flow(&back)));
            gone.map_err(|source| XdpError::map("flows", source))?;
        }
        gone(backs.remove(&key)).map_err(|source| XdpError::map("nat", source))?;
        swept.ended += 1;
    }
    Ok(())
}

/// The flow that a way back belongs to, unless its tuple has become another flow's.
fn own_flow<K: Ways>(
    key: &K,
    back: &Back,
    flows: &HashMap<MapData, K::Tuple, Flow>,
) -> Option<Flow> {
    let flow = flows.get(&key.flow(back), 0).ok()?;
    let is_own = flow.is_nat == 1 && flow.nat_port == key.nat_port() && flow.real == back.real;
    is_own.then_some(flow)
}

fn is_past<K: Ways>(key: &K, back: &Back, flow: Option<&Flow>, hold: &Hold<'_>) -> bool {
    let last = flow.map_or(back.tick, |flow| later(flow.tick, back.tick));
    let client_seen = flow.map_or(0, |flow| flow.seen);
    let patience = patience(&hold.settings, key.protocol(), client_seen, back.seen);
    // A packet may have come since `now` was read.
    hold.now.wrapping_sub(last).cast_signed() > patience.cast_signed()
}

/// Deletes flows whose way back was evicted: their next packet begins anew.
fn orphans<K: Ways>(
    backs: &HashMap<MapData, K, Back>,
    flows: &mut HashMap<MapData, K::Tuple, Flow>,
    reals: &[Real],
) -> Result<(), MapError> {
    let is_orphan = |tuple: &K::Tuple, flow: &Flow| {
        let real = reals.get(flow.real as usize).filter(|real| real.generation == flow.generation);
        let has_back = |real| backs.get(&K::of(tuple, flow, real), 0).is_ok();
        flow.is_nat == 1 && !real.is_some_and(has_back)
    };
    let found = flows.iter().flatten().filter(|(tuple, flow)| is_orphan(tuple, flow));
    let orphans: Vec<K::Tuple> = found.map(|(tuple, _)| tuple).collect();
    for tuple in orphans {
        if flows.get(&tuple, 0).is_ok_and(|flow| is_orphan(&tuple, &flow)) {
            gone(flows.remove(&tuple))?;
        }
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

/// Ticks that the program is asked to wait with taking ports over, again and again while a sweep lasts.
const HOLD: u32 = 3;
