//! `trysail_faults_injected_total`: requests that rules delayed or aborted on purpose.

use prometheus::{IntCounter, Opts, Registry};

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Faults {
    /// A request was made to wait, and its client did.
    pub(crate) delays: IntCounter,
    /// A request was answered with an error that it did not earn.
    pub(crate) aborts: IntCounter,
}

impl Faults {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |kind| {
            let opts = Opts::new("trysail_faults_injected_total", "Faults that rules made on purpose.");
            let counter = IntCounter::with_opts(opts.const_label("type", kind))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Faults { delays: counter("delay")?, aborts: counter("abort")? })
    }
}
