//! The process's own ports (metrics, health, admin): little is asked there, so that little is let in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::sync::Semaphore;

/// So many connections are served at a time; one more is closed.
const MOST: usize = 256;

/// And each for at most so long, with all its requests: who comes slowly, reads slowly or stays makes room for others.
const LIFE: Duration = Duration::from_secs(60);

/// What answers on such a port.
pub(crate) struct Own<A> {
    app: Arc<A>,
    room: Semaphore,
}

impl<A> Own<A> {
    /// With room for some connections.
    pub(crate) fn new(app: A) -> Self {
        Own { app: Arc::new(app), room: Semaphore::new(MOST) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Own<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _place = self.room.try_acquire().ok()?;
        let _ = tokio::time::timeout(LIFE, self.app.process_new(stream, shutdown)).await;
        None
    }
}
