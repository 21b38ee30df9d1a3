//! Which subsets are held and which are not any more, in a sentence each.

use std::collections::{BTreeMap, BTreeSet};

use crate::proxy::Active;
use crate::render;
use trysail_routing::snapshot::{ClusterId, ClusterKey};

/// What a swap changes of who is held.
pub(super) fn changes(before: &Active, after: &Active) -> Vec<String> {
    let (was, is) = (held(before), held(after));
    let new = is.iter().filter(|(key, siblings)| was.get(*key) != Some(*siblings)).map(|(key, siblings)| {
        let to = match siblings.len() {
            0 => "nobody of its split is ready, so requests are answered 503 (UH)".to_owned(),
            _ => format!("its share goes to {}", siblings.iter().cloned().collect::<Vec<_>>().join(", ")),
        };
        format!("held: {} has had no ready endpoint yet; {to}", render::cluster(key))
    });
    let gone = was.keys().filter(|key| !is.contains_key(*key));
    new.chain(gone.filter_map(|key| ready(after, key))).collect()
}

/// The clusters that are held, each with the names of those who get its share.
fn held(active: &Active) -> BTreeMap<ClusterKey, BTreeSet<String>> {
    let snapshot = &active.snapshot;
    let mut held: BTreeMap<ClusterKey, BTreeSet<String>> = BTreeMap::new();
    for one in active.upstreams.held() {
        let key = &snapshot.cluster(one.cluster).key;
        let name = |id: &ClusterId| {
            let sibling = &snapshot.cluster(*id).key;
            match sibling.host == key.host && !sibling.subset.is_empty() {
                true => sibling.subset.to_string(),
                false => render::cluster(sibling),
            }
        };
        held.entry(key.clone()).or_default().extend(one.siblings.iter().map(name));
    }
    held
}

/// `reviews v3 ready (127.0.0.1:9083), takes its 10 % now`; `None` where it is not there any more.
fn ready(active: &Active, key: &ClusterKey) -> Option<String> {
    let snapshot = &active.snapshot;
    let (index, cluster) = snapshot.clusters.iter().enumerate().find(|(_, cluster)| cluster.key == *key)?;
    let states = cluster.endpoints.iter().zip(active.upstreams.endpoints(index));
    let (endpoint, _) = states.into_iter().find(|(_, state)| state.is_available())?;
    let address = endpoint.address;
    let mut shares = BTreeSet::new();
    for split in &snapshot.splits {
        let sum: u64 = split.targets.iter().map(|target| u64::from(target.weight)).sum();
        let of = |id| snapshot.cluster(id).key == *key;
        let own: u64 = split.targets.iter().filter(|to| of(to.cluster)).map(|to| u64::from(to.weight)).sum();
        if own > 0 {
            shares.insert(own * 1000 / sum.max(1));
        }
    }
    let share = match shares.first() {
        Some(share) if shares.len() == 1 && share % 10 == 0 => format!("its {} %", share / 10),
        Some(share) if shares.len() == 1 => format!("its {}.{} %", share / 10, share % 10),
        _ => "its share".to_owned(),
    };
    Some(format!("{} ready ({address}), takes {share} now", render::cluster(key)))
}
