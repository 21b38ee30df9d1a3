//! What a route does to requests beside choosing a target: faults, other sites' calls, copies, times, tries.

use std::time::Duration;

use super::chance::Chance;
use super::cluster::ClusterId;
use super::cors::Cors;
use super::fault::Fault;
use super::retry::Retry;

/// Everything of a route that most routes have nothing of.
#[derive(Debug, Default)]
pub struct Handling {
    /// Faults made on purpose, before everything else.
    pub fault: Option<Fault>,
    /// Which other sites' pages may call.
    pub cors: Option<Cors>,
    /// Where copies go.
    pub mirrors: Vec<Mirror>,
    /// How long a request may take, from its last byte to its answer's, with all tries; `None` for ever.
    pub timeout: Option<Duration>,
    /// When and how often it is tried again.
    pub retry: Retry,
}

/// A target of copies. Istio `HTTPMirrorPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where they go.
    pub cluster: ClusterId,
    /// Of how many requests; all mirrors of a request are drawn by one lot.
    pub chance: Chance,
}

impl Handling {
    /// Whether it is what routes have that say nothing.
    pub fn is_default(&self) -> bool {
        let Handling { fault, cors, mirrors, timeout, retry } = self;
        fault.is_none()
            && cors.is_none()
            && mirrors.is_empty()
            && timeout.is_none()
            && *retry == Retry::default()
    }
}
