//! A histogram of durations that takes a fixed amount of memory: one counter for each bucket and each of some threads.
//!
//! The exporter's own histogram keeps each sample until the next scrape. That is about 17 bytes a call, without bound
//! if nobody scrapes.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::striped::Striped;

/// Upper bounds of the buckets, inclusive. Longer durations go into a last bucket, which has no bound.
const BOUNDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Counts how many durations fell into each bucket, and sums them up.
#[derive(Debug, Default)]
pub(crate) struct Histogram(Striped<Buckets>);

/// What one thread has counted.
#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// Wraps after 584 years of calls.
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < duration);
        let Buckets { counts, sum_nanos } = self.0.own();
        counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Appends the histogram's lines in Prometheus's text format, version 0.0.4. `label` is a label with its quoted
    /// value. A histogram in which nothing was counted has no lines.
    pub(crate) fn write(&self, text: &mut String, name: &str, label: &str) {
        let mut counts = [0; BOUNDS.len() + 1];
        let mut sum_nanos = 0_u64;
        for buckets in self.0.all() {
            for (count, counted) in counts.iter_mut().zip(&buckets.counts) {
                *count += counted.load(Ordering::Relaxed);
            }
            sum_nanos = sum_nanos.wrapping_add(buckets.sum_nanos.load(Ordering::Relaxed));
        }
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return;
        }
        let mut up_to_here = 0;
        for (bound, in_bucket) in BOUNDS.iter().zip(counts) {
            up_to_here += in_bucket;
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{name}_bucket{{{label},le=\"{}\"}} {up_to_here}",
                bound.as_secs_f64()
            );
        }
        let sum = Duration::from_nanos(sum_nanos).as_secs_f64();
        let _ = writeln!(text, "{name}_bucket{{{label},le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{{label}}} {sum}");
        let _ = writeln!(text, "{name}_count{{{label}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut text = String::new();
        histogram.write(&mut text, "d", "method=\"m\"");
        let value = |series: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
                .map(str::to_owned)
        };
        assert_eq!(
            value("d_bucket{method=\"m\",le=\"0.0001\"}").as_deref(),
            Some("2"),
            "{text}"
        );
        assert_eq!(
            value("d_bucket{method=\"m\",le=\"0.00025\"}").as_deref(),
            Some("3"),
            "{text}"
        );
        assert_eq!(value("d_bucket{method=\"m\",le=\"5\"}").as_deref(), Some("4"), "{text}");
        assert_eq!(
            value("d_bucket{method=\"m\",le=\"+Inf\"}").as_deref(),
            Some("5"),
            "{text}"
        );
        assert_eq!(value("d_count{method=\"m\"}").as_deref(), Some("5"), "{text}");
        assert_eq!(value("d_sum{method=\"m\"}").as_deref(), Some("10.000202"), "{text}");
    }

    #[test]
    fn an_empty_histogram_has_no_lines() {
        let mut text = String::new();
        Histogram::default().write(&mut text, "d", "method=\"m\"");
        assert_eq!(text, "");
    }
}
