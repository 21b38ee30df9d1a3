//! `trysail_health_checks_total`: questions that were put to endpoints, by how and by what came of it.

use prometheus::{IntCounter, Opts, Registry};
use trysail_routing::snapshot::ProbeKind;

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Checks {
    http: Results,
    tcp: Results,
    grpc: Results,
}

#[derive(Clone)]
struct Results {
    success: IntCounter,
    failure: IntCounter,
}

impl Checks {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |probe, result| {
            let opts = Opts::new("trysail_health_checks_total", "Probes of endpoints, by how they ended.");
            let counter =
                IntCounter::with_opts(opts.const_label("probe", probe).const_label("result", result))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let results =
            |probe| Ok(Results { success: counter(probe, "success")?, failure: counter(probe, "failure")? });
        results("http").and_then(|http| Ok(Checks { http, tcp: results("tcp")?, grpc: results("grpc")? }))
    }

    /// Counts an answer.
    pub(crate) fn count(&self, probe: &ProbeKind, good: bool) {
        let results = match probe {
            ProbeKind::Http { .. } => &self.http,
            ProbeKind::Tcp { .. } => &self.tcp,
            ProbeKind::Grpc { .. } => &self.grpc,
        };
        if good { results.success.inc() } else { results.failure.inc() }
    }
}
