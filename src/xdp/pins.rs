//! The folder on a bpffs where link and maps outlive their process.
//!
//! ```text
//!   open (privileged): made, held open ─▶ given to the user to be ─▶ end: emptied through the descriptor
//! ```
//!
//! Afterwards the process may be another user without any capability, and the way to the folder
//! closed to it (systemd mounts /sys/fs/bpf for root alone): so what has to be removed is removed
//! through the descriptor. The folder itself stays then, empty.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::fchown},
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData};

use super::{
    error::{XdpError, chain},
    layout::{LAYOUT_VERSION, Settings},
    sys,
};

/// An open folder of pins.
#[derive(Debug)]
pub(super) struct Pins {
    path: PathBuf,
    folder: File,
}

impl Pins {
    /// Opens the folder, made where it is missing; refuses maps in it that mean something else.
    pub(super) fn open(path: &Path) -> Result<Self, XdpError> {
        let wrong = |error: io::Error| failed(path, &error);
        // Nothing is made on another file system.
        let there = path.ancestors().find(|above| above.exists()).unwrap_or(path);
        check_bpffs(&File::open(there).map_err(wrong)?, there)?;
        fs::create_dir_all(path).map_err(wrong)?;
        let folder = File::open(path).map_err(wrong)?;
        let pins = Self { path: path.to_owned(), folder };
        pins.check_version()?;
        Ok(pins)
    }

    /// Where the thing of that name is pinned.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn link(&self) -> PathBuf {
        self.place(LINK)
    }

    /// Lets another user empty the folder.
    pub(super) fn give_to(&self, user: u32, group: u32) -> Result<(), XdpError> {
        fchown(&self.folder, Some(user), Some(group)).map_err(|error| self.wrong(&error))
    }

    /// Removes every pin: the program leaves its interface, the maps and their flows go. False when
    /// nothing was there.
    pub(super) fn empty(&self) -> Result<bool, XdpError> {
        let mut was_there = false;
        // The link first: no packet meets a program whose maps are going.
        for name in [LINK].iter().chain(PINNED) {
            let name = CString::new(*name).map_err(|error| self.wrong(&error))?;
            match sys::remove_in(self.folder.as_fd(), &name) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.wrong(&error)),
            }
        }
        Ok(was_there)
    }

    /// Refuses maps that mean something else.
    fn check_version(&self) -> Result<(), XdpError> {
        let path = self.place("settings");
        if !path.exists() {
            return Ok(());
        }
        let map = MapData::from_pin(&path).map_err(|error| self.wrong(&error))?;
        let other =
            |found| XdpError::Layout { path: self.path.clone(), found, ours: LAYOUT_VERSION };
        let Ok(settings) = Array::<_, Settings>::try_from(Map::Array(map)) else {
            return Err(other(0));
        };
        let found = settings.get(&0, 0).map_err(|error| self.wrong(&error))?.version;
        // 0: made by a process that ended before it wrote anything.
        if found == LAYOUT_VERSION || found == 0 { Ok(()) } else { Err(other(found)) }
    }

    fn wrong(&self, error: &dyn std::error::Error) -> XdpError {
        XdpError::Pin { path: self.path.clone(), reason: chain(error) }
    }
}

/// Removes what a process pinned in `folder`, and the folder: the program leaves its interface, the
/// maps and their flows go. False when nothing was there.
///
/// # Errors
/// A pin can't be removed.
pub fn unpin(folder: &Path) -> Result<bool, XdpError> {
    let pins = match File::open(folder) {
        Ok(opened) => Pins { path: folder.to_owned(), folder: opened },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(folder, &error)),
    };
    check_bpffs(&pins.folder, folder)?;
    let was_there = pins.empty()?;
    fs::remove_dir(folder).map_err(|error| failed(folder, &error))?;
    Ok(was_there)
}

/// Names as plain as ours may be anybody's elsewhere.
fn check_bpffs(file: &File, path: &Path) -> Result<(), XdpError> {
    match sys::is_on_bpffs(file.as_fd()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(XdpError::Pin {
            path: path.to_owned(),
            reason: "isn't on a bpffs; `mount -t bpf bpf /sys/fs/bpf` makes one".to_owned(),
        }),
        Err(error) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> XdpError {
    XdpError::Pin { path: path.to_owned(), reason: error.to_string() }
}

/// What a pinned program needs to go on.
pub(super) const PINNED: &[&str] = &[
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
    "shard_cpus",
    "cpus",
];
/// The pinned link's name.
const LINK: &str = "link";
