//! Reals that say who they are and what they got, and clients that check it.
//!
//! One exchange: the client sends how many bytes go each way, then that many; the real answers with
//! its name, the sum of what came, and its own bytes. Any number of exchanges go over one connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::net::{Net, enter};

/// Starts the real `name` (1, 2 or 3) on `address` inside its namespace: TCP and UDP. Its threads end
/// with the test's process.
pub(crate) fn serve(net: &Net, name: u8, address: SocketAddr) {
    let namespace = net.name(&format!("r{name}"));
    let (listener, socket) = net.inside(&format!("r{name}"), || {
        (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap())
    });
    let start = |work: Box<dyn FnOnce() + Send>| {
        let namespace = namespace.clone();
        thread::Builder::new()
            .spawn(move || {
                enter(&namespace);
                work();
            })
            .unwrap()
    };
    start(Box::new(move || {
        for stream in listener.incoming().flatten() {
            thread::Builder::new().spawn(move || drop(answer(stream, name))).unwrap();
        }
    }));
    start(Box::new(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            buffer[length] = name;
            drop(socket.send_to(&buffer[..=length], from));
        }
    }));
}

fn answer(mut stream: TcpStream, name: u8) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let [up, down] = [number(&head[..4]), number(&head[4..])];
        let mut got = vec![0; up];
        stream.read_exact(&mut got)?;
        let mut answer = vec![name];
        answer.extend(sum(&got).to_be_bytes());
        answer.extend(pattern(down));
        stream.write_all(&answer)?;
    }
}

/// One exchange over `stream`; who answered.
pub(crate) fn exchange(stream: &mut TcpStream, up: usize, down: usize) -> io::Result<u8> {
    let sent = pattern(up);
    let mut request = u32::try_from(up).unwrap().to_be_bytes().to_vec();
    request.extend(u32::try_from(down).unwrap().to_be_bytes());
    request.extend(&sent);
    stream.write_all(&request)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    assert_eq!(head[1..], sum(&sent).to_be_bytes(), "what the real got");
    let mut got = vec![0; down];
    stream.read_exact(&mut got)?;
    assert!(got == pattern(down), "what the client got");
    Ok(head[0])
}

/// A connection to the VIP, from the thread's namespace.
pub(crate) fn connect(vip: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&vip, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One datagram there and back; who answered.
pub(crate) fn datagram(vip: SocketAddr) -> io::Result<u8> {
    let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(vip)?;
    socket.send(b"who is there")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    assert_eq!(&buffer[..length - 1], b"who is there");
    Ok(buffer[length - 1])
}

fn number(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes.try_into().unwrap()) as usize
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 253) & 255).unwrap()).collect()
}

/// How long a silent other side is waited for: several retransmissions.
const PATIENCE: Duration = Duration::from_secs(5);
