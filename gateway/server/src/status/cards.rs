//! Weighted routes as the admin page shows them: a part of them at a time, or those that it names, each with its last ten
//! minutes. What is not shown is not put together.

use trysail_routing::snapshot::{RouteKey, Snapshot, Split};

use super::lists::serving;
use super::told::{self, Paged, RouteSeries};
use super::{Desk, Filter, Search, split, words};
use crate::proxy::Active;

impl Desk {
    /// The weighted routes that a search wants, in the order of their names.
    pub(crate) fn found(&self, search: &Search) -> Paged<(told::Split, RouteSeries)> {
        let active = self.active.load_full();
        let snapshot = &active.snapshot;
        let weighted = Filter::default();
        let mut splits: Vec<&Split> = snapshot.splits.iter().map(|split| &**split).collect();
        splits.retain(|split| weighted.takes(split));
        splits.sort_by(|one, other| one.name.cmp(&other.name));
        let serving = serving(snapshot);
        let text = |split: &&Split| {
            let (hosts, matches) = serving.get(&split.id).cloned().unwrap_or_default();
            let targets: Vec<String> =
                split.targets.iter().map(|target| target_text(snapshot, split, target)).collect();
            let (hosts, matches, targets) = (hosts.join(" "), matches.join(" "), targets.join(" "));
            format!("{} {} {hosts} {matches} {targets}", split.name, split.origin)
        };
        let Paged { total, from, items } = search.page(splits.into_iter(), text);
        let items = items.into_iter().filter_map(|split| {
            self.shown(&active, split, serving.get(&split.id).cloned().unwrap_or_default())
        });
        Paged { total, from, items: items.collect() }
    }

    /// Those with these ids.
    pub(crate) fn named(&self, ids: &[&str]) -> Vec<(told::Split, RouteSeries)> {
        let keys: Vec<u128> = ids.iter().filter_map(|id| u128::from_str_radix(id, 16).ok()).collect();
        if keys.is_empty() {
            return Vec::new();
        }
        let active = self.active.load_full();
        let serving = serving(&active.snapshot);
        let splits = active.snapshot.splits.iter().filter(|split| keys.contains(&split.key.0));
        splits
            .filter_map(|split| {
                self.shown(&active, split, serving.get(&split.id).cloned().unwrap_or_default())
            })
            .collect()
    }

    fn shown(
        &self,
        active: &Active,
        split: &Split,
        serves: (Vec<String>, Vec<String>),
    ) -> Option<(told::Split, RouteSeries)> {
        Some((split::tell(active, &self.board, split, serves)?, self.past(active, split)))
    }
}

fn target_text(snapshot: &Snapshot, split: &Split, target: &trysail_routing::snapshot::Target) -> String {
    format!("{} {}", words::target(snapshot, split, target), snapshot.cluster(target.cluster).key.host)
}

/// What a route is over all revisions, as text for links and ids.
pub(super) fn id(key: RouteKey) -> String {
    format!("{:032x}", key.0)
}
