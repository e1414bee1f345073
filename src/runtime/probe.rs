//! What this kernel lets us have: asked at start, never believed from a version number alone.
//!
//! `build` sets a ring up with all flags and drops them one by one when the kernel refuses;
//! `probe` tells the same story as a report, for `ringway doctor`.

#![expect(unsafe_code, reason = "uname(2)")]

use std::{fmt, fs, io};

use io_uring::{IoUring, Probe, opcode};

use crate::runtime::{ring, sys};

/// A kernel's version, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 6 of 6.12.
    pub major: u32,
    /// The 12 of 6.12.
    pub minor: u32,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The first kernel with DEFER_TASKRUN.
pub const KERNEL_MIN: KernelVersion = KernelVersion { major: 6, minor: 1 };
/// From here on everything that was measured to help is there.
pub const KERNEL_RECOMMENDED: KernelVersion = KernelVersion { major: 6, minor: 12 };

/// Why there is no ring, in words that say what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("io_uring needs Linux {KERNEL_MIN}, this is {0}")]
    Kernel(KernelVersion),
    #[error("this kernel has no io_uring (built without CONFIG_IO_URING)")]
    Missing,
    #[error(
        "kernel.io_uring_disabled is 2: io_uring is switched off for everybody; set it to 0 with \
         `sysctl kernel.io_uring_disabled=0`"
    )]
    Disabled,
    #[error(
        "kernel.io_uring_disabled is 1: io_uring is for privileged processes and the group \
         kernel.io_uring_group; add this user to it, or `sysctl kernel.io_uring_disabled=0`"
    )]
    Restricted,
    #[error(
        "io_uring_setup is forbidden by seccomp or a security module (containers do this): run \
         with a profile that allows io_uring_setup, io_uring_enter and io_uring_register, such as \
         `--security-opt seccomp=unconfined`"
    )]
    Forbidden,
    #[error("io_uring_setup failed for want of memory: raise RLIMIT_MEMLOCK or lower ring_entries")]
    Memory,
    #[error("io_uring_setup failed: {0}")]
    Setup(io::Error),
    #[error("io_uring has no operation {0} here")]
    NoOperation(&'static str),
    #[error("io_uring has no provided buffer rings here: {0}")]
    NoBufferRing(io::Error),
}

/// What a ring had to do without.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setup {
    pub(crate) dropped: Vec<&'static str>,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped.is_empty() {
            return f.write_str("io_uring: all features");
        }
        write!(f, "io_uring: without {}", self.dropped.join(", "))
    }
}

/// This kernel's version; 0.0 if it can't be read.
pub(crate) fn kernel_version() -> KernelVersion {
    let mut name = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is writable for a whole `utsname`.
    let found = unsafe { libc::uname(name.as_mut_ptr()) };
    // SAFETY: all zero is a valid `utsname`, and uname only writes text into it.
    let name = unsafe { name.assume_init() };
    let release: String = name
        .release
        .iter()
        .take_while(|c| found == 0 && **c != 0)
        .map(|c| char::from(c.to_ne_bytes()[0]))
        .collect();
    parse_version(&release).unwrap_or(KernelVersion { major: 0, minor: 0 })
}

fn parse_version(release: &str) -> Option<KernelVersion> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some(KernelVersion { major, minor })
}

pub(crate) fn check_kernel() -> Result<(), Unavailable> {
    let found = kernel_version();
    if found < KERNEL_MIN {
        return Err(Unavailable::Kernel(found));
    }
    Ok(())
}

/// The operations that the ring driver submits.
const OPERATIONS: [(u8, &str); 8] = [
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Read::CODE, "READ"),
];

pub(crate) fn check_operations(ring: &IoUring) -> Result<(), Unavailable> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Unavailable::Setup)?;
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(Unavailable::NoOperation(name)),
        None => Ok(()),
    }
}

/// The flags that may be missing, in the order in which they are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Full,
    NoSqArray,
    NoDefer,
    Plain,
}

/// Sets a ring up with as many of the wanted flags as the kernel knows.
pub(crate) fn build(entries: u32) -> Result<(IoUring, Setup), Unavailable> {
    let mut setup = Setup::default();
    for level in [Level::Full, Level::NoSqArray, Level::NoDefer, Level::Plain] {
        match level {
            Level::Full => {}
            Level::NoSqArray => setup.dropped.push("NO_SQARRAY"),
            Level::NoDefer => setup.dropped.push("DEFER_TASKRUN"),
            Level::Plain => setup.dropped.push("SUBMIT_ALL"),
        }
        match build_at(level, entries) {
            Ok(ring) => return Ok((ring, setup)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(explain(error)),
        }
    }
    Err(Unavailable::Setup(io::Error::from_raw_os_error(libc::EINVAL)))
}

fn build_at(level: Level, entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(entries.saturating_mul(8));
    match level {
        Level::Full | Level::NoSqArray => {
            builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
            if level == Level::Full {
                builder.setup_no_sqarray();
            }
        }
        Level::NoDefer => {
            builder.setup_coop_taskrun().setup_submit_all();
        }
        Level::Plain => {}
    }
    builder.build(entries)
}

fn explain(error: io::Error) -> Unavailable {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOSYS), _) => Unavailable::Missing,
        (Some(libc::EPERM | libc::EACCES), "2") => Unavailable::Disabled,
        (Some(libc::EPERM | libc::EACCES), "1") => Unavailable::Restricted,
        (Some(libc::EPERM | libc::EACCES), _) => Unavailable::Forbidden,
        (Some(libc::ENOMEM), _) => Unavailable::Memory,
        _ => Unavailable::Setup(error),
    }
}

/// What this machine offers the runtime.
#[derive(Debug, Clone)]
pub struct Report {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Whether the io_uring driver can be had; if not, why and what to do about it.
    pub io_uring: Result<RingReport, String>,
}

/// What io_uring offers here.
#[derive(Debug, Clone)]
pub struct RingReport {
    /// Flags and features that this kernel doesn't have.
    pub dropped: Vec<&'static str>,
    /// Each operation that the driver needs, and whether it is there.
    pub operations: Vec<(&'static str, bool)>,
    /// Feature bits of the ring, by name.
    pub features: Vec<(&'static str, bool)>,
    /// Whether buffers can be provided by ring.
    pub buffer_ring: bool,
}

/// Asks the kernel what the runtime could use, without starting anything. Takes about a
/// millisecond; any thread.
pub fn probe() -> Report {
    Report { kernel: kernel_version(), io_uring: probe_ring().map_err(|error| error.to_string()) }
}

fn probe_ring() -> Result<RingReport, Unavailable> {
    check_kernel()?;
    let (ring, mut setup) = build(8)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Unavailable::Setup)?;
    let operations =
        OPERATIONS.iter().map(|(code, name)| (*name, probe.is_supported(*code))).collect();
    let params = ring.params();
    let features = vec![
        ("NODROP", params.is_feature_nodrop()),
        ("SUBMIT_STABLE", params.is_feature_submit_stable()),
        ("FAST_POLL", params.is_feature_fast_poll()),
        ("EXT_ARG", params.is_feature_ext_arg()),
        ("CQE_SKIP", params.is_feature_skip_cqe_on_success()),
        ("RECVSEND_BUNDLE", params.is_feature_recvsend_bundle()),
        ("MIN_TIMEOUT", params.is_feature_min_timeout()),
        ("NO_IOWAIT", params.is_feature_no_iowait()),
    ];
    let buffer_ring = ring::supports_buffer_ring(&ring);
    check_operations(&ring)?;
    let mut submitter = ring.submitter();
    if submitter.register_ring_fd().is_err() {
        setup.dropped.push("registered ring descriptor");
    } else {
        drop(submitter.unregister_ring_fd());
    }
    Ok(RingReport { dropped: setup.dropped, operations, features, buffer_ring })
}

/// What the epoll driver needs is in every kernel that runs this; only a seccomp profile could
/// forbid it.
pub(crate) fn epoll_fd() -> io::Result<i32> {
    // SAFETY: takes no pointer.
    sys::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_release_strings() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(parse_version("6.18.44-fc-v669"), version(6, 18));
        assert_eq!(parse_version("5.15.0-91-generic"), version(5, 15));
        assert_eq!(parse_version("6.1"), version(6, 1));
        assert_eq!(parse_version("unknown"), None);
        assert!(version(6, 1) > version(5, 19));
    }

    #[test]
    fn each_reason_says_what_to_do() {
        let text = Unavailable::Kernel(KernelVersion { major: 5, minor: 15 }).to_string();
        assert_eq!(text, "io_uring needs Linux 6.1, this is 5.15");
        assert!(Unavailable::Disabled.to_string().contains("sysctl kernel.io_uring_disabled=0"));
        assert!(Unavailable::Forbidden.to_string().contains("seccomp"));
        let error = io::Error::from_raw_os_error(libc::ENOSYS);
        assert!(matches!(explain(error), Unavailable::Missing));
        let error = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(matches!(explain(error), Unavailable::Memory));
    }

    #[test]
    fn the_report_names_every_operation() {
        let report = probe();
        assert!(report.kernel.major > 0);
        if let Ok(ring) = report.io_uring {
            assert_eq!(ring.operations.len(), OPERATIONS.len());
            assert!(ring.operations.iter().all(|(_, found)| *found));
        }
    }
}
