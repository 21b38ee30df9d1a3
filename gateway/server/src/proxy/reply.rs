//! Answers that the gateway gives itself.

use std::borrow::Cow;

use bytes::Bytes;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::HeaderOps;

use super::headers::Server;
use super::transform;
use crate::metrics::Flag;

/// An answer without an upstream.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Why; what metrics and logs say.
    pub(super) flag: Flag,
    /// A plain text; empty for none.
    pub(super) body: Cow<'static, str>,
    /// Where a redirect sends the client; empty for none.
    pub(super) location: String,
    /// The route's changes of its fields.
    pub(super) response: Vec<HeaderOps>,
    /// Whether the client's connection is closed after it.
    pub(super) close: bool,
}

impl Answer {
    /// Nothing yet: what answers made of a request's own parts begin with.
    pub(super) const EMPTY: Answer = Answer::plain(500, Flag::None, "", false);
    pub(super) const NO_ROUTE: Answer = Answer::plain(404, Flag::NoRoute, "", false);
    pub(super) const PORT_GONE: Answer = Answer::plain(404, Flag::NoRoute, "", true);
    pub(super) const MALFORMED: Answer = Answer::plain(400, Flag::DownstreamProtocolError, "", true);
    pub(super) const NO_CLUSTER: Answer = Answer::plain(503, Flag::NoCluster, "", false);
    pub(super) const NO_ENDPOINT: Answer =
        Answer::plain(503, Flag::NoHealthyUpstream, "no healthy upstream", false);

    const fn plain(status: u16, flag: Flag, body: &'static str, close: bool) -> Answer {
        Answer {
            status,
            flag,
            body: Cow::Borrowed(body),
            location: String::new(),
            response: Vec::new(),
            close,
        }
    }
}

/// Sends an answer; the client's connection stays as it is.
pub(super) async fn send(session: &mut Session, answer: &Answer, server: &Server) -> Result<()> {
    let mut response = ResponseHeader::build_no_case(answer.status, Some(4))?;
    let bodiless = matches!(answer.status, 204 | 304);
    if !answer.location.is_empty() {
        response.insert_header("location", answer.location.as_str())?;
    }
    if !answer.body.is_empty() && !bodiless {
        response.insert_header("content-type", "text/plain")?;
    }
    if !bodiless {
        response.insert_header("content-length", answer.body.len())?;
    }
    server.put(&mut response)?;
    transform::response(&answer.response, &mut response)?;
    let ends = answer.body.is_empty() || bodiless || session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(response), ends).await?;
    if !ends {
        session.write_response_body(Some(Bytes::copy_from_slice(answer.body.as_bytes())), true).await?;
    }
    Ok(())
}
