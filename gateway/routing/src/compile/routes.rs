//! HTTPRoute → route: conditions, targets and their schedule.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Surroundings;
use super::clusters::Clusters;
use super::gateways::GatewayServer;
use super::matches::{self, Block};
use super::schedules::Schedules;
use super::support::{fields, unsupported};
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::{Action, Match, Route, RouteKey, Split, SplitId, Target};
use crate::wire::Document;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Destination, HttpDestination, HttpRoute};

/// More weight than this on one target is refused: Istio's field is an int32.
const MAX_WEIGHT: i64 = i32::MAX as i64;
/// A schedule keeps its targets as bytes.
const MAX_TARGETS: usize = 256;

/// The routes made so far that forward, in the order of their ids.
pub(super) struct Splits<'s> {
    schedules: &'s mut Schedules,
    made: Vec<Arc<Route>>,
    keys: BTreeSet<RouteKey>,
}

impl<'s> Splits<'s> {
    pub(super) fn new(schedules: &'s mut Schedules) -> Self {
        Splits { schedules, made: Vec::new(), keys: BTreeSet::new() }
    }

    /// A key that no other route has: two rules of one VirtualService may share a name, or all that they say.
    fn own_key(&mut self, mut key: RouteKey) -> RouteKey {
        while !self.keys.insert(key) {
            key = RouteKey(key.0.wrapping_add(1));
        }
        key
    }

    pub(super) fn finish(self) -> Vec<Arc<Route>> {
        self.made
    }
}

/// A rule of a VirtualService, compiled, before it is known which server it stands under.
pub(super) struct Rule {
    route: Arc<Route>,
    blocks: Vec<Block>,
}

impl Rule {
    /// The route as requests that come in through a server see it: with the blocks that apply there; `None` where
    /// it has blocks and none of them does.
    pub(super) fn under(&self, server: &GatewayServer<'_>) -> Option<Arc<Route>> {
        if self.blocks.iter().all(Block::applies_everywhere) {
            return Some(self.route.clone());
        }
        let applying = self.blocks.iter().filter(|block| block.applies(server));
        let matches: Vec<Arc<Match>> = applying.map(|block| block.conditions.clone()).collect();
        (!matches.is_empty()).then(|| Arc::new(Route { matches, ..Route::clone(&self.route) }))
    }
}

/// Compiles rule `index` of a VirtualService; `None` where it could not be, with the reason in the sink.
///
/// `clusters` is `None` for a VirtualService that no gateway of ours serves: its destinations need not exist.
pub(super) fn compile(
    document: &Document,
    index: usize,
    route: &At<HttpRoute>,
    clusters: Option<&mut Clusters<'_>>,
    splits: &mut Splits<'_>,
    surroundings: &Surroundings,
    sink: &mut Sink<'_>,
) -> Option<Rule> {
    let HttpRoute {
        name,
        matches: written_matches,
        route: destinations,
        redirect,
        direct_response,
        delegate,
        rewrite,
        headers,
        timeout,
        retries,
        fault,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percent_snake,
        mirror_percentage,
        cors_policy,
    } = &route.value;
    unsupported(
        Severity::Error,
        fields![
            redirect,
            direct_response = "directResponse",
            delegate,
            rewrite,
            headers,
            timeout,
            retries,
            fault,
            mirror,
            mirrors,
            mirror_percent = "mirrorPercent",
            mirror_percent_snake = "mirror_percent",
            mirror_percentage = "mirrorPercentage",
            cors_policy = "corsPolicy",
        ],
        sink,
    );
    let namespace = &document.object.name.namespace;
    let block = |block: &At<_>| matches::compile(block, namespace, surroundings, sink);
    let blocks: Vec<Block> = written_matches.iter().filter_map(block).collect();
    let sound = blocks.len() == written_matches.len();
    if destinations.is_empty() {
        let answers_itself = redirect.is_some() || direct_response.is_some() || delegate.is_some();
        if !answers_itself {
            sink.schema(route.pos, "a rule needs a route, a redirect or a directResponse".into());
        }
        return None;
    }
    let weights = read_weights(destinations, sink);
    let clusters = clusters?;
    let mut resolve = |destination: &At<HttpDestination>| {
        let HttpDestination { destination, weight: _, headers } = &destination.value;
        unsupported(Severity::Error, fields![headers], sink);
        clusters.resolve(destination, namespace, sink)
    };
    let targets: Vec<_> = destinations.iter().map(&mut resolve).collect();
    let weights = weights?;
    let schedule = splits.schedules.of(&weights)?;
    if schedule.is_scaled() {
        report_scaled(destinations, schedule.effective(), sink);
    }
    let title = match name {
        Some(name) => format!("{} {}", document.object.name, name.value),
        None => format!("{} http[{index}]", document.object.name),
    };
    let targets =
        targets.into_iter().zip(&weights).map(|(cluster, &weight)| Target { cluster, weight }).collect();
    if !sound {
        return None;
    }
    let route = Arc::new(Route {
        key: splits.own_key(key(document, &route.value, &blocks)),
        name: title.into(),
        origin: document.origin(route.pos),
        matches: blocks.iter().map(|block| block.conditions.clone()).collect(),
        action: Action::Forward(Arc::new(Split { id: SplitId::new(splits.made.len()), schedule, targets })),
    });
    splits.made.push(route.clone());
    Some(Rule { route, blocks })
}

/// Istio: weights are relative to their sum; a lone destination's is not looked at; all zero is invalid.
fn read_weights(destinations: &[At<HttpDestination>], sink: &mut Sink<'_>) -> Option<Vec<u32>> {
    if let [_] = destinations {
        return Some(vec![1]);
    }
    if let Some(over) = destinations.get(MAX_TARGETS) {
        let message = format!("{} destinations are over the limit of {MAX_TARGETS}", destinations.len());
        sink.schema(over.pos, message);
        return None;
    }
    let mut weights = Vec::new();
    for destination in destinations {
        let Some(weight) = &destination.weight else {
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
    if weights.iter().all(|&weight| weight == 0) {
        let pos = destinations[0].weight.as_ref().map_or(destinations[0].pos, |weight| weight.pos);
        sink.schema(pos, "total destination weight = 0: all weights are zero".into())
            .hints
            .push("give at least one destination a weight over 0".into());
        return None;
    }
    Some(weights)
}

fn report_scaled(destinations: &[At<HttpDestination>], effective: &[u32], sink: &mut Sink<'_>) {
    let sum: u64 = effective.iter().map(|&weight| u64::from(weight)).sum();
    let shares: Vec<String> = effective.iter().map(|weight| format!("{weight}/{sum}")).collect();
    let pos = destinations[0].weight.as_ref().map_or(destinations[0].pos, |weight| weight.pos);
    let message = format!("weights were brought to a smaller sum: the shares are {}", shares.join(", "));
    sink.add(Severity::Warning, Code::WEIGHTS_SCALED, pos, message);
}

/// See [`RouteKey`]. What has no meaning for identity (weights, and whatever may be edited while a canary
/// runs) is left out.
fn key(document: &Document, route: &HttpRoute, blocks: &[Block]) -> RouteKey {
    let mut digest = Sha256::new();
    let mut put = |part: &str| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    put(&document.object.name.namespace);
    put(&document.object.name.name);
    match &route.name {
        Some(name) => put(name),
        None => {
            blocks.iter().for_each(|block| put(&block.identity()));
            for destination in &route.route {
                let Destination { host, subset, port } = &destination.destination.value;
                put(host);
                put(subset.as_ref().map_or("", |subset| subset.as_str()));
                let port = port.as_ref().and_then(|port| port.number.as_ref()).map_or(0, |port| port.value);
                put(&port.to_string());
            }
        }
    }
    let hash: [u8; 32] = digest.finalize().into();
    RouteKey(u128::from_le_bytes(*hash.first_chunk().expect("a digest of 32 bytes has 16")))
}
