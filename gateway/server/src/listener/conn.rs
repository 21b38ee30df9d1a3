//! A client's connection as every protocol here holds it: the socket, or the TLS over one, with what was read ahead.
//!
//! Pingora's own stream keeps a read and a write buffer for the life of a connection, and lets nobody look at
//! bytes and hand them on. This one holds a buffer only while there is something in it: an idle connection costs
//! the kernel's memory and a few hundred bytes of ours.

use std::any::Any;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::l4::socket as l4;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::bounds::Bounds;
use super::guard::Guard;
use super::socket::Socket;
use crate::proxy::express::Client;
use crate::proxy::flow::Flow;
use trysail_edge::chunks::Chunks;

/// What is read at once while nothing is expected in particular.
const READ: usize = 8 * 1024;

/// What is gathered before it is sent: a head and a small body go out in one piece.
const GATHERED: usize = 16 * 1024;

/// One connection.
pub(crate) struct Conn {
    inner: Inner,
    /// Read from the peer, and not yet by anyone here.
    pending: BytesMut,
    /// Written by someone here, and not yet to the peer.
    gathered: BytesMut,
    /// Whether what is gathered has been left for more to join it, once.
    lingered: bool,
    /// A body in chunks that has not ended yet.
    chunks: Option<Box<Chunks>>,
    /// What is spoken on it, where that is known beforehand.
    protocol: Option<ALPN>,
    tls: Option<Arc<SslDigest>>,
    /// What holds for its client, from when it speaks HTTP on.
    guard: Option<Guard>,
    /// The client's address, where it is another than the socket's.
    told: Option<Arc<SocketDigest>>,
}

enum Inner {
    Socket(Socket),
    Tls(Box<TlsStream<Box<Conn>>>),
}

impl Conn {
    /// An accepted socket.
    pub(super) fn new(socket: Socket) -> Self {
        Conn::of(Inner::Socket(socket), None, None)
    }

    /// What is inside a TLS connection, of which `tls` tells.
    pub(crate) fn inside(stream: TlsStream<Box<Conn>>, tls: SslDigest, protocol: ALPN) -> Self {
        Conn::of(Inner::Tls(Box::new(stream)), Some(protocol), Some(Arc::new(tls)))
    }

    fn of(inner: Inner, protocol: Option<ALPN>, tls: Option<Arc<SslDigest>>) -> Self {
        let (pending, gathered) = (BytesMut::new(), BytesMut::new());
        Conn {
            inner,
            pending,
            gathered,
            lingered: false,
            protocol,
            tls,
            chunks: None,
            guard: None,
            told: None,
        }
    }

    /// From now on its client is held to what clients of HTTP are, with a `flow` those of HTTP/2.
    pub(super) fn hold(&mut self, bounds: &Arc<Bounds>, flow: Option<Arc<Flow>>) {
        self.guard = Some(Guard::new(bounds.clone(), flow));
    }

    /// Says that HTTP/2 is spoken in the clear, so that nobody looks for its preface again.
    pub(super) fn speaks_h2(&mut self) {
        self.protocol = Some(ALPN::H2);
    }

    /// The client's address.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        let digest = self.get_socket_digest()?;
        Some(*digest.peer_addr()?.as_inet()?)
    }

    /// Our side of it.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        let digest = self.inner.below().get_socket_digest()?;
        Some(*digest.local_addr()?.as_inet()?)
    }

    /// From now on this is the client's address, for everyone who asks.
    pub(super) fn comes_from(&mut self, client: SocketAddr) {
        let digest = SocketDigest::from_raw_fd(self.id());
        let _ = digest.peer_addr.set(Some(l4::SocketAddr::Inet(client)));
        self.told = Some(Arc::new(digest));
    }

    /// What was read ahead.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Takes what was read ahead.
    pub(super) fn take_pending(&mut self) -> BytesMut {
        std::mem::take(&mut self.pending)
    }

    /// Forgets the first bytes of what was read ahead.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.pending.advance(bytes.min(self.pending.len()));
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
    }

    /// Puts other bytes in the place of the first of what was read ahead.
    pub(super) fn replace(&mut self, bytes: usize, with: &[u8]) {
        let rest = self.pending.split_off(bytes.min(self.pending.len()));
        let mut pending = BytesMut::with_capacity(with.len() + rest.len());
        pending.extend_from_slice(with);
        pending.extend_from_slice(&rest);
        self.pending = pending;
    }

    /// From now on what is read is a body in chunks, until it ends.
    pub(super) fn follow(&mut self, chunks: Chunks) {
        self.chunks = Some(Box::new(chunks));
    }

    /// Whether a body in chunks has not ended: what comes next is no request.
    pub(super) fn is_within_body(&self) -> bool {
        self.chunks.is_some()
    }

    /// Looks at what was read of a body in chunks.
    fn check(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(chunks) = &mut self.chunks else { return Ok(()) };
        if chunks.take(read).map_err(io::Error::other)? {
            self.chunks = None;
        }
        Ok(())
    }

    /// Reads ahead, once; 0 is the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Whoever waits for bytes of the peer has nothing more to say for now. Pingora does not flush an answer of known
    /// length before its end, and a client may wait for what there is of one that pauses. What comes next may be
    /// ready already, so it gets one turn to join.
    fn send_what_lingers(&mut self, cx: &mut Context<'_>) {
        if self.gathered.is_empty() {
            return;
        }
        if self.lingered {
            // An error comes back with the next write.
            if self.poll_send(cx).is_ready() {
                let _ = self.inner.io().poll_flush(cx);
            }
        } else {
            self.lingered = true;
            cx.waker().wake_by_ref();
        }
    }

    /// Ends a connection of HTTP/2, and says so if that can be said at once.
    fn go_away(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Result<()>> {
        if let Some(frame) = self.guard.as_ref().and_then(Guard::go_away) {
            self.gathered.extend_from_slice(&frame);
            if self.poll_send(cx).is_ready() {
                let _ = self.inner.io().poll_flush(cx);
            }
            let _ = self.inner.io().poll_shutdown(cx);
        }
        Poll::Ready(Err(error))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lingered = false;
        while self.gathered.has_remaining() {
            let sent = ready!(write(&mut self.inner, &mut self.guard, cx, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        // Whoever waits for the next request holds nothing.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Writes, as long as the client takes what it is sent.
fn write(
    inner: &mut Inner,
    guard: &mut Option<Guard>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let written = inner.io().poll_write(cx, bytes);
    let Some(guard) = guard else { return written };
    match written {
        Poll::Pending => guard.poll_untaken(cx).map(Err),
        Poll::Ready(Ok(taken)) => {
            guard.taken(taken, bytes.len());
            written
        }
        Poll::Ready(Err(_)) => written,
    }
}

impl Inner {
    fn io(&mut self) -> Pin<&mut (dyn ReadWrite + '_)> {
        match self {
            Inner::Socket(socket) => Pin::new(socket),
            Inner::Tls(stream) => Pin::new(stream),
        }
    }

    fn below(&self) -> &dyn IO {
        match self {
            Inner::Socket(socket) => socket,
            Inner::Tls(stream) => &**stream.get_ref().0,
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin + ?Sized> ReadWrite for T {}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if this.pending.is_empty() {
            let read = this.inner.io().poll_read(cx, buffer);
            if read.is_pending() {
                this.send_what_lingers(cx);
                return match this.guard.as_mut().map(|guard| guard.poll_late(cx)) {
                    Some(Poll::Ready(error)) => this.go_away(cx, error),
                    _ => Poll::Pending,
                };
            }
            ready!(read)?;
            if this.chunks.is_some() {
                this.check(buffer.filled().get(before..).unwrap_or_default())?;
            }
        } else {
            let taken = this.pending.len().min(buffer.remaining());
            buffer.put_slice(&this.pending.split_to(taken));
            if this.pending.is_empty() {
                this.pending = BytesMut::new();
            }
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        match this.guard.as_mut().map(|guard| guard.read(read)) {
            Some(Err(error)) => this.go_away(cx, error),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gathered.len() + bytes.len() > GATHERED {
            ready!(this.poll_send(cx))?;
        }
        if bytes.len() >= GATHERED {
            return write(&mut this.inner, &mut this.guard, cx, bytes);
        }
        this.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        this.inner.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        this.inner.io().poll_shutdown(cx)
    }
}

/// For the lane that takes no session.
impl Client for Conn {
    fn pending(&self) -> &[u8] {
        &self.pending
    }

    fn skip(&mut self, bytes: usize) {
        Conn::skip(self, bytes);
    }

    /// The buffer is on the stack, so that waiting holds none.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(self.inner.io().poll_read(cx, &mut buffer))?;
        self.check(buffer.filled())?;
        self.pending.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Conn::poll_send(self, cx))?;
        write(&mut self.inner, &mut self.guard, cx, bytes)
    }

    fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (self.client(), self.local())
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({}, {} read ahead)", self.id(), self.pending.len())
    }
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Conn {
    fn id(&self) -> UniqueIDType {
        self.inner.below().id()
    }
}

impl Ssl for Conn {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.protocol.clone()
    }
}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.below().get_timing_digest()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.below().get_proxy_digest()
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.told.clone().or_else(|| self.inner.below().get_socket_digest())
    }
}

impl Peek for Conn {}

/// Pingora hands a connection back as what it is to it; this is what it is to us.
pub(super) fn ours(stream: Stream) -> Option<Box<Conn>> {
    let any: Box<dyn Any> = stream.into_any();
    any.downcast().ok()
}
