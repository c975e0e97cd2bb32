//! The text of a scrape: OpenMetrics 1.0 by prometheus-client.

use std::fmt::{Error, Result};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::histogram::{BOUNDS, HistogramTotal};
use super::lock::lock;
use super::process::ProcessNumbers;
use super::shard::PROTOCOLS;
use super::totals::Totals;
use crate::closing::CloseReason;

/// The media type of a scrape.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of a sample.
type Labels = Vec<(&'static str, String)>;

/// The metrics as a collector of prometheus-client.
#[derive(Debug)]
struct Exposition(Metrics);

impl Metrics {
    /// Returns the text of a scrape.
    ///
    /// # Errors
    /// None: it is written to memory.
    pub(super) fn scrape(&self) -> std::result::Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition(self.clone())));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let totals = self.0.totals();
        let mut out = Families(encoder);
        responses(&totals, &mut out)?;
        connections(&totals, &mut out)?;
        files(&totals, &mut out)?;
        workers(&totals, &mut out)?;
        let logs = lock(&self.0.0.logs).clone();
        let dropped = logs.iter().map(|(name, log)| (label("log", name), log.dropped_lines()));
        let help = "Lines dropped because the reader of the log is too slow";
        out.counters("karez_log_lines_dropped", help, None, dropped.collect())?;
        build(&mut out)?;
        match self.0.0.process.read() {
            Some(numbers) => process(numbers, &mut out),
            None => Ok(()),
        }
    }
}

fn responses(totals: &Totals, out: &mut Families<'_>) -> Result {
    let kind = |(site, protocol, via): &(String, &'static str, &'static str)| -> Labels {
        let (protocol, via) = ((*protocol).to_owned(), (*via).to_owned());
        vec![("site", site.clone()), ("protocol", protocol), ("via", via)]
    };
    let requests = totals.responses.iter().map(|((of, status), count)| {
        let mut labels = kind(of);
        labels.push(("code", status.to_string()));
        labels.push(("class", format!("{}xx", status / 100)));
        (labels, *count)
    });
    let help = "Requests that have ended; code 499: the client gave up before the response";
    out.counters("karez_requests", help, None, requests.collect())?;
    let bytes = totals.bytes.iter().map(|(of, bytes)| (kind(of), *bytes)).collect();
    out.counters(
        "karez_response_body",
        "Bytes of bodies that were sent",
        Some(&Unit::Bytes),
        bytes,
    )?;
    out.gauge(
        "karez_requests_in_flight",
        "Requests that have begun and not ended",
        totals.in_flight,
    )?;
    let heads = by_protocol(&totals.heads);
    let help = "Time from the end of a request to the head of its response";
    out.histograms("karez_request_head", help, &heads)?;
    let help = "Time from the end of a request to the last byte of its response";
    out.histograms("karez_request_duration", help, &by_protocol(&totals.wholes))
}

fn by_protocol(histograms: &[HistogramTotal]) -> Vec<(Labels, &HistogramTotal)> {
    let named = PROTOCOLS.iter().zip(histograms);
    named.map(|((_, name), it)| (vec![("protocol", (*name).to_owned())], it)).collect()
}

fn connections(totals: &Totals, out: &mut Families<'_>) -> Result {
    let help = "Connections that were accepted";
    out.counters("karez_connections_accepted", help, None, vec![(Labels::new(), totals.accepted)])?;
    let closed = CloseReason::ALL.iter().zip(totals.closed);
    let closed = closed.map(|(reason, count)| (label("reason", reason.name()), count)).collect();
    out.counters("karez_connections_closed", "Connections that have ended", None, closed)?;
    let states = [("active", totals.active), ("idle", totals.idle())];
    let help = "Open connections: active ones have a request";
    out.gauges("karez_connections", help, None, by("state", states))?;
    let kinds = ["full", "resumed", "failed"].into_iter().zip(totals.handshakes);
    out.counters(
        "karez_tls_handshakes",
        "TLS handshakes that have ended",
        None,
        by("result", kinds),
    )
}

fn files(totals: &Totals, out: &mut Families<'_>) -> Result {
    let sources = ["hot", "cached", "opened"].into_iter().zip(totals.files);
    let help =
        "Files found: among the watched (hot) ones, in the cache of open files, or by opening";
    out.counters("karez_file_lookups", help, None, by("result", sources))?;
    out.gauge("karez_hot_files", "Files that event loops watch", totals.watched)?;
    let help = "Time of reads that brought pages of files into the page cache";
    out.histograms("karez_page_in_duration", help, &[(Labels::new(), &totals.page_ins)])?;
    let bytes = vec![(Labels::new(), totals.page_in_bytes)];
    out.counters("karez_page_in", "Bytes of these reads", Some(&Unit::Bytes), bytes)?;
    let fallbacks = totals.fallbacks.iter().map(|((from, to), count)| {
        (vec![("from", (*from).to_owned()), ("to", (*to).to_owned())], *count)
    });
    let help = "Transfers that continued by another via, because the first one is unsupported";
    out.counters("karez_via_fallbacks", help, None, fallbacks.collect())
}

fn workers(totals: &Totals, out: &mut Families<'_>) -> Result {
    let states = [("queued", totals.jobs_queued), ("running", totals.jobs_running)];
    let help = "Jobs of worker threads; on io_uring names that the ring opens are queued";
    out.gauges("karez_worker_jobs", help, None, by("state", states))?;
    let jobs = vec![(Labels::new(), totals.jobs)];
    out.counters(
        "karez_worker_jobs_submitted",
        "Jobs that could not run on an event loop",
        None,
        jobs,
    )
}

fn build(out: &mut Families<'_>) -> Result {
    let labels: Labels = label("version", env!("CARGO_PKG_VERSION"));
    let help = "The version that runs";
    let mut metric = out.0.encode_descriptor("karez_build", help, None, MetricType::Info)?;
    metric.encode_info(&labels)
}

fn process(numbers: ProcessNumbers, out: &mut Families<'_>) -> Result {
    let help = "CPU time, in user and kernel mode";
    let mut cpu =
        out.0.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
    cpu.encode_counter::<NoLabelSet, f64, u64>(&numbers.cpu_seconds, None)?;
    let help = "Start of the process, since 1970";
    let mut start = out.0.encode_descriptor(
        "process_start_time",
        help,
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    start.encode_gauge(&numbers.start_time)?;
    let bytes = [
        ("process_virtual_memory", "Virtual memory", numbers.virtual_bytes),
        ("process_resident_memory", "Resident memory", numbers.resident_bytes),
    ];
    for (name, help, value) in bytes {
        out.gauges(name, help, Some(&Unit::Bytes), vec![(Labels::new(), value)])?;
    }
    out.gauge("process_open_fds", "Open file descriptors", numbers.open_descriptors)?;
    out.gauge("process_max_fds", "Limit of open file descriptors", numbers.max_descriptors)
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn by(
    name: &'static str,
    values: impl IntoIterator<Item = (&'static str, u64)>,
) -> Vec<(Labels, u64)> {
    values.into_iter().map(|(value, count)| (label(name, value), count)).collect()
}

/// Writes metric families.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters(
        &mut self,
        name: &'static str,
        help: &str,
        unit: Option<&Unit>,
        samples: Vec<(Labels, u64)>,
    ) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in samples {
            with_labels(&mut metric, &labels, |metric| {
                metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
            })?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: u64) -> Result {
        self.gauges(name, help, None, vec![(Labels::new(), value)])
    }

    fn gauges(
        &mut self,
        name: &'static str,
        help: &str,
        unit: Option<&Unit>,
        samples: Vec<(Labels, u64)>,
    ) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            with_labels(&mut metric, &labels, |metric| metric.encode_gauge(&(value as f64)))?;
        }
        Ok(())
    }

    fn histograms(
        &mut self,
        name: &'static str,
        help: &str,
        samples: &[(Labels, &HistogramTotal)],
    ) -> Result {
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let mut metric = self.0.encode_descriptor(name, help, Some(&unit), kind)?;
        for (labels, histogram) in samples {
            let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(histogram.buckets).collect();
            with_labels(&mut metric, labels, |metric| {
                let (sum, count) = (histogram.seconds(), histogram.count());
                metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            })?;
        }
        Ok(())
    }
}

fn with_labels(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> Result,
) -> Result {
    if labels.is_empty() { encode(metric) } else { encode(&mut metric.encode_family(labels)?) }
}
