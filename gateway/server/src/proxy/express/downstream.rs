//! A request's client, as the express lane asks it for a body and tells it an answer: what HTTP/1 and HTTP/2 do differently.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

/// One request's client. What is given to it is gathered in a piece of memory of the request's, of which it takes.
pub(super) trait Downstream: Send {
    /// Whether its connection has requests side by side. There an answer's body is its bytes alone, and its end is told
    /// beside them; interim answers are not told, as Pingora has no way to; a body pauses as it likes once its answer has
    /// begun, and one that paused for too long before has no answer.
    const STREAMS: bool;

    /// What has come of a body, or of the next request.
    fn pending(&self) -> &[u8];
    /// Forgets the first bytes of it.
    fn skip(&mut self, bytes: usize);
    /// Waits for more of it; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Says the head of an answer: puts it into `out` where that is how it goes. `kept` is whether more may come behind it,
    /// `ends` that it has no body. Gives how long the head is, as HTTP/1 has it.
    fn head(&mut self, response: ResponseHeader, out: &mut BytesMut, kept: bool, ends: bool) -> Result<u64>;
    /// Says an answer before the answer: puts it into `out`.
    fn interim(&mut self, response: &ResponseHeader, out: &mut BytesMut);
    /// Takes all of `bytes`; the `last` of an answer all the way.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut, last: bool) -> Poll<Result<()>>;
    /// Has what was taken go on, as far as it can.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<()>;

    /// Waits for the client's going, once all of the request has come.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>>;
    /// Whether there is an end to be waited for behind an answer: where its connection is not `kept`, or its request, of
    /// which all has `come`, is to be ended by the client.
    fn is_to_end(&self, kept: bool, come: bool) -> bool;
    /// Ends that.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// The client has gone.
pub(super) fn gone() -> Box<Error> {
    Error::new_down(ErrorType::ConnectionClosed)
}

/// The client does not take what it is sent.
pub(super) fn untaken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Box<Error> {
    Error::because(ErrorType::WriteError, "an answer", error).into_down()
}
