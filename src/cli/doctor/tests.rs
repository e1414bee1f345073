//! Machines that were invented to be judged.

use super::*;
use ringway::{
    config::IoDriver,
    runtime::{KernelVersion, Report, RingReport},
};

fn good() -> Facts {
    let ring = RingReport {
        dropped: Vec::new(),
        operations: vec![("RECV", true), ("SEND", true)],
        features: vec![("NODROP", true), ("NO_IOWAIT", false)],
        buffer_ring: true,
    };
    Facts {
        report: Report { kernel: KernelVersion { major: 6, minor: 12 }, io_uring: Ok(ring) },
        seccomp: Some(0),
        is_root: false,
        open_files: Some((1_000_000, 1_000_000)),
        locked_memory: Some((8 << 20, 8 << 20)),
        somaxconn: Some(4_096),
        port_range: Some((32_768, 60_999)),
        tw_reuse: Some(2),
        pipe_pages_soft: Some(16_384),
        cpus_allowed: Some(4),
        cpu_quota_millis: None,
    }
}

fn needs() -> Needs {
    Needs { driver: IoDriver::Auto, max_connections: 200_000, shards: 4, pin: true }
}

fn found<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.subject == subject).unwrap()
}

/// The one finding that isn't fine on a machine with one fault.
fn fault(spoil: impl FnOnce(&mut Facts, &mut Needs)) -> Finding {
    let (mut facts, mut needs) = (good(), needs());
    spoil(&mut facts, &mut needs);
    let bad: Vec<Finding> = checks::check(&facts, &needs)
        .into_iter()
        .filter(|finding| finding.level != Level::Ok)
        .collect();
    assert_eq!(bad.len(), 1, "{bad:#?}");
    assert!(!bad[0].meaning.is_empty() && !bad[0].advice.is_empty(), "{bad:?}");
    bad.into_iter().next().unwrap()
}

#[test]
fn a_good_machine_has_nothing_but_ok() {
    let findings = checks::check(&good(), &needs());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    assert_eq!(findings.len(), 11);
}

#[test]
fn each_fault_is_found_and_alone() {
    let warned = [
        fault(|facts, _| facts.report.kernel = KernelVersion { major: 6, minor: 6 }),
        fault(|facts, _| facts.report.io_uring.as_mut().unwrap().dropped = vec!["NO_SQARRAY"]),
        fault(|facts, _| facts.report.io_uring.as_mut().unwrap().operations[0].1 = false),
        fault(|facts, _| facts.report.io_uring.as_mut().unwrap().buffer_ring = false),
        fault(|facts, _| facts.report.io_uring = Err("kernel.io_uring_disabled is 2".to_owned())),
        fault(|facts, _| facts.open_files = Some((20_000, 20_000))),
        fault(|facts, _| facts.locked_memory = Some((65_536, 65_536))),
        fault(|facts, _| facts.somaxconn = Some(128)),
        fault(|facts, _| facts.port_range = Some((50_000, 59_999))),
        fault(|facts, _| facts.tw_reuse = Some(0)),
        fault(|facts, _| facts.pipe_pages_soft = Some(16_383)),
        fault(|facts, _| facts.cpus_allowed = Some(3)),
        fault(|facts, _| facts.cpu_quota_millis = Some(2_500)),
    ];
    assert!(warned.iter().all(|finding| finding.level == Level::Warn), "{warned:#?}");
}

#[test]
fn io_uring_is_a_must_only_where_the_config_says_so() {
    let mut facts = good();
    facts.report.io_uring = Err("forbidden by seccomp".to_owned());
    facts.seccomp = Some(2);
    for (driver, level) in [
        (IoDriver::IoUring, Level::Fail),
        (IoDriver::Auto, Level::Warn),
        (IoDriver::Epoll, Level::Ok),
    ] {
        let findings = checks::check(&facts, &Needs { driver, ..needs() });
        let finding = found(&findings, "io_uring");
        assert_eq!(finding.level, level);
        assert_eq!(finding.found, "forbidden by seccomp");
        assert_eq!(found(&findings, "seccomp").level, Level::Warn);
    }
}

#[test]
fn open_files_are_held_against_the_connections() {
    let finding = fault(|facts, needs| {
        facts.open_files = Some((1_024, 1_048_576));
        needs.max_connections = 10_000;
        needs.shards = 2;
    });
    assert_eq!(finding.found, "1,024, and max_connections = 10,000");
    assert!(finding.meaning.starts_with("about 288 clients at a time"), "{}", finding.meaning);
    assert_eq!(finding.advice, "`ulimit -n 20448`, or LimitNOFILE=20448 in the systemd unit");
    let none = fault(|facts, _| facts.open_files = Some((100, 100)));
    assert_eq!(none.level, Level::Fail, "not even the shards have enough");
}

#[test]
fn root_is_above_some_limits() {
    let mut facts = good();
    facts.is_root = true;
    facts.locked_memory = Some((0, 0));
    facts.pipe_pages_soft = Some(1);
    let findings = checks::check(&facts, &needs());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
}

#[test]
fn a_quota_suggests_the_shards_that_fit() {
    let finding = fault(|facts, _| facts.cpu_quota_millis = Some(1_500));
    assert_eq!(finding.found, "1.50 CPUs for 4 shards");
    assert_eq!(finding.advice, "set [runtime] shards = 1, or raise the quota");
}

#[test]
fn findings_are_printed_with_what_to_do() {
    let finding = fault(|facts, _| facts.somaxconn = Some(128));
    let mut out = Vec::new();
    write(&[Finding::ok("kernel", "6.12"), finding], &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "ok    kernel              6.12\n\
         warn  net.core.somaxconn  128\n\
         \u{20}                         a burst of new connections overflows the accept queue, and clients \
         wait a second\n\
         \u{20}                         do: `sysctl net.core.somaxconn=4096`\n\
         \n\
         1 ok, 1 to know about, 0 to mend first\n"
    );
}

#[test]
fn this_machine_can_be_examined() {
    let facts = Facts::gather(Path::new("/"), runtime::probe());
    let findings = checks::check(&facts, &needs());
    assert!(findings.len() >= 8, "{findings:#?}");
    let json = serde_json::to_value(&findings).unwrap();
    assert_eq!(json[0]["subject"], "kernel");
}
