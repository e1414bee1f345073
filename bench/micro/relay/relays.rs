//! The same small TCP relay on each runtime: accept, connect to the echo server, one task a
//! direction, 16 KiB buffers, receive and send in turn. Written as each runtime's own examples are,
//! with nothing tuned beyond what its documentation says.

use std::{
    io::{self, Write},
    net::SocketAddr,
    rc::Rc,
};

use ringway::runtime::{self, DriverChoice, ListenOptions, Options, Runtime, SendBuf};

pub(crate) const NAMES: &[&str] = &["ringway", "ringway-epoll", "monoio", "tokio-uring", "tokio"];
const BUFFER_BYTES: usize = 16 << 10;

/// Relays to `echo` on the runtime `name` until the process is killed; prints the port first.
pub(crate) fn serve(name: &str, echo: SocketAddr) -> io::Result<()> {
    match name {
        "ringway" => ours(DriverChoice::IoUring, echo),
        "ringway-epoll" => ours(DriverChoice::Epoll, echo),
        "monoio" => on_monoio(echo),
        "tokio-uring" => on_tokio_uring(echo),
        "tokio" => on_tokio(echo),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no relay `{name}`: {NAMES:?}"),
        )),
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}")?;
    out.flush()
}

fn ours(driver: DriverChoice, echo: SocketAddr) -> io::Result<()> {
    let runtime =
        Runtime::new(&Options { driver, ..Options::default() }).map_err(io::Error::other)?;
    runtime.block_on(async move {
        let listener = runtime::TcpListener::bind(
            any_port(),
            &ListenOptions { backlog: 1024, reuse_port: false },
        )?;
        announce(listener.local_addr()?)?;
        loop {
            let (client, _) = listener.accept().await?;
            runtime::spawn(async move {
                let Ok(server) = runtime::TcpStream::connect(echo).await else { return };
                let (client, server) = (Rc::new(client), Rc::new(server));
                runtime::spawn(pump(Rc::clone(&client), Rc::clone(&server)));
                pump(server, client).await;
            });
        }
    })
}

async fn pump(from: Rc<runtime::TcpStream>, to: Rc<runtime::TcpStream>) {
    while let Ok(bytes) = from.recv().await {
        if bytes.is_empty() || to.send_all(SendBuf::Recv(bytes)).await.0.is_err() {
            return;
        }
    }
}

fn on_monoio(echo: SocketAddr) -> io::Result<()> {
    use monoio::{
        IoUringDriver, RuntimeBuilder,
        io::{AsyncReadRent, AsyncWriteRentExt, Splitable},
        net::{TcpListener, TcpStream},
    };
    async fn pump(mut from: impl AsyncReadRent, mut to: impl AsyncWriteRentExt) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let (read, bytes) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let (written, bytes) = to.write_all(bytes).await;
            if written.is_err() {
                return;
            }
            buffer = bytes;
            buffer.clear();
        }
    }
    RuntimeBuilder::<IoUringDriver>::new().with_entries(1024).build()?.block_on(async move {
        let listener = TcpListener::bind(any_port())?;
        announce(listener.local_addr()?)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            monoio::spawn(async move {
                let Ok(server) = TcpStream::connect(echo).await else { return };
                let _nodelay = server.set_nodelay(true);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                monoio::spawn(pump(from_client, to_server));
                pump(from_server, to_client).await;
            });
        }
    })
}

fn on_tokio_uring(echo: SocketAddr) -> io::Result<()> {
    use tokio_uring::net::{TcpListener, TcpStream};
    async fn pump(from: Rc<TcpStream>, to: Rc<TcpStream>) {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        loop {
            let (read, bytes) = from.read(buffer).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let (written, bytes) = to.write_all(bytes).await;
            if written.is_err() {
                return;
            }
            buffer = bytes;
            buffer.clear();
        }
    }
    tokio_uring::builder().entries(1024).start(async move {
        let listener = TcpListener::bind(any_port())?;
        announce(listener.local_addr()?)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio_uring::spawn(async move {
                let Ok(server) = TcpStream::connect(echo).await else { return };
                let _nodelay = server.set_nodelay(true);
                let (client, server) = (Rc::new(client), Rc::new(server));
                tokio_uring::spawn(pump(Rc::clone(&client), Rc::clone(&server)));
                pump(server, client).await;
            });
        }
    })
}

fn on_tokio(echo: SocketAddr) -> io::Result<()> {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{
            TcpListener, TcpStream,
            tcp::{OwnedReadHalf, OwnedWriteHalf},
        },
    };
    async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            if to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind(any_port()).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(echo).await else { return };
                let _nodelay = server.set_nodelay(true);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pump(from_client, to_server));
                pump(from_server, to_client).await;
            });
        }
    })
}
