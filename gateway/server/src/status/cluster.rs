//! What status tells of a cluster that is the source: who is heard, and which objects are not in force as they are.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use trysail_kubernetes::Standing;

use super::told::{Cluster, KindOf, RefusedObject};
use super::words::time;

/// Where a cluster's state is noted, and read by whoever asks.
pub(crate) struct ClusterDesk {
    server: String,
    pub(crate) standing: Arc<Standing>,
    /// With since when.
    refused: Mutex<Vec<(SystemTime, RefusedObject)>>,
}

impl ClusterDesk {
    pub(crate) fn new(server: String, standing: Arc<Standing>) -> Self {
        ClusterDesk { server, standing, refused: Mutex::default() }
    }

    /// Notes which objects are not in force as they are, from now on.
    pub(crate) fn refuse(&self, refused: Vec<(SystemTime, RefusedObject)>) {
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
        let of_now = |(since, object): &(SystemTime, RefusedObject)| RefusedObject {
            for_seconds: since.elapsed().unwrap_or_default().as_secs_f64(),
            ..object.clone()
        };
        Cluster {
            server: self.server.clone(),
            kinds: self.standing.lines().into_iter().map(kind).collect(),
            refused: self.refused.lock().iter().map(of_now).collect(),
        }
    }
}
