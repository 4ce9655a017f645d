//! Counters, a histogram and gauges in the Prometheus text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. Labels hold routes, never paths: a client that
//! invents paths must not be able to fill the memory.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Everything that is measured.
#[derive(Debug)]
pub struct Metrics {
    version: String,
    started: SystemTime,
    in_flight: AtomicU64,
    connections: AtomicU64,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    durations: Mutex<BTreeMap<&'static str, Histogram>>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; what is above the last bound is in `count` alone.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// Counts as long as it lives.
#[derive(Debug)]
pub struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Nothing measured yet.
    pub fn new(version: &str) -> Metrics {
        Metrics {
            version: version.to_owned(),
            started: SystemTime::now(),
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            requests: Mutex::default(),
            durations: Mutex::default(),
        }
    }

    /// Counts a request that is being answered, until the answer is dropped.
    pub fn request(&self) -> Counted<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Counted(&self.in_flight)
    }

    /// Counts an open connection.
    pub fn connection(&self) -> Counted<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(&self.connections)
    }

    /// How many connections are open.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Records an answered request.
    pub fn record(&self, route: &'static str, status: u16, duration: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *requests.entry((route, status)).or_default() += 1;
        drop(requests);

        let mut durations = self.durations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let histogram = durations.entry(route).or_default();
        let seconds = duration.as_secs_f64();
        histogram.count += 1;
        histogram.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            histogram.buckets[bucket] += 1;
        }
    }

    /// The text that a scrape gets.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes everything");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        head(out, "http_requests_total", "counter", "Requests answered, by route and status code.")?;
        for ((route, status), count) in self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            writeln!(out, "http_requests_total{{path=\"{}\",code=\"{status}\"}} {count}", label(route))?;
        }

        head(out, "http_request_duration_seconds", "histogram", "Time from a request's head to its answer, by route.")?;
        for (route, histogram) in self.durations.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            let route = label(route);
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
                below += count;
                writeln!(out, "http_request_duration_seconds_bucket{{path=\"{route}\",le=\"{bound}\"}} {below}")?;
            }
            let Histogram { count, seconds, .. } = histogram;
            writeln!(out, "http_request_duration_seconds_bucket{{path=\"{route}\",le=\"+Inf\"}} {count}")?;
            writeln!(out, "http_request_duration_seconds_sum{{path=\"{route}\"}} {seconds}")?;
            writeln!(out, "http_request_duration_seconds_count{{path=\"{route}\"}} {count}")?;
        }

        head(out, "http_requests_in_flight", "gauge", "Requests being answered.")?;
        writeln!(out, "http_requests_in_flight {}", self.in_flight.load(Ordering::Relaxed))?;
        head(out, "http_connections_open", "gauge", "Connections that a worker holds.")?;
        writeln!(out, "http_connections_open {}", self.connections())?;
        head(out, "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.")?;
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        writeln!(out, "process_start_time_seconds {started:.3}")?;
        head(out, "shop_build_info", "gauge", "Always 1; the labels say which build this is.")?;
        writeln!(out, "shop_build_info{{version=\"{}\"}} 1", label(&self.version))
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// A label's value escapes three characters.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let metrics = Metrics::new("1.0.0");
        for milliseconds in [1, 3, 60, 9000] {
            metrics.record("/products", 200, Duration::from_millis(milliseconds));
        }
        metrics.record("/products", 500, Duration::from_millis(3));
        let text = metrics.text();
        for line in [
            "http_requests_total{path=\"/products\",code=\"200\"} 4",
            "http_requests_total{path=\"/products\",code=\"500\"} 1",
            "http_request_duration_seconds_bucket{path=\"/products\",le=\"0.001\"} 1",
            "http_request_duration_seconds_bucket{path=\"/products\",le=\"0.005\"} 3",
            "http_request_duration_seconds_bucket{path=\"/products\",le=\"5\"} 4",
            "http_request_duration_seconds_bucket{path=\"/products\",le=\"+Inf\"} 5",
            "http_request_duration_seconds_count{path=\"/products\"} 5",
        ] {
            assert!(text.lines().any(|candidate| candidate == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_metric_has_help_and_type_before_its_values() {
        let metrics = Metrics::new("1\"0");
        metrics.record("/health", 200, Duration::ZERO);
        let text = metrics.text();
        let mut typed = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                typed.push(rest.split(' ').next().expect("a name").to_owned());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert!(typed.iter().any(|typed| name.starts_with(typed.as_str())), "{line}");
            }
        }
        assert!(text.contains("shop_build_info{version=\"1\\\"0\"} 1\n"));
    }

    #[test]
    fn gauges_go_up_and_down() {
        let metrics = Metrics::new("1");
        let request = metrics.request();
        assert!(metrics.text().contains("http_requests_in_flight 1\n"));
        drop(request);
        assert!(metrics.text().contains("http_requests_in_flight 0\n"));
    }
}
