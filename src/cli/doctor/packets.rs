//! What `[xdp]` needs of the machine: the interface, capabilities, a bpffs, kernel settings.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ringway::{
    config::{Config, Crash, PacketForward, XdpConfig, XdpMode},
    xdp::{Offloads, offloads},
};

use crate::cli::doctor::{Finding, Level};

/// What the machine says.
#[derive(Debug, Clone)]
pub(super) struct PacketFacts {
    /// Effective ones of this process, as bits.
    pub(super) capabilities: u64,
    /// `None` when there is none of that name.
    pub(super) interface: Option<InterfaceFacts>,
    /// Where file systems of type bpf are mounted.
    pub(super) bpf_mounts: Vec<PathBuf>,
    pub(super) syn_cookies: Option<u64>,
    /// First and last of the kernel's own ports.
    pub(super) port_range: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
pub(super) struct InterfaceFacts {
    /// Its card's driver; virtual ones have none.
    pub(super) driver: Option<String>,
    pub(super) mtu: Option<u64>,
    pub(super) receive_queues: usize,
    pub(super) send_queues: usize,
    /// `None` where the driver doesn't say.
    pub(super) offloads: Option<Offloads>,
}

impl PacketFacts {
    /// Reads below `root`, which is `/` outside of tests.
    pub(super) fn gather(root: &Path, xdp: &XdpConfig) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let status = read("proc/self/status");
        let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let mounts = read("proc/self/mounts");
        let range = read("proc/sys/net/ipv4/ip_local_port_range");
        let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
        Self {
            capabilities: bits
                .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
                .unwrap_or(0),
            interface: InterfaceFacts::gather(root, &xdp.interface),
            bpf_mounts: mounts.lines().filter_map(bpf_mount).collect(),
            syn_cookies: read("proc/sys/net/ipv4/tcp_syncookies").trim().parse().ok(),
            port_range: ports.next().zip(ports.next()),
        }
    }
}

impl InterfaceFacts {
    fn gather(root: &Path, name: &str) -> Option<Self> {
        let folder = root.join("sys/class/net").join(name);
        let queues: Vec<String> = fs::read_dir(folder.join("queues"))
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let count = |start| queues.iter().filter(|name| name.starts_with(start)).count();
        let driver = fs::read_link(folder.join("device/driver")).ok();
        let mtu = fs::read_to_string(folder.join("mtu")).ok();
        Some(Self {
            driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
            mtu: mtu.and_then(|text| text.trim().parse().ok()),
            receive_queues: count("rx-"),
            send_queues: count("tx-"),
            offloads: offloads(name).ok(),
        })
    }
}

/// `bpf /sys/fs/bpf bpf rw,nosuid 0 0`
fn bpf_mount(line: &str) -> Option<PathBuf> {
    let mut words = line.split(' ').skip(1);
    let place = words.next()?;
    (words.next()? == "bpf").then(|| PathBuf::from(place))
}

/// The findings; none without `[xdp]`.
pub(super) fn check(facts: &PacketFacts, xdp: &XdpConfig, config: &Config) -> Vec<Finding> {
    let mut findings = vec![capabilities(facts), interface(facts, xdp)];
    findings.extend(facts.interface.as_ref().and_then(|own| mtu(own, xdp)));
    let shards = config.runtime.shards.len();
    findings.extend(facts.interface.as_ref().map(|own| queues(own, shards)));
    let known = facts.interface.as_ref().and_then(|own| own.offloads);
    findings.extend(known.map(|own| merging(own, xdp)));
    findings.extend((xdp.crash == Crash::Keep).then(|| bpffs(facts, xdp)));
    let listeners = || config.listeners.iter();
    if listeners().any(|own| own.forward.is_none() && own.syn_rate.is_some()) {
        findings.extend(facts.syn_cookies.map(syn_cookies));
    }
    if listeners().any(|own| own.forward == Some(PacketForward::Nat)) {
        findings.extend(facts.port_range.map(|range| nat_ports(range, xdp)));
    }
    findings
}

fn capabilities(facts: &PacketFacts) -> Finding {
    let subject = "XDP capabilities";
    let needed = [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, bit)| facts.capabilities & 1 << bit == 0)
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Finding::ok(subject, "all that loading a program takes");
    }
    Finding::bad(
        Level::Warn,
        subject,
        format!("this process lacks {}", missing.join(", ")),
        "who starts ringway needs them, for the start alone",
        "start it as root with runtime.user set, or with these in AmbientCapabilities=",
    )
}

fn interface(facts: &PacketFacts, xdp: &XdpConfig) -> Finding {
    let subject = "XDP interface";
    let name = &xdp.interface;
    match &facts.interface {
        None => Finding::bad(
            Level::Fail,
            subject,
            format!("there is no `{name}`"),
            "[xdp] can't be had",
            "`ip link` lists interfaces; correct xdp.interface",
        ),
        Some(InterfaceFacts { driver: Some(driver), .. }) => {
            Finding::ok(subject, format!("{name}, driver {driver}"))
        }
        Some(_) => Finding::ok(subject, format!("{name}, virtual")),
    }
}

fn mtu(own: &InterfaceFacts, xdp: &XdpConfig) -> Option<Finding> {
    let subject = "XDP MTU";
    let mtu = own.mtu?;
    if mtu <= MTU_MAX || xdp.mode == XdpMode::Generic {
        return Some(Finding::ok(subject, mtu.to_string()));
    }
    Some(Finding::bad(
        Level::Warn,
        subject,
        mtu.to_string(),
        "most drivers run native XDP on frames that fit in a page; they refuse this",
        format!("`ip link set {} mtu 1500`, or mode = \"generic\"", xdp.interface),
    ))
}

fn queues(own: &InterfaceFacts, shards: usize) -> Finding {
    let subject = "XDP queues";
    let found = format!("{} to receive, {} to send", own.receive_queues, own.send_queues);
    if own.receive_queues >= shards || own.driver.is_none() {
        return Finding::ok(subject, found);
    }
    Finding::bad(
        Level::Warn,
        subject,
        format!("{found}, {shards} shards"),
        "packets come to fewer CPUs than there are",
        "`ethtool -L` raises the number of combined queues, if the card has more",
    )
}

/// A merged packet is larger than the link that it is to be sent on.
fn merging(own: Offloads, xdp: &XdpConfig) -> Finding {
    let subject = "XDP offloads";
    let word = |is_on| if is_on { "on" } else { "off" };
    let found = format!("gro {}, lro {}, tso {}", word(own.gro), word(own.lro), word(own.tso));
    let name = &xdp.interface;
    if own.lro {
        return Finding::bad(
            Level::Warn,
            subject,
            found,
            "drivers refuse native XDP while the card merges packets, and none of those can be forwarded",
            format!("`ethtool -K {name} lro off`"),
        );
    }
    if own.gro && xdp.mode == XdpMode::Generic {
        return Finding::bad(
            Level::Warn,
            subject,
            found,
            "in generic mode the program gets merged packets, which are too large to send on",
            format!("`ethtool -K {name} gro off`"),
        );
    }
    Finding::ok(subject, found)
}

fn bpffs(facts: &PacketFacts, xdp: &XdpConfig) -> Finding {
    let (subject, pins) = ("bpffs", xdp.pins.display());
    if facts.bpf_mounts.iter().any(|mount| xdp.pins.starts_with(mount)) {
        return Finding::ok(subject, format!("{pins} lies on one"));
    }
    Finding::bad(
        Level::Fail,
        subject,
        format!("{pins} lies on none"),
        "crash = \"keep\" pins the program there",
        "`mount -t bpf bpf /sys/fs/bpf`, or set xdp.pins to a folder below another bpffs",
    )
}

fn syn_cookies(setting: u64) -> Finding {
    let subject = "net.ipv4.tcp_syncookies";
    if setting == 2 {
        return Finding::ok(subject, "2, always");
    }
    Finding::bad(
        Level::Warn,
        subject,
        setting.to_string(),
        "listeners refuse the cookies of connections above limits.syn_rate",
        "`sysctl net.ipv4.tcp_syncookies=2`",
    )
}

fn nat_ports((first, last): (u64, u64), xdp: &XdpConfig) -> Finding {
    let subject = "xdp.nat_ports";
    let own = (u64::from(*xdp.nat_ports.start()), u64::from(*xdp.nat_ports.end()));
    let found = format!("{}-{}, and the kernel's {first}-{last}", own.0, own.1);
    if own.1 < first || own.0 > last {
        return Finding::ok(subject, found);
    }
    Finding::bad(
        Level::Warn,
        subject,
        found,
        "both may take the same port towards an endpoint, and one of the connections breaks",
        "choose ranges that don't overlap: xdp.nat_ports, `sysctl net.ipv4.ip_local_port_range`",
    )
}

/// What is left of a page beside the room that drivers keep for programs.
const MTU_MAX: u64 = 3_498;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = 1
[runtime]
shards = 2
[xdp]
mode = 'native'
interface = 'eth0'
crash = 'keep'
[listener.db]
address = '192.0.2.1:80'
protocol = 'tcp'
forward = 'nat'
[listener.web]
address = '192.0.2.1:443'
limits = { syn_rate = '50/s' }
[[route]]
name = 'db'
listener = 'db'
upstream = 'db'
[upstream.db]
endpoints = ['10.0.0.1:8080']
";

    fn good() -> PacketFacts {
        PacketFacts {
            capabilities: 1 << 12 | 1 << 38 | 1 << 39,
            interface: Some(InterfaceFacts {
                driver: Some("ixgbe".to_owned()),
                mtu: Some(1_500),
                receive_queues: 2,
                send_queues: 2,
                offloads: Some(Offloads { gro: true, lro: false, tso: true }),
            }),
            bpf_mounts: vec![PathBuf::from("/sys/fs/bpf")],
            syn_cookies: Some(2),
            port_range: Some((32_768, 60_999)),
        }
    }

    /// The findings that aren't fine on a machine with a fault.
    fn faults(spoil: impl FnOnce(&mut PacketFacts)) -> Vec<(Level, &'static str)> {
        let config = ringway::config::parse("t.toml", TEXT).unwrap();
        let mut facts = good();
        spoil(&mut facts);
        let findings = check(&facts, config.xdp.as_ref().unwrap(), &config);
        assert!(findings.len() >= 5, "{findings:?}");
        let bad = findings.into_iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| {
            assert!(!finding.meaning.is_empty() && !finding.advice.is_empty(), "{finding:?}");
            (finding.level, finding.subject)
        })
        .collect()
    }

    #[test]
    fn each_fault_is_found_and_alone() {
        assert_eq!(faults(|_| {}), []);
        let own = |facts: &mut PacketFacts, change: fn(&mut InterfaceFacts)| {
            change(facts.interface.as_mut().unwrap());
        };
        let warned = |subject| vec![(Level::Warn, subject)];
        assert_eq!(faults(|facts| facts.capabilities = 1 << 12), warned("XDP capabilities"));
        assert_eq!(faults(|facts| own(facts, |own| own.mtu = Some(9_000))), warned("XDP MTU"));
        assert_eq!(faults(|facts| own(facts, |own| own.receive_queues = 1)), warned("XDP queues"));
        assert_eq!(faults(|facts| facts.syn_cookies = Some(1)), warned("net.ipv4.tcp_syncookies"));
        assert_eq!(faults(|facts| facts.port_range = Some((9, 1_024))), warned("xdp.nat_ports"));
        let lro = |own: &mut InterfaceFacts| own.offloads.as_mut().unwrap().lro = true;
        assert_eq!(faults(|facts| own(facts, lro)), warned("XDP offloads"));
        let failed = |subject| vec![(Level::Fail, subject)];
        assert_eq!(faults(|facts| facts.interface = None), failed("XDP interface"));
        let elsewhere =
            |facts: &mut PacketFacts| facts.bpf_mounts = vec![PathBuf::from("/run/bpf")];
        assert_eq!(faults(elsewhere), failed("bpffs"));
    }

    #[test]
    fn merged_packets_matter_to_a_program_in_the_stack_alone() {
        let own = Offloads { gro: true, lro: false, tso: true };
        let level = |mode| merging(own, &XdpConfig::new("eth0".to_owned(), mode)).level;
        assert_eq!(level(XdpMode::Native), Level::Ok);
        assert_eq!(level(XdpMode::Generic), Level::Warn);
        let off = Offloads { gro: false, ..own };
        let generic = XdpConfig::new("eth0".to_owned(), XdpMode::Generic);
        assert_eq!(merging(off, &generic).level, Level::Ok);
    }

    #[test]
    fn the_loopback_of_this_machine_is_read() {
        let xdp = XdpConfig::new("lo".to_owned(), XdpMode::Auto);
        let facts = PacketFacts::gather(Path::new("/"), &xdp);
        let own = facts.interface.unwrap();
        assert!(own.driver.is_none() && own.mtu.is_some() && own.receive_queues >= 1);
        // Every loopback merges and cuts nothing in a card.
        assert!(own.offloads.is_some_and(|own| !own.lro));
        let line = "bpf /sys/fs/bpf bpf rw,nosuid 0 0";
        assert_eq!(bpf_mount(line), Some(PathBuf::from("/sys/fs/bpf")));
        assert_eq!(bpf_mount("proc /proc proc rw 0 0"), None);
    }
}
