//! The connection of a request that asks for another protocol, such as a WebSocket's.
//!
//! Pingora takes the end of such a request's empty body for the end of the conversation, if it comes to it after the
//! 101 (its issue 946): who answers within microseconds is cut off. So the answer is read a few turns later than it
//! could be; the end of the body, which has been waiting by then, is taken first. It is a connection of its own, and
//! carries no other request: what a kept connection holds back could not be said again.

use std::io;
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How often reading is put off. Once is for the side that reads the body to have had its turn, and once for this one
/// to look there; twice that costs nothing.
const TURNS: u8 = 4;

/// Puts off the reading of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    /// So often reading is put off from now on.
    turns: AtomicU8,
    /// Our side of the connection, which Pingora does not know.
    local: Mutex<Option<net::SocketAddr>>,
}

impl Hold {
    /// Gives a peer a connection that this holds.
    pub(super) fn connect(&self, peer: &mut HttpPeer) {
        peer.group_key = fastrand::u64(..);
        let time = peer.options.connection_timeout;
        peer.options.custom_l4 = Some(Arc::new(Connector { hold: self.clone(), time }));
    }

    /// Begins: what comes next is the answer.
    pub(super) fn begin(&self) {
        self.0.turns.store(TURNS, Ordering::Relaxed);
    }

    /// Our side of the connection.
    pub(super) fn local(&self) -> Option<net::SocketAddr> {
        *self.0.local.lock()
    }

    /// Whether reading has to wait for another turn. One task reads, so nobody comes between.
    fn waits(&self) -> bool {
        let turns = self.0.turns.load(Ordering::Relaxed);
        if turns > 0 {
            self.0.turns.store(turns - 1, Ordering::Relaxed);
        }
        turns > 0
    }
}

#[derive(Debug)]
struct Connector {
    hold: Hold,
    time: Option<Duration>,
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "not an IP address");
        };
        let connect = ext::connect(address, None);
        let stream = match self.time {
            None => connect.await?,
            Some(time) => timeout(time, connect)
                .await
                .or_err_with(ErrorType::ConnectTimedout, || format!("{address}: not within {time:?}"))??,
        };
        *self.hold.0.local.lock() = stream.local_addr().ok();
        Ok(VirtualSocketStream::new(Box::new(Socket { stream, hold: self.hold.clone() })).into())
    }
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    hold: Hold,
}

impl VirtualSocket for Socket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            VirtualSockOpt::KeepAlive(probes) => {
                ext::set_tcp_keepalive(&self.stream, &probes).map_err(io::Error::other)
            }
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hold.waits() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
