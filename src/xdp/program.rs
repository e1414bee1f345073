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
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        ProgramError, ProgramFd, Xdp, XdpMode,
        links::{FdLink, PinnedLink},
        xdp::{XdpLink, XdpLinkId},
    },
    util::nr_cpus,
};

use super::{
    error::{XdpError, chain},
    object::BALANCER,
    pins::{PINNED, Pins},
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
    /// Its number in the kernel.
    number: u32,
    /// The link while it isn't pinned.
    link: Option<XdpLinkId>,
    /// The link while it is.
    pinned: Option<FdLink>,
    /// Where link and maps are pinned.
    pins: Option<Pins>,
}

impl Program {
    /// Loads the program and makes its maps; with `pins`, a folder on a bpffs, maps that are there
    /// are adopted and others pinned there.
    ///
    /// # Errors
    /// What the kernel refuses, or pinned maps of another layout.
    pub(super) fn load(sizes: Sizes, pins: Option<&Path>) -> Result<(Self, Tables), XdpError> {
        check_capabilities()?;
        let mut loader = EbpfLoader::new();
        for (name, rows) in sized(sizes)? {
            loader.map_max_entries(name, rows);
        }
        let pins = pins.map(Pins::open).transpose()?;
        if let Some(pins) = &pins {
            for name in PINNED {
                loader.map_pin_path(name, pins.place(name));
            }
        }
        let mut object = loader.load(BALANCER)?;
        let program = balance(&mut object)?;
        program.load()?;
        let number = program.info()?.id();
        let tables = Tables::take(&mut object)?;
        Ok((Self { object, number, link: None, pinned: None, pins }, tables))
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
        let pinned = self.pins.as_ref().map(Pins::link);
        if let Some(path) = pinned.filter(|path| path.exists()) {
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
        self.pinned = Some(self.take_link(id, path)?);
        Ok(())
    }

    fn pin_link(&mut self) -> Result<(), XdpError> {
        let Some(path) = self.pins.as_ref().map(Pins::link) else { return Ok(()) };
        let Some(id) = self.link.take() else { return Ok(()) };
        let pinned = self.take_link(id, &path)?.pin(&path);
        let wrong = |reason: String| XdpError::Pin { path: path.clone(), reason };
        self.pinned = Some(pinned.map_err(|error| wrong(chain(&error)))?.into());
        Ok(())
    }

    fn take_link(&mut self, id: XdpLinkId, path: &Path) -> Result<FdLink, XdpError> {
        let link = balance(&mut self.object)?.take_link(id)?;
        FdLink::try_from(link).map_err(|_| XdpError::Pin {
            path: path.to_owned(),
            reason: "this kernel has no links to pin (Linux 5.9)".to_owned(),
        })
    }

    /// Lets another user remove the pins.
    pub(super) fn give_pins_to(&self, user: u32, group: u32) -> Result<(), XdpError> {
        self.pins.as_ref().map_or(Ok(()), |pins| pins.give_to(user, group))
    }

    /// Takes the program off its interface, pinned or not, unless a later process has put its own
    /// there in the meantime.
    pub(super) fn end(self) -> Result<(), XdpError> {
        let (Some(pins), Some(link)) = (&self.pins, &self.pinned) else { return Ok(()) };
        let info = link
            .info()
            .map_err(|error| XdpError::Pin { path: pins.link(), reason: chain(&error) })?;
        if info.program_id() == self.number {
            pins.empty()?;
        }
        Ok(())
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

fn check_capabilities() -> Result<(), XdpError> {
    let needed = [
        (Capability::BPF, "CAP_BPF"),
        (Capability::NET_ADMIN, "CAP_NET_ADMIN"),
        (Capability::PERFMON, "CAP_PERFMON"),
    ];
    let missing = needed.into_iter().find(|(capability, _)| !capability.is_held());
    missing.map_or(Ok(()), |(_, name)| Err(XdpError::Capability(name)))
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

fn sized(sizes: Sizes) -> Result<[(&'static str, u32); 5], XdpError> {
    let part = |share: u32| (sizes.flows / share).max(1024);
    // The kernel refuses more queues than it could have CPUs.
    let cpus = nr_cpus().map_err(|(_, source)| XdpError::system("CPUs")(source))?;
    Ok([
        ("flows4", part(1)),
        ("flows6", part(4)),
        ("nat4", part(4)),
        ("nat6", part(16)),
        ("cpus", u32::try_from(cpus).unwrap_or(u32::MAX)),
    ])
}
