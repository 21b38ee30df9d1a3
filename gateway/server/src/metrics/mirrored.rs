//! `trysail_mirrored_requests_total`: copies of requests, by what became of them.

use prometheus::{IntCounter, Opts, Registry};

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Mirrored {
    /// Sent whole, and answered.
    pub(crate) sent: IntCounter,
    /// Not sent, or not to the end: too many at a time, too long a body, a target without an endpoint or too slow
    /// for what it copies.
    pub(crate) dropped: IntCounter,
    /// The target refused, broke off or took too long.
    pub(crate) failed: IntCounter,
}

impl Mirrored {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |result| {
            let opts = Opts::new(
                "trysail_mirrored_requests_total",
                "Copies of requests for mirrors, by what became of them.",
            );
            let counter = IntCounter::with_opts(opts.const_label("result", result))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Mirrored { sent: counter("sent")?, dropped: counter("dropped")?, failed: counter("failed")? })
    }
}
