//! What is exported to Prometheus: Istio's series, and `trysail_*` beside them.
//!
//! Handles are bound when a snapshot is swapped in; a request adds to atomics that it reaches by index, and labels are
//! put together at scrape time. Istio's series are written piece by piece (`traffic/text`), all others are few and go
//! through Prometheus' own crate.

mod checks;
mod cluster;
mod configuration;
mod credentials;
mod edge;
mod ended;
mod endpoints;
mod express;
mod faults;
mod flag;
mod lines;
mod lookups;
mod mirrored;
mod overload;
mod process;
mod reached;
mod refused;
mod sockets;
#[cfg(feature = "otlp")]
mod spans;
mod traffic;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, IntCounter, IntGauge, Opts, Registry, TextEncoder};

pub(crate) use checks::Checks;
pub(crate) use cluster::Cluster;
pub(crate) use configuration::{Configuration, Reload};
pub(crate) use credentials::{Credentials, Expiries};
pub(crate) use edge::{Cut, Edge, Refused};
pub(crate) use ended::{Ended, Grpc};
pub(crate) use endpoints::Endpoints;
pub(crate) use faults::Faults;
pub(crate) use flag::{Flag, Flags};
pub(crate) use lines::Lines;
pub(crate) use lookups::{Looked, Lookups};
pub(crate) use mirrored::Mirrored;
pub(crate) use overload::{Again, Loads, Overloads};
pub(crate) use reached::Reached;
pub(crate) use refused::RefusedRequests;
pub(crate) use sockets::{Handshake, Port, Sockets};
#[cfg(feature = "otlp")]
pub(crate) use spans::SpanCounters;
use traffic::Scrape;
pub(crate) use traffic::{Handles, OpenStream, Reporter, Source, Traffic};

/// Everything that is exported, and where it is gathered.
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests, by who served them.
    pub(crate) traffic: Arc<Traffic>,
    /// Copies of requests, by what became of them.
    pub(crate) mirrored: Mirrored,
    /// Probes of endpoints, by how they ended.
    pub(crate) checks: Checks,
    /// Requests that were refused for how they are written.
    pub(crate) refused: RefusedRequests,
    /// Ceilings that were met, and retries.
    pub(crate) overloads: Arc<Overloads>,
    /// Lookups of names.
    pub(crate) lookups: Lookups,
    /// What is in force, and how reloads went.
    pub(crate) configuration: Arc<Configuration>,
    /// Who is there to answer, and who is left out.
    pub(crate) endpoints: Arc<Endpoints>,
    /// Clients that were turned away or cut.
    pub(crate) edge: Arc<Edge>,
    /// Lines of the access log.
    pub(crate) lines: Lines,
    /// Spans of traces.
    #[cfg(feature = "otlp")]
    pub(crate) spans: SpanCounters,
    /// Ports, and clients' connections.
    pub(crate) sockets: Arc<Sockets>,
    /// Connections to upstreams.
    pub(crate) reached: Reached,
    /// Faults made on purpose.
    pub(crate) faults: Faults,
    /// Requests that went by the express lane.
    pub(crate) express: IntCounter,
    /// Certificates in force.
    pub(crate) credentials: Credentials,
}

impl Metrics {
    /// Metrics of a gateway that calls itself `source` in Istio's labels.
    pub(crate) fn new(source: Source) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let version = env!("CARGO_PKG_VERSION");
        let build = Opts::new("trysail_build_info", "The version that runs; always 1.");
        let istio = Opts::new("istio_build", "The same, as Istio's boards ask for it.");
        for opts in [
            build.const_label("version", version),
            istio.const_label("component", "proxy").const_label("tag", version),
        ] {
            let build = IntGauge::with_opts(opts)?;
            build.set(1);
            registry.register(Box::new(build))?;
        }
        let traffic = Arc::new(Traffic::new(source));
        let overloads = Arc::new(Overloads::new()?);
        registry.register(Box::new(overload::Collected(overloads.clone())))?;
        let configuration = Arc::new(Configuration::new()?);
        registry.register(Box::new(configuration::Collected(configuration.clone())))?;
        let mirrored = Mirrored::new(&registry)?;
        let refused = RefusedRequests::new(&registry)?;
        let checks = Checks::new(&registry)?;
        let endpoints = Arc::new(Endpoints::new()?);
        registry.register(Box::new(endpoints::Collected(endpoints.clone())))?;
        let lookups = Lookups::new(&registry)?;
        let edge = Arc::new(Edge::new(&registry)?);
        let lines = Lines::new(&registry)?;
        #[cfg(feature = "otlp")]
        let spans = SpanCounters::new(&registry)?;
        let sockets = Arc::new(Sockets::new()?);
        registry.register(Box::new(sockets::Collected(sockets.clone())))?;
        let reached = Reached::new()?;
        registry.register(Box::new(reached.clone()))?;
        let faults = Faults::new(&registry)?;
        let credentials = Credentials::new()?;
        registry.register(Box::new(credentials.clone()))?;
        registry.register(Box::new(process::Process::new()?))?;
        let express = express::counter(&registry)?;
        Ok(Metrics {
            registry,
            traffic,
            mirrored,
            refused,
            checks,
            overloads,
            lookups,
            configuration,
            endpoints,
            edge,
            lines,
            #[cfg(feature = "otlp")]
            spans,
            sockets,
            reached,
            faults,
            express,
            credentials,
        })
    }

    /// Exports what another room counts.
    pub(crate) fn export(&self, collector: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(collector))
    }

    /// Everything in Prometheus' text format, to be written piece by piece. What there is of each route and endpoint is put
    /// together at once, so this takes long where there are many: not for a thread that requests wait for.
    pub(crate) fn pages(&self) -> prometheus::Result<Pages> {
        let mut text = Vec::with_capacity(2 * PAGE);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(Pages { text: text.into(), scrape: self.traffic.scrape(Instant::now()) })
    }

    /// The text format's content type.
    pub(crate) const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;
}

/// About so many bytes are written at once.
const PAGE: usize = 64 * 1024;

/// One scrape: what comes next, and what is left.
pub(crate) struct Pages {
    text: Bytes,
    scrape: Scrape,
}

impl Pages {
    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if !self.text.is_empty() {
            return Some(self.text.split_to(PAGE.min(self.text.len())));
        }
        let mut text = Vec::with_capacity(PAGE + PAGE / 2);
        while text.len() < PAGE && self.scrape.next(&mut text) {}
        (!text.is_empty()).then_some(text.into())
    }
}

/// A family's name and what is said of it.
type Told = (&'static str, &'static str);

fn desc((name, help): Told) -> prometheus::Result<Desc> {
    Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
}

/// A family of gauges or counters, from labels and values.
fn family((name, help): Told, kind: MetricType, samples: Vec<(Vec<LabelPair>, f64)>) -> MetricFamily {
    let metric = |(labels, value)| {
        let mut metric = Metric::default();
        metric.set_label(labels);
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().map(metric).collect());
    family
}

/// A sample's labels: pairs of name and value.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}
