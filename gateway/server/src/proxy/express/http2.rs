//! A client of HTTP/2: a stream of a connection that Pingora drives, by the handles that its session has of it.
//!
//! A piece of a body is taken from the stream once the piece before it has gone on, and its window is given back then; a
//! piece of an answer is given to the stream once there is a window for it. So a request holds no more here than one of
//! HTTP/1 does. Of a stream that is dropped before its answer has ended, h2 tells the client that it was cancelled.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::SendStream;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderValue, Method};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::Sleep;
use trysail_edge::fields;
use trysail_edge::head::Plain;

use super::super::flow::Flow;
use super::super::size;
use super::super::view::Ends;
use super::downstream::{Downstream, gone, untaken};
use super::head;

/// One request's.
pub(super) struct Http2<'s> {
    session: &'s mut HttpSession,
    /// Of its body, what is in hand.
    came: Bytes,
    /// Takes the answer's body, once its head is said.
    answer: Option<SendStream<Bytes>>,
    /// All of the answer is said.
    ended: bool,
    /// Learns what of the answer waits to be taken.
    flow: Option<Arc<Flow>>,
    /// So much of what is to be sent it has learned of.
    told: usize,
    untaken: Untaken,
}

/// How long a piece of an answer may wait for a window.
struct Untaken {
    time: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'s> Http2<'s> {
    /// A stream's, whose client has so long to take a piece of its answer.
    pub(super) fn new(session: &'s mut HttpSession, flow: Option<Arc<Flow>>, time: Duration) -> Self {
        Http2 {
            session,
            came: Bytes::new(),
            answer: None,
            ended: false,
            flow,
            told: 0,
            untaken: Untaken { time, timer: None },
        }
    }
}

impl Downstream for Http2<'_> {
    const STREAMS: bool = true;

    fn pending(&self) -> &[u8] {
        &self.came
    }

    fn skip(&mut self, bytes: usize) {
        self.came.advance(bytes.min(self.came.len()));
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.session.poll_read_body_bytes(cx)) {
                // A piece of nothing is not the end.
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.came = piece;
                    return Poll::Ready(Ok(self.came.len()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
    }

    /// It takes off what HTTP/2 has no place for, and puts in the date.
    fn head(&mut self, response: ResponseHeader, _: &mut BytesMut, _: bool, ends: bool) -> Result<u64> {
        self.session.write_response_header(Box::new(response), ends).map_err(|error| error.into_down())?;
        (self.answer, self.ended) = (self.session.take_response_body_writer(), ends);
        Ok(self.session.response_written().map_or(0, size::of_response))
    }

    fn interim(&mut self, _: &ResponseHeader, _: &mut BytesMut) {}

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut, last: bool) -> Poll<Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if let (Some(flow), more @ 1..) = (&self.flow, bytes.len().saturating_sub(self.told)) {
            flow.read(more);
            self.told = bytes.len();
        }
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(gone())) };
        while !bytes.is_empty() {
            answer.reserve_capacity(bytes.len());
            let room = match answer.capacity() {
                0 => match answer.poll_capacity(cx) {
                    Poll::Ready(Some(room)) => room.map_err(untaken)?,
                    Poll::Ready(None) => return Poll::Ready(Err(gone())),
                    Poll::Pending => {
                        ready!(self.untaken.poll(cx));
                        return Poll::Ready(Err(Error::new_down(ErrorType::WriteTimedout)));
                    }
                },
                room => room,
            };
            self.untaken.timer = None;
            let piece = bytes.split_to(room.min(bytes.len())).freeze();
            self.told = self.told.saturating_sub(piece.len());
            self.ended = last && bytes.is_empty();
            answer.send_data(piece, self.ended).map_err(untaken)?;
        }
        if last && !self.ended {
            self.ended = true;
            answer.send_data(Bytes::new(), true).map_err(untaken)?;
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let reset = match &mut self.answer {
            Some(answer) => answer.poll_reset(cx).is_ready(),
            None => pin!(self.session.idle()).poll(cx).is_ready(),
        };
        if reset { Poll::Ready(gone()) } else { Poll::Pending }
    }

    /// A client that is told of an answer's end before it has ended its request would be told to stop.
    fn is_to_end(&self, _: bool, come: bool) -> bool {
        come && !self.session.is_body_done()
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Ok(1..) = ready!(self.poll_fill(cx)) {}
        Poll::Ready(())
    }
}

impl Untaken {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let new = || Box::pin(tokio::time::sleep(self.time));
        self.timer.get_or_insert_with(new).as_mut().poll(cx)
    }
}

/// The ends of a stream's connection.
pub(super) fn ends(session: &HttpSession) -> Ends {
    let inet = |address: Option<&SocketAddr>| address.and_then(SocketAddr::as_inet).copied();
    Ends { client: inet(session.client_addr()), local: inet(session.server_addr()) }
}

/// A copy of a request's head that may pass, with its fields as HTTP/1 has them; `None` where it is better read by Pingora,
/// which gets the session as it came.
pub(super) fn read(session: &HttpSession) -> Option<(http::request::Parts, Plain)> {
    let head = session.req_header();
    let found = fields::read(&head.uri, &head.headers).ok()?;
    let target = head.raw_path();
    if head.method == Method::CONNECT
        || target.first() != Some(&b'/')
        || !target.is_ascii()
        || head.headers.contains_key(EXPECT)
        || head::asks(&head.headers)
        || !says_one_host(head)
    {
        return None;
    }
    let length = length(session)?;
    let mut parts = head.as_owned_parts();
    if found.crumbs {
        let cookies = HeaderValue::from_bytes(&fields::joined(&parts.headers)).ok()?;
        parts.headers.insert(COOKIE, cookies);
    }
    if found.unwanted {
        for name in fields::UNWANTED {
            parts.headers.remove(name);
        }
    }
    Some((parts, Plain { length: Some(length), close: false }))
}

/// Whether the host that it says as a field, if it does, is its authority to the letter.
fn says_one_host(head: &RequestHeader) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (hosts.next(), authority) {
        (None, authority) => authority.is_some(),
        (Some(host), authority) => hosts.next().is_none() && authority.is_none_or(|said| said == host),
    }
}

/// The length of its body, where that is told.
fn length(session: &HttpSession) -> Option<u64> {
    let done = session.is_body_done();
    let Some(length) = session.req_header().headers.get(CONTENT_LENGTH) else { return done.then_some(0) };
    let length = std::str::from_utf8(length.as_bytes()).ok()?;
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    length.parse().ok().filter(|length| digits && (*length == 0 || !done))
}
