//! The room between accept and request: every connection passes through here before it is HTTP.
//!
//! ```text
//! accept ─▶ first bytes ─┬─ in the clear ──────────────────────────────┬─ HTTP/1 │ HTTP/2 ─▶ requests
//!                        ├─ hello ─▶ server by name ─┬─ ended here ─────┤
//!                        └─ (TCP) ───────────────────┴─ passed on ──────┴─ bytes ─▶ upstream
//! ```
//! A PROXY header comes before all that (`proxy_protocol`). Limits and deadlines for a request's head have their place
//! here, since here is where a connection is still only bytes.
//!
//! Each connection has a task of its own from here on; what waits in it for bytes holds no buffer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use trysail_routing::snapshot::{ListenerKey, ListenerProtocol, TlsServer};

use super::bounds::{Bounds, Door};
use super::conn::Conn;
use super::hello;
use super::http::Http;
use super::idle::Idle;
use super::proxy_protocol;
use super::refusal;
use super::relay::Relay;
use super::socket::Socket;
use crate::access::AccessLog;
use crate::metrics::{Cut, Edge, Handshake, Port, Refused, RefusedRequests, Sockets};
use crate::proxy::deadline::Timed;
use crate::proxy::flow::Flow;
use crate::proxy::{Active, ActiveCell, Arrival, Connection};
use crate::settings::{ProxyProtocol, Trust};
use crate::tls;

/// HTTP/2 begins with these 24 bytes; no request of HTTP/1 begins with the first three.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all listeners share.
#[derive(Clone)]
pub(crate) struct DataPlane {
    pub(crate) http: Arc<Timed>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) active: ActiveCell,
    pub(crate) connections: Arc<Connections>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) refused: RefusedRequests,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) proxy_protocol: Arc<ProxyProtocol>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) access: Option<Arc<AccessLog>>,
}

/// One listener's view of the data plane.
pub(crate) struct Room {
    key: ListenerKey,
    plane: DataPlane,
    door: Door,
    port: Arc<Port>,
}

impl Room {
    pub(super) fn new(key: ListenerKey, plane: DataPlane) -> Self {
        let port = plane.sockets.port(key.port);
        Room { key, plane, door: Door::default(), port }
    }

    /// Waits until there may be another connection.
    pub(super) async fn space(&self) {
        let (connections, bounds) = (&self.plane.connections, &self.plane.bounds);
        if connections.open() >= bounds.connections {
            bounds.edge.refused(Refused::Connections);
            connections.wait_for_fewer(bounds.connections).await;
        }
    }

    /// Takes a connection to a task of its own.
    pub(super) fn take(self: &Arc<Self>, stream: TcpStream, client: SocketAddr, shutdown: &ShutdownWatch) {
        let open = self.plane.connections.enter();
        let counted = self.port.enter();
        let inside = self.door.enter(&self.plane.bounds);
        let conn = Box::new(Conn::new(Socket::new(stream, client)));
        let (room, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move {
            let (_open, _counted) = (open, counted);
            match inside {
                Ok(inside) => {
                    room.serve(conn, shutdown).await;
                    drop(inside);
                }
                Err(reason) => room.turn_away(conn, reason).await,
            }
        });
    }

    async fn turn_away(&self, conn: Box<Conn>, reason: Refused) {
        self.edge().refused(reason);
        if self.is_http() {
            refusal::busy(conn).await;
        }
    }

    /// The edge's counters.
    pub(super) fn edge(&self) -> &Edge {
        &self.plane.bounds.edge
    }

    fn is_http(&self) -> bool {
        let active = self.plane.active.load();
        let listener = active.snapshot.listener(self.key);
        matches!(listener.map(|listener| &listener.protocol), Some(ListenerProtocol::Http(_)))
    }

    async fn serve(&self, mut conn: Box<Conn>, shutdown: ShutdownWatch) {
        let mut idle = Idle::new(&shutdown);
        let Some(arrival) = self.arrive(&mut conn, &mut idle).await else { return };
        let _guest = match self.plane.bounds.welcome(arrival.client.map(|client| client.ip())) {
            Ok(guest) => guest,
            Err(reason) => return Box::pin(self.turn_away(conn, reason)).await,
        };
        let active = self.plane.active.load_full();
        match active.snapshot.listener(self.key).map(|listener| &listener.protocol) {
            // Boxed, and gone before the first request: what it takes is more than all that is kept of a connection.
            Some(ListenerProtocol::Tls(_)) => {
                let Some((conn, told)) = Box::pin(self.tls(conn, active, &mut idle)).await else { return };
                let connection = Connection::new(self.key, arrival, Some(told.connection));
                self.http(conn, connection, told.h2, idle, shutdown).await;
            }
            Some(ListenerProtocol::Tcp(split)) => {
                if let Some(split) = split {
                    Box::pin(self.plane.relay.pass(conn, split, &active, "")).await;
                }
            }
            // Of a port that has gone meanwhile, the answer says so.
            Some(ListenerProtocol::Http(_)) | None => {
                drop(active);
                let connection = Connection::new(self.key, arrival, None);
                self.in_the_clear(conn, connection, idle, shutdown).await;
            }
        }
    }

    /// Finds out whose the connection is; `None` where it should have said so and did not.
    async fn arrive(&self, conn: &mut Box<Conn>, idle: &mut Idle) -> Option<Arrival> {
        let DataPlane { proxy_protocol: setting, trust, bounds, .. } = &self.plane;
        let direct = conn.client();
        let ip = |address: Option<SocketAddr>| address.map(|address| address.ip());
        if setting.is_spoken(self.key.port, ip(direct)) {
            // Boxed, as what is held while it waits would be part of every connection's task.
            Box::pin(async {
                let limit = tokio::time::Instant::now() + bounds.handshake;
                if !idle.wait(conn, bounds.handshake).await {
                    return None;
                }
                let taken = proxy_protocol::take(conn, setting.optional);
                let Ok(Ok(client)) = tokio::time::timeout_at(limit, taken).await else {
                    bounds.edge.cut(Cut::ProxyHeader);
                    return None;
                };
                if let Some(client) = client {
                    conn.comes_from(client);
                }
                Some(())
            })
            .await?;
        }
        let client = conn.client();
        Some(Arrival { client, direct, hops: trust.hops(ip(client)) })
    }

    /// HTTP/1 or HTTP/2, as the first bytes say.
    async fn in_the_clear(
        &self,
        mut conn: Box<Conn>,
        connection: Connection,
        mut idle: Idle,
        shutdown: ShutdownWatch,
    ) {
        let bounds = &self.plane.bounds;
        if conn.pending().is_empty() && !idle.wait(&mut conn, bounds.first).await {
            return;
        }
        if PREFACE.starts_with(conn.pending()) {
            let preface = async {
                while conn.pending().len() < PREFACE.len() && PREFACE.starts_with(conn.pending()) {
                    if !conn.fill().await.is_ok_and(|bytes| bytes > 0) {
                        return false;
                    }
                }
                true
            };
            match tokio::time::timeout(bounds.head.time, preface).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return bounds.edge.cut(Cut::HeadTime),
            }
        }
        let h2 = conn.pending().starts_with(PREFACE);
        if h2 {
            conn.speaks_h2();
        }
        self.http(conn, connection, h2, idle, shutdown).await;
    }

    async fn http(
        &self,
        mut conn: Box<Conn>,
        mut connection: Connection,
        h2: bool,
        mut idle: Idle,
        shutdown: ShutdownWatch,
    ) {
        let (proxy, bounds) = (self.plane.http.clone(), self.plane.bounds.clone());
        connection.flow = h2.then(|| Arc::new(Flow::new(bounds.unfunded, bounds.buffered)));
        conn.hold(&bounds, connection.flow.clone());
        let (active, refused) = (self.plane.active.clone(), self.plane.refused.clone());
        let access = self.plane.access.clone();
        let http =
            Arc::new(Http { proxy, connection: Arc::new(connection), bounds, active, refused, access });
        if h2 {
            drop(idle);
            Box::pin(http.http2(conn, &shutdown)).await;
        } else {
            http.http1(conn, &mut idle, shutdown).await;
        }
    }

    /// The name that the client asks for decides whether TLS ends here, and how. Gives what HTTP is spoken in; each of its
    /// requests has a revision of its own, and the connection keeps none.
    async fn tls(
        &self,
        mut conn: Box<Conn>,
        active: Arc<Active>,
        idle: &mut Idle,
    ) -> Option<(Box<Conn>, tls::Told)> {
        if conn.pending().is_empty() && !idle.wait(&mut conn, self.plane.bounds.first).await {
            return None;
        }
        let failed = || {
            self.port.handshake(Handshake::Failed);
            None
        };
        let limit = tokio::time::Instant::now() + self.plane.bounds.handshake;
        let Ok(Ok((accepted, hello))) = tokio::time::timeout_at(limit, hello::read(&mut conn)).await else {
            return failed();
        };
        let name = accepted.client_hello().server_name().unwrap_or_default().to_owned();
        let listener = active.snapshot.listener(self.key);
        let Some(ListenerProtocol::Tls(names)) = listener.map(|listener| &listener.protocol) else {
            return None;
        };
        let (id, inside) = match names.find(&name).map(|server| &**server) {
            None => {
                self.port.handshake(Handshake::Unknown);
                self.plane.relay.turn_away(&conn, &active, &name);
                return None;
            }
            Some(TlsServer::Passthrough(split)) => {
                self.plane.relay.pass(conn, split, &active, &name).await;
                return None;
            }
            Some(TlsServer::Http(id, _)) => (*id, None),
            Some(TlsServer::Tcp(id, split)) => (*id, Some(split.clone())),
        };
        conn.skip(hello);
        let Some(config) = active.tls.of(id) else { return failed() };
        let handshake = tls::accept(accepted, conn, config);
        let Ok(Ok((conn, told))) = tokio::time::timeout_at(limit, handshake).await else { return failed() };
        self.port.handshake(Handshake::Done);
        match inside {
            None => return Some((conn, told)),
            Some(Some(split)) => self.plane.relay.pass(conn, &split, &active, &name).await,
            Some(None) => {}
        }
        None
    }
}

/// How many connections there are.
#[derive(Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    draining: Arc<AtomicBool>,
    ended: Notify,
}

impl Connections {
    fn enter(self: &Arc<Self>) -> Entered {
        self.open.fetch_add(1, Ordering::Relaxed);
        Entered(self.clone())
    }

    /// Waits until there is none, at most for `grace`.
    pub(crate) async fn wait_for_none(&self, grace: Duration) {
        // A connection that was accepted a moment ago may not have entered yet: look again after a moment.
        const MOMENT: Duration = Duration::from_millis(30);
        let all_gone = async {
            loop {
                tokio::time::sleep(MOMENT).await;
                let ended = self.ended.notified();
                match self.open.load(Ordering::Acquire) {
                    0 => break,
                    _ => drop(tokio::time::timeout(MOMENT, ended).await),
                }
            }
        };
        let _ = tokio::time::timeout(grace, all_gone).await;
    }

    /// Waits until there are fewer than so many.
    async fn wait_for_fewer(&self, than: usize) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.open() < than {
                return;
            }
            ended.await;
        }
    }

    /// Set once the process ends: no connection is kept for another request.
    pub(crate) fn draining(&self) -> Arc<AtomicBool> {
        self.draining.clone()
    }

    /// Says that the process ends.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// How many there are now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// One connection; dropping it is the only way to end it.
struct Entered(Arc<Connections>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        // Nobody waits but for the last one, and at a ceiling.
        self.0.ended.notify_waiters();
    }
}
