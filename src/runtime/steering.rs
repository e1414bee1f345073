//! Which of the sockets that share an address gets a connection: by the CPU that received it.
//!
//! Without it the kernel hashes addresses, and half of all connections on two CPUs are received on one
//! and served on the other. The choice is a classic BPF program of two instructions a shard on the
//! SO_REUSEPORT group, which takes no capability. The kernel numbers the sockets of a group in the
//! order of their bind; when one closes, the last takes its number. So it is for groups that are
//! bound together and closed together, as listeners are.
#![expect(unsafe_code, reason = "a socket option that no crate knows")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Gives each new connection (or datagram) of `socket`'s group to the socket of the shard whose CPU
/// received it; `cpus` has the shards' CPUs in the order in which their sockets were bound. What other
/// CPUs receive is spread by their number.
///
/// # Errors
/// The kernel's; `EINVAL` for more than 2,000 shards.
pub fn choose_by_cpu(socket: &impl AsFd, cpus: &[usize]) -> io::Result<()> {
    let mut program = program(cpus);
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&filter)).unwrap_or(0);
    let pointer = (&raw const filter).cast();
    let socket = socket.as_fd().as_raw_fd();
    let option = libc::SO_ATTACH_REUSEPORT_CBPF;
    // SAFETY: the kernel copies one sock_fprog, whose pointer and length are those of `program`,
    // which lives until the end of this function.
    let result = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, option, pointer, size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `A = cpu; if A == cpus[0] return 0; if A == cpus[1] return 1; …; return A % shards`.
fn program(cpus: &[usize]) -> Vec<libc::sock_filter> {
    let mut program = vec![step(LOAD_WORD, 0, CPU_OFFSET)];
    for (shard, cpu) in cpus.iter().enumerate() {
        program.push(step(JUMP_EQUAL, 1, number(*cpu)));
        program.push(step(RETURN_NUMBER, 0, number(shard)));
    }
    program.push(step(MODULO, 0, number(cpus.len().max(1))));
    program.push(step(RETURN_RESULT, 0, 0));
    program
}

/// One instruction; a jump that isn't taken skips `otherwise`.
fn step(code: u16, otherwise: u8, number: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: otherwise, k: number }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// `SKF_AD_OFF + SKF_AD_CPU`: where classic BPF finds the number of its CPU.
const CPU_OFFSET: u32 = 0xffff_f000 + 36;
/// `BPF_LD | BPF_W | BPF_ABS` and the like, from linux/filter.h.
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const MODULO: u16 = 0x94;
const RETURN_NUMBER: u16 = 0x06;
const RETURN_RESULT: u16 = 0x16;

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        thread,
    };

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::runtime::{cpus, pin};

    /// Two listeners of one address.
    fn group() -> (Vec<TcpListener>, SocketAddr) {
        let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listeners = Vec::new();
        for _ in 0..2 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(256).unwrap();
            socket.set_nonblocking(true).unwrap();
            let listener = TcpListener::from(socket);
            address = listener.local_addr().unwrap();
            listeners.push(listener);
        }
        (listeners, address)
    }

    /// Connects `count` times from `cpu`: over loopback the sender's CPU receives.
    fn connect_from(cpu: usize, address: SocketAddr, count: usize) -> Vec<TcpStream> {
        thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                assert!(pin(cpu));
                (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
            });
            connecting.join().unwrap()
        })
    }

    fn accepted(listener: &TcpListener) -> usize {
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    #[test]
    fn connections_go_to_the_shard_of_their_cpu() {
        let all = cpus();
        // With one CPU there is nothing to choose.
        let (Some(&one), Some(&other)) = (all.first(), all.get(1)) else { return };
        // Both ways round: it isn't that CPU 0 is shard 0 anyway.
        for order in [[one, other], [other, one]] {
            let (listeners, address) = group();
            choose_by_cpu(&listeners[1], &order).unwrap();
            let streams = connect_from(order[0], address, 100);
            assert_eq!((accepted(&listeners[0]), accepted(&listeners[1])), (100, 0));
            let more = connect_from(order[1], address, 100);
            assert_eq!((accepted(&listeners[0]), accepted(&listeners[1])), (0, 100));
            drop((streams, more));
        }
    }

    #[test]
    fn other_cpus_are_spread_by_their_number() {
        let (listeners, address) = group();
        choose_by_cpu(&listeners[0], &[4000, 4001]).unwrap();
        for cpu in cpus().into_iter().take(2) {
            let streams = connect_from(cpu, address, 20);
            assert_eq!(accepted(&listeners[cpu % 2]), 20);
            drop(streams);
        }
    }
}
