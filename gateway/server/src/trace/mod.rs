//! Traces: spans of requests and of their tries, and the queue in which they wait for whoever sends them (`otlp`).
//!
//! There only with the cargo feature `otlp`. A request makes its spans when it ends; a queue that is full drops them.

pub(crate) mod context;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metrics::SpanCounters;
use crate::settings::Share;
use context::Context;

/// Spans that may wait.
const ROOM: usize = 4096;

/// Spans that are sent at once; so many are sent without another wait.
pub(crate) const BATCH: usize = 512;

/// One span that is over.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) context: Context,
    /// The span within which it was; `None` for a trace's first.
    pub(crate) parent: Option<u64>,
    /// As `tracestate` has it; empty for none.
    pub(crate) state: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub(crate) failed: bool,
}

/// Whose side of a call a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one that is asked: a request.
    Server,
    /// The one that asks: a try.
    Client,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    Text(String),
    Number(i64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Attribute::Text(text.to_owned())
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Self {
        Attribute::Number(i64::from(number))
    }
}

impl From<u32> for Attribute {
    fn from(number: u32) -> Self {
        Attribute::Number(i64::from(number))
    }
}

/// Which traces are recorded, and where their spans wait.
pub(crate) struct Spans {
    sample: Share,
    /// Requests so far that brought no trace.
    begun: AtomicU64,
    waiting: Mutex<Vec<Span>>,
    /// There are enough for a batch.
    pub(crate) many: Notify,
    pub(crate) counters: SpanCounters,
}

impl Spans {
    /// No spans yet; of requests that bring no trace this share begins one.
    pub(crate) fn new(sample: Share, counters: SpanCounters) -> Self {
        let (begun, waiting) = (AtomicU64::new(0), Mutex::default());
        Spans { sample, begun, waiting, many: Notify::new(), counters }
    }

    /// A trace for a request that brought none.
    pub(crate) fn begin(&self) -> Context {
        Context::new(self.sample.takes(self.begun.fetch_add(1, Ordering::Relaxed)))
    }

    /// Takes the spans of a request, all or none: half a trace tells wrong.
    pub(crate) fn push(&self, spans: Vec<Span>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() + spans.len() > ROOM {
            drop(waiting);
            return self.counters.dropped.inc_by(spans.len() as u64);
        }
        let before = waiting.len();
        waiting.extend(spans);
        let after = waiting.len();
        drop(waiting);
        if before < BATCH && after >= BATCH {
            self.many.notify_one();
        }
    }

    /// The oldest that wait, as many as are sent at once.
    pub(crate) fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock();
        let batch = waiting.len().min(BATCH);
        waiting.drain(..batch).collect()
    }
}

/// A moment as spans have it.
pub(crate) fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Where an address is, as attributes.
pub(crate) fn address(at: SocketAddr) -> [(&'static str, Attribute); 2] {
    [("server.address", Attribute::Text(at.ip().to_string())), ("server.port", at.port().into())]
}
