//! What Pingora connects to: a template for each policy, made when a snapshot is swapped in.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::{ALPN, TcpKeepalive};
use pingora_core::upstreams::peer::HttpPeer;
use trysail_routing::snapshot::policy::{Policy, Protocol, ServerName};
use trysail_routing::snapshot::{Cluster, ClusterId, Snapshot};
use trysail_upstream::limits::STREAMS;

use crate::tls::{Trust, Trusts};

/// What the clusters of one snapshot are connected to by, by its ids.
///
/// Clusters of one policy share a template: it is made once, and what a cluster has of its own is put in at each request.
pub(crate) struct Peers(Vec<Own>);

/// What one cluster has of its own.
#[derive(Clone)]
struct Own {
    cluster: Arc<Cluster>,
    /// The pool of its connections.
    pool: u64,
    template: Arc<Template>,
}

struct Template {
    peer: HttpPeer,
    protocol: Protocol,
    /// Whether the server is asked for by the request's own host.
    named_by_request: bool,
    /// Whether the express lane may go there.
    plain: bool,
}

/// An endpoint in the clear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direct {
    /// The pool of its cluster's connections.
    pub(super) pool: u64,
    pub(super) address: SocketAddr,
    /// Until a connection is given up.
    pub(super) connect: Option<Duration>,
    /// Until one that waits is closed; `None` for never.
    pub(super) idle: Option<Duration>,
}

/// Times that hold for every endpoint whose DestinationRule says nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerTimes {
    /// A connection that is not open after this is given up.
    pub(crate) connect: Duration,
    /// A pooled connection without a request for this long is closed.
    pub(crate) idle: Duration,
}

impl Peers {
    /// The templates for a snapshot.
    pub(crate) fn build(snapshot: &Snapshot, trusts: &Trusts, times: PeerTimes) -> Self {
        Peers(Vec::new()).build_after(snapshot, trusts, times)
    }

    /// The same after a snapshot that had these peers: clusters in the clear that are the same, and stand where they
    /// stood, keep theirs.
    pub(crate) fn build_after(&self, snapshot: &Snapshot, trusts: &Trusts, times: PeerTimes) -> Self {
        // By their policies' addresses, which stay theirs as the clusters are kept along.
        let mut made: HashMap<usize, Arc<Template>> = HashMap::new();
        let own = |(index, cluster): (usize, &Arc<Cluster>)| {
            let same = self.0.get(index).filter(|was| Arc::ptr_eq(&was.cluster, cluster));
            if let Some(kept) = same.filter(|_| cluster.policy.tls.is_none()) {
                return kept.clone();
            }
            let trust = trusts.of(index);
            let make = || Arc::new(template(&cluster.policy, trust, times));
            let template = match cluster.policy.tls {
                Some(_) => make(),
                None => made.entry(Arc::as_ptr(&cluster.policy).addr()).or_insert_with(make).clone(),
            };
            Own { cluster: cluster.clone(), pool: pool(cluster, trust), template }
        };
        Peers(snapshot.clusters.iter().enumerate().map(own).collect())
    }

    /// What to connect to for a request for `authority` that came in over HTTP/2 or not.
    pub(crate) fn peer<'a>(
        &self,
        cluster: ClusterId,
        endpoint: usize,
        authority: impl FnOnce() -> &'a str,
        h2: bool,
    ) -> HttpPeer {
        let Own { cluster, pool, template } = &self.0[cluster.index()];
        let mut peer = template.peer.clone();
        peer._address = cluster.endpoints[endpoint].address.into();
        peer.group_key = *pool;
        match template.protocol {
            Protocol::Http2 => peer.group_key = pool_of_h2(*pool),
            Protocol::Client if h2 => speak_h2(&mut peer),
            Protocol::Client | Protocol::Http1 => {}
        }
        if template.named_by_request {
            peer.sni = host_of(authority()).to_owned();
        }
        peer
    }

    /// Whether the express lane may go there for a request that came in over HTTP/2 or not.
    pub(super) fn is_plain(&self, cluster: ClusterId, h2: bool) -> bool {
        let Own { cluster, template, .. } = &self.0[cluster.index()];
        let follows = h2 && template.protocol == Protocol::Client;
        template.plain && !follows && cluster.service.is_some()
    }

    /// What the express lane connects to.
    pub(super) fn direct(&self, cluster: ClusterId, endpoint: usize) -> Option<Direct> {
        let Own { cluster, pool, template } = self.0.get(cluster.index())?;
        let options = &template.peer.options;
        Some(Direct {
            pool: *pool,
            address: cluster.endpoints.get(endpoint)?.address,
            connect: options.connection_timeout,
            idle: options.idle_timeout,
        })
    }

    /// How the kernel looks after the express lane's connections there, where that is said.
    pub(super) fn probes(&self, cluster: ClusterId) -> Option<&TcpKeepalive> {
        self.0.get(cluster.index())?.template.peer.options.tcp_keepalive.as_ref()
    }

    /// What to connect to for bytes that are passed on. `name` is what the client asked for, if it did.
    pub(crate) fn stream(&self, cluster: ClusterId, endpoint: usize, name: &str) -> HttpPeer {
        self.peer(cluster, endpoint, || name, false)
    }
}

fn template(policy: &Policy, trust: Option<&Trust>, times: PeerTimes) -> Template {
    let name = policy.tls.as_ref().and_then(|tls| tls.server_name());
    let mut peer = HttpPeer::new(NOWHERE, policy.tls.is_some(), String::new());
    let connections = &policy.connection_pool;
    let options = &mut peer.options;
    options.connection_timeout = Some(connections.connect_timeout.unwrap_or(times.connect));
    let idle = Some(connections.idle_timeout.unwrap_or(times.idle)).filter(|idle| !idle.is_zero());
    // Nobody needs to keep what will be too old.
    options.idle_timeout = [idle, connections.max_connection_duration].into_iter().flatten().min();
    options.tcp_keepalive = connections.tcp_keepalive.map(|probes| TcpKeepalive {
        // Where nothing is said, the kernel's own figures.
        idle: probes.time.unwrap_or(Duration::from_secs(7200)),
        interval: probes.interval.unwrap_or(Duration::from_secs(75)),
        count: probes.probes.map_or(9, |probes| probes as usize),
        user_timeout: Duration::ZERO,
    });
    options.max_h2_streams = connections.max_concurrent_streams.unwrap_or(STREAMS) as usize;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_ping_interval = connections.http2_keepalive.map(|pings| pings.interval);
    if policy.protocol == Protocol::Http2 {
        speak_h2(&mut peer);
    }
    secure(&mut peer, policy, name.as_ref(), trust);
    let named_by_request = name == Some(ServerName::OfRequest);
    Template { peer, protocol: policy.protocol, named_by_request, plain: is_plain(policy) }
}

/// In a template, where an endpoint's address comes.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whether requests go by such a policy in the clear, of HTTP/1 by HTTP/1.
fn is_plain(policy: &Policy) -> bool {
    let Policy { balancer: _, connection_pool: _, outlier: _, tls, protocol, retry_budget: _ } = policy;
    tls.is_none() && *protocol != Protocol::Http2
}

/// What an upstream of HTTP/2 may send of an answer that its client does not take. Pingora's own is 8 MiB, as much as it
/// lets all of a connection's have, so that one could hold up the others.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Pingora's pool key leaves out what a cluster is, what it trusts and what is spoken, so two clusters with one
/// address would share connections; and as the key says nothing of the revision, pools outlive reloads.
fn pool(cluster: &Cluster, trust: Option<&Trust>) -> u64 {
    let mut hasher = BuildHasherDefault::<DefaultHasher>::default().build_hasher();
    cluster.key.hash(&mut hasher);
    format!("{:?}", cluster.policy.protocol).hash(&mut hasher);
    if let Some(tls) = &cluster.policy.tls {
        format!("{:?} {:?} {}", tls.server_name(), tls.mutual, tls.insecure_skip_verify).hash(&mut hasher);
        trust.map(|trust| trust.digest).hash(&mut hasher);
    }
    hasher.finish()
}

/// HTTP/2 and nothing else: by ALPN under TLS, else with prior knowledge. Its connections are a pool of their own.
fn speak_h2(peer: &mut HttpPeer) {
    if peer.options.alpn != ALPN::H2 {
        peer.options.set_http_version(2, 2);
        peer.group_key = pool_of_h2(peer.group_key);
    }
}

fn pool_of_h2(pool: u64) -> u64 {
    pool.rotate_left(1) ^ 2
}

fn secure(peer: &mut HttpPeer, policy: &Policy, name: Option<&ServerName>, trust: Option<&Trust>) {
    let Some(tls) = &policy.tls else { return };
    if let Some(trust) = trust {
        peer.options.ca = trust.issuers.clone();
        peer.client_cert_key = trust.identity.clone();
    }
    let nobody = trust.is_some_and(|trust| trust.nobody);
    peer.options.verify_cert = nobody || !tls.insecure_skip_verify;
    peer.options.verify_hostname = nobody || !tls.insecure_skip_verify;
    if let Some(ServerName::Given { name, verified }) = name {
        peer.sni = name.to_string();
        peer.options.verify_hostname &= verified;
    }
}

/// The host of an authority; of an address in brackets the address, for which no name is sent.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if authority.parse::<IpAddr>().is_err() => host,
        _ => authority,
    }
}
