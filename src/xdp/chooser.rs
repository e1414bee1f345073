//! Which of the sockets that share an address gets a connection, by an eBPF program on the group:
//! for shards that come and go.
//!
//! `runtime::choose_by_cpu` does the same with less, but numbers sockets by the order of their bind, so
//! that one that closes moves another. Here each shard has a row of its own: while it is empty, the
//! kernel's hash spreads its connections over the others.

use std::os::fd::{AsFd, AsRawFd};

use aya::{
    Ebpf,
    maps::{Array, MapData, ReusePortSockArray},
    programs::SkReuseport,
};

use super::{error::XdpError, object::REUSEPORT};

/// The program with its rows. Loading takes capabilities; changing rows doesn't.
pub struct Chooser {
    object: Ebpf,
    shard_of: Array<MapData, u32>,
    shards: ReusePortSockArray<MapData>,
}

impl Chooser {
    /// Loads the program. CPU `cpus[n]` belongs to shard n, every other CPU to its number modulo
    /// their count.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn load(cpus: &[usize]) -> Result<Self, XdpError> {
        let mut object = Ebpf::load(REUSEPORT)?;
        choose(&mut object)?.load()?;
        let map = object.take_map("shard_of").ok_or(XdpError::NoMap("shard_of"))?;
        let mut shard_of: Array<MapData, u32> =
            map.try_into().map_err(|source| XdpError::map("shard_of", source))?;
        let count = u32::try_from(cpus.len().max(1)).unwrap_or(u32::MAX);
        for cpu in 0..shard_of.len() {
            let own = cpus.iter().position(|own| *own == cpu as usize);
            let shard = own.and_then(|shard| u32::try_from(shard).ok()).unwrap_or(cpu % count);
            shard_of.set(cpu, shard, 0).map_err(|source| XdpError::map("shard_of", source))?;
        }
        let map = object.take_map("shards").ok_or(XdpError::NoMap("shards"))?;
        let shards = map.try_into().map_err(|source| XdpError::map("shards", source))?;
        Ok(Self { object, shard_of, shards })
    }

    /// Puts the program on the group that `socket` belongs to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&mut self, socket: &impl AsFd) -> Result<(), XdpError> {
        choose(&mut self.object)?.attach(socket.as_fd())?;
        Ok(())
    }

    /// Gives the connections of `shard`'s CPU to `socket`, which is in the group and listens. A
    /// socket that closes leaves its row by itself.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for a socket that isn't in a group.
    pub fn set(&mut self, shard: u32, socket: &impl AsRawFd) -> Result<(), XdpError> {
        self.shards.set(shard, socket, 0).map_err(|source| XdpError::map("shards", source))
    }

    /// How many CPUs it knows.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.shard_of.len()
    }
}

fn choose(object: &mut Ebpf) -> Result<&mut SkReuseport, XdpError> {
    let program = object.program_mut("choose").ok_or(XdpError::NoProgram("choose"))?;
    Ok(program.try_into()?)
}
