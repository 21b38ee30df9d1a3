//! The room between accept and request: every connection passes through here before it is HTTP.
//!
//! ```text
//! accept ─▶ first bytes ─┬─ in the clear ──────────────────────────────┬─ HTTP/1 │ HTTP/2 ─▶ requests
//!                        ├─ hello ─▶ server by name ─┬─ ended here ─────┤
//!                        └─ (TCP) ───────────────────┴─ passed on ──────┴─ bytes ─▶ upstream
//! ```
//! Limits, PROXY headers and deadlines for a request's head have their place here, since here is where a
//! connection is still only bytes.
//!
//! A connection leaves the task that accepted it for one of its own: Pingora's is sized for a TLS handshake that
//! is never made there, and would hold 8 KiB for as long as the connection lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::sync::Notify;
use trysail_routing::snapshot::{ListenerKey, ListenerProtocol, TlsServer};

use super::conn::Conn;
use super::hello;
use super::http::{Http, Patience, wait};
use super::relay::Relay;
use crate::metrics::Refused;
use crate::proxy::deadline::Timed;
use crate::proxy::{Active, ActiveCell, Connection};
use crate::tls;

/// HTTP/2 begins with these 24 bytes; no request of HTTP/1 begins with the first three.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// To begin its first request.
    pub(crate) first: Duration,
    /// To begin each further one; for bytes that are passed on, to move at all.
    pub(crate) idle: Duration,
    /// For the handshake of TLS.
    pub(crate) handshake: Duration,
}

/// What all listeners share.
#[derive(Clone)]
pub(crate) struct DataPlane {
    pub(crate) http: Arc<Timed>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) active: ActiveCell,
    pub(crate) connections: Arc<Connections>,
    pub(crate) refused: Refused,
    pub(crate) times: Times,
}

/// One listener's view of the data plane.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) key: ListenerKey,
    pub(crate) plane: DataPlane,
}

#[async_trait]
impl ServerApp for Room {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let open = self.plane.connections.enter();
        let (room, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _open = open;
            room.serve(Box::new(Conn::new(stream)), shutdown).await;
        });
        None
    }

    /// Nothing: one listener's end is not the proxy's, which would then take every connection for its last.
    async fn cleanup(&self) {}
}

impl Room {
    async fn serve(&self, conn: Box<Conn>, shutdown: ShutdownWatch) {
        let active = self.plane.active.load_full();
        match active.snapshot.listener(self.key).map(|listener| &listener.protocol) {
            Some(ListenerProtocol::Tls(_)) => Box::pin(self.tls(conn, &active, shutdown)).await,
            Some(ListenerProtocol::Tcp(split)) => {
                if let Some(split) = split {
                    Box::pin(self.plane.relay.pass(conn, split, &active, "")).await;
                }
            }
            // Of a port that has gone meanwhile, the answer says so.
            Some(ListenerProtocol::Http(_)) | None => {
                drop(active);
                let connection = Connection::new(self.key, conn.client(), None);
                self.in_the_clear(conn, connection, shutdown).await;
            }
        }
    }

    /// HTTP/1 or HTTP/2, as the first bytes say.
    async fn in_the_clear(&self, mut conn: Box<Conn>, connection: Connection, mut shutdown: ShutdownWatch) {
        while conn.pending().len() < PREFACE.len() && PREFACE.starts_with(conn.pending()) {
            if !wait(&mut conn, self.plane.times.first, &mut shutdown).await {
                return;
            }
        }
        let h2 = conn.pending().starts_with(PREFACE);
        if h2 {
            conn.speaks_h2();
        }
        self.http(conn, connection, h2, shutdown).await;
    }

    async fn http(&self, conn: Box<Conn>, connection: Connection, h2: bool, shutdown: ShutdownWatch) {
        let http = Arc::new(Http {
            proxy: self.plane.http.clone(),
            connection: Arc::new(connection),
            active: self.plane.active.clone(),
            refused: self.plane.refused.clone(),
        });
        if h2 {
            Box::pin(http.http2(conn, &shutdown)).await;
        } else {
            let patience = Patience { first: self.plane.times.first, idle: self.plane.times.idle };
            http.http1(conn, patience, shutdown).await;
        }
    }

    /// The name that the client asks for decides whether TLS ends here, and how.
    async fn tls(&self, mut conn: Box<Conn>, active: &Arc<Active>, mut shutdown: ShutdownWatch) {
        if !wait(&mut conn, self.plane.times.first, &mut shutdown).await {
            return;
        }
        let limit = tokio::time::Instant::now() + self.plane.times.handshake;
        let Ok(Ok((accepted, hello))) = tokio::time::timeout_at(limit, hello::read(&mut conn)).await else {
            return;
        };
        let name = accepted.client_hello().server_name().unwrap_or_default().to_owned();
        let Some(ListenerProtocol::Tls(names)) =
            active.snapshot.listener(self.key).map(|listener| &listener.protocol)
        else {
            return;
        };
        let (id, inside) = match names.find(&name).map(|server| &**server) {
            None => return,
            Some(TlsServer::Passthrough(split)) => {
                return self.plane.relay.pass(conn, split, active, &name).await;
            }
            Some(TlsServer::Http(id, _)) => (*id, None),
            Some(TlsServer::Tcp(id, split)) => (*id, Some(split)),
        };
        conn.skip(hello);
        let handshake = tls::accept(accepted, conn, active.tls.of(id));
        let Ok(Ok((conn, told))) = tokio::time::timeout_at(limit, handshake).await else { return };
        match inside {
            None => {
                let h2 = told.h2;
                let connection = Connection::new(self.key, conn.client(), Some(told.connection));
                self.http(conn, connection, h2, shutdown).await;
            }
            Some(Some(split)) => self.plane.relay.pass(conn, split, active, &name).await,
            Some(None) => {}
        }
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

    /// Set once the process ends: no connection is kept for another request.
    pub(crate) fn draining(&self) -> Arc<AtomicBool> {
        self.draining.clone()
    }

    /// Says that the process ends.
    pub(super) fn drain(&self) {
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
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
