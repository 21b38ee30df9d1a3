//! `metricsReporters`: whose view of each request Istio's metrics tell.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Who reports; at least one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reporters {
    /// The gateway, as whoever sends a request on.
    pub(crate) source: bool,
    /// The gateway, in place of the sidecar that would tell how a request came in.
    pub(crate) destination: bool,
}

impl Reporters {
    /// As in a mesh: each request is told of from both ends.
    pub(super) const BOTH: Reporters = Reporters { source: true, destination: true };
}

impl<'de> Deserialize<'de> for Reporters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, PartialEq)]
        #[serde(rename_all = "lowercase")]
        enum Reporter {
            Source,
            Destination,
        }
        let named = Vec::<Reporter>::deserialize(deserializer)?;
        if named.is_empty() {
            return Err(D::Error::custom("metricsReporters is empty: it takes source, destination or both"));
        }
        let has = |reporter| named.contains(&reporter);
        Ok(Reporters { source: has(Reporter::Source), destination: has(Reporter::Destination) })
    }
}
