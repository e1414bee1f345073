//! How a fast path begins and ends: replaced under load, killed in both ways, without capabilities.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use ringway::{
    runtime::now_uncached,
    xdp::{
        Action, Effective, FastPath, Mode, Plan, XdpError, drop_capabilities, has_any_capability,
        unpin,
    },
};

use crate::net::{Net, Tags, VIP4, enter};
use crate::traffic::{connect, exchange};
use crate::ways::{PORT, Service, Transport, prepare, service};

/// A bpffs of the test's own; unmounted when dropped.
pub(crate) struct BpfFs(PathBuf);

impl BpfFs {
    pub(crate) fn mount() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringway-bpffs-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "mount -t bpf");
        Self(folder)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.0.join("ringway")
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
        drop(fs::remove_dir(&self.0));
    }
}

pub(crate) fn plan(pins: Option<PathBuf>) -> Plan {
    Plan {
        interface: "eth0".to_owned(),
        mode: Mode::Native,
        pins,
        flows: 10_000,
        sources: Vec::new(),
        ports: (1024, 32_767),
        steer: Vec::new(),
    }
}

/// Starts a fast path in this thread's namespace and waits until it knows its neighbours.
fn start(pins: Option<PathBuf>, services: Vec<Service>) -> FastPath {
    let mut fast_path = FastPath::start(&plan(pins), services, now_uncached()).unwrap();
    settle(&mut fast_path);
    fast_path
}

pub(crate) fn settle(fast_path: &mut FastPath) {
    let give_up = now_uncached() + Duration::from_secs(10);
    while fast_path.unresolved().count() > 0 {
        assert!(now_uncached() < give_up, "neighbours");
        thread::park_timeout(Duration::from_millis(20));
        fast_path.tick(now_uncached()).unwrap();
    }
}

/// Ten programs take over from each other while eight clients talk; nobody notices.
#[test]
fn ten_replacements_under_load_break_and_move_nothing() {
    for action in [Action::Nat, Action::Dsr] {
        let Some((net, vip, services)) = prepare(action, VIP4, Tags::None) else { return };
        let bpffs = BpfFs::mount();
        let mut running = net.inside("lb", || start(Some(bpffs.pins()), services.clone()));
        let is_over = AtomicBool::new(false);
        let exchanges = AtomicU32::new(0);
        let client = net.name("c");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    enter(&client);
                    let mut stream = connect(vip).unwrap();
                    let owner = exchange(&mut stream, 1000, 1000).unwrap();
                    while !is_over.load(Ordering::Relaxed) {
                        assert_eq!(exchange(&mut stream, 1000, 1000).unwrap(), owner, "moved");
                        // New connections come in between, too.
                        let real = exchange(&mut connect(vip).unwrap(), 100, 100).unwrap();
                        assert!((1..=3).contains(&real));
                        exchanges.fetch_add(2, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..10 {
                let before = exchanges.load(Ordering::Relaxed);
                let next = net.inside("lb", || start(Some(bpffs.pins()), services.clone()));
                assert_eq!(next.mode(), (Effective::Adopted, None));
                running = next;
                let give_up = now_uncached() + Duration::from_secs(10);
                while exchanges.load(Ordering::Relaxed) < before + 50 && now_uncached() < give_up {
                    thread::park_timeout(Duration::from_millis(5));
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(exchanges.load(Ordering::Relaxed) > 500);
        assert_eq!(net.faults(), 0);
        drop(running);
        assert!(unpin(&bpffs.pins()).unwrap());
        assert!(!unpin(&bpffs.pins()).unwrap(), "nothing is left to remove");
    }
}

#[test]
fn maps_of_another_layout_are_refused() {
    let Some((net, _, services)) = prepare(Action::Dsr, VIP4, Tags::None) else { return };
    let bpffs = BpfFs::mount();
    let pins = bpffs.pins();
    net.inside("lb", || {
        let mut first = start(Some(pins.clone()), services.clone());
        first.balancer().pretend_version(77).unwrap();
        drop(first);
        let second = FastPath::start(&plan(Some(pins.clone())), services.clone(), now_uncached());
        match second {
            Err(XdpError::Layout { found: 77, .. }) => {}
            Err(other) => unreachable!("another error: {other}"),
            Ok(_) => unreachable!("maps of version 77 were taken"),
        }
        assert!(unpin(&pins).unwrap());
        start(Some(pins.clone()), services);
        assert!(unpin(&pins).unwrap());
    });
}

/// A process of its own with a fast path; killed when dropped.
struct Process(Child);

impl Process {
    fn start(net: &Net, pins: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["life::a_process_with_a_fast_path", "--exact", "--ignored", "--nocapture"])
            .env("RINGWAY_TEST_NAMESPACE", net.name("lb"))
            .stdout(Stdio::null());
        if let Some(pins) = pins {
            command.env("RINGWAY_TEST_PINS", pins);
        }
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        // SIGKILL: nothing of the process runs any more.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// A field of the status of the thread that has the fast path.
    fn status(&self, name: &str) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
        let mut all = tasks.filter_map(|task| read(task.unwrap()));
        let own = all.find(|status| status.lines().next().unwrap().contains("life::a_process"));
        let own = own.expect("the test's thread");
        let line = own.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Not a test by itself: what [`Process`] runs. Drops its capabilities as the product does.
#[test]
#[ignore = "run by the other tests of this file, as a process of its own"]
fn a_process_with_a_fast_path() {
    let Ok(namespace) = std::env::var("RINGWAY_TEST_NAMESPACE") else { return };
    enter(&namespace);
    let vip = SocketAddr::new(VIP4.parse().unwrap(), PORT);
    let services = vec![service(Action::Dsr, Transport::Tcp, vip, PORT)];
    let pins = std::env::var_os("RINGWAY_TEST_PINS").map(PathBuf::from);
    let mut fast_path = FastPath::start(&plan(pins), services.clone(), now_uncached()).unwrap();
    drop_capabilities().unwrap();
    assert!(!has_any_capability());
    let again = FastPath::start(&plan(None), Vec::new(), now_uncached());
    assert!(matches!(again, Err(XdpError::Capability(_))), "loading takes capabilities");
    // Everything after the start goes without: neighbours, maps, counters.
    settle(&mut fast_path);
    let mut other = services;
    other[0].reals[0].weight = 2;
    fast_path.apply(other).unwrap();
    loop {
        fast_path.tick(now_uncached()).unwrap();
        fast_path.report().unwrap();
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether a fetch through the VIP works now.
pub(crate) fn works(net: &Net, vip: SocketAddr) -> bool {
    net.inside("c", || connect(vip).is_ok_and(|mut stream| exchange(&mut stream, 10, 10).is_ok()))
}

fn wait_until_it_works(net: &Net, vip: SocketAddr) {
    let give_up = now_uncached() + Duration::from_secs(20);
    while !works(net, vip) {
        assert!(now_uncached() < give_up, "the process serves");
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// The kernel detaches a moment after the last reference is gone.
pub(crate) fn wait_until_detached(net: &Net) {
    let give_up = now_uncached() + Duration::from_secs(5);
    while net.run("lb", "ip link show eth0").contains("xdp") {
        assert!(now_uncached() < give_up, "the program is still there");
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_process_takes_its_program_with_it() {
    let Some((net, vip, _)) = prepare(Action::Dsr, VIP4, Tags::None) else { return };
    let mut process = Process::start(&net, None);
    wait_until_it_works(&net, vip);
    assert_eq!(process.status("CapEff:"), "0000000000000000");
    assert_eq!(process.status("CapPrm:"), "0000000000000000");
    assert_eq!(process.status("NoNewPrivs:"), "1");
    process.kill();
    wait_until_detached(&net);
    // The stack of the balancer has the VIP and nobody listens.
    assert!(!works(&net, vip));
}

#[test]
fn a_pinned_program_outlives_its_process_and_goes_when_unpinned() {
    let Some((net, vip, services)) = prepare(Action::Dsr, VIP4, Tags::None) else { return };
    let bpffs = BpfFs::mount();
    let mut process = Process::start(&net, Some(&bpffs.pins()));
    wait_until_it_works(&net, vip);
    let mut stream = net.inside("c", || connect(vip).unwrap());
    let owner = exchange(&mut stream, 10, 10).unwrap();
    process.kill();
    for _ in 0..20 {
        assert!(works(&net, vip), "new connections, with nobody there");
    }
    assert_eq!(exchange(&mut stream, 1 << 20, 1 << 20).unwrap(), owner);
    // The next process takes over, with the flows.
    let next = net.inside("lb", || start(Some(bpffs.pins()), vec![services[0].clone()]));
    assert_eq!(next.mode(), (Effective::Adopted, None));
    assert_eq!(exchange(&mut stream, 10, 10).unwrap(), owner);
    drop(next);
    assert!(works(&net, vip));
    assert!(unpin(&bpffs.pins()).unwrap());
    wait_until_detached(&net);
    assert_eq!(net.faults(), 0);
}

#[test]
fn native_is_refused_where_it_cannot_be_had_and_auto_says_why() {
    let Some((net, _, services)) = prepare(Action::Dsr, VIP4, Tags::None) else { return };
    net.inside("lb", || {
        // The loopback's driver has no XDP.
        let on_lo = |mode| Plan { interface: "lo".to_owned(), mode, ..plan(None) };
        let native = FastPath::start(&on_lo(Mode::Native), services.clone(), now_uncached());
        assert!(matches!(native, Err(XdpError::Attach { mode: "native", .. })));
        let auto = FastPath::start(&on_lo(Mode::Auto), services.clone(), now_uncached()).unwrap();
        let (effective, reason) = auto.mode();
        assert_eq!(effective, Effective::Generic);
        let reason = reason.unwrap();
        assert!(reason.contains("`lo`") && reason.contains("native"), "{reason}");
        let nowhere = Plan { interface: "nowhere0".to_owned(), ..plan(None) };
        let error = FastPath::start(&nowhere, services, now_uncached());
        assert!(matches!(error, Err(XdpError::Interface { .. })));
    });
}
