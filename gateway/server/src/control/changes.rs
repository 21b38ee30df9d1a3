//! What one revision changes for traffic, in one sentence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use trysail_routing::snapshot::{Snapshot, Split};

/// Routes that are told one by one; more of them are counted.
const TOLD: usize = 5;

/// What `after` changes: weights, routes added and removed. Empty where traffic goes as before.
pub(super) fn describe(before: &Snapshot, after: &Snapshot) -> String {
    let same = |(old, new): &(&Arc<Split>, &Arc<Split>)| Arc::ptr_eq(old, new);
    let front = before.splits.iter().zip(&after.splits).take_while(same).count();
    let rest = (before.splits.len().min(after.splits.len())).saturating_sub(front);
    let back = before.splits.iter().rev().zip(after.splits.iter().rev()).take(rest).take_while(same).count();
    let between = |snapshot: &'_ Snapshot| front..snapshot.splits.len() - back;
    let (old, new) = (by_name(before, between(before)), by_name(after, between(after)));
    let mut told = Vec::new();
    for (name, route) in &new {
        match old.get(name) {
            None => told.push(format!("{name} added: {}", shares(after, route))),
            Some(was) => {
                told.extend(weights(before, was, after, route).map(|change| format!("{name} {change}")))
            }
        }
    }
    told.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed")));
    let more = told.len().saturating_sub(TOLD);
    told.truncate(TOLD);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

/// The routes of some splits, by name.
fn by_name(snapshot: &Snapshot, which: Range<usize>) -> BTreeMap<&str, &Split> {
    let splits = snapshot.splits.get(which).unwrap_or_default();
    splits.iter().map(|split| (&*split.name, &**split)).collect()
}

/// `v1 90 → 80, v2 10 → 20`; `None` where nothing moved.
fn weights(before: &Snapshot, old: &Split, after: &Snapshot, new: &Split) -> Option<String> {
    let (old, new) = (targets(before, old), targets(after, new));
    let mut moved: Vec<String> = Vec::new();
    for (name, weight) in &new {
        match old.get(name) {
            Some(was) if was == weight => {}
            Some(was) => moved.push(format!("{name} {was} → {weight}")),
            None => moved.push(format!("{name} added with {weight}")),
        }
    }
    moved.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed")));
    (!moved.is_empty()).then(|| moved.join(", "))
}

/// Weights by how a target is told: its subset, or its host where it has none.
fn targets(snapshot: &Snapshot, split: &Split) -> BTreeMap<String, u64> {
    let mut targets = BTreeMap::new();
    for target in &split.targets {
        let key = &snapshot.cluster(target.cluster).key;
        let name = if key.subset.is_empty() { &key.host } else { &key.subset };
        *targets.entry(name.to_string()).or_default() += u64::from(target.weight);
    }
    targets
}

fn shares(snapshot: &Snapshot, split: &Split) -> String {
    let targets = targets(snapshot, split);
    match targets.len() {
        1 => targets.into_keys().collect(),
        _ => targets.iter().map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>().join(", "),
    }
}
