//! The kinds that are followed: where an API server has them.

use std::fmt;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Ports and hosts.
    Gateway,
    /// Rules for requests.
    VirtualService,
    /// Subsets and policies.
    DestinationRule,
    /// Hosts outside of the cluster's registry.
    ServiceEntry,
    /// Endpoints that are no Pods.
    WorkloadEntry,
    /// What such endpoints have in common.
    WorkloadGroup,
    /// The cluster's hosts.
    Service,
    /// Their endpoints.
    EndpointSlice,
    /// Who is behind them.
    Pod,
    /// Certificates and keys.
    Secret,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Gateway,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::WorkloadGroup,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Secret,
    ];

    /// Its name, as objects say it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gateway => "Gateway",
            Kind::VirtualService => "VirtualService",
            Kind::DestinationRule => "DestinationRule",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::WorkloadEntry => "WorkloadEntry",
            Kind::WorkloadGroup => "WorkloadGroup",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Pod => "Pod",
            Kind::Secret => "Secret",
        }
    }

    /// Its name in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Gateway => "gateways",
            Kind::VirtualService => "virtualservices",
            Kind::DestinationRule => "destinationrules",
            Kind::ServiceEntry => "serviceentries",
            Kind::WorkloadEntry => "workloadentries",
            Kind::WorkloadGroup => "workloadgroups",
            Kind::Service => "services",
            Kind::EndpointSlice => "endpointslices",
            Kind::Pod => "pods",
            Kind::Secret => "secrets",
        }
    }

    /// The group that it is in; empty for the core's.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Service | Kind::Pod | Kind::Secret => "",
            Kind::EndpointSlice => "discovery.k8s.io",
            _ => "networking.istio.io",
        }
    }

    /// The versions that are read, the one first that is asked for first.
    pub(crate) fn versions(self) -> &'static [&'static str] {
        match self {
            Kind::Service | Kind::Pod | Kind::Secret | Kind::EndpointSlice => &["v1"],
            _ => &["v1", "v1beta1", "v1alpha3"],
        }
    }

    /// Whether it is Istio's: found wanting, it is told so in its status.
    pub fn is_istios(self) -> bool {
        self.group() == "networking.istio.io"
    }

    /// How a role names it: `virtualservices.networking.istio.io`.
    pub(crate) fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
