//! `trysail_dns_*`: names that are looked up, and how that goes.

use prometheus::{IntCounter, IntGauge, Opts, Registry};

/// What a lookup brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Addresses.
    Found,
    /// The answer that there is none.
    Nothing,
    /// No answer.
    Failed,
}

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Lookups {
    found: IntCounter,
    nothing: IntCounter,
    failed: IntCounter,
    names: IntGauge,
    failing: IntGauge,
}

impl Lookups {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |result| {
            let opts = Opts::new("trysail_dns_lookups_total", "Lookups of names, by what they brought.");
            let counter = IntCounter::with_opts(opts.const_label("result", result))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(Opts::new(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Lookups {
            found: counter("found")?,
            nothing: counter("nothing")?,
            failed: counter("failed")?,
            names: gauge("trysail_dns_names", "Names that are looked up.")?,
            failing: gauge("trysail_dns_names_failing", "Names whose last lookup brought no address.")?,
        })
    }

    /// Counts a lookup.
    pub(crate) fn counted(&self, looked: Looked) {
        match looked {
            Looked::Found => self.found.inc(),
            Looked::Nothing => self.nothing.inc(),
            Looked::Failed => self.failed.inc(),
        }
    }

    /// Notes how many names there are, and how many of them fail.
    pub(crate) fn known(&self, names: usize, failing: usize) {
        self.names.set(names as i64);
        self.failing.set(failing as i64);
    }
}
