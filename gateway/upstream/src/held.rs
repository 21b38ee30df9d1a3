//! The ready gate: a new subset takes traffic only once an endpoint of it is ready.
//!
//! Until then the target is *held*: its share goes to its siblings in the split, by a schedule of the effective
//! weights. Once a cluster was ready, Istio's rule applies, and a subset that has lost all its endpoints is answered
//! 503 (UH). A pure function of the snapshot, of the endpoints' state and of who was ready before; requests pay
//! nothing for it, since they only see the ticket's schedule.
//!
//! What a probe says of an endpoint is all that is known of it here; one without a probe is ready by being there. Where
//! an answer makes the first of a held cluster ready, [`crate::health::Answered::reconcile`] says so, and whoever asked
//! reconciles anew over the same snapshot.

use std::collections::BTreeSet;

use trysail_routing::snapshot::{ClusterId, Snapshot, Split, SplitId};

/// One target that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// In this split.
    pub split: SplitId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who gets its share; empty where nobody of the split is ready, so that its turns are answered 503 (UH).
    pub siblings: Vec<ClusterId>,
}

/// Who has been ready since it appeared, by the clusters' ids.
#[derive(Debug, Default)]
pub(crate) struct Gate(Vec<bool>);

impl Gate {
    /// The gate of a snapshot: of each of its clusters whether it was ready before, or is now.
    pub(crate) fn of(open: Vec<bool>) -> Gate {
        Gate(open)
    }

    /// Whether the cluster at an index takes what it is given.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|open| *open)
    }

    /// The weights that hold now; `None` for those that are written. Adds to `held` which targets have none.
    pub(crate) fn effective(
        &self,
        snapshot: &Snapshot,
        split: &Split,
        held: &mut Vec<Held>,
    ) -> Option<Vec<u32>> {
        let takes = |id: ClusterId| {
            let cluster = snapshot.cluster(id);
            // What does not exist at all is Istio's 503 (NC): it is not about to come.
            self.is_open(id.index()) || cluster.service.is_none()
        };
        let weighty = || split.targets.iter().filter(|target| target.weight > 0);
        if weighty().all(|target| takes(target.cluster)) {
            return None;
        }
        let siblings: BTreeSet<ClusterId> =
            weighty().map(|target| target.cluster).filter(|id| takes(*id)).collect();
        let waiting: BTreeSet<ClusterId> =
            weighty().map(|target| target.cluster).filter(|id| !takes(*id)).collect();
        held.extend(waiting.into_iter().map(|cluster| Held {
            split: split.id,
            cluster,
            siblings: siblings.iter().copied().collect(),
        }));
        let weight = |target: &trysail_routing::snapshot::Target| match takes(target.cluster) {
            true => target.weight,
            false => 0,
        };
        (!siblings.is_empty()).then(|| split.targets.iter().map(weight).collect())
    }
}
