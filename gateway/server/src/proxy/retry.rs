//! Failed tries, as Pingora tells of them, in the words of the policy that decides on another.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use pingora_core::{Error, ErrorSource, ErrorType, RetryType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use trysail_routing::snapshot::Retry;
use trysail_upstream::limits::Overflow;
use trysail_upstream::retry::{Failure, Tried, Verdict, verdict};

use super::ctx::Ctx;
use crate::metrics::Again;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How a try ended that had a connection; `None` where the client's side failed.
pub(super) fn failure(error: &Error, reused: bool) -> Option<Failure> {
    if matches!(error.esource, ErrorSource::Downstream | ErrorSource::Internal) {
        return None;
    }
    match (&error.etype, error.retry) {
        (ErrorType::HTTPStatus(_), _) => None,
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, _) => Some(Failure::PerTry),
        (_, RetryType::ReusedOnly) if reused => Some(Failure::Stale),
        // Pingora marks what fails when it reads. What can't even be sent is no less closed.
        (ErrorType::WriteError, _) if reused => Some(Failure::Stale),
        // Pingora marks what was not executed; an answer that is no HTTP it marks too, though it was.
        (kind, RetryType::Decided(true)) if *kind != ErrorType::InvalidH2 => Some(Failure::Refused),
        _ => Some(Failure::Reset),
    }
}

/// How a try ended that had no connection, which was waited for so long at most. The time of one try counts from its
/// beginning; where it ran out here, the error says so from now on.
pub(super) fn connect_failure(
    limit: Option<Duration>,
    per_try: Option<Duration>,
    error: &mut Error,
) -> Failure {
    if error.etype == ErrorType::ConnectTimedout && limit.is_some() && limit == per_try {
        error.etype = ErrorType::ReadTimedout;
        return Failure::PerTry;
    }
    Failure::Connect
}

/// Whether an answer may be one that a policy does not want: an error, gRPC's, whose status says nothing, or one of a
/// status that the policy lists. The others are not looked at closer.
pub(super) fn may_be_unwanted(ctx: &Ctx, response: &ResponseHeader) -> bool {
    let status = response.status.as_u16();
    let listed = || ctx.handling.as_ref().is_some_and(|handling| handling.retry.codes.contains(&status));
    !response.status.is_informational()
        && (status >= 400 || listed() || response.headers.contains_key(&GRPC_STATUS))
}

/// An answer that a policy may not want.
pub(super) fn answer(response: &ResponseHeader) -> Failure {
    Failure::Answer {
        status: response.status.as_u16(),
        grpc: grpc_status(&response.headers),
        limited: response.headers.contains_key("x-envoy-ratelimited"),
    }
}

/// gRPC's status, where it stands in an answer's head.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get(&GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// What there is to be sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// Its method may be executed twice.
    pub(super) idempotent: bool,
    /// All that was read of its body is still there, and the client has no answer yet.
    pub(super) whole: bool,
}

impl Replay {
    /// As a session has it.
    pub(super) fn of(session: &Session) -> Self {
        let begun = session.response_written().is_some();
        Replay {
            idempotent: session.req_header().method.is_idempotent(),
            whole: !begun && !session.as_ref().retry_buffer_truncated(),
        }
    }
}

/// Decides on a try that ended, and notes what was decided; whether the request is tried again.
pub(super) fn again(replay: Replay, ctx: &mut Ctx, failure: Failure) -> bool {
    if ctx.deadline.is_over() {
        return false;
    }
    let tried =
        Tried { tries: ctx.tries, stale: ctx.stale, idempotent: replay.idempotent, replayable: replay.whole };
    let fallback;
    let policy = match &ctx.handling {
        Some(handling) => &handling.retry,
        None => {
            fallback = Retry::default();
            &fallback
        }
    };
    let verdict = verdict(policy, failure, tried, fastrand::u64(..));
    ctx.exhausted = verdict == Verdict::Exhausted;
    // As Envoy has it, a retry lasts until the request ends, or is tried once more.
    ctx.retrying = None;
    ctx.next = match verdict {
        Verdict::Final => None,
        Verdict::Exhausted => {
            count(ctx, Again::Exhausted);
            None
        }
        Verdict::Again(wait) => may_retry(ctx, failure).then_some(wait),
        Verdict::Resend => {
            // The next try takes its place.
            ctx.tries = ctx.tries.saturating_sub(1);
            ctx.stale += 1;
            Some(Duration::ZERO)
        }
    };
    ctx.next.is_some()
}

/// Asks the cluster whether it takes another retry.
fn may_retry(ctx: &mut Ctx, failure: Failure) -> bool {
    let Some(id) = ctx.cluster else { return false };
    let cluster = ctx.active.upstreams.cluster(id);
    ctx.retrying = cluster.limits().retry(cluster.active(), failure == Failure::Connect);
    ctx.overflowed = ctx.retrying.is_none();
    if ctx.overflowed {
        ctx.active.loads.of(id).overflow(Overflow::Retries);
    }
    count(ctx, if ctx.overflowed { Again::Overflow } else { Again::Made });
    !ctx.overflowed
}

fn count(ctx: &Ctx, again: Again) {
    if let Some(cluster) = ctx.cluster {
        ctx.active.loads.of(cluster).retry(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_the_failures_that_they_mean() {
        let (up, down) = (ErrorSource::Upstream, ErrorSource::Downstream);
        let (no, yes) = (RetryType::Decided(false), RetryType::Decided(true));
        for (source, kind, mark, reused, meant) in [
            (up.clone(), ErrorType::ConnectionClosed, RetryType::ReusedOnly, true, Some(Failure::Stale)),
            (up.clone(), ErrorType::ConnectionClosed, RetryType::ReusedOnly, false, Some(Failure::Reset)),
            (up.clone(), ErrorType::WriteError, no, true, Some(Failure::Stale)),
            (up.clone(), ErrorType::WriteError, no, false, Some(Failure::Reset)),
            (up.clone(), ErrorType::ReadTimedout, no, true, Some(Failure::PerTry)),
            (up.clone(), ErrorType::H2Error, yes, true, Some(Failure::Refused)),
            (up.clone(), ErrorType::InvalidH2, yes, true, Some(Failure::Reset)),
            (up, ErrorType::HTTPStatus(503), no, true, None),
            (down.clone(), ErrorType::ReadTimedout, no, true, None),
            (down, ErrorType::ConnectionClosed, no, true, None),
            // A request that could not be put together.
            (ErrorSource::Internal, ErrorType::InternalError, no, false, None),
        ] {
            let mut error = Error::new(kind);
            (error.esource, error.retry) = (source, mark);
            assert_eq!(failure(&error, reused), meant, "{error}");
        }
    }
}
