//! Which CPUs the process may use, and which of them are the same physical core.
//!
//! Reads `/proc/self/status`, `/sys/devices/system/cpu` and the cgroup's quota; decides nothing
//! but how many shards `auto` is. Where a file can't be read the answer is the modest one.

use std::fs;
use std::path::Path;

/// Most shards of a process.
pub(super) const SHARDS_MAX: u32 = 1_024;

/// The process's CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus {
    allowed: Vec<usize>,
    /// The first thread of each physical core, at most as many as the quota pays for.
    physical: Vec<usize>,
}

impl Cpus {
    /// Asks the system. Never empty: where nothing can be read there is CPU 0.
    pub fn of_this_process() -> Self {
        let allowed = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| {
                let line =
                    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
                parse_list(line.trim())
            })
            .unwrap_or_default();
        let siblings = |cpu: usize| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            fs::read_to_string(path).ok().and_then(|list| parse_list(list.trim()))
        };
        Self::new(allowed, siblings, quota())
    }

    /// For CPUs told rather than asked for: `siblings` gives the threads of a CPU's core, `quota`
    /// how many CPUs' worth of time there is.
    pub fn new(
        mut allowed: Vec<usize>,
        siblings: impl Fn(usize) -> Option<Vec<usize>>,
        quota: Option<usize>,
    ) -> Self {
        if allowed.is_empty() {
            allowed.push(0);
        }
        // A core counts once: by the first of its threads that we may use.
        let is_first = |cpu: &usize| {
            let threads = siblings(*cpu).unwrap_or_else(|| vec![*cpu]);
            threads.iter().find(|thread| allowed.contains(thread)).is_none_or(|first| first == cpu)
        };
        let mut physical: Vec<usize> = allowed.iter().copied().filter(is_first).collect();
        physical.truncate(quota.unwrap_or(usize::MAX).clamp(1, SHARDS_MAX_LEN));
        Self { allowed, physical }
    }

    /// The CPUs that the process may use, ascending.
    pub fn allowed(&self) -> &[usize] {
        &self.allowed
    }

    /// One CPU per physical core, ascending: what `shards = "auto"` means.
    pub fn physical(&self) -> Vec<usize> {
        self.physical.clone()
    }

    /// `count` CPUs: physical cores first, then their other threads, then all of them again.
    pub(super) fn spread(&self, count: usize) -> Vec<usize> {
        let others = self.allowed.iter().filter(|cpu| !self.physical.contains(cpu));
        let mut order: Vec<usize> = self.physical.iter().chain(others).copied().collect();
        order = order.iter().copied().cycle().take(count).collect();
        order
    }
}

/// `0-7,16-23` as a list; `None` if it isn't one or names a CPU beyond any kernel's.
pub(super) fn parse_list(text: &str) -> Option<Vec<usize>> {
    let number = |text: &str| {
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<usize>().ok().filter(|cpu| is_number && *cpu <= CPU_MAX)
    };
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || list.len() > CPU_MAX {
            return None;
        }
        list.extend(first..=last);
    }
    Some(list)
}

/// A list as [`parse_list`] reads it, with runs shortened.
pub(super) fn format_list(cpus: &[usize]) -> String {
    let mut text = String::new();
    let mut rest = cpus;
    while let [first, ..] = rest {
        let run = rest.iter().zip(*first..).take_while(|(cpu, expected)| *cpu == expected).count();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if run > 1 {
            text.push_str(&format!("-{}", first + run - 1));
        }
        rest = &rest[run..];
    }
    text
}

/// CPUs' worth of time that the cgroup (v2) and its parents grant, rounded up; a container with
/// `cpu.max = 200000 100000` on 64 cores should run two shards, not 64.
fn quota() -> Option<usize> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    root.join(own)
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| parse_quota(&fs::read_to_string(folder.join("cpu.max")).ok()?))
        .min()
}

fn parse_quota(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

/// The kernel's `NR_CPUS` never exceeds it.
const CPU_MAX: usize = 8_191;

const SHARDS_MAX_LEN: usize = SHARDS_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_parse_and_format_back() {
        for (text, cpus) in [
            ("0", vec![0]),
            ("0-3", vec![0, 1, 2, 3]),
            ("0-1,4,8-9", vec![0, 1, 4, 8, 9]),
            ("3,1", vec![3, 1]),
            ("0,0", vec![0, 0]),
        ] {
            assert_eq!(parse_list(text), Some(cpus.clone()), "{text}");
            assert_eq!(format_list(&cpus), text);
        }
        for text in
            ["", "-", "1-", "-1", "3-1", "a", "0,,1", "99999", "+1", "0-99999999999999999999"]
        {
            assert_eq!(parse_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn auto_is_one_shard_per_physical_core_that_may_be_used() {
        let siblings = |cpu: usize| Some(vec![cpu % 4, cpu % 4 + 4]);
        let cpus = Cpus::new((0..8).collect(), siblings, None);
        assert_eq!(cpus.physical(), [0, 1, 2, 3]);
        let cpus = Cpus::new(vec![1, 4, 5, 6], siblings, None);
        assert_eq!(cpus.physical(), [1, 4, 6]);
        assert_eq!(cpus.spread(6), [1, 4, 6, 5, 1, 4]);
        let cpus = Cpus::new((0..8).collect(), siblings, Some(2));
        assert_eq!(cpus.physical(), [0, 1]);
        let cpus = Cpus::new(Vec::new(), |_| None, None);
        assert_eq!(cpus.physical(), [0]);
    }

    #[test]
    fn a_quota_is_rounded_up() {
        assert_eq!(parse_quota("200000 100000\n"), Some(2));
        assert_eq!(parse_quota("150000 100000\n"), Some(2));
        assert_eq!(parse_quota("1000 100000\n"), Some(1));
        assert_eq!(parse_quota("max 100000\n"), None);
    }

    #[test]
    fn this_process_has_a_cpu() {
        let cpus = Cpus::of_this_process();
        assert!(!cpus.physical().is_empty());
        assert!(cpus.physical().iter().all(|cpu| cpus.allowed().contains(cpu)));
    }
}
