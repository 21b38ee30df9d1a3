//! How much one cluster takes at once: connections, requests, waiting requests and retries, as atomics and guards.
//!
//! Istio's `connectionPool` counts connections; Pingora shows none before a request has one. But over HTTP/1 a busy
//! connection is a request under way, so whoever lets in no more requests than there may be connections keeps both
//! promises: those let in hold a *slot*, those before the door are Envoy's pending requests. Over HTTP/2 a connection
//! is as many slots as it has streams. An endpoint that works on nothing takes one request also over the ceiling, as
//! Envoy gives every endpoint its one connection. A request that waits for a connection to open is not counted as
//! pending, as it is in Envoy: it has its slot.
//!
//! Counts are kept over reloads by the cluster's key, ceilings are the revision's. A cluster without ceilings counts
//! nothing: what its retry budget is a part of is summed over its endpoints, at a retry.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use trysail_routing::snapshot::policy::{ConnectionPool, Policy, Protocol, RetryBudget};

use queue::{Counts, take_below};
pub use queue::{Held, Waiting};

/// Streams at once on one connection of HTTP/2, where the server and its DestinationRule allow more.
pub const STREAMS: u32 = 1024;

/// Which ceiling was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// `maxConnections`, of bytes that are passed on.
    Connections,
    /// `http1MaxPendingRequests`.
    Pending,
    /// `http2MaxRequests`.
    Requests,
    /// `maxRetries` or a retry budget.
    Retries,
}

/// Whether a request may begin.
#[derive(Debug)]
pub enum Admission {
    /// It may, and holds this to its end; nothing where the cluster has no ceilings.
    Now(Option<Held>),
    /// It is pending: it may, once this is ready.
    Later(Waiting),
    /// It may not.
    Never(Overflow),
}

/// The ceilings of one cluster in one revision, and its counts over all.
#[derive(Debug)]
pub struct Limits {
    slots: Option<u32>,
    pending: Option<u32>,
    requests: Option<u32>,
    retries: Retries,
    counts: Arc<Counts>,
}

/// How many retries may run at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Retries {
    /// Nothing is said: a budget of ours, in which tries that had no connection are free.
    Ours,
    Most(u32),
    Budget(RetryBudget),
}

/// Envoy's figures, for clusters that have none of their own.
const PERCENT: f64 = 20.0;
const LEAST: u32 = 3;

impl Default for Limits {
    fn default() -> Self {
        Limits::new(&Policy::default(), Arc::default())
    }
}

impl Limits {
    fn new(policy: &Policy, counts: Arc<Counts>) -> Self {
        let ConnectionPool { max_connections, max_pending_requests, max_requests, max_retries, .. } =
            policy.connection_pool;
        let streams = policy.connection_pool.max_concurrent_streams.unwrap_or(STREAMS);
        let each = if policy.protocol == Protocol::Http2 { streams } else { 1 };
        Limits {
            slots: max_connections.map(|most| most.saturating_mul(each)),
            pending: max_pending_requests,
            requests: max_requests,
            retries: match (policy.retry_budget, max_retries) {
                (Some(budget), _) => Retries::Budget(budget),
                (None, Some(most)) => Retries::Most(most),
                (None, None) => Retries::Ours,
            },
            counts,
        }
    }

    /// A policy's ceilings over new counts.
    pub(crate) fn begin(policy: &Policy) -> Self {
        Limits::new(policy, Arc::default())
    }

    /// A policy's ceilings over the counts that these have.
    pub(crate) fn keep(&self, policy: &Policy) -> Self {
        Limits::new(policy, self.counts.clone())
    }

    /// Whether a request has to ask.
    pub fn any(&self) -> bool {
        self.slots.is_some() || self.requests.is_some()
    }

    /// Asks for a request. `alone`: the endpoint chosen for it works on nothing else.
    pub fn admit(&self, alone: bool) -> Admission {
        let Some(slots) = self.slots else { return self.begin_request(Held::new(&self.counts)) };
        if let Some(held) = Held::slot(&self.counts, slots, alone) {
            return self.begin_request(held);
        }
        match Waiting::enter(&self.counts, slots, self.pending, self.requests) {
            Some(waiting) => Admission::Later(waiting),
            None => Admission::Never(Overflow::Pending),
        }
    }

    /// Asks for a connection whose bytes are passed on. Envoy `tcp_proxy`: nobody waits, and nobody goes over.
    pub fn admit_connection(&self) -> Result<Option<Held>, Overflow> {
        match self.slots {
            None => Ok(None),
            Some(slots) => Held::slot(&self.counts, slots, false).map(Some).ok_or(Overflow::Connections),
        }
    }

    fn begin_request(&self, held: Held) -> Admission {
        match held.with_request(self.requests) {
            Ok(held) => Admission::Now(self.any().then_some(held)),
            Err(overflow) => Admission::Never(overflow),
        }
    }

    /// Asks for another try of a request; `None` where there are too many. `active` are the requests that the cluster
    /// works on, `unsent` whether the last try ended before anything of it was sent.
    pub fn retry(&self, active: u32, unsent: bool) -> Option<Retrying> {
        // A request that nobody got is no load; the budget is there to keep load from growing.
        if unsent && self.retries == Retries::Ours {
            return Some(Retrying(None));
        }
        take_below(&self.counts.retries, self.retries_allowed(active))
            .then(|| Retrying(Some(self.counts.clone())))
    }

    /// How many retries may run at once while the cluster works on `active` requests.
    pub fn retries_allowed(&self, active: u32) -> u32 {
        let part = |percent: f64, least: u32| {
            let all = active.saturating_add(self.counts.waiting());
            least.max((percent / 100.0 * f64::from(all)) as u32)
        };
        match self.retries {
            Retries::Ours => part(PERCENT, LEAST),
            Retries::Most(most) => most,
            Retries::Budget(RetryBudget { percent, min_concurrency, interval: _ }) => {
                part(percent, min_concurrency)
            }
        }
    }

    /// How many retries run, of those that are counted.
    pub fn retries_active(&self) -> u32 {
        self.counts.retries.load(Ordering::Relaxed)
    }

    /// How many requests wait.
    pub fn waiting(&self) -> u32 {
        self.counts.waiting()
    }
}

/// A retry under way. Dropping it is the only way to end it.
#[derive(Debug)]
pub struct Retrying(Option<Arc<Counts>>);

impl Drop for Retrying {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            counts.retries.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Overflow {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// Every one, in the order of its index.
    pub const ALL: [Overflow; Self::COUNT] =
        [Overflow::Connections, Overflow::Pending, Overflow::Requests, Overflow::Retries];

    /// The word that metrics have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Overflow::Connections => "connections",
            Overflow::Pending => "pending",
            Overflow::Requests => "requests",
            Overflow::Retries => "retries",
        }
    }
}
