//! What a request may have in size, and take in time, once it is one: its fields, target and body; that the body keeps
//! coming, and that the answer is taken. Its head as bytes is the listener's (`listener/head`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::deadline::Pause;
use super::grpc;
use super::reply::Answer;
use crate::metrics::{Cut, Edge};

/// The measures of every request.
pub(crate) struct Measures {
    /// Fields of its head.
    pub(crate) fields: usize,
    /// Bytes of its target.
    pub(crate) target: usize,
    /// Bytes of its body; `None` for any.
    pub(crate) body: Option<u64>,
    /// How long its body may pause.
    pub(crate) body_time: Duration,
    /// How long a piece of its answer may wait to be taken.
    pub(crate) send_time: Duration,
    /// Where those that are cut are counted.
    pub(crate) edge: Arc<Edge>,
}

impl Measures {
    /// Takes a request's measures, and sets its times.
    pub(super) fn begin(&self, session: &mut Session, ctx: &mut Ctx) -> std::result::Result<(), Answer> {
        let request = session.req_header();
        let length = || request.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        self.take(request.raw_path().len(), request.headers.len(), length).map_err(|(cut, answer)| {
            self.edge.cut(cut);
            answer
        })?;
        if session.as_http2().is_none() {
            session.as_mut().set_read_timeout(Some(self.body_time));
            return Ok(());
        }
        // A connection that takes what it is sent can still have a stream that takes nothing.
        let streams = grpc::speaks(&session.req_header().headers);
        session.as_mut().set_write_timeout(Some(self.send_time));
        // Pingora sets no time to HTTP/2's bodies. Streams of gRPC pause as they like.
        if !streams && !session.as_mut().is_body_empty() {
            ctx.pause = Pause::begin(self.body_time);
        }
        Ok(())
    }

    /// Takes a head's measures: its target's, its fields' number, and its body's, where a length is said. An error is what
    /// is too much. Nothing is counted.
    pub(super) fn take(
        &self,
        target: usize,
        fields: usize,
        length: impl FnOnce() -> Option<u64>,
    ) -> std::result::Result<(), (Cut, Answer)> {
        if target > self.target {
            return Err((Cut::Target, Answer::TARGET_TOO_LONG));
        }
        if fields > self.fields {
            return Err((Cut::HeadSize, Answer::TOO_MANY_FIELDS));
        }
        if self.body.is_some_and(|most| length().is_some_and(|length| length > most)) {
            return Err((Cut::BodySize, Answer::BODY_TOO_LONG));
        }
        Ok(())
    }

    /// A piece of a request's body. An error is a body that is too long.
    pub(super) fn body(
        &self,
        session: &Session,
        ctx: &mut Ctx,
        piece: Option<&Bytes>,
        last: bool,
    ) -> Result<()> {
        if last {
            ctx.pause.end()
        } else {
            ctx.pause.heard()
        }
        let Some(most) = self.body else { return Ok(()) };
        ctx.body += piece.map_or(0, |piece| piece.len() as u64);
        if ctx.body <= most || session.was_upgraded() {
            return Ok(());
        }
        Err(too_long())
    }

    /// A request has failed: counts it, if that was of its times, or amid its body of its size.
    pub(super) fn failed(&self, error: &Error) {
        match (&error.esource, &error.etype) {
            (ErrorSource::Downstream, ErrorType::HTTPStatus(413)) => self.edge.cut(Cut::BodySize),
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => self.edge.cut(Cut::BodyTime),
            (ErrorSource::Downstream, ErrorType::WriteTimedout) => self.edge.cut(Cut::StreamTime),
            _ => {}
        }
    }
}

/// A body has turned out to be too long.
pub(super) fn too_long() -> Box<Error> {
    Error::new_down(ErrorType::HTTPStatus(413))
}
