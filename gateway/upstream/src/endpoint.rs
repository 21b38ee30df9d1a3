//! The state of one endpoint, which balancers look at and requests count on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The state of one endpoint of one cluster.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    joined: Option<Instant>,
}

impl EndpointState {
    /// An endpoint that joined its cluster at a time.
    pub(crate) fn joined_at(now: Instant) -> Self {
        EndpointState { joined: Some(now), ..EndpointState::default() }
    }

    /// When it joined its cluster; `None` where it was there when the cluster was first seen.
    pub fn joined(&self) -> Option<Instant> {
        self.joined
    }

    /// How many requests it is working on.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts one request on it until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }
}

/// One request on one endpoint. Dropping it is the only way to end it, so nothing can leak a count.
#[derive(Debug)]
pub struct Active(Arc<EndpointState>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_end_what_they_began() {
        let state = Arc::new(EndpointState::default());
        let guards = [(); 3].map(|()| state.begin());
        assert_eq!(state.active(), 3);
        drop(guards);
        assert_eq!(state.active(), 0);
    }
}
