//! The program's maps, typed. Reading and writing one entry at a time; what the entries mean is
//! `balancer`'s.

use std::net::IpAddr;

use aya::{
    Ebpf,
    maps::{
        Array, CpuMap, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, xdp::XdpMapError,
    },
};

use super::{
    error::XdpError,
    layout::{
        Back, BackKey4, BackKey6, Counts, EVENTS, EXITS, Flow, Rate, Real, Ring, Settings, Stats,
        Tuple4, Tuple6, Vip, VipKey4, VipKey6, octets, octets4,
    },
};

/// Every map of the balancer.
pub(super) struct Tables {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) vips4: HashMap<MapData, VipKey4, Vip>,
    pub(super) vips6: HashMap<MapData, VipKey6, Vip>,
    pub(super) fronts4: HashMap<MapData, [u8; 4], u32>,
    pub(super) fronts6: HashMap<MapData, [u8; 16], u32>,
    pub(super) rings: Array<MapData, Ring>,
    pub(super) reals: Array<MapData, Real>,
    pub(super) flows4: HashMap<MapData, Tuple4, Flow>,
    pub(super) flows6: HashMap<MapData, Tuple6, Flow>,
    pub(super) nat4: HashMap<MapData, BackKey4, Back>,
    pub(super) nat6: HashMap<MapData, BackKey6, Back>,
    counts: PerCpuArray<MapData, Counts>,
    vip_stats: PerCpuArray<MapData, Stats>,
    real_stats: PerCpuArray<MapData, Stats>,
    _syn_rates: Array<MapData, Rate>,
    shard_cpus: Array<MapData, u32>,
    cpus: CpuMap<MapData>,
}

impl Tables {
    /// Takes the maps out of a loaded object.
    pub(super) fn take(object: &mut Ebpf) -> Result<Self, XdpError> {
        Ok(Self {
            settings: take(object, "settings")?,
            vips4: take(object, "vips4")?,
            vips6: take(object, "vips6")?,
            fronts4: take(object, "fronts4")?,
            fronts6: take(object, "fronts6")?,
            rings: take(object, "rings")?,
            reals: take(object, "reals")?,
            flows4: take(object, "flows4")?,
            flows6: take(object, "flows6")?,
            nat4: take(object, "nat4")?,
            nat6: take(object, "nat6")?,
            counts: take(object, "counts")?,
            vip_stats: take(object, "vip_stats")?,
            real_stats: take(object, "real_stats")?,
            _syn_rates: take(object, "syn_rates")?,
            shard_cpus: take(object, "shard_cpus")?,
            cpus: take(object, "cpus")?,
        })
    }

    pub(super) fn set_vip(&mut self, at: VipAt, vip: Vip) -> Result<(), XdpError> {
        let result = match at.key() {
            VipKey::V4(key) => self.vips4.insert(key, vip, 0),
            VipKey::V6(key) => self.vips6.insert(key, vip, 0),
        };
        result.map_err(|source| XdpError::map("vips", source))
    }

    pub(super) fn remove_vip(&mut self, at: VipAt) -> Result<(), XdpError> {
        let result = match at.key() {
            VipKey::V4(key) => self.vips4.remove(&key),
            VipKey::V6(key) => self.vips6.remove(&key),
        };
        gone(result).map_err(|source| XdpError::map("vips", source))
    }

    /// Says whether fragments to `address` are dropped.
    pub(super) fn set_front(&mut self, address: IpAddr, is_front: bool) -> Result<(), XdpError> {
        let whole = octets(address);
        let result = match (address, is_front) {
            (IpAddr::V4(_), true) => self.fronts4.insert(octets4(whole), 1, 0),
            (IpAddr::V6(_), true) => self.fronts6.insert(whole, 1, 0),
            (IpAddr::V4(_), false) => gone(self.fronts4.remove(&octets4(whole))),
            (IpAddr::V6(_), false) => gone(self.fronts6.remove(&whole)),
        };
        result.map_err(|source| XdpError::map("fronts", source))
    }

    pub(super) fn set_real(&mut self, id: u32, real: Real) -> Result<(), XdpError> {
        self.reals.set(id, real, 0).map_err(|source| XdpError::map("reals", source))
    }

    pub(super) fn real(&self, id: u32) -> Result<Real, XdpError> {
        self.reals.get(&id, 0).map_err(|source| XdpError::map("reals", source))
    }

    pub(super) fn set_ring(&mut self, row: u32, ring: &Ring) -> Result<(), XdpError> {
        self.rings.set(row, ring, 0).map_err(|source| XdpError::map("rings", source))
    }

    pub(super) fn settings(&self) -> Result<Settings, XdpError> {
        self.settings.get(&0, 0).map_err(|source| XdpError::map("settings", source))
    }

    pub(super) fn set_settings(&mut self, settings: Settings) -> Result<(), XdpError> {
        self.settings.set(0, settings, 0).map_err(|source| XdpError::map("settings", source))
    }

    /// Says which CPU the shard of that row has, and makes the queue to it.
    pub(super) fn set_shard_cpu(&mut self, row: u32, cpu: u32) -> Result<(), XdpError> {
        self.cpus.set(cpu, CPU_QUEUE, None, 0).map_err(|error| match error {
            XdpMapError::MapError(source) => XdpError::map("cpus", source),
            other => XdpError::system("cpus")(std::io::Error::other(other)),
        })?;
        self.shard_cpus.set(row, cpu, 0).map_err(|source| XdpError::map("shard_cpus", source))
    }

    /// Exits and events of all CPUs together.
    pub(super) fn counts(&self) -> Result<Counts, XdpError> {
        let each = self.counts.get(&0, 0).map_err(|source| XdpError::map("counts", source))?;
        let mut sum = Counts::default();
        for one in each.iter() {
            for exit in 0..EXITS.len() {
                sum.exits[exit] += one.exits[exit];
            }
            for event in 0..EVENTS.len() {
                sum.events[event] += one.events[event];
            }
        }
        Ok(sum)
    }

    pub(super) fn vip_stats(&self, index: u32) -> Result<Stats, XdpError> {
        sum(&self.vip_stats, index).map_err(|source| XdpError::map("vip_stats", source))
    }

    pub(super) fn real_stats(&self, id: u32) -> Result<Stats, XdpError> {
        sum(&self.real_stats, id).map_err(|source| XdpError::map("real_stats", source))
    }

    /// Begins a row of statistics anew, for a new owner.
    pub(super) fn clear_vip_stats(&mut self, index: u32) -> Result<(), XdpError> {
        clear(&mut self.vip_stats, index).map_err(|source| XdpError::map("vip_stats", source))
    }

    /// Begins a row of statistics anew, for a new owner.
    pub(super) fn clear_real_stats(&mut self, id: u32) -> Result<(), XdpError> {
        clear(&mut self.real_stats, id).map_err(|source| XdpError::map("real_stats", source))
    }
}

/// Where clients of a VIP go: address, port and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VipAt {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: u8,
}

enum VipKey {
    V4(VipKey4),
    V6(VipKey6),
}

impl VipAt {
    fn key(self) -> VipKey {
        let (port, protocol) = (self.port.to_be_bytes(), self.protocol);
        match self.address {
            IpAddr::V4(v4) => VipKey::V4(VipKey4 { address: v4.octets(), port, protocol, zero: 0 }),
            IpAddr::V6(v6) => VipKey::V6(VipKey6 { address: v6.octets(), port, protocol, zero: 0 }),
        }
    }
}

fn take<T>(object: &mut Ebpf, name: &'static str) -> Result<T, XdpError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = object.take_map(name).ok_or(XdpError::NoMap(name))?;
    T::try_from(map).map_err(|source| XdpError::map(name, source))
}

/// A key that is gone already is what was asked for.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}

fn sum(stats: &PerCpuArray<MapData, Stats>, row: u32) -> Result<Stats, MapError> {
    let mut sum = Stats::default();
    for one in stats.get(&row, 0)?.iter() {
        sum.packets += one.packets;
        sum.bytes += one.bytes;
        sum.flows += one.flows;
    }
    Ok(sum)
}

fn clear(stats: &mut PerCpuArray<MapData, Stats>, row: u32) -> Result<(), MapError> {
    let empty = vec![Stats::default(); stats.get(&row, 0)?.len()];
    let empty = PerCpuValues::try_from(empty).map_err(MapError::IoError)?;
    stats.set(row, empty, 0)
}

/// Packets that wait for a CPU at most, about a millisecond's worth; further ones are dropped.
const CPU_QUEUE: u32 = 2048;
