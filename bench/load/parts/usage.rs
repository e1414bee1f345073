//! CPU time of other processes, from /proc: all their threads, io_uring's workers included.

use std::fs;

/// CPU time used so far.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Nanoseconds on a CPU, exact, from schedstat.
    pub(crate) total: u64,
    /// Clock ticks in user and in kernel mode: sampled by the kernel, so only their ratio is used.
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Usage {
    /// The sum over `pids`. A process that is gone counts as nothing.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
                sum.total += field(&read("schedstat"), 0);
                let stat = read("stat");
                // The name in parentheses may hold spaces: count from behind it.
                let after_name = stat.rsplit(')').next().unwrap_or("");
                sum.user += field(after_name, 11);
                sum.system += field(after_name, 12);
            }
        }
        sum
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

fn field(text: &str, index: usize) -> u64 {
    text.split_whitespace().nth(index).and_then(|field| field.parse().ok()).unwrap_or(0)
}
