//! Judges facts. Pure: the same facts and needs give the same findings.

use ringway::{
    base::units::ByteSize,
    config::IoDriver,
    runtime::{KERNEL_MIN, KERNEL_RECOMMENDED},
};

use crate::cli::{
    doctor::{Finding, Level, Needs, facts::Facts},
    status::count,
};

/// Descriptors besides connections: per shard a ring, an eventfd, listeners, pooled pipes; and logs.
const FILES_PER_SHARD: u64 = 192;
const FILES_OF_PROCESS: u64 = 64;

/// Of the runtime's listeners.
const BACKLOG_WANTED: u64 = 4_096;

/// Connections to one endpoint's address are bounded by this many ports.
const PORTS_WANTED: u64 = 28_000;

/// The kernel's default of RLIMIT_MEMLOCK since 5.16.
const LOCKED_BYTES_WANTED: u64 = 8 << 20;

/// A pooled pipe for splice has 256 KiB; a shard keeps at most 64.
const PIPE_PAGES: u64 = 64;
const PIPES_PER_SHARD: u64 = 64;

pub(super) fn check(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let each = [
        Some(kernel(facts)),
        Some(io_uring(facts, needs)),
        features(facts),
        seccomp(facts),
        open_files(facts, needs),
        locked_memory(facts),
        somaxconn(facts),
        port_range(facts),
        tw_reuse(facts),
        pipe_pages(facts, needs),
        cpus(facts, needs),
        cpu_quota(facts, needs),
    ];
    each.into_iter().flatten().collect()
}

fn kernel(facts: &Facts) -> Finding {
    let kernel = facts.report.kernel;
    if kernel >= KERNEL_RECOMMENDED {
        return Finding::ok("kernel", kernel.to_string());
    }
    let advice = format!("run Linux {KERNEL_RECOMMENDED} or newer");
    let meaning = if kernel >= KERNEL_MIN {
        "it works; newer kernels cost less CPU per request"
    } else {
        "too old for the io_uring driver; epoll is used instead, at a higher cost per request"
    };
    Finding::bad(Level::Warn, "kernel", kernel.to_string(), meaning, advice)
}

fn io_uring(facts: &Facts, needs: &Needs) -> Finding {
    let subject = "io_uring";
    match &facts.report.io_uring {
        Ok(ring) if ring.dropped.is_empty() => Finding::ok(subject, "available, all flags"),
        Ok(ring) => Finding::bad(
            Level::Warn,
            subject,
            format!("available, without {}", ring.dropped.join(", ")),
            "it works; these would lower the cost per request",
            format!("run Linux {KERNEL_RECOMMENDED} or newer"),
        ),
        Err(reason) => {
            let (level, meaning) = match needs.driver {
                IoDriver::IoUring => {
                    (Level::Fail, "io_driver = \"io_uring\" refuses to start without it")
                }
                IoDriver::Auto => {
                    (Level::Warn, "epoll is used instead, at a higher cost per request")
                }
                IoDriver::Epoll => (Level::Ok, "io_driver = \"epoll\" doesn't use it"),
            };
            let advice = match level {
                Level::Ok => "",
                // The reason says what to do about it.
                Level::Warn | Level::Fail => "as said above, or set io_driver = \"epoll\"",
            };
            Finding::bad(level, subject, reason, meaning, advice)
        }
    }
}

fn features(facts: &Facts) -> Option<Finding> {
    let ring = facts.report.io_uring.as_ref().ok()?;
    let missing = |all: &[(&'static str, bool)]| -> Vec<&'static str> {
        all.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name).collect()
    };
    let (operations, features) = (missing(&ring.operations), missing(&ring.features));
    let subject = "io_uring operations";
    Some(if operations.is_empty() && ring.buffer_ring {
        let without = if features.is_empty() {
            String::new()
        } else {
            format!("; this kernel lacks {}, which aren't needed", features.join(", "))
        };
        Finding::ok(subject, format!("all {} there{without}", ring.operations.len()))
    } else {
        let mut lacking = operations;
        if !ring.buffer_ring {
            lacking.push("provided buffer rings");
        }
        Finding::bad(
            Level::Warn,
            subject,
            format!("missing: {}", lacking.join(", ")),
            "the io_uring driver can't work without them; epoll is used instead",
            "allow them in the io_uring restrictions of the container or security module",
        )
    })
}

fn seccomp(facts: &Facts) -> Option<Finding> {
    let subject = "seccomp";
    Some(match (facts.seccomp?, &facts.report.io_uring) {
        (0, _) => Finding::ok(subject, "no filter"),
        (_, Ok(_)) => Finding::ok(subject, "a filter, which lets io_uring through"),
        (_, Err(_)) => Finding::bad(
            Level::Warn,
            subject,
            "a filter",
            "containers forbid io_uring by their default profile",
            "run with a profile that allows io_uring_setup, io_uring_enter and io_uring_register",
        ),
    })
}

fn open_files(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let (soft, hard) = facts.open_files?;
    let subject = "open files";
    // A client's connection and the one to its endpoint.
    let own = FILES_OF_PROCESS + FILES_PER_SHARD * needs.shards as u64;
    let wanted = 2 * u64::from(needs.max_connections) + own;
    if soft >= wanted {
        return Some(Finding::ok(subject, limit_text(soft)));
    }
    let enough_for = soft.saturating_sub(own) / 2;
    let advice = if hard >= wanted {
        format!("`ulimit -n {wanted}`, or LimitNOFILE={wanted} in the systemd unit")
    } else {
        format!(
            "LimitNOFILE={wanted} in the systemd unit (the hard limit is {}), or set \
             max_connections = {enough_for}",
            limit_text(hard)
        )
    };
    let level = if enough_for == 0 { Level::Fail } else { Level::Warn };
    Some(Finding::bad(
        level,
        subject,
        format!(
            "{}, and max_connections = {}",
            limit_text(soft),
            count(needs.max_connections.into())
        ),
        format!(
            "about {} clients at a time; more find no descriptor and wait in the backlog",
            count(enough_for)
        ),
        advice,
    ))
}

fn limit_text(limit: u64) -> String {
    if limit == u64::MAX { "unlimited".to_owned() } else { count(limit) }
}

fn locked_memory(facts: &Facts) -> Option<Finding> {
    let (soft, _) = facts.locked_memory?;
    let subject = "locked memory";
    let found = if soft == u64::MAX { "unlimited".to_owned() } else { ByteSize(soft).to_string() };
    let is_enough = soft >= LOCKED_BYTES_WANTED || facts.is_root;
    Some(if is_enough {
        Finding::ok(subject, found)
    } else {
        Finding::bad(
            Level::Warn,
            subject,
            found,
            "a kernel that accounts rings as locked memory may refuse to make them",
            "`ulimit -l 8192`, or LimitMEMLOCK=8M in the systemd unit",
        )
    })
}

fn somaxconn(facts: &Facts) -> Option<Finding> {
    let found = facts.somaxconn?;
    let subject = "net.core.somaxconn";
    Some(if found >= BACKLOG_WANTED {
        Finding::ok(subject, count(found))
    } else {
        Finding::bad(
            Level::Warn,
            subject,
            count(found),
            "a burst of new connections overflows the accept queue, and clients wait a second",
            format!("`sysctl net.core.somaxconn={BACKLOG_WANTED}`"),
        )
    })
}

fn port_range(facts: &Facts) -> Option<Finding> {
    let (first, last) = facts.port_range?;
    let subject = "net.ipv4.ip_local_port_range";
    let ports = (last + 1).saturating_sub(first);
    let found = format!("{first}-{last}, {} ports", count(ports));
    Some(if ports >= PORTS_WANTED {
        Finding::ok(subject, found)
    } else {
        Finding::bad(
            Level::Warn,
            subject,
            found,
            "that many connections to one endpoint at most, those in TIME_WAIT included",
            "`sysctl net.ipv4.ip_local_port_range=\"10240 65535\"`",
        )
    })
}

fn tw_reuse(facts: &Facts) -> Option<Finding> {
    let found = facts.tw_reuse?;
    let subject = "net.ipv4.tcp_tw_reuse";
    Some(match found {
        0 => Finding::bad(
            Level::Warn,
            subject,
            "0, off",
            "connections that ringway closed keep their port for a minute; matters where endpoints \
             don't keep connections alive",
            "`sysctl net.ipv4.tcp_tw_reuse=1`",
        ),
        1 => Finding::ok(subject, "1, on"),
        2 => Finding::ok(subject, "2, on for loopback (the kernel's default)"),
        other => Finding::ok(subject, other.to_string()),
    })
}

fn pipe_pages(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let soft = facts.pipe_pages_soft?;
    let subject = "fs.pipe-user-pages-soft";
    let wanted = PIPE_PAGES * PIPES_PER_SHARD * needs.shards as u64;
    // 0 is no limit; CAP_SYS_RESOURCE is above it.
    if soft == 0 || soft >= wanted || facts.is_root {
        return Some(Finding::ok(subject, count(soft)));
    }
    Some(Finding::bad(
        Level::Warn,
        subject,
        format!("{}, and {} shards may use {}", count(soft), needs.shards, count(wanted)),
        "beyond it pipes shrink to two pages, and large bodies cost more system calls",
        format!("`sysctl fs.pipe-user-pages-soft={wanted}`"),
    ))
}

fn cpus(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let allowed = facts.cpus_allowed?;
    let subject = "CPUs";
    let found = format!("{allowed} to run on, {} shards", needs.shards);
    Some(if needs.shards > allowed && needs.pin {
        Finding::bad(
            Level::Warn,
            subject,
            found,
            "shards share a CPU and wait for each other",
            "set [runtime] shards = \"auto\", or allow more CPUs (taskset, CPUAffinity=, cpuset)",
        )
    } else {
        Finding::ok(subject, found)
    })
}

fn cpu_quota(facts: &Facts, needs: &Needs) -> Option<Finding> {
    let millis = facts.cpu_quota_millis?;
    let subject = "CPU quota";
    let found = format!("{}.{:02} CPUs", millis / 1_000, millis % 1_000 / 10);
    let shards = needs.shards as u64;
    Some(if shards * 1_000 > millis {
        let fitting = (millis / 1_000).max(1);
        Finding::bad(
            Level::Warn,
            subject,
            format!("{found} for {shards} shards"),
            "under load all shards are stopped for the rest of each period, and latency jumps",
            format!("set [runtime] shards = {fitting}, or raise the quota"),
        )
    } else {
        Finding::ok(subject, found)
    })
}
