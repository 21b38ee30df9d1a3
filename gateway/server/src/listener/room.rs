//! The room between accept and request: every connection passes through here before it is HTTP.
//!
//! Now it counts connections and tells HTTP/1 from HTTP/2; limits, PROXY headers, TLS by ClientHello and
//! deadlines for a request's head have their place here, since here is where a connection is still only bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::Notify;

use crate::proxy::Gateway;

/// One listener's view of the data plane, which all listeners share.
pub(crate) struct Room {
    pub(crate) http: Arc<HttpProxy<Gateway>>,
    pub(crate) connections: Arc<Connections>,
}

#[async_trait]
impl ServerApp for Room {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.connections.enter();
        self.http.process_new(stream, shutdown).await
    }

    /// Nothing: one listener's end is not the proxy's, which would then take every connection for its last.
    async fn cleanup(&self) {}
}

impl Room {
    /// Ends the connections that wait for a request. Only for the process's own end.
    pub(crate) async fn end_idle(&self) {
        self.http.http_cleanup().await;
    }
}

/// How many connections there are.
#[derive(Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
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
