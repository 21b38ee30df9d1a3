//! Weighted destinations → a split: targets, their schedule, and what it is known by over revisions.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::clusters::Clusters;
use super::matches::Block;
use super::schedules::Schedules;
use super::transforms::{self, RuleLevel};
use super::variables::Around;
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Origin, Pos};
use crate::snapshot::{ClusterId, RouteKey, Split, SplitId, Target, Transform};
use crate::wire::Document;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Destination, HttpDestination, HttpRoute, RouteDestination};

/// More weight than this on one target is refused: Istio's field is an int32.
const MAX_WEIGHT: i64 = i32::MAX as i64;
/// A schedule keeps its targets as bytes.
const MAX_TARGETS: usize = 256;

/// The splits made so far, in the order of their ids.
pub(super) struct Splits<'s> {
    schedules: &'s mut Schedules,
    made: Vec<Arc<Split>>,
    keys: HashSet<RouteKey, BuildHasherDefault<DefaultHasher>>,
    /// Where they are those of before, and are made anew: which is next.
    patch: Option<usize>,
    /// Whether one was made that is not where it was before.
    is_broken: bool,
}

/// A rule, as a split is made from it.
pub(super) struct Forwarding<'r> {
    pub(super) document: &'r Document,
    pub(super) route: &'r At<HttpRoute>,
    pub(super) blocks: &'r [Block],
    /// The route's name.
    pub(super) name: Arc<str>,
    /// What the rule changes, whatever its destination.
    pub(super) changes: &'r RuleLevel,
    /// What values of fields may name.
    pub(super) around: &'r Around<'r>,
}

impl<'s> Splits<'s> {
    pub(super) fn new(schedules: &'s mut Schedules) -> Self {
        Splits { schedules, made: Vec::new(), keys: HashSet::default(), patch: None, is_broken: false }
    }

    /// Goes on with the splits of before, to make some of them anew.
    pub(super) fn patching(schedules: &'s mut Schedules, made: Vec<Arc<Split>>) -> Self {
        Splits { made, patch: Some(0), ..Splits::new(schedules) }
    }

    /// The id that the next one gets.
    pub(super) fn next(&self) -> usize {
        self.patch.unwrap_or(self.made.len())
    }

    /// Makes those of before from this id on anew.
    pub(super) fn resume(&mut self, next: usize) {
        self.patch = Some(next);
    }

    /// Leaves those of before where they were after all.
    pub(super) fn put_back(&mut self, first: usize, before: Vec<Arc<Split>>) {
        for (place, split) in self.made.iter_mut().skip(first).zip(before) {
            *place = split;
        }
    }

    /// Whether the splits of before could not be patched.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn finish(self) -> Vec<Arc<Split>> {
        self.made
    }

    /// Makes the split of a rule; `None` where it could not be made, with the reason in the sink.
    ///
    /// `clusters` is `None` for a VirtualService that no gateway of ours serves: its destinations need not exist.
    pub(super) fn make(
        &mut self,
        rule: &Forwarding<'_>,
        mut clusters: Option<&mut Clusters<'_>>,
        sink: &mut Sink<'_>,
    ) -> Option<Arc<Split>> {
        let destinations = &rule.route.route;
        let weights = weights_of(rule.document, destinations, |one| one.weight.as_ref());
        let weights = weights.and_then(|weights| read_weights(&weights, sink));
        let own: Vec<_> =
            destinations.iter().map(|to| transforms::level(to.headers.as_ref(), rule.around, sink)).collect();
        let namespace = &rule.document.object.name.namespace;
        let resolve = |(destination, own): (&At<HttpDestination>, _)| {
            let HttpDestination { destination, weight: _, headers: _ } = &destination.value;
            let transform = rule.changes.towards(own, destinations.len() == 1);
            let cluster = Clusters::find(clusters.as_deref_mut(), destination, namespace, sink);
            cluster.map(|cluster| (cluster, transform, rule.document.origin(destination.pos)))
        };
        let targets: Vec<_> = destinations.iter().zip(&own).filter_map(resolve).collect();
        if targets.is_empty() {
            return None;
        }
        let key = key(rule.document, &rule.route.value, rule.blocks);
        let origin = rule.document.origin(rule.route.pos);
        self.put(key, rule.name.clone(), origin, targets, weights?, sink)
    }

    /// Makes the split of a rule for connections: `place` is its list, its index there and where it stands.
    pub(super) fn make_stream(
        &mut self,
        document: &Document,
        (list, index, pos): (&str, usize, Pos),
        destinations: &[At<RouteDestination>],
        mut clusters: Option<&mut Clusters<'_>>,
        sink: &mut Sink<'_>,
    ) -> Option<Arc<Split>> {
        if destinations.is_empty() {
            if !document.is_unread(pos, "route") {
                sink.schema(pos, format!("a rule of {list} needs a route"));
            }
            return None;
        }
        let weights = weights_of(document, destinations, |one| one.weight.as_ref());
        let weights = weights.and_then(|weights| read_weights(&weights, sink));
        let name = &document.object.name;
        let resolve = |one: &At<RouteDestination>| {
            let RouteDestination { destination, weight: _ } = &one.value;
            Clusters::find(clusters.as_deref_mut(), destination, &name.namespace, sink)
                .map(|cluster| (cluster, None, document.origin(destination.pos)))
        };
        let targets: Vec<_> = destinations.iter().filter_map(resolve).collect();
        if targets.is_empty() {
            return None;
        }
        let key = digest(|put| {
            [&*name.namespace, &name.name, list, &index.to_string()].into_iter().for_each(&mut *put);
            destinations.iter().for_each(|one| put_destination(&one.destination, put));
        });
        self.put(key, format!("{name} {list}[{index}]").into(), document.origin(pos), targets, weights?, sink)
    }

    fn put(
        &mut self,
        key: RouteKey,
        name: Arc<str>,
        origin: Origin,
        targets: Vec<(ClusterId, Option<Arc<Transform>>, Origin)>,
        weights: Weights,
        sink: &mut Sink<'_>,
    ) -> Option<Arc<Split>> {
        let Weights { weights, pos } = weights;
        let schedule = self.schedules.of(&weights)?;
        if schedule.is_scaled() {
            report_scaled(pos, schedule.effective(), sink);
        }
        let target = |((cluster, transform, origin), &weight)| Target { cluster, weight, transform, origin };
        let next = self.next();
        let split = Arc::new(Split {
            id: SplitId::new(next),
            key: if self.patch.is_none() { self.own_key(key) } else { key },
            name,
            origin,
            schedule,
            targets: targets.into_iter().zip(&weights).map(target).collect(),
        });
        if self.patch.is_none() {
            self.made.push(split.clone());
            return Some(split);
        }
        self.patch = Some(next + 1);
        match self.made.get_mut(next).filter(|before| before.key == split.key) {
            Some(before) => *before = split.clone(),
            None => self.is_broken = true,
        }
        Some(split)
    }

    /// A key that no other route has: two rules of one VirtualService may share a name, or all that they say.
    fn own_key(&mut self, mut key: RouteKey) -> RouteKey {
        while !self.keys.insert(key) {
            key = RouteKey(key.0.wrapping_add(1));
        }
        key
    }
}

/// Weights that are in order, and where the first stands.
struct Weights {
    weights: Vec<u32>,
    pos: Pos,
}

/// Where a destination stands, and its weight.
type WrittenWeight<'d> = (Pos, Option<&'d At<i64>>);

/// Where each destination stands, with its weight; `None` where a weight is no number, which has been said.
fn weights_of<'d, T>(
    document: &Document,
    destinations: &'d [At<T>],
    weight: impl Fn(&'d T) -> Option<&'d At<i64>>,
) -> Option<Vec<WrittenWeight<'d>>> {
    let read =
        |one: &'d At<T>| (!document.is_unread(one.pos, "weight")).then(|| (one.pos, weight(&one.value)));
    destinations.iter().map(read).collect()
}

/// Istio: weights are relative to their sum; a lone destination's is not looked at, as
/// long as it is a weight; all zero is invalid.
fn read_weights(destinations: &[WrittenWeight<'_>], sink: &mut Sink<'_>) -> Option<Weights> {
    let &(first, first_weight) = destinations.first()?;
    let pos = first_weight.map_or(first, |weight| weight.pos);
    if let Some((over, _)) = destinations.get(MAX_TARGETS) {
        let message = format!("{} destinations are over the limit of {MAX_TARGETS}", destinations.len());
        sink.schema(*over, message);
        return None;
    }
    let mut weights = Vec::new();
    for (_, weight) in destinations {
        let Some(weight) = weight else {
            weights.push(0);
            continue;
        };
        match u32::try_from(weight.value).ok().filter(|_| weight.value <= MAX_WEIGHT) {
            Some(weight) => weights.push(weight),
            None => {
                sink.schema(weight.pos, format!("weight {} is not within 0 to {MAX_WEIGHT}", weight.value));
            }
        }
    }
    if weights.len() < destinations.len() {
        return None;
    }
    if let [_] = destinations {
        return Some(Weights { weights: vec![1], pos });
    }
    if weights.iter().all(|&weight| weight == 0) {
        sink.schema(pos, "total destination weight = 0: all weights are zero".into())
            .hints
            .push("give at least one destination a weight over 0".into());
        return None;
    }
    Some(Weights { weights, pos })
}

fn report_scaled(pos: Pos, effective: &[u32], sink: &mut Sink<'_>) {
    let sum: u64 = effective.iter().map(|&weight| u64::from(weight)).sum();
    let shares: Vec<String> = effective.iter().map(|weight| format!("{weight}/{sum}")).collect();
    let message = format!("weights were brought to a smaller sum: the shares are {}", shares.join(", "));
    sink.add(Severity::Warning, Code::WEIGHTS_SCALED, pos, message);
}

/// See [`RouteKey`]. What has no meaning for identity (weights, and whatever may be edited while a canary
/// runs) is left out.
fn key(document: &Document, route: &HttpRoute, blocks: &[Block]) -> RouteKey {
    digest(|put| {
        put(&document.object.name.namespace);
        put(&document.object.name.name);
        match &route.name {
            Some(name) => put(name),
            None => {
                blocks.iter().for_each(|block| put(&block.identity()));
                route.route.iter().for_each(|one| put_destination(&one.destination, put));
            }
        }
    })
}

fn put_destination(destination: &Destination, put: &mut dyn FnMut(&str)) {
    let Destination { host, subset, port } = destination;
    put(host);
    put(subset.as_ref().map_or("", |subset| subset.as_str()));
    let port = port.as_ref().and_then(|port| port.number.as_ref()).map_or(0, |port| port.value);
    put(&port.to_string());
}

/// The digest of parts, each told apart from the next.
fn digest(say: impl FnOnce(&mut dyn FnMut(&str))) -> RouteKey {
    let mut digest = Sha256::new();
    say(&mut |part| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    });
    let hash: [u8; 32] = digest.finalize().into();
    RouteKey(u128::from_le_bytes(*hash.first_chunk().expect("a digest of 32 bytes has 16")))
}
