//! HTTP on a connection: one request after another, as long as both sides keep it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;
use pingora_core::apps::{
    HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp,
};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;

use super::bounds::Bounds;
use super::conn::{self, Conn};
use super::head::{self, Fault};
use super::idle::Idle;
use super::refusal;
use crate::access::{AccessLog, Asked, Details, Entry};
use crate::metrics::{Ended, Flag, RefusedRequests};
use crate::proxy::deadline::{Limited, Timed};
use crate::proxy::{ActiveCell, Connection};
use trysail_edge::Reason;

/// The data plane, as one connection sees it.
pub(super) struct Http {
    pub(super) proxy: Arc<Timed>,
    pub(super) connection: Arc<Connection>,
    pub(super) bounds: Arc<Bounds>,
    /// Where those are counted that Pingora never sees.
    pub(super) active: ActiveCell,
    pub(super) refused: RefusedRequests,
    pub(super) access: Option<Arc<AccessLog>>,
}

impl Http {
    /// HTTP/1: Pingora gets the connection only while there is a request, so that an idle one costs little.
    pub(super) async fn http1(&self, mut conn: Box<Conn>, idle: &mut Idle, shutdown: ShutdownWatch) {
        let mut settings: Option<HttpPersistentSettings> = None;
        let mut limit = self.bounds.first;
        loop {
            if conn.pending().is_empty() && !idle.wait(&mut conn, limit).await {
                return;
            }
            let gathered = match head::gather(&mut conn, &self.bounds.head).await {
                Ok(gathered) => gathered,
                Err(fault) => {
                    if let Fault::Refused(reason) = fault {
                        self.count(reason);
                    }
                    if let Some(log) = &self.access {
                        self.note(log, &conn, &fault);
                    }
                    return Box::pin(refusal::head(conn, fault, &self.bounds.edge)).await;
                }
            };
            self.connection.head.store(gathered.came, Ordering::Relaxed);
            if let Some(express) = &self.proxy.express
                && !*shutdown.borrow()
                && let Some(plain) = gathered.plain
                && let Some(request) = express.begin(&mut *conn, gathered.stands, plain, &self.connection)
            {
                if !request.await {
                    return;
                }
                limit = self.bounds.idle;
                continue;
            }
            let request = begin(&self.proxy, conn, settings.take(), &shutdown);
            let Some(reused) = self.connection.clone().serve(request).await else { return };
            let (stream, kept) = reused.consume();
            let Some(back) = conn::ours(stream) else { return };
            (conn, settings, limit) = (back, kept, self.bounds.idle);
        }
    }

    fn count(&self, reason: Reason) {
        self.refused.count(reason);
        let active = self.active.load();
        active.requests.of(None, None).count(&Ended::at_once(reason.status(), Flag::DownstreamProtocolError));
    }

    /// Writes the line of a head that never became a request.
    fn note(&self, log: &AccessLog, conn: &Conn, fault: &Fault) {
        let malformed = Flag::DownstreamProtocolError;
        let (status, flag, details) = match fault {
            Fault::Gone => return,
            Fault::Late => (408, Flag::None, "request_header_timeout"),
            Fault::TooLarge => (431, malformed, "request_headers_too_large"),
            Fault::TargetTooLong => (414, malformed, "request_headers_too_large"),
            Fault::Refused(reason) => (reason.status(), malformed, reason.as_str()),
        };
        let ended = Ended::at_once(status, flag);
        if log.wants(&ended) {
            log.write(&Entry {
                request: Asked { protocol: "HTTP/1.1", ..Asked::default() },
                details: Details::Is(details),
                local: conn.local(),
                remote: conn.client(),
                server_name: self.connection.server_name().unwrap_or_default(),
                revision: self.active.load().revision.short(),
                ..Entry::new(SystemTime::now(), ended)
            });
        }
    }

    /// HTTP/2: Pingora has the connection, and asks for each of its requests.
    pub(super) async fn http2(self: &Arc<Self>, conn: Box<Conn>, shutdown: &ShutdownWatch) {
        let _ = self.process_new(conn, shutdown).await;
    }
}

/// Begins a request of which the head is there. A session is bigger than all that is kept of a connection between requests, so
/// nothing that waits holds one.
fn begin<'p>(
    proxy: &'p Arc<Timed>,
    mut conn: Box<Conn>,
    settings: Option<HttpPersistentSettings>,
    shutdown: &'p ShutdownWatch,
) -> Limited<'p> {
    let head = conn.take_pending();
    let mut session = ServerSession::new_http1(conn);
    session.set_pipelined_prefix(head);
    match settings {
        Some(settings) => settings.apply_to_session(&mut session),
        None => session.set_keepalive(Some(60)),
    }
    if *shutdown.borrow() {
        session.set_keepalive(None);
    }
    proxy.begin(session, shutdown)
}

#[async_trait]
impl HttpServerApp for Http {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _begun = match &self.connection.flow {
            Some(flow) => Some(flow.begin().await),
            None => None,
        };
        if let ServerSession::H2(stream) = &mut session
            && let Some(express) = &self.proxy.express
            && !*shutdown.borrow()
            && let Some(request) = express.begin_stream(stream, &self.connection)
        {
            request.await;
            return None;
        }
        self.connection.clone().serve(self.proxy.process_new_http(session, shutdown)).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }
}
