//! `trysail_spans_total`: spans of traces, by what became of them.

use prometheus::{IntCounter, Opts, Registry};

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct SpanCounters {
    /// The collector took them.
    pub(crate) sent: IntCounter,
    /// There was no room for them: the collector takes fewer than there are.
    pub(crate) dropped: IntCounter,
    /// The collector could not be reached, or did not take them.
    pub(crate) failed: IntCounter,
}

impl SpanCounters {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |result| {
            let opts = Opts::new("trysail_spans_total", "Spans of traces, by what became of them.");
            let counter = IntCounter::with_opts(opts.const_label("result", result))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(SpanCounters { sent: counter("sent")?, dropped: counter("dropped")?, failed: counter("failed")? })
    }
}
