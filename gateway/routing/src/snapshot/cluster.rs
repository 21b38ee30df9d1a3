//! Clusters: a host's subset on a port, with its endpoints.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::locality::Locality;
use super::policy::Policy;
use super::probe::Probe;
use crate::origin::Origin;

/// A cluster's place in its snapshot's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(u32);

impl ClusterId {
    /// The id of the cluster at `index`.
    pub(crate) fn new(index: usize) -> Self {
        ClusterId(u32::try_from(index).expect("fewer clusters than objects, which are limited to a million"))
    }

    /// The index into a snapshot's tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a cluster is, over all revisions: state is kept by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// The service's complete host name.
    pub host: Arc<str>,
    /// The subset's name; empty for all of the host.
    pub subset: Arc<str>,
    /// The service's port.
    pub port: u16,
}

/// Envoy's form, which Istio's users know from their logs: `outbound|9080|v1|reviews.default.svc.cluster.local`.
impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

/// One cluster.
#[derive(Debug, PartialEq)]
pub struct Cluster {
    /// What it is.
    pub key: ClusterKey,
    /// The service behind it; `None` where it does not exist and the settings let such routes serve: requests
    /// are answered 503 NC, as Istio does.
    pub service: Option<Arc<Service>>,
    /// Its endpoints, sorted by address, none twice.
    pub endpoints: Vec<Endpoint>,
    /// The names whose addresses are endpoints, sorted; there may be none of a name that has no address.
    pub names: Vec<Arc<str>>,
    /// How it is talked to.
    pub policy: Arc<Policy>,
    /// Where the blocks of a DestinationRule are written that say so; see `wire::Places`.
    pub policy_places: Box<[Origin]>,
    /// Where its subset is defined, or, of a whole host, its service; `None` where there is none.
    pub origin: Option<Origin>,
}

/// A service, as metrics name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// The complete host name.
    pub host: Arc<str>,
    /// The namespace of the object that defines it.
    pub namespace: Arc<str>,
}

/// One endpoint of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its share among the endpoints of its group; over 0.
    pub weight: u32,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// Whether it stands behind others, and shares with which.
    pub placement: Placement,
    /// Who answers there, as metrics name it.
    pub workload: Arc<Workload>,
    /// How its health is asked for; `None` where it is not.
    pub probe: Option<Arc<Probe>>,
}

/// Where an endpoint stands among its cluster's, as its locality and the policy's locality settings have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement {
    /// 0 is asked first; a cluster's priorities have no gaps.
    pub priority: u32,
    /// The group inside the priority that shares `group_weight`.
    pub group: u32,
    /// The group's share among the groups of its priority; over 0, and the same for all of one group.
    pub group_weight: u32,
}

impl Default for Placement {
    fn default() -> Self {
        Placement { priority: 0, group: 0, group_weight: 1 }
    }
}

/// A workload, as metrics name it. Empty means not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The owner's or WorkloadEntry's name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`.
    pub canonical_service: Arc<str>,
    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`.
    pub canonical_revision: Arc<str>,
}
