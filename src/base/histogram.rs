//! A latency histogram of fixed size: log-linear buckets of relaxed counters.
//!
//! One shard records, the control thread takes snapshots, adds those of all shards together and
//! asks for quantiles (through `hdrhistogram`) or for Prometheus' cumulative buckets.
//!
//! ```text
//!   0      512 ns   1.02 µs  2.05 µs           2^41 ns  2^42 ns = 1 h 13 min
//!   ├───────┼────────┼────────┼─────── … ────────┼────────┼──────────▶
//!   │ below │ 16 equal│16 equal│                  │16 equal│ above
//!   bucket 0  1…16    17…32                        …528     529
//! ```
//! Each octave is cut into 16 equal buckets, so a bucket is at most 1/16 of its lower end wide and
//! its harmonic middle is at most 1/33 = 3.03 % from any value in it.

use std::{
    array, fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// log2 of the smallest duration, in nanoseconds, that has a bucket of its own: 512 ns.
const OCTAVE_MIN: u32 = 9;
/// log2 of the first duration, in nanoseconds, that is too long to be told from longer ones.
const OCTAVE_MAX: u32 = 42;
/// log2 of the buckets in an octave.
const STEP_BITS: u32 = 4;
const STEPS: usize = 1 << STEP_BITS;
/// One below, sixteen for each octave, one above.
const BUCKETS: usize = (OCTAVE_MAX - OCTAVE_MIN) as usize * STEPS + 2;
/// The sum is kept in units of 64 ns so that it lasts: a million requests in flight, one after
/// another without a pause, need 37 years to wrap it.
const SUM_SHIFT: u32 = 6;

const _: () = assert!(size_of::<Histogram>() <= 6 * 1024, "one per route and shard");
const _: () = assert!(1 << OCTAVE_MIN <= 1_000 && 1_u64 << OCTAVE_MAX >= 3_600_000_000_000);

/// Counts durations from 1 µs to 1 h with a relative error of at most 3.1 %; what is shorter or
/// longer is counted at the ends. 4.1 KiB, allocation-free, one writer (see
/// [`Counter`](crate::base::metrics::Counter)), any number of readers.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// Units of `1 << SUM_SHIFT` nanoseconds.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let nanos = nanos(duration);
        let bucket = &self.buckets[bucket_of(nanos)];
        bucket.store(bucket.load(Relaxed).wrapping_add(1), Relaxed);
        let units = nanos.saturating_add(1 << (SUM_SHIFT - 1)) >> SUM_SHIFT;
        self.sum.store(self.sum.load(Relaxed).wrapping_add(units), Relaxed);
    }

    /// A copy of the counts. Each is exact; together they may miss what was recorded meanwhile.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        snapshot.merge_live(self);
        snapshot
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("count", &self.snapshot().count()).finish_non_exhaustive()
    }
}

/// What a [`Histogram`] held at one moment, or the sum of several.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// `BUCKETS` of them, or none while nothing has been merged.
    counts: Vec<u64>,
    sum: u64,
}

impl HistogramSnapshot {
    /// Adds the counts of another snapshot.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        self.reserve();
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Adds the counts of a histogram that is in use, without a snapshot in between.
    pub fn merge_live(&mut self, histogram: &Histogram) {
        self.reserve();
        for (mine, theirs) in self.counts.iter_mut().zip(&histogram.buckets) {
            *mine = mine.wrapping_add(theirs.load(Relaxed));
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Relaxed));
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together, exact to 32 ns each.
    pub fn sum(&self) -> Duration {
        let nanos = u128::from(self.sum) << SUM_SHIFT;
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        Duration::new(seconds, rest)
    }

    /// The duration below which the share `q` (0.0 to 1.0) of all lies, within 3.1 % of the true
    /// one; `None` when nothing was recorded.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let hdr = self.to_hdr();
        (!hdr.is_empty()).then(|| Duration::from_nanos(hdr.value_at_quantile(q)))
    }

    /// The same counts in an `hdrhistogram`, in nanoseconds.
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, 1 << (OCTAVE_MAX + 1), 3)
            .expect("bounds are constants: 1 ≤ 2·1 ≤ 2^43, 3 digits");
        self.add_to_hdr(&mut hdr);
        hdr
    }

    /// Adds the counts to an `hdrhistogram` in nanoseconds, each at the middle of its bucket;
    /// what lies beyond that histogram's bounds is counted at its end.
    pub fn add_to_hdr(&self, hdr: &mut hdrhistogram::Histogram<u64>) {
        for (index, &count) in self.counts.iter().enumerate() {
            if count > 0 {
                hdr.saturating_record_n(middle_nanos(index), count);
            }
        }
    }

    /// How many durations were at most each of `bounds` (ascending), as Prometheus' `le` buckets
    /// are. A bucket that a bound cuts counts on the side of its middle, so a bound is off by at
    /// most 3.1 %.
    pub fn cumulative(&self, bounds: &[Duration]) -> Vec<u64> {
        debug_assert!(bounds.is_sorted());
        let mut below = 0;
        let mut index = 0;
        let mut result = Vec::with_capacity(bounds.len());
        for bound in bounds {
            let bound = nanos(*bound);
            while index < self.counts.len() && middle_nanos(index) <= bound {
                below += self.counts[index];
                index += 1;
            }
            result.push(below);
        }
        result
    }

    /// What was recorded since `earlier`, a snapshot of the same histograms.
    pub fn since(&self, earlier: &Self) -> Self {
        if earlier.counts.is_empty() {
            return self.clone();
        }
        Self {
            counts: self
                .counts
                .iter()
                .zip(&earlier.counts)
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    fn reserve(&mut self) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
    }
}

impl Default for HistogramSnapshot {
    /// Nothing recorded.
    fn default() -> Self {
        Self { counts: Vec::new(), sum: 0 }
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistogramSnapshot")
            .field("count", &self.count())
            .field("sum", &self.sum())
            .finish()
    }
}

/// Saturates after 584 years. (`as_nanos` would compute in 128 bits.)
#[inline]
fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

#[inline]
fn bucket_of(nanos: u64) -> usize {
    let octave = (nanos | 1).ilog2();
    if octave < OCTAVE_MIN {
        return 0;
    }
    if octave >= OCTAVE_MAX {
        return BUCKETS - 1;
    }
    // The four bits under the leading one.
    let step = (nanos >> (octave - STEP_BITS)) & (STEPS as u64 - 1);
    let index = (u64::from(octave - OCTAVE_MIN) << STEP_BITS) + step + 1;
    index.try_into().unwrap_or(BUCKETS - 1)
}

/// The value that stands for a bucket: the harmonic middle `2ab/(a+b)`, whose relative distance to
/// either end is the same.
fn middle_nanos(index: usize) -> u64 {
    match index {
        0 => 1 << (OCTAVE_MIN - 1),
        i if i >= BUCKETS - 1 => 1 << OCTAVE_MAX,
        i => {
            let low = lower_end(i);
            let high = lower_end(i + 1);
            let middle = 2 * u128::from(low) * u128::from(high) / u128::from(low + high);
            u64::try_from(middle).unwrap_or(high)
        }
    }
}

/// The smallest value of a bucket, for `1 ≤ index < BUCKETS`.
fn lower_end(index: usize) -> u64 {
    debug_assert!((1..BUCKETS).contains(&index));
    let octave = (index - 1) / STEPS;
    let step = (index - 1) % STEPS;
    ((STEPS + step) as u64) << (octave + (OCTAVE_MIN - STEP_BITS) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            let (state, number) = crate::base::random::step(self.0);
            self.0 = state;
            number
        }
        /// Log-uniform from 1 µs to 1 h, in nanoseconds.
        fn nanos(&mut self) -> u64 {
            let octave = 10 + self.next() % 32;
            let value = (1 << octave) | (self.next() & ((1 << octave) - 1));
            value.clamp(1_000, 3_600_000_000_000)
        }
    }

    fn relative_error(measured: u64, exact: u64) -> f64 {
        (measured as f64 - exact as f64).abs() / exact as f64
    }

    #[test]
    fn every_value_is_within_its_bucket_and_near_its_middle() {
        let mut random = Random(1);
        for value in (0..200_000).map(|_| random.nanos()).chain([1_000, 3_600_000_000_000]) {
            let index = bucket_of(value);
            assert!(lower_end(index) <= value, "{value}");
            assert!(value < lower_end(index + 1), "{value}");
            assert!(relative_error(middle_nanos(index), value) <= 1.0 / 33.0 + 1e-3, "{value}");
        }
    }

    #[test]
    fn the_ends_catch_what_is_too_short_or_too_long() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(511), 0);
        assert_eq!(bucket_of(512), 1);
        assert_eq!(bucket_of((1 << OCTAVE_MAX) - 1), BUCKETS - 2);
        assert_eq!(bucket_of(1 << OCTAVE_MAX), BUCKETS - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        let histogram = Histogram::new();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().count(), 1);
    }

    #[test]
    fn quantiles_of_random_distributions_are_within_three_and_a_half_percent() {
        for seed in 0..40 {
            let mut random = Random(seed);
            let histogram = Histogram::new();
            let count = 1 + random.next() % 3_000;
            let mut values: Vec<u64> = (0..count).map(|_| random.nanos()).collect();
            for value in &values {
                histogram.record(Duration::from_nanos(*value));
            }
            values.sort_unstable();
            let snapshot = histogram.snapshot();
            for permille in [0, 500, 900, 990, 999, 1_000] {
                let q = permille as f64 / 1_000.0;
                let rank = (permille * values.len()).div_ceil(1_000).max(1);
                let exact = values[rank - 1];
                let measured = snapshot.quantile(q).unwrap().as_nanos().try_into().unwrap();
                let error = relative_error(measured, exact);
                // 3.03 % of the bucket and 0.1 % of hdrhistogram's three digits.
                assert!(error <= 0.0315, "seed {seed} q {q}: {measured} for {exact}: {error}");
            }
        }
    }

    #[test]
    fn the_sum_is_exact_to_32_ns_a_record() {
        let histogram = Histogram::new();
        for _ in 0..1_000 {
            histogram.record(Duration::from_nanos(50_031));
        }
        let sum = histogram.snapshot().sum().as_nanos();
        assert!(sum.abs_diff(50_031_000) <= 32_000, "{sum}");
    }

    #[test]
    fn merging_equals_recording_into_one() {
        let (one, two, both) = (Histogram::new(), Histogram::new(), Histogram::new());
        let mut random = Random(7);
        for i in 0..1_000 {
            let value = Duration::from_nanos(random.nanos());
            if i % 3 == 0 { &one } else { &two }.record(value);
            both.record(value);
        }
        let mut merged = HistogramSnapshot::default();
        merged.merge(&one.snapshot());
        merged.merge(&HistogramSnapshot::default());
        merged.merge_live(&two);
        assert_eq!(merged, both.snapshot());
        assert_eq!(merged.since(&one.snapshot()), two.snapshot());
    }

    #[test]
    fn cumulative_buckets_never_fall_and_end_at_the_count() {
        let histogram = Histogram::new();
        for millis in [1, 2, 2, 30, 400] {
            histogram.record(Duration::from_millis(millis));
        }
        let bounds = [500_u64, 1_500, 5_000, 100_000, 10_000_000].map(Duration::from_micros);
        assert_eq!(histogram.snapshot().cumulative(&bounds), [0, 1, 3, 4, 5]);
        assert_eq!(HistogramSnapshot::default().cumulative(&bounds), [0; 5]);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::new().snapshot().quantile(0.5), None);
        assert_eq!(HistogramSnapshot::default().quantile(0.5), None);
    }
}
