//! What the express lane waits for: that bytes are taken, that bytes come, that it is not too late, that nobody goes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::ext::set_tcp_keepalive;
use pingora_core::{Error, ErrorType, Result, RetryType};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::downstream::Downstream;
use super::run::Run;

impl<C: Downstream> Run<'_, C> {
    /// Sends what is there for the client; its `last` piece all the way.
    pub(super) async fn send(&mut self, last: bool) -> Result<()> {
        let mut out = std::mem::take(&mut self.out);
        let sent = self.send_bytes(&mut out, last).await;
        out.clear();
        self.out = out;
        sent
    }

    /// The same with bytes that stand elsewhere.
    pub(super) async fn send_bytes(&mut self, bytes: &mut BytesMut, last: bool) -> Result<()> {
        let end = self.ctx.deadline.end().filter(|_| self.ctx.status > 0);
        let client = &mut self.client;
        let written = poll_fn(|cx| client.poll_send(cx, bytes, last));
        let written = match end {
            None => written.await,
            Some(end) => match tokio::time::timeout_at(end.into(), written).await {
                Ok(written) => written,
                Err(_) => {
                    self.cut = true;
                    Ok(())
                }
            },
        };
        if self.cut {
            return Err(Error::new_up(ErrorType::ReadTimedout));
        }
        written
    }

    /// Reads from the upstream, once; 0 is the end. What is to go there goes meanwhile, and who goes is noticed.
    pub(super) async fn read(
        &mut self,
        stream: &mut TcpStream,
        came: &mut BytesMut,
        body: bool,
    ) -> Result<usize> {
        poll_fn(|cx| {
            let sent = self.poll_upload(stream, cx)?;
            match pin!(stream.read_buf(came)).poll(cx) {
                Poll::Ready(Ok(read)) => return Poll::Ready(Ok(read)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.upload.failed.take().unwrap_or_else(|| broken(error))));
                }
                Poll::Pending => {}
            }
            self.client.flush(cx)?;
            if sent && let Poll::Ready(error) = self.client.poll_gone(cx) {
                return Poll::Ready(Err(error));
            }
            self.poll_late(cx, body)
        })
        .await
    }

    /// Sends what can be sent; whether all that there is to take has been taken.
    fn poll_upload(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Result<bool> {
        let had = self.upload.has_come();
        if let Poll::Ready(sent) = self.upload.poll(&mut self.client, stream, cx) {
            sent?;
        }
        if !had {
            self.ctx.passed.0 = self.upload.received;
            self.note_whole();
        }
        Ok(self.upload.has_come())
    }

    /// Its time begins once it has come whole.
    pub(super) fn note_whole(&mut self) {
        if self.upload.has_come() {
            self.ctx.deadline.begin();
            self.ctx.noted.iter_mut().for_each(|noted| noted.whole());
        }
    }

    /// Whether it takes too long: one try to its answer's head, or, within the `body`, all of it.
    fn poll_late(&mut self, cx: &mut Context<'_>, body: bool) -> Poll<Result<usize>> {
        if self.timer.is_none() {
            let end = match body {
                true => self.ctx.deadline.end(),
                false if !self.upload.has_come() => None,
                false => {
                    let time = self.ctx.deadline.soonest(self.ctx.per_try());
                    time.and_then(|time| Instant::now().checked_add(time))
                }
            };
            let Some(end) = end else { return Poll::Pending };
            self.timer = Some(Box::pin(tokio::time::sleep_until(end.into())));
        }
        let over = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if !over {
            return Poll::Pending;
        }
        self.cut = body;
        Poll::Ready(Err(Error::new_up(ErrorType::ReadTimedout)))
    }

    /// Takes the rest of the request.
    pub(super) async fn finish_upload(&mut self, stream: &mut TcpStream) -> Result<()> {
        poll_fn(|cx| match self.poll_upload(stream, cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }
}

/// Opens a connection, which the kernel looks after by these `probes`.
pub(super) async fn open(
    address: SocketAddr,
    probes: Option<&TcpKeepalive>,
    time: Duration,
) -> Result<TcpStream> {
    use std::io::ErrorKind;
    let error = match timeout(time, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            return match probes.map(|probes| set_tcp_keepalive(&stream, probes)) {
                Some(Err(error)) => Err(error.into_up()),
                _ => Ok(stream),
            };
        }
        Ok(Err(error)) => error,
        Err(_) => return Err(Error::new_up(ErrorType::ConnectTimedout)),
    };
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    };
    Err(Error::because(kind, "a connection to an endpoint", error).into_up())
}

/// The connection ended before there was a head: of a kept one it may be that nobody read the request.
pub(super) fn closed() -> Box<Error> {
    let mut error = Error::new_up(ErrorType::ConnectionClosed);
    error.retry = RetryType::ReusedOnly;
    error
}

fn broken(error: std::io::Error) -> Box<Error> {
    let system = error.raw_os_error().is_some();
    let mut error = Error::because(ErrorType::ReadError, "an answer", error).into_up();
    if system {
        error.retry = RetryType::ReusedOnly;
    }
    error
}
