//! The L4 listeners of one shard: opened, replaced and closed as configurations come and go.

use std::{collections::BTreeMap, fmt, rc::Rc, time::Duration};

use super::{
    service::{ListenerPlan, Service},
    shard::Shard,
    udp::{FlowPlan, FlowService},
};
use crate::{
    base::address::Address,
    runtime::{self, Task, TcpListener, UdpSocket},
};

/// A bound socket for a listener of a plan that is committed with it.
#[derive(Debug)]
pub enum Socket {
    /// For connections.
    Tcp(TcpListener),
    /// For datagrams.
    Udp(UdpSocket),
}

/// A new socket of a listener.
#[derive(Debug)]
pub struct Listening {
    /// The listener's name.
    pub name: String,
    /// The address as configured.
    pub address: Address,
    /// The socket.
    pub socket: Socket,
}

/// What listens on one shard for L4.
pub struct Listeners {
    shard: Rc<Shard>,
    streams: BTreeMap<String, Rc<Service>>,
    flows: BTreeMap<String, Rc<FlowService>>,
    sockets: BTreeMap<(String, Address), Open>,
    closing: Vec<Task>,
}

enum Open {
    Tcp { listener: Rc<TcpListener>, service: Rc<Service>, accepting: Task },
    Udp { receiving: Task },
}

impl Listeners {
    /// Nothing listens yet.
    #[must_use]
    pub fn new(shard: &Rc<Shard>) -> Self {
        Self {
            shard: Rc::clone(shard),
            streams: BTreeMap::new(),
            flows: BTreeMap::new(),
            sockets: BTreeMap::new(),
            closing: Vec::new(),
        }
    }

    /// Serves by these plans from now on: takes over the sockets of new addresses, closes those
    /// that `is_wanted` no longer wants. Connections and flows that live go on.
    pub fn commit(
        &mut self,
        streams: Vec<ListenerPlan>,
        flows: Vec<FlowPlan>,
        sockets: Vec<Listening>,
        is_wanted: impl Fn(&str, Address) -> bool,
    ) {
        self.replace(streams, flows);
        let before = std::mem::take(&mut self.sockets);
        for (key, open) in before {
            if is_wanted(&key.0, key.1) {
                self.sockets.insert(key, open);
            } else {
                // It ends by itself; nobody has to wait for it.
                let _ends_by_itself = open.close();
            }
        }
        for Listening { name, address, socket } in sockets {
            let open = match socket {
                Socket::Tcp(listener) => {
                    let Some(service) = self.streams.get(&name) else { continue };
                    let (listener, service) = (Rc::new(listener), Rc::clone(service));
                    let accepting = accept(Rc::clone(&listener), Rc::clone(&service));
                    Open::Tcp { listener, service, accepting: runtime::spawn(accepting) }
                }
                Socket::Udp(socket) => {
                    let Some(service) = self.flows.get(&name) else { continue };
                    let receiving = runtime::spawn(Rc::clone(service).serve(socket));
                    Open::Udp { receiving }
                }
            };
            self.sockets.insert((name, address), open);
        }
    }

    fn replace(&mut self, streams: Vec<ListenerPlan>, flows: Vec<FlowPlan>) {
        let mut before = std::mem::take(&mut self.streams);
        for plan in streams {
            let name = plan.name.to_string();
            let service = match before.remove(&name) {
                Some(service) => {
                    service.replace(plan);
                    service
                }
                None => Service::new(&self.shard, plan),
            };
            self.streams.insert(name, service);
        }
        let mut before = std::mem::take(&mut self.flows);
        for plan in flows {
            let name = plan.name.to_string();
            let service = match before.remove(&name) {
                Some(service) => {
                    service.replace(plan);
                    service
                }
                None => FlowService::new(&self.shard, plan),
            };
            self.flows.insert(name, service);
        }
    }

    /// Accepts nothing more; connections live on. Flows end with their listener.
    pub fn drain(&mut self) {
        while let Some((_, open)) = self.sockets.pop_first() {
            self.closing.extend(open.close());
        }
    }

    /// Whether what closing listeners had accepted is with its service.
    pub fn is_handed_over(&mut self) -> bool {
        self.closing.retain(|task| !task.is_finished());
        self.closing.is_empty()
    }
}

impl Open {
    fn close(self) -> Option<Task> {
        match self {
            Self::Tcp { listener, service, accepting } => {
                accepting.abort();
                Some(runtime::spawn(async move {
                    // Their clients don't know that nobody listens any longer.
                    for (stream, client) in listener.stop().await {
                        runtime::spawn(Rc::clone(&service).serve(stream, client));
                    }
                }))
            }
            Self::Udp { receiving } => {
                receiving.abort();
                None
            }
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for (_, open) in std::mem::take(&mut self.sockets) {
            match open {
                Open::Tcp { accepting, .. } => accepting.abort(),
                Open::Udp { receiving } => receiving.abort(),
            }
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("open", &self.sockets.len()).finish_non_exhaustive()
    }
}

/// Accepts connections until the task is aborted.
async fn accept(listener: Rc<TcpListener>, service: Rc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                runtime::spawn(Rc::clone(&service).serve(stream, client));
            }
            Err(error) => {
                service.count(|counters| counters.accept_errors.increment());
                tracing::warn!(%error, "accept failed");
                runtime::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// After a failed accept that the runtime did not wait out itself.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
