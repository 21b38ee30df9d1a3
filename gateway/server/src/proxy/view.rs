//! A request as the values of header fields see it, borrowed from Pingora's session and our memory of it.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Version};
use pingora_proxy::Session;
use trysail_routing::snapshot::{Request, Tls, Value, View};

use super::ctx::Ctx;

/// The request as conditions see it.
pub(super) fn request(session: &Session) -> Request<'_> {
    let head = session.req_header();
    Request {
        // The target's authority where it has one (HTTP/2, absolute form), else `Host`.
        authority: match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or(""),
        },
        method: head.method.as_str(),
        scheme: head.uri.scheme_str().unwrap_or("http"),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
    }
}

/// A value of a request's field; `headers` are the request's as they are by now.
pub(super) fn of_request(
    session: &Session,
    ctx: &Ctx,
    headers: &HeaderMap,
    value: &Value,
) -> Option<HeaderValue> {
    fill(session, ctx, Some(headers), None, value)
}

/// A value of an answer's field; `headers` are the answer's as they are by now.
pub(super) fn of_response(
    session: &Session,
    ctx: &Ctx,
    status: u16,
    headers: &HeaderMap,
    value: &Value,
) -> Option<HeaderValue> {
    fill(session, ctx, None, Some((status, headers)), value)
}

fn fill(
    session: &Session,
    ctx: &Ctx,
    changed: Option<&HeaderMap>,
    answer: Option<(u16, &HeaderMap)>,
    value: &Value,
) -> Option<HeaderValue> {
    let request = request(session);
    let address = |address: Option<&pingora_core::protocols::l4::socket::SocketAddr>| {
        address.and_then(|address| address.as_inet()).copied()
    };
    let cluster = ctx.cluster.map(|cluster| ctx.active.snapshot.cluster(cluster));
    let endpoint = ctx.endpoint.and_then(|endpoint| cluster?.endpoints.get(endpoint));
    let flags = ctx.flags().text();
    let view = View {
        peer: address(session.client_addr()),
        local: address(session.server_addr()),
        protocol: match session.req_header().version {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        tls: tls(session),
        request: Request { headers: changed.unwrap_or(request.headers), ..request },
        response: answer.map(|(_, headers)| headers),
        status: answer.map(|(status, _)| status),
        flags: &flags,
        upstream: endpoint.map(|endpoint| endpoint.address),
        cluster: cluster.map(|cluster| &cluster.key),
        start: ctx.start.duration_since(UNIX_EPOCH).unwrap_or_default(),
        received: session.body_bytes_read() as u64,
        sent: session.body_bytes_sent() as u64,
    };
    value.of(&view)
}

/// What is known of the client's TLS: nothing, as long as no port speaks it.
fn tls(_: &Session) -> Option<Tls<'_>> {
    None
}

/// When a request came.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
