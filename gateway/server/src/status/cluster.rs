//! What status tells of a cluster that is the source: who is heard, and which objects are not in force as they are.

use std::sync::Arc;

use parking_lot::Mutex;
use trysail_kubernetes::Standing;

use super::told::{Cluster, KindOf, RefusedObject};
use super::words::time;

/// Where a cluster's state is noted, and read by whoever asks.
pub(crate) struct ClusterDesk {
    server: String,
    pub(crate) standing: Arc<Standing>,
    refused: Mutex<Vec<RefusedObject>>,
}

impl ClusterDesk {
    pub(crate) fn new(server: String, standing: Arc<Standing>) -> Self {
        ClusterDesk { server, standing, refused: Mutex::default() }
    }

    /// Notes which objects are not in force as they are, from now on.
    pub(crate) fn refuse(&self, refused: Vec<RefusedObject>) {
        *self.refused.lock() = refused;
    }

    /// How many objects are not in force as they are.
    pub(crate) fn refused(&self) -> usize {
        self.refused.lock().len()
    }

    pub(super) fn tell(&self) -> Cluster {
        let kind = |(kind, line): (trysail_kubernetes::Kind, trysail_kubernetes::Line)| KindOf {
            kind: kind.name().to_owned(),
            connected: line.connected,
            heard: line.heard.map(time),
            absent: line.absent,
            fault: line.fault,
        };
        Cluster {
            server: self.server.clone(),
            kinds: self.standing.lines().into_iter().map(kind).collect(),
            refused: self.refused.lock().clone(),
        }
    }
}
