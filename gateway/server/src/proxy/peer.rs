//! What Pingora connects to: a template for each endpoint, made when a snapshot is swapped in.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use trysail_routing::snapshot::{Cluster, ClusterId, Snapshot};

/// The templates of one snapshot, by its ids.
pub(crate) struct Peers(Vec<Vec<HttpPeer>>);

/// Times that hold for every endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerTimes {
    /// A connection that is not open after this is given up.
    pub(crate) connect: Duration,
    /// A pooled connection without a request for this long is closed.
    pub(crate) idle: Duration,
}

impl Peers {
    /// The templates for a snapshot.
    pub(crate) fn build(snapshot: &Snapshot, times: PeerTimes) -> Self {
        Peers(snapshot.clusters.iter().map(|cluster| templates(cluster, times)).collect())
    }

    /// The template of an endpoint.
    pub(crate) fn get(&self, cluster: ClusterId, endpoint: usize) -> &HttpPeer {
        &self.0[cluster.index()][endpoint]
    }
}

fn templates(cluster: &Cluster, times: PeerTimes) -> Vec<HttpPeer> {
    // Pingora's pool key leaves out what a cluster is, so two clusters with one address would share
    // connections; and as the key says nothing of the revision, pools outlive reloads.
    let pool = BuildHasherDefault::<DefaultHasher>::default().hash_one(&cluster.key);
    let template = |endpoint: &trysail_routing::snapshot::Endpoint| {
        let mut peer = HttpPeer::new(endpoint.address, false, String::new());
        peer.group_key = pool;
        peer.options.connection_timeout = Some(times.connect);
        peer.options.idle_timeout = Some(times.idle);
        peer
    };
    cluster.endpoints.iter().map(template).collect()
}
