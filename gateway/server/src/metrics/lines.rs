//! `trysail_access_log_lines_total`: lines of the access log, by what became of them.

use prometheus::{IntCounter, Opts, Registry};

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Lines {
    /// They are in the file.
    pub(crate) written: IntCounter,
    /// There was no room for them: the file takes less than is written.
    pub(crate) dropped: IntCounter,
    /// The file did not take them.
    pub(crate) failed: IntCounter,
}

impl Lines {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |result| {
            let opts = Opts::new(
                "trysail_access_log_lines_total",
                "Lines of the access log, by what became of them.",
            );
            let counter = IntCounter::with_opts(opts.const_label("result", result))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Lines { written: counter("written")?, dropped: counter("dropped")?, failed: counter("failed")? })
    }
}
