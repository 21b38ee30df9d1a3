//! The room between accept and request: every connection passes through here before it is HTTP.
//!
//! Now it counts connections and tells HTTP/1 from HTTP/2; limits, PROXY headers, TLS by ClientHello and
//! deadlines for a request's head have their place here, since here is where a connection is still only bytes.
//!
//! Pingora's own test for HTTP/2 waits for the 24 bytes of the preface, without a limit: a whole HTTP/1.0 request
//! can be shorter, and was never answered. Three bytes decide, and they are waited for with a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::sync::Notify;

use crate::proxy::deadline::Timed;

/// How long a new connection may take to begin its first request.
const FIRST_BYTES: Duration = Duration::from_secs(60);

/// The length of HTTP/2's preface.
const PREFACE: usize = 24;

/// How long a connection without a byte is still waited for once its port closes: what was sent before may be on
/// its way.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// One listener's view of the data plane, which all listeners share.
pub(crate) struct Room {
    pub(crate) http: Arc<Timed>,
    pub(crate) connections: Arc<Connections>,
}

#[async_trait]
impl ServerApp for Room {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.connections.enter();
        // No request of HTTP/1 begins with PRI. The rest of the preface is waited for here too, so that Pingora,
        // which waits without a limit, finds it there.
        let speaks_h2 = first_bytes::<3>(&mut stream, shutdown.clone()).await? == *b"PRI"
            && first_bytes::<PREFACE>(&mut stream, shutdown.clone()).await?.starts_with(b"PRI * HTTP/2.0");
        if speaks_h2 {
            return self.http.process_new(stream, shutdown).await;
        }
        self.http1(stream, shutdown).await;
        None
    }

    /// Nothing: one listener's end is not the proxy's, which would then take every connection for its last.
    async fn cleanup(&self) {}
}

impl Room {
    /// Ends the connections that wait for a request. Only for the process's own end: whoever asks meanwhile is
    /// told with the answer that the connection ends, and gets a moment to ask.
    pub(crate) async fn end_idle(&self) {
        tokio::time::sleep(LAST_CHANCE).await;
        self.http.http_cleanup().await;
    }

    /// One request after another, as long as both sides keep the connection.
    async fn http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let mut session = ServerSession::new_http1(stream);
        let keep = if *shutdown.borrow() { None } else { Some(FIRST_BYTES.as_secs()) };
        session.set_keepalive(keep);
        let mut served = self.http.process_new_http(session, shutdown).await;
        while let Some((stream, settings)) = served.map(|reused| reused.consume()) {
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            served = self.http.process_new_http(session, shutdown).await;
        }
    }
}

/// The first bytes of a connection, which stay to be read; `None` where they do not come in time, or at all.
async fn first_bytes<const N: usize>(stream: &mut Stream, mut shutdown: ShutdownWatch) -> Option<[u8; N]> {
    let mut first = [0; N];
    {
        let peek = stream.try_peek(&mut first);
        tokio::pin!(peek);
        let seen = tokio::select! {
            // Bytes that are there go before a stop that is.
            biased;
            seen = &mut peek => seen.ok(),
            _ = shutdown.changed() => tokio::time::timeout(LAST_CHANCE, peek).await.ok().and_then(Result::ok),
            () = tokio::time::sleep(FIRST_BYTES) => None,
        };
        seen?;
    }
    Some(first)
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
