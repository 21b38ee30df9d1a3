//! Bytes that are passed on: TCP, and TLS that is not ended here, or whose content is no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::connectors::TransportConnector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use trysail_routing::snapshot::Split;
use trysail_upstream::outlier::Report;

use super::conn::Conn;
use crate::metrics::{Flag, OpenStream, Reached};
use crate::proxy::transport::Complaints;
use crate::proxy::{Active, hash, outlier, stop};

/// Passes connections on.
pub(crate) struct Relay {
    connector: TransportConnector,
    /// A connection on which nothing moves for this long is closed (Istio: 1h).
    idle: Duration,
    complaints: Complaints,
    reached: Reached,
}

impl Relay {
    pub(crate) fn new(idle: Duration, reached: Reached) -> Self {
        Relay { connector: TransportConnector::new(None), idle, complaints: Complaints::default(), reached }
    }

    /// Passes one connection on to whose turn it is, until both sides have ended. One attempt, no retry (Envoy
    /// `tcp_proxy`); without an endpoint the connection is closed. `name` is what the client asked for, if it did.
    pub(super) async fn pass(&self, mut conn: Box<Conn>, split: &Split, active: &Arc<Active>, name: &str) {
        let target = &split.targets[active.upstreams.ticket(split.id).take()];
        let policy = &active.snapshot.cluster(target.cluster).policy;
        let key = hash::of_client(conn.client().map(|client| client.ip()), policy);
        let count =
            |endpoint, flag: Flag| active.requests.of(Some(target.cluster), endpoint).streams(flag).open();
        let Some((endpoint, _working)) = stop::choose(active, target.cluster, key, &[]) else {
            count(None, Flag::NoHealthyUpstream);
            return;
        };
        let _held = match active.upstreams.cluster(target.cluster).limits().admit_connection() {
            Ok(held) => held,
            Err(overflow) => {
                count(Some(endpoint), Flag::UpstreamOverflow);
                return active.loads.of(target.cluster).overflow(overflow);
            }
        };
        let peer = active.peers.stream(target.cluster, endpoint, name);
        let connected = self.connector.new_stream(&peer).await;
        // Whoever takes a connection has answered all that is asked here.
        let report = if connected.is_ok() { Report::Status(200) } else { Report::Failed };
        outlier::tell(active, target.cluster, endpoint, report);
        let mut upstream = match connected {
            Ok(upstream) => {
                self.reached.connected(false, upstream.id());
                upstream
            }
            Err(error) => {
                self.reached.failed();
                let key = &active.snapshot.cluster(target.cluster).key;
                self.complaints.hear(&peer, &error, key);
                count(Some(endpoint), Flag::UpstreamConnectionFailure);
                return;
            }
        };
        let (moved, stream) = (AtomicU64::new(0), count(Some(endpoint), Flag::None));
        let mut client = Watched { inner: &mut conn, moved: &moved, stream: &stream };
        let copy = tokio::io::copy_bidirectional(&mut client, &mut upstream);
        let pool = &policy.connection_pool;
        tokio::select! {
            _ = copy => {}
            () = stillness(&moved, pool.idle_timeout.unwrap_or(self.idle)) => {}
            () = age(pool.max_connection_duration) => {}
        }
    }
}

/// Ends once a connection has become as old as it may; never without a limit.
async fn age(most: Option<Duration>) {
    match most {
        Some(most) => tokio::time::sleep(most).await,
        None => std::future::pending().await,
    }
}

/// Ends once nothing has moved for a while, which is seen after at most twice that; never for zero.
async fn stillness(moved: &AtomicU64, idle: Duration) {
    if idle.is_zero() {
        return std::future::pending().await;
    }
    let mut before = None;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(idle).await;
    }
}

/// A client's side, with an eye on whether anything moves, and how much: what has passed is counted at once.
struct Watched<'a> {
    inner: &'a mut Conn,
    moved: &'a AtomicU64,
    stream: &'a OpenStream,
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *this.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        this.moved.fetch_add(read as u64, Ordering::Relaxed);
        this.stream.received(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.inner).poll_write(cx, bytes))?;
        this.moved.fetch_add(written as u64, Ordering::Relaxed);
        this.stream.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_shutdown(cx)
    }
}
