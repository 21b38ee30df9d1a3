//! What a route does to requests beside choosing a target: faults, other sites' calls, copies, times, tries.

use std::time::Duration;

use super::chance::Chance;
use super::cluster::ClusterId;
use super::cors::Cors;
use super::fault::Fault;
use super::retry::Retry;
use crate::origin::Place;

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
    /// Where all that is written.
    pub places: HandlingPlaces,
}

/// Where what a route does is written, as far as it is; see [`Route::origin_of`](super::Route::origin_of).
#[derive(Clone, Copy, Debug, Default)]
pub struct HandlingPlaces {
    /// The fault's delay.
    pub delay: Option<Place>,
    /// The fault's abort.
    pub abort: Option<Place>,
    /// The CORS policy.
    pub cors: Option<Place>,
    /// The timeout.
    pub timeout: Option<Place>,
    /// The retries.
    pub retry: Option<Place>,
}

/// A target of copies. Istio `HTTPMirrorPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where they go.
    pub cluster: ClusterId,
    /// Of how many requests; all mirrors of a request are drawn by one lot.
    pub chance: Chance,
    /// Where it is written.
    pub place: Option<Place>,
}

impl Handling {
    /// Whether it is what routes have that say nothing.
    pub fn is_default(&self) -> bool {
        let Handling { fault, cors, mirrors, timeout, retry, places: _ } = self;
        fault.is_none()
            && cors.is_none()
            && mirrors.is_empty()
            && timeout.is_none()
            && *retry == Retry::default()
    }
}
