//! `trysail_certificate_expiry_timestamp_seconds`: until when the certificates in force are valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{Told, family};

const NAME: Told = (
    "trysail_certificate_expiry_timestamp_seconds",
    "Until when the certificate of a credential in force is valid, in seconds since 1970.",
);

/// Until when, in seconds since 1970, by credential.
pub(crate) type Expiries = Arc<BTreeMap<String, i64>>;

/// Certificates in force; a clone is the same.
#[derive(Clone)]
pub(crate) struct Credentials {
    now: Arc<Mutex<Expiries>>,
    desc: Arc<Desc>,
}

impl Credentials {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Credentials { now: Arc::default(), desc: Arc::new(super::desc(NAME)?) })
    }

    /// These are in force from now on.
    pub(crate) fn in_force(&self, expiries: &Expiries) {
        *self.now.lock() = expiries.clone();
    }
}

impl Collector for Credentials {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = self.now.lock().clone();
        let samples = now.iter().map(|(name, until)| (super::labels(&[("credential", name)]), *until as f64));
        let family = family(NAME, MetricType::GAUGE, samples.collect());
        if family.get_metric().is_empty() { Vec::new() } else { vec![family] }
    }
}
