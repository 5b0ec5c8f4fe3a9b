//! How long things take: histograms that a core counts in by itself, and the text of all cores together.
//!
//! One atomic addition to memory that no other core writes, and no lock. Where a request is sampled, the
//! bucket that it falls into remembers its trace, so that whoever looks at a slow bucket finds one.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use portcullis_model::TraceParent;

/// Seconds in which whole requests are counted: from what this gate adds to what people wait for.
pub(super) const REQUESTS: &[f64] = &[
    5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// Seconds in which decisions are counted.
pub(super) const DECISIONS: &[f64] = &[1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2];

/// One histogram of one core.
#[derive(Debug)]
pub(crate) struct Latency {
    bounds: &'static [f64],
    /// One more than there are bounds: what is above them all.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
    examples: Box<[Mutex<Option<Example>>]>,
}

/// A sampled request.
#[derive(Debug, Clone, Copy)]
struct Example {
    trace: TraceParent,
    seconds: f64,
    at: Timestamp,
}

impl Latency {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let many = bounds.len() + 1;
        Self {
            bounds,
            counts: (0..many).map(|_| AtomicU64::new(0)).collect(),
            nanoseconds: AtomicU64::new(0),
            examples: (0..many).map(|_| Mutex::default()).collect(),
        }
    }

    /// Something took so long; `sampled` is its trace, if there is one.
    pub(crate) fn observe(&self, took: Duration, sampled: Option<(TraceParent, Timestamp)>) {
        let seconds = took.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
        if let (Some((trace, now)), Some(example)) = (sampled, self.examples.get(at)) {
            let mut example = example.lock().unwrap_or_else(PoisonError::into_inner);
            *example = Some(Example { trace, seconds, at: now });
        }
    }
}

/// Histograms of one name on all cores, by their labels: `service="shop"`, or nothing.
#[derive(Debug)]
pub(super) struct Latencies {
    name: &'static str,
    help: &'static str,
    bounds: &'static [f64],
    cores: Mutex<HashMap<String, Vec<Arc<Latency>>>>,
}

impl Latencies {
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, help, bounds, cores: Mutex::default() }
    }

    /// One more core counts under `labels`.
    pub(super) fn join(&self, labels: String) -> Arc<Latency> {
        let latency = Arc::new(Latency::new(self.bounds));
        let mut cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        cores.entry(labels).or_default().push(Arc::clone(&latency));
        latency
    }

    /// Writes them as `OpenMetrics` text; with nothing counted yet, what they are.
    pub(super) fn render(&self, text: &mut String) {
        let Self { name, help, .. } = self;
        let _ =
            writeln!(text, "# HELP {name} {help}.\n# TYPE {name} histogram\n# UNIT {name} seconds");
        let cores = self.cores.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted: BTreeMap<_, _> = cores.iter().collect();
        for (labels, cores) in sorted {
            self.render_one(text, labels, cores);
        }
    }

    fn render_one(&self, text: &mut String, labels: &str, cores: &[Arc<Latency>]) {
        let Self { name, bounds, .. } = self;
        let comma = if labels.is_empty() { "" } else { "," };
        let ends = bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        let mut total = 0;
        for (at, end) in ends.enumerate() {
            let counts = cores.iter().filter_map(|core| core.counts.get(at));
            total += counts.map(|count| count.load(Relaxed)).sum::<u64>();
            let _ = write!(text, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {total}");
            let examples = cores.iter().filter_map(|core| core.examples.get(at));
            let examples = examples.map(|one| *one.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(newest) = examples.flatten().max_by_key(|example| example.at) {
                let Example { trace, seconds, at } = newest;
                let millis = at.as_millisecond();
                let (whole, part) = (millis.div_euclid(1000), millis.rem_euclid(1000));
                let trace = trace.trace_id();
                let _ = write!(text, " # {{trace_id=\"{trace}\"}} {seconds:?} {whole}.{part:03}");
            }
            text.push('\n');
        }
        let sum: u64 = cores.iter().map(|core| core.nanoseconds.load(Relaxed)).sum();
        let sum = Duration::from_nanos(sum).as_secs_f64();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}_count{labels} {total}\n{name}_sum{labels} {sum:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_added_up_and_the_newest_example_of_a_bucket_shows() {
        let all = Latencies::new("x_seconds", "How long x takes", &[0.001, 1.0]);
        let labels = "service=\"shop\"".to_owned();
        let (one, other) = (all.join(labels.clone()), all.join(labels));
        let trace = TraceParent::next(None, [0xab; 24]);
        let at = |second| Timestamp::from_second(second).unwrap();
        one.observe(Duration::from_millis(1), Some((trace, at(7))));
        other.observe(Duration::from_micros(500), Some((TraceParent::next(None, [1; 24]), at(6))));
        other.observe(Duration::from_millis(1500), None);
        let mut text = String::new();
        all.render(&mut text);
        let expected = format!(
            "# HELP x_seconds How long x takes.\n# TYPE x_seconds histogram\n# UNIT x_seconds seconds\n\
             x_seconds_bucket{{service=\"shop\",le=\"0.001\"}} 2 # {{trace_id=\"{}\"}} 0.001 7.000\n\
             x_seconds_bucket{{service=\"shop\",le=\"1.0\"}} 2\n\
             x_seconds_bucket{{service=\"shop\",le=\"+Inf\"}} 3\n\
             x_seconds_count{{service=\"shop\"}} 3\nx_seconds_sum{{service=\"shop\"}} 1.5015\n",
            "ab".repeat(16)
        );
        assert_eq!(text, expected);
    }
}
