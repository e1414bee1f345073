//! What an interface merges and cuts by itself, by the ethtool ioctl.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
};

/// Offloads of an interface that matter to programs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads {
    /// The stack merges received packets of a flow.
    pub gro: bool,
    /// The card does, and forgets what they were.
    pub lro: bool,
    /// The card cuts what is sent.
    pub tso: bool,
}

/// Asks the driver of `interface`.
///
/// # Errors
/// The kernel's; `ENODEV` when there is no such interface.
pub fn offloads(interface: &str) -> io::Result<Offloads> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(Offloads {
        gro: ask(&socket, interface, ETHTOOL_GGRO)? != 0,
        lro: ask(&socket, interface, ETHTOOL_GFLAGS)? & ETH_FLAG_LRO != 0,
        tso: ask(&socket, interface, ETHTOOL_GTSO)? != 0,
    })
}

fn ask(socket: &UdpSocket, interface: &str, command: u32) -> io::Result<u32> {
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays NUL.
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from;
    }
    let mut value = Value { command, data: 0 };
    let mut request = Request { name, value: &raw mut value, rest: [0; 16] };
    // SAFETY: SIOCETHTOOL takes one ifreq, which `Request` is in size and layout; these commands read
    // and write one ethtool_value where its pointer leads. Both live on this stack.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u8; 16],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_LRO: u32 = 1 << 15;
