//! Bytes that are passed on: TCP, and TLS that is not ended here, or whose content is no HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_core::connectors::TransportConnector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use trysail_routing::snapshot::Split;
use trysail_upstream::outlier::Report;

use super::conn::Conn;
use super::passage::{Moved, Passage};
use crate::access::{AccessLog, Details};
use crate::metrics::{Flag, OpenStream, Reached};
use crate::proxy::transport::Complaints;
use crate::proxy::{Active, hash, outlier, stop};

/// Passes connections on.
pub(crate) struct Relay {
    connector: TransportConnector,
    /// A connection on which nothing moves for this long is closed (Istio: 1h).
    idle: Duration,
    complaints: Complaints,
    /// Where each connection has a line, if there is such a place.
    access: Option<Arc<AccessLog>>,
    reached: Reached,
}

impl Relay {
    pub(crate) fn new(idle: Duration, access: Option<Arc<AccessLog>>, reached: Reached) -> Self {
        let (connector, complaints) = (TransportConnector::new(None), Complaints::default());
        Relay { connector, idle, complaints, access, reached }
    }

    /// A connection of TLS is closed, as no server of its port has the name that it asks for.
    pub(super) fn turn_away(&self, conn: &Conn, active: &Arc<Active>, name: &str) {
        let mut passage = self.passage(conn, active, name);
        passage.ended(Flag::NoRoute, Details::Is("filter_chain_not_found"));
    }

    fn passage(&self, conn: &Conn, active: &Arc<Active>, name: &str) -> Passage {
        Passage::begin(self.access.as_ref(), conn, active, name)
    }

    /// Passes one connection on to whose turn it is, until both sides have ended. One attempt, no retry (Envoy
    /// `tcp_proxy`); without an endpoint the connection is closed. `name` is what the client asked for, if it did.
    pub(super) async fn pass(&self, conn: Box<Conn>, split: &Split, active: &Arc<Active>, name: &str) {
        let _long = active.term.long();
        let turn = active.upstreams.ticket(split.id).take();
        let good = self.pass_to(conn, (split, turn), active, name).await;
        if let Some(cell) = active.board.of((split.id, turn)) {
            cell.connection(good);
        }
    }

    /// Passes one on to its target; whether there was somebody to pass it on to.
    async fn pass_to(
        &self,
        mut conn: Box<Conn>,
        (split, turn): (&Split, usize),
        active: &Arc<Active>,
        name: &str,
    ) -> bool {
        let mut passage = self.passage(&conn, active, name);
        let Some(target) = split.targets.get(turn) else { return false };
        let policy = &active.snapshot.cluster(target.cluster).policy;
        passage.cluster = Some(target.cluster);
        let key = hash::of_client(conn.client().map(|client| client.ip()), policy);
        let count =
            |endpoint, flag: Flag| active.requests.of(Some(target.cluster), endpoint).streams(flag).open();
        let Some((endpoint, _working)) = stop::choose(active, target.cluster, key, &[]) else {
            count(None, Flag::NoHealthyUpstream);
            passage.ended(Flag::NoHealthyUpstream, Details::None);
            return false;
        };
        passage.endpoint = Some(endpoint);
        let _held = match active.upstreams.cluster(target.cluster).limits().admit_connection() {
            Ok(held) => held,
            Err(overflow) => {
                count(Some(endpoint), Flag::UpstreamOverflow);
                passage.ended(Flag::UpstreamOverflow, Details::None);
                active.loads.of(target.cluster).overflow(overflow);
                return false;
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
                passage.transport = self.complaints.hear(&peer, &error, key).unwrap_or_default();
                passage.ended(Flag::UpstreamConnectionFailure, Details::None);
                count(Some(endpoint), Flag::UpstreamConnectionFailure);
                return false;
            }
        };
        passage.connected(upstream.get_socket_digest().as_deref());
        let (moved, stream) = (passage.moved.clone(), count(Some(endpoint), Flag::None));
        let mut client = Watched { inner: &mut conn, moved: &moved, stream: &stream };
        let copy = tokio::io::copy_bidirectional(&mut client, &mut upstream);
        let pool = &policy.connection_pool;
        tokio::select! {
            _ = copy => {}
            () = stillness(&moved, pool.idle_timeout.unwrap_or(self.idle)) => {
                passage.termination = "idle_timeout";
            }
            () = age(pool.max_connection_duration) => passage.termination = "max_connection_duration",
        }
        true
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
async fn stillness(moved: &Moved, idle: Duration) {
    if idle.is_zero() {
        return std::future::pending().await;
    }
    let mut before = None;
    loop {
        let now = moved.both();
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
    moved: &'a Moved,
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
        this.moved.received.fetch_add(read as u64, Ordering::Relaxed);
        this.stream.received(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.inner).poll_write(cx, bytes))?;
        this.moved.sent.fetch_add(written as u64, Ordering::Relaxed);
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
