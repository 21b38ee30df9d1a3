//! What is exported to Prometheus: Istio's series, and `trysail_*` beside them.
//!
//! Handles are bound when a snapshot is swapped in; a request adds to an atomic that it reaches by index, and
//! labels are put together at scrape time.

mod checks;
mod configuration;
mod edge;
mod ended;
mod endpoints;
mod flag;
mod lines;
mod lookups;
mod mirrored;
mod overload;
mod refused;
#[cfg(feature = "otlp")]
mod spans;
mod traffic;

use std::sync::Arc;

use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder};

pub(crate) use checks::Checks;
pub(crate) use configuration::{Configuration, Reload};
pub(crate) use edge::{Cut, Edge, Refused};
pub(crate) use ended::Ended;
pub(crate) use endpoints::Endpoints;
pub(crate) use flag::{Flag, Flags};
pub(crate) use lines::Lines;
pub(crate) use lookups::{Looked, Lookups};
pub(crate) use mirrored::Mirrored;
pub(crate) use overload::{Again, Loads, Overloads};
pub(crate) use refused::RefusedRequests;
#[cfg(feature = "otlp")]
pub(crate) use spans::SpanCounters;
pub(crate) use traffic::{Handles, Source, Traffic};

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
}

impl Metrics {
    /// Metrics of a gateway that calls itself `source` in Istio's labels.
    pub(crate) fn new(source: Source) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = Opts::new("trysail_build_info", "The version that runs; always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        registry.register(Box::new(build))?;
        let traffic = Arc::new(Traffic::new(source)?);
        registry.register(Box::new(traffic::Collected(traffic.clone())))?;
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
        })
    }

    /// Exports what another room counts.
    pub(crate) fn export(
        &self,
        collector: impl prometheus::core::Collector + 'static,
    ) -> prometheus::Result<()> {
        self.registry.register(Box::new(collector))
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The text format's content type.
    pub(crate) const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;
}

/// A sample's labels: pairs of name and value.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Vec<prometheus::proto::LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = prometheus::proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    pairs.iter().map(pair).collect()
}
