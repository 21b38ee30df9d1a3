//! A client of HTTP/1: an answer is a line, fields and bytes, and what comes while it is served is its next request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use http::header::{CONNECTION, DATE};
use pingora_core::protocols::http::date;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::Client;
use super::downstream::{Downstream, gone, untaken};

/// So much may come of a client's next request while this one is served.
const AHEAD: usize = 64 * 1024;

/// One request's, on its connection.
pub(super) struct Http1<'r, C>(pub(super) &'r mut C);

impl<C: Client> Downstream for Http1<'_, C> {
    const STREAMS: bool = false;

    fn pending(&self) -> &[u8] {
        self.0.pending()
    }

    fn skip(&mut self, bytes: usize) {
        self.0.skip(bytes);
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_fill(cx)
    }

    fn head(&mut self, mut response: ResponseHeader, out: &mut BytesMut, kept: bool, _: bool) -> Result<u64> {
        let before = out.len();
        response.remove_header(&DATE);
        response.remove_header(&CONNECTION);
        line(&response, out);
        let connection: &[u8] = if kept { b"keep-alive" } else { b"close" };
        let date = date::get_cached_date();
        for part in [b"Date: ", date.as_bytes(), b"\r\nConnection: ", connection, b"\r\n\r\n"] {
            out.put_slice(part);
        }
        Ok((out.len() - before) as u64)
    }

    fn interim(&mut self, response: &ResponseHeader, out: &mut BytesMut) {
        line(response, out);
        out.put_slice(b"\r\n");
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut, last: bool) -> Poll<Result<()>> {
        while !bytes.is_empty() {
            let taken = ready!(self.0.poll_send(cx, bytes)).map_err(untaken)?;
            bytes.advance(taken);
        }
        match Pin::new(&mut *self.0).poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(untaken)),
            Poll::Pending if last => Poll::Pending,
            // What TLS has in hand goes on while the next piece is waited for.
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<()> {
        match Pin::new(&mut *self.0).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map_err(untaken),
            Poll::Pending => Ok(()),
        }
    }

    /// What it says meanwhile is its next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        while self.0.pending().len() < AHEAD {
            match ready!(self.0.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(gone()),
                Err(error) => {
                    return Poll::Ready(
                        Error::because(ErrorType::ReadError, "a client that waits", error).into_down(),
                    );
                }
            }
        }
        Poll::Pending
    }

    fn is_to_end(&self, kept: bool, _: bool) -> bool {
        !kept
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.0).poll_shutdown(cx).map(|_| ())
    }
}

/// The first line and the fields, without what is said of this connection.
fn line(response: &ResponseHeader, out: &mut BytesMut) {
    out.reserve(1024);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(response.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(response.get_reason_phrase().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    response.header_to_h1_wire(out);
}
