//! Pins a thread to a CPU.

use core_affinity::CoreId;

/// The CPUs that this process may run on.
pub fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Pins the calling thread to `cpu`. False when that CPU doesn't exist or isn't allowed; the
/// thread then stays where the scheduler puts it.
pub fn pin(cpu: usize) -> bool {
    cpus().contains(&cpu) && core_affinity::set_for_current(CoreId { id: cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpus_that_exist_can_be_pinned_to() {
        assert!(!pin(usize::MAX));
        let first = cpus()[0];
        assert!(pin(first));
    }
}
