//! `trysail_refused_requests_total`: requests that were refused for how they are written, by why.

use std::sync::Arc;

use prometheus::{IntCounter, Opts, Registry};

use trysail_edge::Reason;

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct RefusedRequests(Arc<[IntCounter]>);

impl RefusedRequests {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |reason: Reason| {
            let opts = Opts::new(
                "trysail_refused_requests_total",
                "Requests that were refused for how they are written, by why.",
            );
            let counter = IntCounter::with_opts(opts.const_label("reason", reason.as_str()))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        Reason::ALL.into_iter().map(counter).collect::<prometheus::Result<Arc<[_]>>>().map(RefusedRequests)
    }

    /// One more.
    pub(crate) fn count(&self, reason: Reason) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.inc();
        }
    }
}
