//! What is told of a connection that was passed on, or was to be: its bytes, and a line in the access log once it ends,
//! however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use pingora_core::protocols::SocketDigest;
use trysail_routing::snapshot::ClusterId;

use super::conn::Conn;
use crate::access::{AccessLog, Details, Entry};
use crate::metrics::{Ended, Flag, Flags};
use crate::proxy::Active;

/// Bytes from and to a client.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

impl Moved {
    /// Both ways.
    pub(super) fn both(&self) -> u64 {
        self.received.load(Ordering::Relaxed).wrapping_add(self.sent.load(Ordering::Relaxed))
    }
}

/// One connection. Dropping it writes the line.
pub(super) struct Passage {
    log: Option<Arc<AccessLog>>,
    active: Arc<Active>,
    start: SystemTime,
    begun: Instant,
    name: String,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    upstream_local: Option<SocketAddr>,
    flags: Flags,
    details: Details,
    /// The cluster whose turn it was.
    pub(super) cluster: Option<ClusterId>,
    /// The endpoint that was tried.
    pub(super) endpoint: Option<usize>,
    /// Why there was no connection to it; empty where it is not known.
    pub(super) transport: String,
    /// Why the gateway ended it; empty where it did not.
    pub(super) termination: &'static str,
    /// What was passed on.
    pub(super) moved: Arc<Moved>,
}

impl Passage {
    /// A connection that asks for `name`, if it does.
    pub(super) fn begin(log: Option<&Arc<AccessLog>>, conn: &Conn, active: &Arc<Active>, name: &str) -> Self {
        let logged = log.is_some();
        Passage {
            log: log.cloned(),
            active: active.clone(),
            start: SystemTime::now(),
            begun: Instant::now(),
            name: name.to_owned(),
            local: if logged { conn.local() } else { None },
            remote: if logged { conn.client() } else { None },
            upstream_local: None,
            flags: Flags::default(),
            details: Details::None,
            cluster: None,
            endpoint: None,
            transport: String::new(),
            termination: "",
            moved: Arc::default(),
        }
    }

    /// It goes no further, and this is why. A connection to an endpoint is tried once, which is all the tries there are.
    pub(super) fn ended(&mut self, flag: Flag, details: Details) {
        self.flags = Flags { exhausted: flag == Flag::UpstreamConnectionFailure, ..flag.into() };
        self.details = details;
    }

    /// There is a connection to the endpoint.
    pub(super) fn connected(&mut self, socket: Option<&SocketDigest>) {
        if self.log.is_some() {
            self.upstream_local = socket.and_then(|socket| socket.local_addr()?.as_inet().copied());
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let Some(log) = &self.log else { return };
        let ended = Ended {
            status: 0,
            flags: self.flags,
            duration: self.begun.elapsed(),
            received: self.moved.received.load(Ordering::Relaxed),
            sent: self.moved.sent.load(Ordering::Relaxed),
            ..Ended::default()
        };
        // Without a status nothing would be said to have gone well.
        if !log.wants(&Ended { status: 200, ..ended }) {
            return;
        }
        let cluster = self.cluster.map(|cluster| self.active.snapshot.cluster(cluster));
        let endpoint = cluster.zip(self.endpoint).and_then(|(cluster, at)| cluster.endpoints.get(at));
        log.write(&Entry {
            details: self.details,
            termination: self.termination,
            transport: &self.transport,
            cluster: cluster.map(|cluster| &cluster.key),
            upstream: endpoint.map(|endpoint| endpoint.address),
            upstream_local: self.upstream_local,
            local: self.local,
            remote: self.remote,
            server_name: &self.name,
            revision: self.active.revision.short(),
            attempts: u32::from(endpoint.is_some()),
            ..Entry::new(self.start, ended)
        });
    }
}
