//! Keeps the maps as the configuration and the health checks want them.
//!
//! Every change is made in an order in which each packet in between finds something whole:
//!
//! ```text
//!   reals up ─▶ idle ring written ─▶ VIP switched to it in one update ─▶ reals down, VIPs removed
//! ```
//!
//! Ids are stable: a real keeps its id (and so its flows) while it is in the configuration, a VIP its
//! row of statistics. An id that is free goes to the next newcomer with a new generation, so that flows of
//! its last owner don't follow. What is in the maps already, because an earlier process left them
//! pinned, is read first, and kept where the configuration still has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{
    error::XdpError,
    layout::{
        Action, Counts, LAYOUT_VERSION, REAL_RESOLVED, REAL_UP, REALS_MAX, RINGS_MAX, Real,
        Settings, Stats, VIP_BY_SOURCE, VIP_COOKIES, VIPS_MAX, Vip, WINDOW_SHIFT, address_like,
    },
    maglev,
    program::{Effective, Mode, Program, ProgramDescriptor, Sizes},
    service::{RealConfig, RealState, Service, is_same_family},
    tables::{Tables, VipAt},
};

/// The program with its maps.
pub struct Balancer {
    pub(super) program: Program,
    pub(super) tables: Tables,
    rows: Rows,
}

/// Who has which row of which map.
#[derive(Debug, Default)]
struct Rows {
    vips: BTreeMap<VipAt, VipRow>,
    pairs: BTreeMap<(String, Family), PairRow>,
    reals: BTreeMap<(u16, SocketAddr), RealRow>,
    /// Pairs and reals that the maps had before any service was told, by VIP.
    adopted: BTreeMap<VipAt, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone)]
struct VipRow {
    index: u32,
    service: String,
    is_front: bool,
}

/// The two rings of a service and family.
#[derive(Debug, Clone, Default)]
struct PairRow {
    pair: u16,
    /// Which of the two is in use.
    side: u32,
    /// What it was filled from; empty for an empty or unknown ring.
    filling: Vec<maglev::Share>,
}

#[derive(Debug, Clone, Copy)]
struct RealRow {
    id: u32,
    real: Real,
}

/// Everything that was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Exits and events, all CPUs together.
    pub counts: Counts,
    /// VIPs by service.
    pub vips: Vec<(String, SocketAddr, Stats)>,
    /// Reals by service.
    pub reals: Vec<(String, SocketAddr, Stats)>,
}

impl Balancer {
    /// Loads the program; with `pins`, adopts what is pinned there and pins what isn't.
    ///
    /// # Errors
    /// A missing capability, what the kernel refuses, or pinned maps of another layout.
    pub fn load(sizes: Sizes, pins: Option<&Path>) -> Result<Self, XdpError> {
        let (program, tables) = Program::load(sizes, pins)?;
        let mut rows = Rows::default();
        if tables.settings()?.version == LAYOUT_VERSION {
            rows.adopt(&tables)?;
        }
        Ok(Self { program, tables, rows })
    }

    /// Puts the program on `interface`; the reason is why `Mode::Auto` took the slower way.
    ///
    /// # Errors
    /// The program can't be had in this mode.
    pub fn attach(
        &mut self,
        interface: &str,
        mode: Mode,
    ) -> Result<(Effective, Option<String>), XdpError> {
        self.program.attach(interface, mode)
    }

    /// Lets another user remove what is pinned.
    ///
    /// # Errors
    /// The kernel's.
    pub fn give_pins_to(&self, user: u32, group: u32) -> Result<(), XdpError> {
        self.program.give_pins_to(user, group)
    }

    /// Ends it, pinned or not, unless a later process has replaced the program.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn end(self) -> Result<(), XdpError> {
        self.program.end()
    }

    /// The settings that the program reads.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn settings(&self) -> Result<Settings, XdpError> {
        self.tables.settings()
    }

    /// Changes settings; the version is ours whatever they say.
    ///
    /// # Errors
    /// The map can't be written.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), XdpError> {
        self.tables.set_settings(Settings { version: LAYOUT_VERSION, ..settings })
    }

    /// Spreads packets of [`Action::Local`] over these CPUs, each flow to one; over none, leaves them
    /// where they come in.
    ///
    /// # Errors
    /// A CPU that isn't there, or a map that can't be written.
    pub fn steer(&mut self, cpus: &[usize]) -> Result<(), XdpError> {
        for (row, cpu) in (0..).zip(cpus) {
            self.tables.set_shard_cpu(row, u32::try_from(*cpu).unwrap_or(u32::MAX))?;
        }
        let steer_cpus = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
        self.set_settings(Settings { steer_cpus, ..self.settings()? })
    }

    /// Writes another layout version than ours into the maps: for tests of what a different ringway
    /// would find.
    ///
    /// # Errors
    /// The map can't be written.
    #[doc(hidden)]
    pub fn pretend_version(&mut self, version: u32) -> Result<(), XdpError> {
        let settings = self.tables.settings()?;
        self.tables.set_settings(Settings { version, ..settings })
    }

    /// The program, to try it out.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn descriptor(&self) -> Result<ProgramDescriptor, XdpError> {
        self.program.descriptor()
    }

    /// Makes the maps say what `services` say. Nothing changes when there are too many of anything.
    ///
    /// # Errors
    /// [`XdpError::Full`], or a map that can't be written.
    pub fn apply(&mut self, services: &[Service]) -> Result<(), XdpError> {
        check_sizes(services)?;
        let mut wanted = BTreeSet::new();
        let mut wanted_pairs = BTreeSet::new();
        let mut wanted_reals = BTreeSet::new();
        for service in services {
            for family in [Family::V4, Family::V6] {
                let vips = service.vips.iter().filter(|vip| Family::of(vip.ip()) == family);
                let vips: Vec<VipAt> = vips.map(|vip| at(*vip, service)).collect();
                if vips.is_empty() {
                    continue;
                }
                let pair = self.pair(&service.name, family, &vips)?;
                wanted_pairs.insert((service.name.clone(), family));
                wanted_reals.extend(self.set_reals(service, pair, family)?);
                let ring = self.fill(service, pair, family)?;
                for vip in vips {
                    self.set_vip(vip, service, ring)?;
                    wanted.insert(vip);
                }
            }
        }
        self.remove_others(&wanted, &wanted_pairs, &wanted_reals)
    }

    /// Tells the link address behind `address`, or that it is unknown now.
    ///
    /// # Errors
    /// The map can't be written.
    pub fn set_neighbour(&mut self, address: IpAddr, mac: Option<[u8; 6]>) -> Result<(), XdpError> {
        for ((_, at), row) in &mut self.rows.reals {
            let old = row.real;
            if at.ip() != address {
                continue;
            }
            row.real.flags &= !REAL_RESOLVED;
            if let Some(mac) = mac {
                row.real.flags |= REAL_RESOLVED;
                row.real.mac = mac;
            }
            if row.real != old {
                self.tables.set_real(row.id, row.real)?;
            }
        }
        Ok(())
    }

    /// The addresses of all reals, once each.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.rows.reals.keys().map(|(_, address)| address.ip()).collect()
    }

    /// Everything that was counted since the maps were made.
    ///
    /// # Errors
    /// A map can't be read.
    pub fn report(&self) -> Result<Report, XdpError> {
        let mut report = Report { counts: self.tables.counts()?, ..Report::default() };
        for (vip, row) in &self.rows.vips {
            let address = SocketAddr::new(vip.address, vip.port);
            report.vips.push((row.service.clone(), address, self.tables.vip_stats(row.index)?));
        }
        for ((pair, address), row) in &self.rows.reals {
            let mut owners = self.rows.pairs.iter().filter(|(_, owner)| owner.pair == *pair);
            let Some(((service, _), _)) = owners.next() else { continue };
            report.reals.push((service.clone(), *address, self.tables.real_stats(row.id)?));
        }
        Ok(report)
    }

    /// The pair of rings of a service: its own, that of the maps' last owner, or a free one.
    fn pair(&mut self, service: &str, family: Family, vips: &[VipAt]) -> Result<u16, XdpError> {
        let key = (service.to_owned(), family);
        if let Some(row) = self.rows.pairs.get(&key) {
            return Ok(row.pair);
        }
        let is_taken = |rows: &Rows, pair: u16| rows.pairs.values().any(|row| row.pair == pair);
        let mut adopted = vips.iter().filter_map(|vip| self.rows.adopted.get(vip).copied());
        let adopted = adopted.find(|ring| !is_taken(&self.rows, pair_of(*ring)));
        let row = match adopted {
            Some(ring) => PairRow { pair: pair_of(ring), side: ring % 2, filling: Vec::new() },
            None => {
                let mut pairs = 0..pair_of(RINGS_MAX);
                let is_kept = |pair| self.rows.adopted.values().any(|ring| pair_of(*ring) == pair);
                let free = pairs.find(|pair| !is_taken(&self.rows, *pair) && !is_kept(*pair));
                let pair = free.ok_or(XdpError::Full { what: "services", max: RINGS_MAX / 2 })?;
                PairRow { pair, ..PairRow::default() }
            }
        };
        let pair = row.pair;
        self.rows.pairs.insert(key, row);
        Ok(pair)
    }

    /// Writes the reals of a service; those that are up now, before any ring names them.
    fn set_reals(
        &mut self,
        service: &Service,
        pair: u16,
        family: Family,
    ) -> Result<Vec<(u16, SocketAddr)>, XdpError> {
        let mut keys = Vec::new();
        for config in of_family(&service.reals, family) {
            let key = (pair, config.address);
            keys.push(key);
            let row = match self.rows.reals.get(&key) {
                Some(row) => *row,
                None => self.new_real(pair, config.address)?,
            };
            let mut real = row.real;
            real.flags &= !REAL_UP;
            if config.state != RealState::Down {
                real.flags |= REAL_UP;
            }
            if real != row.real || !self.rows.reals.contains_key(&key) {
                self.tables.set_real(row.id, real)?;
            }
            self.rows.reals.insert(key, RealRow { id: row.id, real });
        }
        Ok(keys)
    }

    fn new_real(&mut self, pair: u16, address: SocketAddr) -> Result<RealRow, XdpError> {
        let is_free = |id: &u32| !self.rows.reals.values().any(|row| row.id == *id);
        let id = (1..REALS_MAX).find(is_free);
        let id = id.ok_or(XdpError::Full { what: "reals", max: REALS_MAX - 1 })?;
        let generation = self.tables.real(id)?.generation.wrapping_add(1);
        self.tables.clear_real_stats(id)?;
        // Neighbours know one link address an address: another service may have it already.
        let known =
            self.rows.reals.iter().find(|((_, at), row)| {
                at.ip() == address.ip() && row.real.flags & REAL_RESOLVED != 0
            });
        let mut real = Real { pair, ..Real::at(address, generation) };
        if let Some((_, row)) = known {
            real.flags |= REAL_RESOLVED;
            real.mac = row.real.mac;
        }
        Ok(RealRow { id, real })
    }

    /// Fills the idle ring if the reals in it change, and says which ring is to be used.
    fn fill(&mut self, service: &Service, pair: u16, family: Family) -> Result<u32, XdpError> {
        let up = of_family(&service.reals, family).filter(|real| real.state == RealState::Up);
        let shares: Vec<maglev::Share> = up
            .filter_map(|real| {
                let row = self.rows.reals.get(&(pair, real.address))?;
                let id = u16::try_from(row.id).ok()?;
                Some(maglev::Share { id, address: real.address, weight: real.weight })
            })
            .collect();
        let key = (service.name.clone(), family);
        let Some(row) = self.rows.pairs.get_mut(&key) else { return Ok(0) };
        let base = u32::from(row.pair) * 2;
        if row.filling != shares || shares.is_empty() {
            let idle = 1 - row.side;
            self.tables.set_ring(base + idle, &maglev::ring(&shares))?;
            row.side = idle;
            row.filling = shares;
        }
        Ok(base + row.side)
    }

    fn set_vip(&mut self, at: VipAt, service: &Service, ring: u32) -> Result<(), XdpError> {
        let index = match self.rows.vips.get(&at) {
            Some(row) => row.index,
            None => {
                let is_free = |index: &u32| !self.rows.vips.values().any(|row| row.index == *index);
                let index = (0..VIPS_MAX).find(is_free);
                let index = index.ok_or(XdpError::Full { what: "VIPs", max: VIPS_MAX })?;
                self.tables.clear_vip_stats(index)?;
                index
            }
        };
        let is_front = service.action != Action::Local;
        let by_source = if service.by_source { VIP_BY_SOURCE } else { 0 };
        let cookies = if is_front { 0 } else { VIP_COOKIES };
        let vip = Vip {
            index,
            ring,
            syn_max: service.syn_rate.map_or(0, per_window),
            action: service.action as u8,
            flags: by_source | cookies,
            zero: [0; 2],
        };
        self.tables.set_vip(at, vip)?;
        if is_front {
            self.tables.set_front(at.address, true)?;
        }
        self.rows.vips.insert(at, VipRow { index, service: service.name.clone(), is_front });
        Ok(())
    }

    fn remove_others(
        &mut self,
        vips: &BTreeSet<VipAt>,
        pairs: &BTreeSet<(String, Family)>,
        reals: &BTreeSet<(u16, SocketAddr)>,
    ) -> Result<(), XdpError> {
        let gone: Vec<VipAt> =
            self.rows.vips.keys().filter(|at| !vips.contains(at)).copied().collect();
        for at in gone {
            self.tables.remove_vip(at)?;
            self.rows.vips.remove(&at);
        }
        let fronts: BTreeSet<IpAddr> = self
            .rows
            .vips
            .iter()
            .filter(|(_, row)| row.is_front)
            .map(|(at, _)| at.address)
            .collect();
        for address in self.fronts()? {
            if !fronts.contains(&address) {
                self.tables.set_front(address, false)?;
            }
        }
        let gone: Vec<_> =
            self.rows.reals.keys().filter(|key| !reals.contains(key)).copied().collect();
        for key in gone {
            if let Some(row) = self.rows.reals.remove(&key) {
                self.tables.set_real(row.id, Real { flags: 0, ..row.real })?;
            }
        }
        self.rows.pairs.retain(|key, _| pairs.contains(key));
        self.rows.adopted.clear();
        Ok(())
    }

    /// The addresses whose fragments are dropped now.
    fn fronts(&self) -> Result<Vec<IpAddr>, XdpError> {
        let v4 = self.tables.fronts4.keys().map(|key| key.map(IpAddr::from));
        let v6 = self.tables.fronts6.keys().map(|key| key.map(IpAddr::from));
        let all: Result<Vec<_>, _> = v4.chain(v6).collect();
        all.map_err(|source| XdpError::map("fronts", source))
    }
}

impl Rows {
    /// Reads what an earlier process left in the maps.
    fn adopt(&mut self, tables: &Tables) -> Result<(), XdpError> {
        let wrong = |source| XdpError::map("vips", source);
        let mut found = Vec::new();
        for entry in tables.vips4.iter() {
            let (key, vip) = entry.map_err(wrong)?;
            found.push((IpAddr::from(key.address), key.port, key.protocol, vip));
        }
        for entry in tables.vips6.iter() {
            let (key, vip) = entry.map_err(wrong)?;
            found.push((IpAddr::from(key.address), key.port, key.protocol, vip));
        }
        let mut families = BTreeMap::new();
        for (address, port, protocol, vip) in found {
            let at = VipAt { address, port: u16::from_be_bytes(port), protocol };
            let is_front = vip.action != Action::Local as u8;
            self.vips.insert(at, VipRow { index: vip.index, service: String::new(), is_front });
            self.adopted.insert(at, vip.ring);
            families.insert(pair_of(vip.ring), address);
        }
        for id in 1..REALS_MAX {
            let real = tables.real(id)?;
            let Some(like) = families.get(&real.pair).filter(|_| real.flags & REAL_UP != 0) else {
                continue;
            };
            let ip = address_like(real.address, *like);
            let address = SocketAddr::new(ip, u16::from_be_bytes(real.port));
            self.reals.insert((real.pair, address), RealRow { id, real });
        }
        Ok(())
    }
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

fn at(vip: SocketAddr, service: &Service) -> VipAt {
    VipAt { address: vip.ip(), port: vip.port(), protocol: service.transport.number() }
}

fn of_family(reals: &[RealConfig], family: Family) -> impl Iterator<Item = &RealConfig> {
    reals.iter().filter(move |real| Family::of(real.address.ip()) == family)
}

/// The pair that a row of `rings` belongs to.
fn pair_of(ring: u32) -> u16 {
    u16::try_from(ring / 2).unwrap_or(u16::MAX)
}

/// A rate a second, as a count in a window; at least 1.
fn per_window(rate: u32) -> u32 {
    let count = (u64::from(rate) << WINDOW_SHIFT) / 1_000_000_000;
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

fn check_sizes(services: &[Service]) -> Result<(), XdpError> {
    let vips: usize = services.iter().map(|service| service.vips.len()).sum();
    if vips > VIPS_MAX as usize {
        return Err(XdpError::Full { what: "VIPs", max: VIPS_MAX });
    }
    let serves = |service: &Service, real: &RealConfig| {
        service.vips.iter().any(|vip| is_same_family(vip.ip(), real.address.ip()))
    };
    let reals: usize = services
        .iter()
        .map(|service| service.reals.iter().filter(|real| serves(service, real)).count())
        .sum();
    if reals >= REALS_MAX as usize {
        return Err(XdpError::Full { what: "reals", max: REALS_MAX - 1 });
    }
    Ok(())
}
