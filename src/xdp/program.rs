//! Loading the balancer and putting it on an interface.
//!
//! ```text
//!   object ─▶ load: maps made, or adopted where pinned ─▶ attach: native │ generic ─▶ Attached
//!                                                              │ Crash::Detach: link held by this process
//!                                                              └ Crash::Keep: link pinned, outlives it
//! ```
//!
//! A link that is pinned already belongs to an earlier process: its program is replaced by this one in
//! one step, between two packets, and the maps, with all flows, stay. Loading and attaching take
//! CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; nothing afterwards does.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::{
        ProgramError, ProgramFd, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
};

use super::{
    error::{XdpError, chain},
    layout::{LAYOUT_VERSION, Settings},
    object::BALANCER,
    sys::{self, Capability, Trial},
    tables::Tables,
};

/// Which way of running the program is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// In the driver; not starting is better than anything else.
    Native,
    /// In the stack, for every driver, at a fraction of the speed.
    Generic,
    /// In the driver where it can, else in the stack.
    #[default]
    Auto,
}

/// Which way the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effective {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// Where an earlier process put it.
    Adopted,
}

impl Effective {
    /// The word for `status` and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Adopted => "adopted",
        }
    }
}

/// Bounds of the tables, set when the maps are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// IPv4 flows; IPv6 has a quarter, NAT a quarter of each. 88 bytes each, all allocated at start.
    pub flows: u32,
}

/// The loaded program; dropping it detaches, unless its link is pinned.
pub(super) struct Program {
    object: Ebpf,
    link: Option<XdpLinkId>,
    /// Where link and maps are pinned.
    pins: Option<PathBuf>,
}

impl Program {
    /// Loads the program and makes its maps; with `pins`, a folder on a bpffs, maps that are there
    /// are adopted and others pinned there.
    ///
    /// # Errors
    /// What the kernel refuses, or pinned maps of another layout.
    pub(super) fn load(sizes: Sizes, pins: Option<&Path>) -> Result<(Self, Tables), XdpError> {
        check_capabilities()?;
        let sized = sized(sizes);
        let mut loader = EbpfLoader::new();
        for (name, rows) in sized {
            loader.map_max_entries(name, rows);
        }
        if let Some(folder) = pins {
            make_folder(folder)?;
            check_version(folder)?;
            for name in PINNED {
                loader.map_pin_path(name, folder.join(name));
            }
        }
        let mut object = loader.load(BALANCER)?;
        balance(&mut object)?.load()?;
        let tables = Tables::take(&mut object)?;
        Ok((Self { object, link: None, pins: pins.map(Path::to_owned) }, tables))
    }

    /// Puts the program on `interface`. The reason is why `Mode::Auto` took the slower way.
    ///
    /// # Errors
    /// [`XdpError::Attach`] when it can't be had in this mode.
    pub(super) fn attach(
        &mut self,
        interface: &str,
        mode: Mode,
    ) -> Result<(Effective, Option<String>), XdpError> {
        if let Some(path) = self.link_pin().filter(|path| path.exists()) {
            self.replace(&path)?;
            return Ok((Effective::Adopted, None));
        }
        let (effective, reason) = match mode {
            Mode::Native => (self.try_mode(interface, Effective::Native)?, None),
            Mode::Generic => (self.try_mode(interface, Effective::Generic)?, None),
            Mode::Auto => match self.try_mode(interface, Effective::Native) {
                Ok(effective) => (effective, None),
                Err(error @ XdpError::Attach { .. }) => {
                    (self.try_mode(interface, Effective::Generic)?, Some(error.to_string()))
                }
                Err(error) => return Err(error),
            },
        };
        self.pin_link()?;
        Ok((effective, reason))
    }

    fn try_mode(&mut self, interface: &str, mode: Effective) -> Result<Effective, XdpError> {
        let flag = if mode == Effective::Generic { XdpMode::Skb } else { XdpMode::Driver };
        let program = balance(&mut self.object)?;
        let id = program.attach(interface, flag).map_err(|error| XdpError::Attach {
            interface: interface.to_owned(),
            mode: mode.name(),
            reason: reason(&error),
        })?;
        self.link = Some(id);
        Ok(mode)
    }

    /// Takes over the link that an earlier process pinned: its program becomes this one.
    fn replace(&mut self, path: &Path) -> Result<(), XdpError> {
        let wrong = |reason: String| XdpError::Pin { path: path.to_owned(), reason };
        let pinned = PinnedLink::from_pin(path).map_err(|error| wrong(chain(&error)))?;
        let link = XdpLink::try_from(FdLink::from(pinned))
            .map_err(|_| wrong("isn't a link of an XDP program".to_owned()))?;
        let id = balance(&mut self.object)?
            .attach_to_link(link)
            .map_err(|error| wrong(format!("cannot replace the program: {}", reason(&error))))?;
        self.link = Some(id);
        Ok(())
    }

    fn pin_link(&mut self) -> Result<(), XdpError> {
        let (Some(path), Some(id)) = (self.link_pin(), self.link.take()) else { return Ok(()) };
        let wrong = |reason: String| XdpError::Pin { path: path.clone(), reason };
        let program = balance(&mut self.object)?;
        let link = program.take_link(id)?;
        let link = FdLink::try_from(link)
            .map_err(|_| wrong("this kernel has no links to pin (Linux 5.9)".to_owned()))?;
        let pinned = link.pin(&path).map_err(|error| wrong(chain(&error)))?;
        // Dropping the link's descriptor detaches nothing: the pin holds it.
        drop(pinned);
        Ok(())
    }

    fn link_pin(&self) -> Option<PathBuf> {
        self.pins.as_ref().map(|folder| folder.join(LINK))
    }

    /// The program's descriptor, to try it out.
    pub(super) fn descriptor(&self) -> Result<ProgramDescriptor, XdpError> {
        let program = self.object.program("balance").ok_or(XdpError::NoProgram("balance"))?;
        Ok(ProgramDescriptor(program.fd()?.try_clone().map_err(XdpError::system("dup"))?))
    }
}

/// A loaded program that can be tried out.
pub struct ProgramDescriptor(ProgramFd);

impl ProgramDescriptor {
    /// Runs the program `repeat` times on `packet`; see [`sys::try_out`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_out(&self, packet: &[u8], repeat: u32) -> io::Result<Trial> {
        sys::try_out(self.as_fd(), packet, repeat)
    }
}

impl ProgramDescriptor {
    /// As aya has it, for tables of programs.
    #[must_use]
    pub fn program(&self) -> &ProgramFd {
        &self.0
    }
}

impl AsFd for ProgramDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Removes what [`Program::load`] and [`Program::attach`] pinned in `folder`: the program leaves its
/// interface, the maps and their flows go. False when nothing was there.
///
/// # Errors
/// A pin can't be removed.
pub fn unpin(folder: &Path) -> Result<bool, XdpError> {
    let mut was_there = false;
    // The link first: no packet meets a program whose maps are going.
    for name in [LINK].iter().chain(PINNED) {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Ok(()) => was_there = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(XdpError::Pin { path, reason: error.to_string() }),
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound && was_there => {
            Err(XdpError::Pin { path: folder.to_owned(), reason: error.to_string() })
        }
        _ => Ok(was_there),
    }
}

fn check_capabilities() -> Result<(), XdpError> {
    let needed = [
        (Capability::BPF, "CAP_BPF"),
        (Capability::NET_ADMIN, "CAP_NET_ADMIN"),
        (Capability::PERFMON, "CAP_PERFMON"),
    ];
    let missing = needed.into_iter().find(|(capability, _)| !capability.is_held());
    missing.map_or(Ok(()), |(_, name)| Err(XdpError::Capability(name)))
}

fn make_folder(folder: &Path) -> Result<(), XdpError> {
    fs::create_dir_all(folder).map_err(|error| XdpError::Pin {
        path: folder.to_owned(),
        reason: format!("{error} (crash = \"keep\" needs a bpffs: `mount -t bpf bpf /sys/fs/bpf`)"),
    })
}

/// Refuses maps that mean something else.
fn check_version(folder: &Path) -> Result<(), XdpError> {
    let path = folder.join("settings");
    if !path.exists() {
        return Ok(());
    }
    let wrong =
        |error: &dyn std::error::Error| XdpError::Pin { path: path.clone(), reason: chain(error) };
    let map = MapData::from_pin(&path).map_err(|error| wrong(&error))?;
    let other = |found| XdpError::Layout { path: folder.to_owned(), found, ours: LAYOUT_VERSION };
    let Ok(settings) = Array::<_, Settings>::try_from(Map::Array(map)) else {
        return Err(other(0));
    };
    let found = settings.get(&0, 0).map_err(|error| wrong(&error))?.version;
    // 0: made by a process that ended before it wrote anything.
    if found == LAYOUT_VERSION || found == 0 { Ok(()) } else { Err(other(found)) }
}

fn balance(object: &mut Ebpf) -> Result<&mut Xdp, XdpError> {
    let program = object.program_mut("balance").ok_or(XdpError::NoProgram("balance"))?;
    Ok(program.try_into()?)
}

/// The kernel's answer, with what usually is behind it.
fn reason(error: &ProgramError) -> String {
    let text = chain(error);
    let ProgramError::SyscallError(call) = error else { return text };
    let hint = match call.io_error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "the driver has no XDP",
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is there; `ip link show` tells its id"
        }
        Some(libc::ERANGE) => "the MTU is too large for this driver's XDP",
        Some(libc::ENOSPC) => "more queues are needed: a veth wants as many as its other end",
        Some(libc::EPERM) => "CAP_NET_ADMIN is missing",
        _ => return text,
    };
    format!("{text} ({hint})")
}

fn sized(sizes: Sizes) -> [(&'static str, u32); 4] {
    let part = |share: u32| (sizes.flows / share).max(1024);
    [("flows4", part(1)), ("flows6", part(4)), ("nat4", part(4)), ("nat6", part(16))]
}

/// What a pinned program needs to go on.
const PINNED: &[&str] = &[
    "settings",
    "vips4",
    "vips6",
    "fronts4",
    "fronts6",
    "rings",
    "reals",
    "flows4",
    "flows6",
    "nat4",
    "nat6",
    "counts",
    "vip_stats",
    "real_stats",
    "syn_rates",
    "cpus",
];
/// The pinned link's name.
const LINK: &str = "link";
