//! What the access log tells of a request, noted while there is a session to ask: one whose future is dropped has a line too.
//!
//! It is there only where there is an access log, and what a client sent is copied into one piece of memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::{HeaderName, Version};
use pingora_core::{Error, ErrorType};
use pingora_http::RequestHeader;
use trysail_routing::snapshot::Route;

use super::ctx::Ctx;
use super::view::{self, Ends};
use crate::access::{AccessLog, Asked, Details, Entry};
use crate::metrics::Ended;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a line is made of, beside what its request knows of itself.
pub(super) struct Noted {
    log: Arc<AccessLog>,
    said: Said,
    version: Version,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    route: Option<Arc<Route>>,
    upstream_local: Option<SocketAddr>,
    /// The last try was refused a connection.
    refused: bool,
    /// When it had come whole.
    whole: Option<Instant>,
    /// From then to the head of the upstream's answer.
    service_time: Option<Duration>,
}

impl Noted {
    /// What there is to note of a request whose fields are true, and which has come `whole` if it has no body. `told` is
    /// the client that trusted hops name.
    pub(super) fn of(
        log: &Arc<AccessLog>,
        head: &RequestHeader,
        whole: bool,
        ends: Ends,
        told: Option<IpAddr>,
    ) -> Box<Self> {
        let whole = whole.then(Instant::now);
        let field = |name| head.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        Box::new(Noted {
            log: log.clone(),
            said: Said::of([
                head.method.as_str().as_bytes(),
                head.raw_path(),
                view::authority(head).as_bytes(),
                field(&FORWARDED_FOR),
                field(&USER_AGENT),
                field(&REQUEST_ID),
            ]),
            version: head.version,
            local: ends.local,
            // Envoy: of who is told by fields the port is not known.
            remote: told.map(|told| SocketAddr::new(told, 0)).or(ends.client),
            route: None,
            upstream_local: None,
            refused: false,
            whole,
            service_time: None,
        })
    }

    /// The route that took it.
    pub(super) fn took(&mut self, route: &Arc<Route>) {
        self.route = Some(route.clone());
    }

    /// A try had no connection.
    pub(super) fn failed_to_connect(&mut self, error: &Error) {
        self.refused = error.etype == ErrorType::ConnectRefused;
        self.upstream_local = None;
    }

    /// A try has one, with our side of it.
    pub(super) fn connected(&mut self, local: Option<SocketAddr>) {
        (self.upstream_local, self.refused) = (local, false);
    }

    /// It has come whole.
    pub(super) fn whole(&mut self) {
        self.whole.get_or_insert_with(Instant::now);
    }

    /// The head of an upstream's answer is there.
    pub(super) fn answered(&mut self) {
        self.service_time = self.whole.map(|whole| whole.elapsed());
    }

    /// Writes the line of a request that is over, where it is to have one.
    pub(super) fn tell(&self, ctx: &Ctx, ended: Ended) {
        if !self.log.wants(&ended) {
            return;
        }
        let connection = ctx.connection.as_deref();
        let cluster = ctx.cluster.map(|cluster| ctx.active.snapshot.cluster(cluster));
        let endpoint = cluster.zip(ctx.endpoint).and_then(|(cluster, at)| cluster.endpoints.get(at));
        let failed = matches!(ctx.details, Details::Before(_) | Details::After(_));
        let refused = if self.refused { REFUSED } else { "" };
        let entry = Entry {
            request: self.said.asked(self.version),
            details: ctx.details,
            transport: if failed { ctx.transport.as_deref().unwrap_or(refused) } else { "" },
            service_time: self.service_time,
            cluster: cluster.map(|cluster| &cluster.key),
            upstream: endpoint.map(|endpoint| endpoint.address),
            upstream_local: self.upstream_local,
            local: self.local,
            remote: self.remote,
            server_name: connection.and_then(|connection| connection.server_name()).unwrap_or_default(),
            route: self.route.as_deref(),
            revision: ctx.active.revision.short(),
            attempts: ctx.tries,
            ..Entry::new(ctx.start, ended)
        };
        self.log.write(&entry);
    }
}

/// Envoy's words for a connection that nobody takes.
const REFUSED: &str = "delayed connect error: Connection refused";

/// Texts of a client, one behind the other.
struct Said {
    bytes: Vec<u8>,
    ends: [usize; PARTS],
}

const PARTS: usize = 6;

impl Said {
    fn of(parts: [&[u8]; PARTS]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            bytes.extend_from_slice(part);
            bytes.len()
        });
        Said { bytes, ends }
    }

    fn asked(&self, version: Version) -> Asked<'_> {
        let mut begin = 0;
        let [method, target, authority, forwarded_for, user_agent, request_id] = self.ends.map(|end| {
            let part = self.bytes.get(begin..end).unwrap_or_default();
            begin = end;
            part
        });
        let protocol = match version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        Asked { method, target, protocol, authority, forwarded_for, user_agent, request_id }
    }
}
