//! `trysail_health_checks_total`: questions that were put to endpoints, by how and by what came of it.

use prometheus::{IntCounterVec, Opts, Registry};
use trysail_routing::snapshot::ProbeKind;

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Checks(IntCounterVec);

impl Checks {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new("trysail_health_checks_total", "Probes of endpoints, by how they ended.");
        let counters = IntCounterVec::new(opts, &["probe", "result"])?;
        registry.register(Box::new(counters.clone()))?;
        Ok(Checks(counters))
    }

    /// Counts an answer.
    pub(crate) fn count(&self, probe: &ProbeKind, good: bool) {
        let probe = match probe {
            ProbeKind::Http { .. } => "http",
            ProbeKind::Tcp { .. } => "tcp",
            ProbeKind::Grpc { .. } => "grpc",
        };
        self.0.with_label_values(&[probe, if good { "success" } else { "failure" }]).inc();
    }
}
