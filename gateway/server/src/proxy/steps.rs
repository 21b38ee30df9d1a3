//! What is done with a request at each of its steps, whoever carries it: Pingora (`mod.rs`), or the express lane.

use std::time::Duration;

use http::HeaderMap;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::ctx::Ctx;
use super::deadline::Deadline;
use super::gateway::Gateway;
use super::outcome::{self, Outcome};
use super::reply::Answer;
use super::retry::{self, Replay};
use super::turn::Turn;
use super::view::{self, Ends, Seen};
use super::{explained, grpc, hash, headers, outlier, strict, transform};
use crate::metrics::Flag;

/// It has its turn: it gets its endpoint, if there is one, and its time, which begins where it has come `whole`.
pub(super) fn turn(
    ctx: &mut Ctx,
    turn: Turn,
    head: &RequestHeader,
    ends: impl Fn() -> Ends,
    whole: bool,
) -> bool {
    (ctx.target, ctx.cluster) = (Some(turn.target), Some(turn.cluster));
    (ctx.transform, ctx.path) = (turn.transform, turn.path);
    let policy = &ctx.active.snapshot.cluster(turn.cluster).policy;
    ctx.hashed = hash::of(head, ends, ctx.identity.client, policy);
    let grpc = ctx.messages.as_ref().and_then(|_| grpc::timeout(&head.headers));
    ctx.deadline = Deadline::of(ctx.handling.as_deref(), grpc);
    if whole {
        ctx.deadline.begin();
    }
    ctx.choose_endpoint()
}

/// Makes of a client's request what the endpoint gets. What can not be put together is nobody's failure but ours, and no
/// endpoint's.
pub(super) fn change<'s>(
    seen: impl Fn() -> Seen<'s>,
    upgrade: bool,
    request: &mut RequestHeader,
    ctx: &Ctx,
) -> Result<()> {
    put(seen, upgrade, request, ctx)
        .map_err(|error| Error::because(ErrorType::InternalError, "no request to send", error).into_in())
}

fn put<'s>(seen: impl Fn() -> Seen<'s>, upgrade: bool, request: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let left = ctx.deadline.left();
    let time = ctx.per_try().map_or(left, |time| Some(left.map_or(time, |left: Duration| left.min(time))));
    headers::tries(request, ctx.tries, time)?;
    if let Some(traced) = &ctx.traced {
        traced.put(request)?;
    }
    if let Some(transform) = &ctx.transform {
        transform::request(transform, ctx.path.as_deref(), request, |headers, value| {
            view::of_request(&seen(), ctx, headers, value)
        })?;
    }
    if ctx.last_of_connection && !upgrade {
        request.insert_header("connection", "close")?;
    }
    Ok(())
}

/// The head of an upstream's answer, to a request with these fields, that may ask for another protocol. An error is one
/// that may not pass, or is not wanted.
pub(super) fn hear(
    ctx: &mut Ctx,
    request: &HeaderMap,
    upgrade: bool,
    response: &mut ResponseHeader,
    replay: impl Fn() -> Replay,
) -> Result<()> {
    strict::response(upgrade, response)?;
    if response.status.is_informational() && response.status != http::StatusCode::SWITCHING_PROTOCOLS {
        return ctx.interim();
    }
    ctx.traced.iter_mut().for_each(|traced| traced.answered(response.status.as_u16()));
    headers::forget_case_of_answer(response)?;
    outlier::answered(request, ctx, response);
    if retry::may_be_unwanted(ctx, response) && retry::again(replay(), ctx, retry::answer(response)) {
        let mut error = Error::new_up(ErrorType::HTTPStatus(response.status.as_u16()));
        error.set_retry(true);
        return Err(error);
    }
    Ok(())
}

/// A try that had a connection has failed: whether there is another.
pub(super) fn failed(ctx: &mut Ctx, error: &Error, reused: bool, replay: Replay) -> bool {
    // An answer that is not wanted was decided on when it came.
    let failure = retry::failure(error, reused).filter(|_| ctx.next.is_none());
    let resent = ctx.stale;
    let again = ctx.next.is_some() || failure.is_some_and(|failure| retry::again(replay, ctx, failure));
    if let Some(failure) = failure {
        outlier::failed(ctx, failure, ctx.stale > resent);
    }
    again
}

/// The answer to a request that goes no further, as its client gets it: why is noted, and it says what its route says of
/// other sites' calls.
pub(super) fn refusal(ctx: &mut Ctx, mut answer: Answer, request: &HeaderMap) -> Answer {
    answer.response.extend(explained::fields(ctx));
    (ctx.flag, ctx.details) = (answer.flag, answer.details());
    // Faults stand before CORS, and a preflight has its fields.
    if answer.fields.is_empty() && answer.flag != Flag::FaultInjected {
        answer.fields = ctx.cors(request);
    }
    answer
}

/// The answer to a request that has failed.
pub(super) fn apology(ctx: &Ctx, outcome: Outcome, request: &HeaderMap) -> Answer {
    Answer {
        status: outcome.status,
        body: outcome.body(ctx.tries > 1, ctx.transport.as_deref()).into(),
        response: ctx.response_ops().iter().cloned().chain(explained::fields(ctx)).collect(),
        fields: ctx.cors(request),
        ..Answer::EMPTY
    }
}

impl Gateway {
    /// Puts into an answer what is ours, to a request with these fields.
    pub(super) fn sign<'s>(
        &self,
        ctx: &mut Ctx,
        seen: impl Fn() -> Seen<'s>,
        request: &HeaderMap,
        response: &mut ResponseHeader,
    ) -> Result<()> {
        self.server.put(response)?;
        let status = response.status.as_u16();
        if !response.status.is_informational()
            && let Some(cookie) = ctx.hashed.cookie.take()
        {
            response.append_header("set-cookie", cookie)?;
        }
        let fill = |headers: &HeaderMap, value: &_| view::of_response(&seen(), ctx, status, headers, value);
        transform::response(ctx.response_ops(), response, fill)?;
        if let Some(told) = explained::fields(ctx) {
            transform::response(&[told], response, fill)?;
        }
        for (name, value) in ctx.cors(request) {
            response.insert_header(name, value)?;
        }
        Ok(())
    }

    /// What a request's failure comes to, noted and counted; `begun` where the client has the head of an answer.
    pub(super) fn outcome(&self, ctx: &mut Ctx, error: &Error, begun: bool) -> Outcome {
        let late = ctx.deadline.is_over();
        let outcome = match outcome::of(error) {
            outcome if outcome.status > 0 && late => Outcome::TIMEOUT,
            outcome => outcome,
        };
        self.measures.failed(error);
        ctx.flag = outcome.flag;
        if let Some(reason) = outcome::reason(error) {
            self.refused.count(reason);
        }
        ctx.details = outcome.details(error, begun, !late && ctx.per_try().is_some());
        outcome
    }
}
