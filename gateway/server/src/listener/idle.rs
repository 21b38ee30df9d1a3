//! How a connection waits for the first bytes of a request: for a time, and while its port stays.
//!
//! Its timer and its look at the port are made once and kept from request to request. To set both anew for each, and to take
//! them off again, cost more than reading the request.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora_core::server::ShutdownWatch;

use super::conn::Conn;
use crate::proxy::alarm::Alarm;

/// How long an idle connection is waited for once its port closes: what was sent before may be on its way.
const LAST_CHANCE: Duration = Duration::from_millis(500);

/// One connection's waiting.
pub(super) struct Idle {
    /// `None` once the port closes.
    open: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    alarm: Alarm,
}

impl Idle {
    /// For a connection of a port that this closes.
    pub(super) fn new(shutdown: &ShutdownWatch) -> Self {
        let mut shutdown = shutdown.clone();
        let closed = async move {
            if !*shutdown.borrow_and_update() {
                let _ = shutdown.changed().await;
            }
        };
        Idle { open: Some(Box::pin(closed)), alarm: Alarm::default() }
    }

    /// Waits so long for more bytes; `false` where none come.
    pub(super) async fn wait(&mut self, conn: &mut Conn, limit: Duration) -> bool {
        let limit = if self.open.is_some() { limit } else { LAST_CHANCE };
        let mut due = Instant::now() + limit;
        let mut fill = pin!(conn.fill());
        std::future::poll_fn(move |context| {
            // Bytes that are there go before a port that closes.
            if let Poll::Ready(filled) = fill.as_mut().poll(context) {
                return Poll::Ready(filled.is_ok_and(|bytes| bytes > 0));
            }
            if let Some(open) = &mut self.open
                && open.as_mut().poll(context).is_ready()
            {
                self.open = None;
                due = Instant::now() + LAST_CHANCE.min(limit);
            }
            self.alarm.poll(context, due).map(|()| false)
        })
        .await
    }
}
