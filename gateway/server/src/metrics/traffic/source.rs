//! What Istio's `source_*` labels say of this gateway, and who reports.

use std::collections::BTreeMap;

use super::UNKNOWN;

/// Whose view of a request is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reporter {
    /// The gateway's.
    Source,
    /// That of the workload that answered, which nobody else tells where there is no sidecar.
    Destination,
}

impl Reporter {
    /// The label itself, as it is exported.
    pub(super) fn label(self) -> &'static str {
        match self {
            Reporter::Source => "reporter=\"source\"",
            Reporter::Destination => "reporter=\"destination\"",
        }
    }

    /// `connection_security_policy`: what lies between a sidecar and who calls it is known to the sidecar alone.
    pub(super) fn security(self) -> &'static str {
        match self {
            Reporter::Source => UNKNOWN,
            Reporter::Destination => "none",
        }
    }
}

/// How this gateway is called in Istio's labels.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(super) workload: String,
    pub(super) namespace: String,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) canonical_service: String,
    pub(super) canonical_revision: String,
    pub(super) reporters: Vec<Reporter>,
}

impl Source {
    /// A gateway with these labels, of this namespace. Where a label is missing another stands in, as with workloads.
    pub(crate) fn new(labels: &BTreeMap<String, String>, namespace: &str, reporters: &[Reporter]) -> Self {
        let first = |names: &[&str], or: &str| {
            let found = names.iter().find_map(|name| labels.get(*name).filter(|value| !value.is_empty()));
            found.map_or_else(|| or.to_owned(), Clone::clone)
        };
        let app = first(&["app"], "trysail");
        Source {
            workload: first(&["service.istio.io/workload-name"], &app),
            namespace: namespace.to_owned(),
            version: first(&["version"], UNKNOWN),
            canonical_service: first(&["service.istio.io/canonical-name", "app.kubernetes.io/name"], &app),
            canonical_revision: first(
                &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
                "latest",
            ),
            app,
            reporters: reporters.to_vec(),
        }
    }
}
