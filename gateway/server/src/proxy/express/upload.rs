//! What goes to the upstream: the head, and as much of the body as has come, in one write; and the rest as it comes.
//!
//! What was sent is held as long as it is little, so that it may be sent again to another.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::{Error, ErrorType, Result};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Sleep;
use trysail_edge::Reason;
use trysail_edge::chunks::Chunks;

use super::super::measures::{self, Measures};
use super::answer::{LAST_CHUNK, write_chunk};
use super::downstream::{Downstream, gone};

/// So much of a body is held. Pingora's figure.
const HELD: usize = 64 * 1024;

/// What is waiting to be sent while more is taken from the client.
const QUEUED: usize = 16 * 1024;

/// One request's.
pub(super) struct Upload {
    /// What this try has still to send of what was taken from the client.
    out: BytesMut,
    /// What is to be taken yet; of chunks 1, until their end has come.
    left: u64,
    /// Where it comes in chunks.
    chunks: Option<Box<Chunks>>,
    /// What may be taken of those.
    most: u64,
    /// What was taken.
    pub(super) received: u64,
    held: BytesMut,
    /// `held` is all that was taken.
    pub(super) whole: bool,
    /// The upstream takes no more, which is told once it says no more either.
    pub(super) failed: Option<Box<Error>>,
    pause: Pause,
}

/// How long the client may say nothing amid its body.
struct Pause {
    time: Duration,
    /// It may last for ever.
    endless: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// A body of this length, or in chunks, of which nothing was taken.
    pub(super) fn new(length: Option<u64>, measures: &Measures) -> Self {
        Upload {
            out: BytesMut::new(),
            left: length.unwrap_or(1),
            chunks: if length.is_none() { Some(Box::default()) } else { None },
            most: measures.body.unwrap_or(u64::MAX),
            received: 0,
            held: BytesMut::new(),
            whole: true,
            failed: None,
            pause: Pause { time: measures.body_time, endless: false, timer: None },
        }
    }

    /// Begins a try: `out` is its head, behind which goes what was taken before and what is there already.
    pub(super) fn begin<C: Downstream>(&mut self, mut out: BytesMut, client: &mut C) -> Result<()> {
        match self.chunks {
            None => out.extend_from_slice(&self.held),
            Some(_) => write_chunk(&self.held, &mut out),
        }
        if self.chunks.is_some() && self.left == 0 {
            out.extend_from_slice(LAST_CHUNK);
        }
        (self.out, self.failed) = (out, None);
        self.take(client)
    }

    /// Whether it comes, and goes on, in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        self.chunks.is_some()
    }

    /// Whether it may pause for ever from now on.
    pub(super) fn may_pause(&mut self, endless: bool) {
        (self.pause.endless, self.pause.timer) = (endless, None);
    }

    /// Whether all of it has come.
    pub(super) fn has_come(&self) -> bool {
        self.left == 0
    }

    /// Whether the upstream has all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.left == 0 && self.out.is_empty() && self.failed.is_none()
    }

    /// Takes what has come. An error is the client's.
    pub(super) fn take<C: Downstream>(&mut self, client: &mut C) -> Result<()> {
        if self.chunks.is_some() {
            return self.take_chunks(client);
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(client.pending().len());
        if here == 0 {
            return Ok(());
        }
        let piece = client.pending().get(..here).unwrap_or_default();
        if self.failed.is_none() {
            self.out.extend_from_slice(piece);
        }
        hold(&mut self.held, &mut self.whole, piece);
        client.skip(here);
        (self.left, self.received) = (self.left - here as u64, self.received + here as u64);
        self.pause.timer = None;
        Ok(())
    }

    /// The same of chunks. What they hold goes on in one of our own, without extensions and trailers. Only what is known to be
    /// theirs is taken off: what stands behind their end is the client's next request.
    fn take_chunks<C: Downstream>(&mut self, client: &mut C) -> Result<()> {
        let came = client.pending();
        let Some(chunks) = self.chunks.as_mut().filter(|_| self.left > 0 && !came.is_empty()) else {
            return Ok(());
        };
        let mut data = BytesMut::with_capacity(came.len());
        let behind = chunks.pass(came, |piece| data.extend_from_slice(piece)).map_err(refused)?;
        let (taken, ended) = (came.len() - behind.map_or(0, <[u8]>::len), behind.is_some());
        client.skip(taken);
        self.received += data.len() as u64;
        self.pause.timer = None;
        if self.received > self.most {
            return Err(measures::too_long());
        }
        if self.failed.is_none() {
            write_chunk(&data, &mut self.out);
            self.out.extend_from_slice(if ended { LAST_CHUNK } else { b"" });
        }
        hold(&mut self.held, &mut self.whole, &data);
        self.left = u64::from(!ended);
        Ok(())
    }

    /// Sends what can be sent: ready once there is no more to take or to send. An error is the client's; what the upstream
    /// does not take is kept for later.
    pub(super) fn poll<C: Downstream>(
        &mut self,
        client: &mut C,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        loop {
            while !self.out.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, &self.out) {
                    Poll::Ready(Ok(written @ 1..)) => self.out.advance(written),
                    Poll::Ready(Ok(0)) => self.fail(std::io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Err(error)) => self.fail(error),
                    Poll::Pending if self.out.len() >= QUEUED || self.left == 0 => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            if self.left == 0 {
                return if self.out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(self.poll_more(client, cx))?;
            self.take(client)?;
        }
    }

    /// Takes the rest, for nobody. An error is the client's.
    pub(super) fn poll_drain<C: Downstream>(
        &mut self,
        client: &mut C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        (self.whole, self.most) = (false, u64::MAX);
        while self.left > 0 {
            ready!(self.poll_more(client, cx))?;
            self.take(client)?;
            self.out.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once there is something to take.
    fn poll_more<C: Downstream>(&mut self, client: &mut C, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !client.pending().is_empty() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(match client.poll_fill(cx) {
            Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(0)) => gone(),
            Poll::Ready(Err(error)) => {
                Error::because(ErrorType::ReadError, "a request's body", error).into_down()
            }
            Poll::Pending => {
                ready!(self.pause.poll(cx));
                Error::new_down(ErrorType::ReadTimedout)
            }
        }))
    }

    fn fail(&mut self, error: std::io::Error) {
        self.out = BytesMut::new();
        self.failed = Some(Error::because(ErrorType::WriteError, "a request", error).into_up());
    }
}

/// Keeps a piece for another try, as long as all of them are little.
fn hold(held: &mut BytesMut, whole: &mut bool, piece: &[u8]) {
    if *whole && held.len() + piece.len() <= HELD {
        held.extend_from_slice(piece);
    } else {
        (*held, *whole) = (BytesMut::new(), false);
    }
}

/// As the connection says it of what it reads.
fn refused(reason: Reason) -> Box<Error> {
    Error::because(ErrorType::ReadError, "a request's chunks", std::io::Error::other(reason)).into_down()
}

impl Pause {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.endless {
            return Poll::Pending;
        }
        let new = || Box::pin(tokio::time::sleep(self.time));
        self.timer.get_or_insert_with(new).as_mut().poll(cx)
    }
}
