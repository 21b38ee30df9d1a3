//! A request as the values of header fields see it, borrowed from whoever carries it and our memory of it.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::{Request, Tls, Value, View};

use super::connection;
use super::ctx::Ctx;

/// The request as conditions see it; `scheme` is its connection's.
pub(super) fn request<'s>(session: &'s Session, scheme: &'s str) -> Request<'s> {
    of_head(session.req_header(), scheme)
}

/// The same of its head.
pub(super) fn of_head<'s>(head: &'s RequestHeader, scheme: &'s str) -> Request<'s> {
    Request {
        authority: authority(head),
        method: head.method.as_str(),
        scheme: head.uri.scheme_str().unwrap_or(scheme),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    }
}

/// The authority of a request: the target's where it has one (HTTP/2, absolute form), else `Host`.
pub(super) fn authority(head: &RequestHeader) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(""),
    }
}

/// The two ends of a client's connection, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    pub(super) client: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

impl Ends {
    /// Those of a session's.
    pub(super) fn of(session: &Session) -> Self {
        let address = |address: Option<&pingora_core::protocols::l4::socket::SocketAddr>| {
            address.and_then(|address| address.as_inet()).copied()
        };
        Ends { client: address(session.client_addr()), local: address(session.server_addr()) }
    }
}

/// A request on its way, as its carrier has it.
pub(super) struct Seen<'s> {
    pub(super) head: &'s RequestHeader,
    pub(super) ends: Ends,
    /// Bytes of its body that were read, and of its answer's that were sent.
    pub(super) passed: (u64, u64),
}

impl<'s> Seen<'s> {
    /// As a session has it.
    pub(super) fn of(session: &'s Session) -> Self {
        let passed = (session.body_bytes_read() as u64, session.body_bytes_sent() as u64);
        Seen { head: session.req_header(), ends: Ends::of(session), passed }
    }
}

/// A value of a request's field; `headers` are the request's as they are by now.
pub(super) fn of_request(
    seen: &Seen<'_>,
    ctx: &Ctx,
    headers: &HeaderMap,
    value: &Value,
) -> Option<HeaderValue> {
    fill(seen, ctx, Some(headers), None, value)
}

/// A value of an answer's field; `headers` are the answer's as they are by now.
pub(super) fn of_response(
    seen: &Seen<'_>,
    ctx: &Ctx,
    status: u16,
    headers: &HeaderMap,
    value: &Value,
) -> Option<HeaderValue> {
    fill(seen, ctx, None, Some((status, headers)), value)
}

fn fill(
    seen: &Seen<'_>,
    ctx: &Ctx,
    changed: Option<&HeaderMap>,
    answer: Option<(u16, &HeaderMap)>,
    value: &Value,
) -> Option<HeaderValue> {
    let request = of_head(seen.head, ctx.scheme());
    let cluster = ctx.cluster.map(|cluster| ctx.active.snapshot.cluster(cluster));
    let endpoint = ctx.endpoint.and_then(|endpoint| cluster?.endpoints.get(endpoint));
    let flags = ctx.flags().text();
    let told = ctx.identity.client.map(|client| SocketAddr::new(client, 0));
    let view = View {
        // Envoy: of who is told by fields the port is not known.
        peer: told.or(seen.ends.client),
        direct: ctx.connection.as_ref().and_then(|connection| connection.direct),
        local: seen.ends.local,
        protocol: match seen.head.version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        tls: ctx.connection.as_ref().and_then(|connection| connection.tls.as_ref()).map(tls),
        request: Request { headers: changed.unwrap_or(request.headers), ..request },
        response: answer.map(|(_, headers)| headers),
        status: answer.map(|(status, _)| status),
        flags: &flags,
        upstream: endpoint.map(|endpoint| endpoint.address),
        cluster: cluster.map(|cluster| &cluster.key),
        start: ctx.start.duration_since(UNIX_EPOCH).unwrap_or_default(),
        received: seen.passed.0,
        sent: seen.passed.1,
    };
    value.of(&view)
}

/// What is known of the client's TLS.
fn tls(tls: &connection::Tls) -> Tls<'_> {
    let client = tls.client.as_ref();
    Tls {
        version: Some(tls.version),
        cipher: Some(tls.cipher),
        server_name: tls.server_name.as_deref(),
        peer_subject: client.map(|client| &*client.subject),
        peer_uri_san: client.map(|client| &*client.uris),
        peer_cert: client.map(|client| &*client.pem),
        peer_fingerprint: client.map(|client| &*client.fingerprint),
    }
}

/// When a request came.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
