//! System calls that aya doesn't make: trial runs, batched deletion, pins, capabilities.
//!
//! Every call takes whole Rust values and hands back whole Rust values; no pointer leaves this file.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// How a trial run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What the program returned: see [`Verdict`].
    pub verdict: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
    /// How long one run took, in whole nanoseconds.
    pub took: Duration,
}

/// What an XDP program says about a packet.
pub struct Verdict;

impl Verdict {
    /// Drop it.
    pub const DROP: u32 = 1;
    /// Give it to the stack.
    pub const PASS: u32 = 2;
    /// Send it out by the interface that it came in by.
    pub const TX: u32 = 3;
    /// Send it elsewhere: another interface, another CPU.
    pub const REDIRECT: u32 = 4;
}

/// Runs an XDP program `repeat` times on `packet` (14 bytes at least) without any interface.
///
/// The packet isn't restored between the runs.
///
/// # Errors
/// The kernel's: `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`, `EINVAL` for a packet shorter than a
/// link header.
pub fn try_out(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<Trial> {
    let mut out = vec![0_u8; packet.len() + PACKET_GROWS_MAX];
    let mut attr = TestRun {
        program: raw(program),
        verdict: 0,
        size_in: length(packet.len())?,
        size_out: length(out.len())?,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat,
        nanoseconds: 0,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr)?;
    out.truncate(attr.size_out as usize);
    let took = Duration::from_nanos(attr.nanoseconds.into());
    Ok(Trial { verdict: attr.verdict, packet: out, took })
}

/// Runs an XDP program `repeat` times on `packet` as if it came in by interface `index`: what the
/// program sends is really sent.
///
/// # Errors
/// As [`try_out`]; `EOPNOTSUPP` before Linux 5.18.
pub fn play(program: BorrowedFd<'_>, packet: &[u8], index: u32, repeat: u32) -> io::Result<()> {
    let mut context = XdpFrame { data: 0, data_end: length(packet.len())?, ..XdpFrame::default() };
    context.ingress = index;
    let mut attr = TestRun {
        program: raw(program),
        size_in: length(packet.len())?,
        data_in: packet.as_ptr() as u64,
        repeat,
        context_in: (&raw const context) as u64,
        context_size_in: length(size_of::<XdpFrame>())?,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch: 64,
        ..TestRun::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attr)
}

/// A capability's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability(u32);

impl Capability {
    /// `CAP_NET_ADMIN`: attach to interfaces.
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_PERFMON`: pointer arithmetic in programs.
    pub const PERFMON: Self = Self(38);
    /// `CAP_BPF`: load programs, make maps.
    pub const BPF: Self = Self(39);

    /// Whether this thread has it now.
    #[must_use]
    pub fn is_held(self) -> bool {
        held().is_ok_and(|sets| {
            let word = sets[(self.0 / 32) as usize].effective;
            word & 1 << (self.0 % 32) != 0
        })
    }
}

/// Gives up every capability of this thread for good, and with `PR_SET_NO_NEW_PRIVS` the way back
/// through a setuid program. Threads started later have none either.
///
/// # Errors
/// The kernel's.
pub fn drop_capabilities() -> io::Result<()> {
    drop_bounding_set()?;
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let header = CapHeader { version: CAPABILITY_VERSION_3, thread: 0 };
    let none = [CapSets::default(); 2];
    // SAFETY: version 3 reads one header and two sets; both live on this stack.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Empties the bounding set of this thread: no program that it starts gets a capability, whatever
/// its file says. Takes `CAP_SETPCAP`, so it comes before the thread becomes another user; without
/// that capability the set stays, which [`drop_capabilities`] makes harmless.
///
/// # Errors
/// The kernel's.
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        let error = io::Error::last_os_error();
        // EINVAL: the kernel knows no such capability. EPERM: CAP_SETPCAP is missing.
        if result != 0 && !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) {
            return Err(error);
        }
    }
    Ok(())
}

/// The capability sets of this thread.
fn held() -> io::Result<[CapSets; 2]> {
    let mut header = CapHeader { version: CAPABILITY_VERSION_3, thread: 0 };
    let mut sets = [CapSets::default(); 2];
    // SAFETY: version 3 reads and writes one header and writes two sets; both live on this stack.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    if result == 0 { Ok(sets) } else { Err(io::Error::last_os_error()) }
}

/// Whether a file lies on a bpffs.
///
/// # Errors
/// The kernel's.
pub(super) fn is_on_bpffs(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut about = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: writes one statfs, for which there is room on this stack.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstatfs returned 0 and so has filled it.
    let about = unsafe { about.assume_init() };
    Ok(about.f_type == libc::BPF_FS_MAGIC)
}

/// Removes the file `name` of an open folder.
///
/// # Errors
/// The kernel's; `NotFound` when there is none.
pub(super) fn remove_in(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: reads a NUL-terminated string that lives for the call, and touches no other memory.
    let result = unsafe { libc::unlinkat(folder.as_raw_fd(), name.as_ptr(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's monotonic clock in nanoseconds: the one that programs read.
pub(super) fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, which lives on this stack; this clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Whether this thread has any capability at all, in any set that counts.
#[must_use]
pub fn has_any_capability() -> bool {
    held().is_ok_and(|sets| sets.iter().any(|set| set.effective | set.permitted != 0))
}

/// `bpf(2)` with one of its attribute structs.
fn bpf<T>(command: i32, attr: &mut T) -> io::Result<()> {
    // SAFETY: `attr` is a repr(C) struct laid out as this command's part of `union bpf_attr`; its
    // pointers, if any, are to memory that the caller holds borrowed for this call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn raw(descriptor: BorrowedFd<'_>) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).unwrap_or(u32::MAX)
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// `union bpf_attr`, member `test`.
#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    verdict: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanoseconds: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    zero: u32,
}

/// `struct xdp_md`.
#[derive(Default)]
#[repr(C)]
struct XdpFrame {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress: u32,
    queue: u32,
    egress: u32,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    thread: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct CapSets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// An outer IPv6 header and an ICMPv6 one: what the program puts on at most.
const PACKET_GROWS_MAX: usize = 256;
