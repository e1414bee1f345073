//! What the machine says of itself: files below `/proc` and `/sys`, and the runtime's probe.
//!
//! What can't be read is `None`, and the checks say nothing about it. The root is a parameter so
//! that tests bring their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ringway::runtime::Report;

/// Everything that the checks look at.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) report: Report,
    /// 0 no filter, 1 strict, 2 filter.
    pub(super) seccomp: Option<u64>,
    pub(super) is_root: bool,
    /// Soft and hard; `u64::MAX` is unlimited.
    pub(super) open_files: Option<(u64, u64)>,
    /// Bytes; soft and hard.
    pub(super) locked_memory: Option<(u64, u64)>,
    pub(super) somaxconn: Option<u64>,
    /// First and last.
    pub(super) port_range: Option<(u64, u64)>,
    /// 0 off, 1 on, 2 loopback only.
    pub(super) tw_reuse: Option<u64>,
    /// Pages.
    pub(super) pipe_pages_soft: Option<u64>,
    /// CPUs that the process may run on.
    pub(super) cpus_allowed: Option<usize>,
    /// CPUs' worth of time that the control group grants, in thousandths; `None` is no limit.
    pub(super) cpu_quota_millis: Option<u64>,
}

impl Facts {
    /// Reads below `root`, which is `/` outside of tests.
    pub(super) fn gather(root: &Path, report: Report) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let number = |path: &str| read(path)?.trim().parse().ok();
        let status = read("proc/self/status").unwrap_or_default();
        let limits = read("proc/self/limits").unwrap_or_default();
        Self {
            report,
            seccomp: field(&status, "Seccomp:").and_then(|text| text.parse().ok()),
            is_root: field(&status, "Uid:").and_then(|ids| ids.split_whitespace().nth(1))
                == Some("0"),
            open_files: limit(&limits, "Max open files"),
            locked_memory: limit(&limits, "Max locked memory"),
            somaxconn: number("proc/sys/net/core/somaxconn"),
            port_range: read("proc/sys/net/ipv4/ip_local_port_range")
                .and_then(|text| pair(text.split_whitespace())),
            tw_reuse: number("proc/sys/net/ipv4/tcp_tw_reuse"),
            pipe_pages_soft: number("proc/sys/fs/pipe-user-pages-soft"),
            cpus_allowed: field(&status, "Cpus_allowed_list:").and_then(count_list),
            cpu_quota_millis: quota(root, &read("proc/self/cgroup").unwrap_or_default()),
        }
    }
}

/// The rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// `Max open files            1024                 1048576              files`
fn limit(text: &str, name: &str) -> Option<(u64, u64)> {
    pair(field(text, name)?.split_whitespace())
}

fn pair<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(u64, u64)> {
    let mut next = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    };
    Some((next()?, next()?))
}

/// How many numbers `0-3,8` names.
fn count_list(list: &str) -> Option<usize> {
    let mut count = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count += (last + 1).checked_sub(first)?;
    }
    Some(count)
}

/// The smallest CPU quota on the way from our control group to the root, for both versions.
fn quota(root: &Path, cgroups: &str) -> Option<u64> {
    let mut smallest = None;
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let read: fn(&Path) -> Option<u64>;
        let mount = if controllers.is_empty() {
            read = quota_v2;
            "sys/fs/cgroup"
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            read = quota_v1;
            "sys/fs/cgroup/cpu"
        } else {
            continue;
        };
        let mount = root.join(mount);
        let own: PathBuf = mount.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            let found = read(folder);
            smallest = match (smallest, found) {
                (Some(one), Some(other)) => Some(std::cmp::min::<u64>(one, other)),
                (one, other) => one.or(other),
            };
        }
    }
    smallest
}

/// `cpu.max`: `200000 100000` or `max 100000`.
fn quota_v2(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = pair(text.split_whitespace())?;
    (quota.checked_mul(1_000)?).checked_div(period)
}

/// `cpu.cfs_quota_us`, which is -1 without a limit, and `cpu.cfs_period_us`.
fn quota_v1(folder: &Path) -> Option<u64> {
    let number =
        |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    number("cpu.cfs_quota_us")?.checked_mul(1_000)?.checked_div(number("cpu.cfs_period_us")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_lists_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(limit(text, "Max open files"), Some((1024, u64::MAX)));
        assert_eq!(limit(text, "Max locked memory"), None);
        assert_eq!(count_list("0-3,8"), Some(5));
        assert_eq!(count_list("7"), Some(1));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("x"), None);
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("ringway-facts-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
        write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
        write("sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "400000\n");
        write("sys/fs/cgroup/cpu/d/cpu.cfs_period_us", "100000\n");
        let found = ["0::/a/b", "4:cpu,cpuacct:/c", "4:cpu:/d", "4:memory:/d", "0::/a\n1:cpu:/d"]
            .map(|cgroups| quota(&root, cgroups));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [Some(1_500), None, Some(4_000), None, Some(1_500)]);
    }

    #[test]
    fn a_machine_without_these_files_gives_no_facts() {
        let report = ringway::runtime::probe();
        let facts = Facts::gather(Path::new("/nonexistent"), report);
        assert!(facts.seccomp.is_none() && facts.open_files.is_none());
        assert!(facts.cpus_allowed.is_none() && facts.cpu_quota_millis.is_none());
        assert!(!facts.is_root);
    }
}
