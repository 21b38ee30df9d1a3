//! Answers that the gateway gives itself.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::HeaderOps;

use super::ctx::Ctx;
use super::headers::Server;
use super::view::{self, Seen};
use super::{grpc, transform};
use crate::access::Details;
use crate::metrics::Flag;
use trysail_edge::Reason;

/// An answer without an upstream.
pub(super) struct Answer {
    pub(super) status: u16,
    /// gRPC's status, where it is not the one that belongs to the other.
    pub(super) grpc: Option<u8>,
    /// Why; what metrics and logs say.
    pub(super) flag: Flag,
    /// Why, beyond that.
    pub(super) why: Why,
    /// A plain text; empty for none.
    pub(super) body: Bytes,
    /// Where a redirect sends the client; empty for none.
    pub(super) location: String,
    /// The route's changes of its fields.
    pub(super) response: Vec<HeaderOps>,
    /// Fields that stand over all others.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether the client's connection is closed after it.
    pub(super) close: bool,
}

impl Answer {
    /// Nothing yet: what answers made of a request's own parts begin with.
    pub(super) const EMPTY: Answer = Answer::plain(500, Flag::None, "", false);
    pub(super) const NO_ROUTE: Answer = Answer::plain(404, Flag::NoRoute, "", false);
    pub(super) const MISDIRECTED: Answer = Answer::plain(421, Flag::NoRoute, "", false);
    pub(super) const PORT_GONE: Answer = Answer::plain(404, Flag::NoRoute, "", true);
    pub(super) const TARGET_TOO_LONG: Answer = Answer::plain(414, Flag::DownstreamProtocolError, "", true);
    pub(super) const TOO_MANY_FIELDS: Answer = Answer::plain(431, Flag::DownstreamProtocolError, "", true);
    pub(super) const BODY_TOO_LONG: Answer = Answer::plain(413, Flag::DownstreamProtocolError, "", true);
    pub(super) const NO_CLUSTER: Answer = Answer::plain(503, Flag::NoCluster, "", false);
    pub(super) const LATE: Answer =
        Answer::plain(504, Flag::UpstreamTimeout, "upstream request timeout", false);
    pub(super) const OVERFLOW: Answer = Answer::plain(
        503,
        Flag::UpstreamOverflow,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        false,
    );
    pub(super) const NO_ENDPOINT: Answer =
        Answer::plain(503, Flag::NoHealthyUpstream, "no healthy upstream", false);

    /// For how it is written. What comes next on its connection may be anything.
    pub(super) const fn refused(reason: Reason) -> Answer {
        let flag = Flag::DownstreamProtocolError;
        Answer::because(reason.status(), flag, Why::Refused(reason), reason.as_str(), true)
    }

    const fn plain(status: u16, flag: Flag, body: &'static str, close: bool) -> Answer {
        Answer::because(status, flag, Why::Flag, body, close)
    }

    const fn because(status: u16, flag: Flag, why: Why, body: &'static str, close: bool) -> Answer {
        Answer {
            status,
            grpc: None,
            flag,
            why,
            body: Bytes::from_static(body.as_bytes()),
            location: String::new(),
            response: Vec::new(),
            fields: Vec::new(),
            close,
        }
    }

    /// Envoy's word for why. Without a flag it is what the route says.
    pub(super) fn details(&self) -> Details {
        Details::Is(match (self.why, self.flag, self.status) {
            (Why::Preflight, ..) => "cors_response",
            (Why::Refused(reason), ..) => reason.as_str(),
            (Why::Flag, Flag::NoRoute, _) => "route_not_found",
            (Why::Flag, Flag::NoCluster, _) => "cluster_not_found",
            (Why::Flag, Flag::NoHealthyUpstream, _) => "no_healthy_upstream",
            (Why::Flag, Flag::UpstreamOverflow, _) => return Details::Before("overflow"),
            (Why::Flag, Flag::UpstreamTimeout, _) => "response_timeout",
            (Why::Flag, Flag::FaultInjected, _) => "fault_filter_abort",
            (Why::Flag, Flag::DownstreamProtocolError, 413) => "request_payload_too_large",
            (Why::Flag, Flag::DownstreamProtocolError, _) => "request_headers_too_large",
            (Why::Flag, ..) => "direct_response",
        })
    }
}

/// What an answer is for, where its flag does not say so.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// It does.
    Flag,
    /// Another site's call is asked about.
    Preflight,
    /// The request is malformed.
    Refused(Reason),
}

/// Sends an answer; the client's connection stays as it is.
pub(super) async fn send(session: &mut Session, ctx: &Ctx, answer: &Answer, server: &Server) -> Result<()> {
    let (response, body) = head(&Seen::of(session), ctx, answer, server)?;
    let ends = body.is_empty() || session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(response), ends).await?;
    if !ends {
        return session.write_response_body(Some(body), true).await;
    }
    // Pingora does not hand an end to HTTP/2 with the head, and after an error it drops what has not ended.
    let http2 = session.req_header().version == Version::HTTP_2;
    if http2 { session.as_mut().finish_body().await } else { Ok(()) }
}

/// An answer's head and body.
///
/// Envoy: who speaks gRPC is told with 200 and gRPC's own status, and the body is its message.
pub(super) fn head(
    seen: &Seen<'_>,
    ctx: &Ctx,
    answer: &Answer,
    server: &Server,
) -> Result<(ResponseHeader, Bytes)> {
    let speaks_grpc = grpc::speaks(&seen.head.headers);
    let status = if speaks_grpc { 200 } else { answer.status };
    let mut response = ResponseHeader::build_no_case(status, Some(4))?;
    let body = if speaks_grpc || matches!(status, 204 | 304) { Bytes::new() } else { answer.body.clone() };
    if !answer.location.is_empty() {
        response.insert_header("location", answer.location.as_str())?;
    }
    if answer.flag == Flag::UpstreamOverflow {
        response.insert_header("x-envoy-overloaded", "true")?;
    }
    if speaks_grpc {
        response.insert_header("content-type", "application/grpc")?;
        let status = answer.grpc.unwrap_or_else(|| grpc::status(answer.status));
        response.insert_header("grpc-status", HeaderValue::from(u16::from(status)))?;
        if !answer.body.is_empty() {
            response.insert_header("grpc-message", grpc::message(&answer.body))?;
        }
    } else if !body.is_empty() {
        response.insert_header("content-type", "text/plain")?;
    }
    let http2 = seen.head.version == Version::HTTP_2;
    let unmeasured = matches!(status, 204 | 304) || (speaks_grpc && http2);
    if !unmeasured {
        response.insert_header("content-length", body.len())?;
    }
    server.put(&mut response)?;
    transform::response(&answer.response, &mut response, |headers, value| {
        view::of_response(seen, ctx, status, headers, value)
    })?;
    if body.is_empty() && !speaks_grpc {
        // Envoy takes it away where there is no content, also one that the route set.
        response.remove_header("content-type");
    }
    for (name, value) in &answer.fields {
        response.insert_header(name, value)?;
    }
    Ok((response, body))
}
