//! A client, a balancer and three reals, each in a network namespace of its own, on one bridge.
//!
//! ```text
//!   client .100 ─┐                       ┌─ real .11
//!                ├─ bridge (namespace) ──┼─ real .12
//!   lb .1, VIP .50 ─┘                    └─ real .13
//! ```
//!
//! Every machine sends without checksum offload, and the bridge's end of the balancer's cable has an
//! XDP program: without either, veth loses what XDP sends, and only ICMP works. Nothing is static: the
//! balancer resolves its neighbours as it does elsewhere. Everything goes when the net is dropped.

use std::{
    fs::File,
    net::IpAddr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType, Xdp, XdpMode},
};
use nix::sched::{CloneFlags, setns};
use ringway::xdp::TOOLS;

pub(crate) const VIP4: &str = "10.77.0.50";
pub(crate) const VIP6: &str = "fd77::50";

/// VLAN tags on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    None,
    One,
    Two,
}

/// How the machines are joined, and what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) tags: Tags,
    /// Reals have the VIP themselves, silently: DSR and IPIP.
    pub(crate) reals_have_vip: bool,
    /// Reals take outer headers off.
    pub(crate) unwraps: bool,
}

pub(crate) struct Net {
    prefix: String,
    machines: &'static [&'static str],
    /// Programs on interfaces other than the balancer's, held while the net is there.
    tools: Vec<Ebpf>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Net {
    /// Builds the net; `None` where namespaces can't be had.
    pub(crate) fn new(shape: Shape) -> Option<Self> {
        let mut net = Self::bare(&MACHINES)?;
        net.build(shape);
        Some(net)
    }

    /// Machines with nothing between them; `None` where namespaces can't be had.
    pub(crate) fn bare(machines: &'static [&'static str]) -> Option<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("rw{}-{number}", std::process::id());
        let net = Self { prefix, machines, tools: Vec::new() };
        for machine in machines {
            if let Err(error) = plain(&format!("ip netns add {}", net.name(machine))) {
                let is_required = std::env::var("XDP_TESTS").is_ok_and(|value| value == "require");
                assert!(!is_required, "XDP_TESTS=require, but {error}");
                eprintln!("skipped: {error}");
                return None;
            }
            net.run(machine, "ip link set lo up");
            net.run(
                machine,
                "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
            );
        }
        Some(net)
    }

    pub(crate) fn name(&self, machine: &str) -> String {
        format!("{}{machine}", self.prefix)
    }

    /// Runs `work` on a thread inside a machine's namespace.
    pub(crate) fn inside<T: Send>(&self, machine: &str, work: impl FnOnce() -> T + Send) -> T {
        let name = self.name(machine);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&name);
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a command inside a machine's namespace and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&self, machine: &str, command: &str) -> String {
        let output = self.inside(machine, || words(command).output()).unwrap();
        assert!(output.status.success(), "{machine}: {command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Wrong sums that a machine's TCP has seen, and failures of the balancer's sending.
    pub(crate) fn faults(&self) -> u64 {
        let mut faults = 0;
        for machine in ["c", "lb", "r1", "r2", "r3"] {
            faults += self.counter(machine, "snmp", "Tcp:", "InCsumErrors");
        }
        for (machine, interface) in [("lb", "eth0"), ("sw", "plb")] {
            let stats = self.run(machine, &format!("ethtool -S {interface}"));
            let errors = stats.lines().filter(|line| line.contains("xdp_tx_errors"));
            faults += errors.map(|line| number(line.split(": ").nth(1).unwrap())).sum::<u64>();
        }
        faults
    }

    /// A number that a machine's kernel counts: of `/proc/net/FILE`, in the rows that begin with `rows`.
    pub(crate) fn counter(&self, machine: &str, file: &str, rows: &str, name: &str) -> u64 {
        let text = self.run(machine, &format!("cat /proc/thread-self/net/{file}"));
        let mut rows = text.lines().filter(|line| line.starts_with(rows));
        let names = rows.next().unwrap().split(' ');
        let values = rows.next().unwrap().split(' ');
        number(names.zip(values).find(|(own, _)| *own == name).unwrap().1)
    }

    fn build(&mut self, shape: Shape) {
        self.run("sw", "ip link add br0 type bridge");
        self.run("sw", "ip link set br0 type bridge mcast_snooping 0");
        self.run("sw", "ip link set br0 up");
        for (machine, last) in [("c", 100), ("lb", 1), ("r1", 11), ("r2", 12), ("r3", 13)] {
            self.join(machine, last);
        }
        self.run("lb", &format!("ip addr add {VIP4}/32 dev eth0"));
        self.run("lb", &format!("ip addr add {VIP6}/128 dev eth0 nodad"));
        for machine in ["r1", "r2", "r3"] {
            self.make_real(machine, shape);
        }
        if shape.tags != Tags::None {
            for machine in ["c", "lb", "r1", "r2", "r3"] {
                self.tag(machine, shape.tags);
            }
        }
        // XDP sends to this end: it needs a program of its own to be woken.
        self.put_tool("sw", "plb", "pass");
    }

    /// A cable from a machine to the bridge.
    fn join(&self, machine: &str, last: u8) {
        let (here, switch) = (self.name(machine), self.name("sw"));
        let port = format!("p{machine}");
        let cable = format!(
            "ip link add eth0 netns {here} numrxqueues 2 numtxqueues 2 type veth peer name {port} \
             netns {switch} numrxqueues 2 numtxqueues 2"
        );
        plain(&cable).unwrap();
        self.run("sw", &format!("ip link set {port} master br0 up"));
        self.run("sw", &format!("ethtool -K {port} tx off tso off gso off gro off"));
        self.run(machine, "ethtool -K eth0 tx off tso off gso off");
        self.run(machine, &format!("ip addr add 10.77.0.{last}/24 dev eth0"));
        self.run(machine, &format!("ip addr add fd77::{last}/64 dev eth0 nodad"));
        self.run(machine, "ip link set eth0 up");
    }

    fn make_real(&mut self, machine: &str, shape: Shape) {
        if shape.reals_have_vip {
            self.run(
                machine,
                "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
            );
            self.run(machine, &format!("ip addr add {VIP4}/32 dev lo"));
            self.run(machine, &format!("ip addr add {VIP6}/128 dev lo nodad"));
        }
        if shape.unwraps {
            self.put_tool(machine, "eth0", "unwrap");
        }
    }

    /// Puts everything that a machine sends on a VLAN, and takes it off what it gets; on the wire,
    /// where the balancer's program is, frames have tags.
    fn tag(&mut self, machine: &str, tags: Tags) {
        self.run(machine, "ethtool -K eth0 txvlan off rxvlan off");
        self.run(machine, "ethtool -K eth0 tx-vlan-stag-hw-insert off");
        if tags == Tags::Two && machine != "lb" {
            // A link lets frames be longer by one tag, not by two.
            self.run(machine, "ip link set eth0 mtu 1492");
        }
        let egress = if tags == Tags::One { "tag" } else { "tag2" };
        let tools = self.inside(machine, || {
            let mut tools = Ebpf::load(TOOLS).unwrap();
            for (name, way) in [(egress, TcAttachType::Egress), ("untag", TcAttachType::Ingress)] {
                let program: &mut SchedClassifier =
                    tools.program_mut(name).unwrap().try_into().unwrap();
                program.load().unwrap();
                program.attach("eth0", way).unwrap();
            }
            tools
        });
        self.tools.push(tools);
    }

    fn put_tool(&mut self, machine: &str, interface: &str, name: &str) {
        let tools = self.inside(machine, || {
            let mut tools = Ebpf::load(TOOLS).unwrap();
            let program: &mut Xdp = tools.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
            program.attach(interface, XdpMode::Driver).unwrap();
            tools
        });
        self.tools.push(tools);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for machine in self.machines {
            drop(plain(&format!("ip netns del {}", self.name(machine))));
        }
    }
}

/// Moves this thread into a namespace.
pub(crate) fn enter(name: &str) {
    let namespace = File::open(format!("/run/netns/{name}")).unwrap();
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

/// The addresses of the reals in one family.
pub(crate) fn reals(vip: &str) -> [IpAddr; 3] {
    let net = if vip.contains(':') { "fd77::" } else { "10.77.0." };
    ["11", "12", "13"].map(|last| format!("{net}{last}").parse().unwrap())
}

fn plain(command: &str) -> Result<(), String> {
    let output = words(command).output().map_err(|error| format!("{command}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command}: {said}")) }
}

fn words(command: &str) -> Command {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap()
}

const MACHINES: [&str; 6] = ["sw", "c", "lb", "r1", "r2", "r3"];
