//! What the process tells of itself: what is in force, what share each target really got, and how it fares.
//!
//! Put together when it is asked for, from what requests count and from the state beside the snapshot. How it travels is
//! for `admin`; how it looks in a terminal, for `page`.

mod cards;
mod cluster;
mod expect;
mod history;
mod lists;
mod page;
mod split;
pub(crate) mod told;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use trysail_routing::snapshot::Split;

pub(crate) use cluster::ClusterDesk;
pub(crate) use expect::{Expectation, Met};
pub(crate) use history::History;
pub(crate) use lists::Search;
pub(crate) use page::{lines, page};
use told::{
    Former, Held, InForce, Listener, Outcome, RouteSeries, SeriesOf, Status, StepOf, TargetSeries, WaitOf,
    WeightOf,
};
pub(crate) use words::time;

use crate::board::{Board, STEP, Step};
use crate::proxy::term::{Ending, Formers};
use crate::proxy::{Active, ActiveCell};
use crate::render;

/// Everything that status is told from.
pub(crate) struct Desk {
    pub(crate) active: ActiveCell,
    pub(crate) board: Arc<Board>,
    pub(crate) history: Arc<History>,
    pub(crate) formers: Arc<Formers>,
    pub(crate) draining: Arc<AtomicBool>,
    /// When the process began.
    pub(crate) began: Instant,
    /// The cluster, where it is the source.
    pub(crate) cluster: Option<Arc<ClusterDesk>>,
}

/// Which routes are told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Those whose name is this, or begins with it before a space: `default/reviews`, `default/reviews http[0]`.
    pub(crate) route: Option<String>,
    /// Also those with one destination.
    pub(crate) all: bool,
}

impl Filter {
    fn takes(&self, split: &Split) -> bool {
        // Who names a route means it, however many destinations it has.
        let weighted = self.all || self.route.is_some() || split.targets.len() > 1;
        weighted && self.route.as_ref().is_none_or(|wanted| is_named(&split.name, wanted))
    }
}

/// Whether a route goes by a name: its own, or that of its VirtualService.
pub(crate) fn is_named(route: &str, wanted: &str) -> bool {
    let rest = route.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

impl Desk {
    /// What `trysail status` shows.
    pub(crate) fn status(&self, filter: &Filter) -> Status {
        let active = self.active.load_full();
        let refused = self.history.refusal();
        let last_refused = self.history.find(|entry| entry.outcome == Outcome::Refused);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            up_seconds: self.began.elapsed().as_secs_f64(),
            state: self.state().to_owned(),
            revision: self.in_force(&active),
            objects: active.snapshot.objects,
            routes: active.snapshot.routes,
            listeners: listeners(&active),
            held: held(&active),
            refused,
            last_refused: last_refused.map(|entry| time(entry.at)),
            cluster: self.cluster.as_ref().map(|cluster| cluster.tell()),
            former: self.former(&active, false),
            splits: self.splits(&active, filter),
        }
    }

    /// In a word: `serving`, `refused a change` or `draining`.
    pub(crate) fn state(&self) -> &'static str {
        let refused = || {
            self.history.refusal().is_some()
                || self.cluster.as_ref().is_some_and(|cluster| cluster.refused() > 0)
        };
        match self.draining.load(Ordering::Relaxed) {
            true => "draining",
            false if refused() => "refused a change",
            false => "serving",
        }
    }

    fn in_force(&self, active: &Active) -> InForce {
        let hash = active.revision.hash();
        let since = self.history.since(hash).unwrap_or_else(SystemTime::now);
        let kept = self.history.kept();
        InForce {
            kept: kept.map(time),
            kept_seconds: kept.map(|at| at.elapsed().unwrap_or_default().as_secs_f64()),
            revision: active.revision.short().to_owned(),
            hash: hash.to_owned(),
            since: time(since),
            for_seconds: since.elapsed().unwrap_or_default().as_secs_f64(),
        }
    }

    /// The routes that a filter lets through, in the order of their names.
    pub(crate) fn splits(&self, active: &Active, filter: &Filter) -> Vec<told::Split> {
        let wanted = active.snapshot.splits.iter().filter(|split| filter.takes(split));
        self.tell(active, &wanted.collect::<Vec<_>>())
    }

    /// These routes, in the order of their names.
    pub(crate) fn tell(&self, active: &Active, wanted: &[&Arc<Split>]) -> Vec<told::Split> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let serving = lists::serving(&active.snapshot);
        let told = wanted.iter().filter_map(|split| {
            split::tell(active, &self.board, split, serving.get(&split.id).cloned().unwrap_or_default())
        });
        let mut told: Vec<told::Split> = told.collect();
        told.sort_by(|one, other| one.route.cmp(&other.route));
        told
    }

    /// The last ten minutes.
    pub(crate) fn series(&self, filter: &Filter) -> SeriesOf {
        let active = self.active.load_full();
        let splits = active.snapshot.splits.iter().filter(|split| filter.takes(split));
        let routes = splits.map(|split| self.past(&active, split)).collect();
        SeriesOf { step_seconds: STEP.as_secs(), routes }
    }

    /// The last ten minutes of one split.
    fn past(&self, active: &Active, split: &Split) -> RouteSeries {
        let step = |step: Step| StepOf {
            requests: step.requests,
            errors: step.errors,
            p50: step.p50.map(split::rounded),
            p99: step.p99.map(split::rounded),
        };
        let series = self.board.series(split.key);
        let targets = split.targets.iter().zip(series).map(|(target, steps)| TargetSeries {
            name: words::target(&active.snapshot, split, target),
            steps: steps.into_iter().map(|one| one.map(step)).collect(),
        });
        RouteSeries { route: split.name.to_string(), targets: targets.collect() }
    }

    /// The weight of a subset on a route; the error says what there is.
    pub(crate) fn weight(&self, route: &str, subset: &str) -> Result<WeightOf, String> {
        let active = self.active.load_full();
        let filter = Filter { route: Some(route.to_owned()), all: true };
        let splits = self.splits(&active, &filter);
        let split = match splits.as_slice() {
            [one] => one,
            [] => return Err(format!("there is no route {route:?}; {}", self.known_routes(&active, route))),
            several => {
                let names: Vec<&str> = several.iter().map(|split| split.route.as_str()).take(10).collect();
                return Err(format!("{route:?} is several routes; name one of {}", names.join(", ")));
            }
        };
        let target = split.targets.iter().find(|target| target.name == subset || target.subset == subset);
        let Some(target) = target else {
            let names: Vec<&str> = split.targets.iter().map(|target| target.name.as_str()).collect();
            return Err(format!("{} has no subset {subset:?}; it has {}", split.route, names.join(", ")));
        };
        Ok(WeightOf {
            route: split.route.clone(),
            subset: target.name.clone(),
            weight: target.weight,
            configured: target.configured,
            effective: target.effective,
            since: split.since.clone(),
            revision: active.revision.short().to_owned(),
            hash: active.revision.hash().to_owned(),
            requests: target.requests,
            verdict: target.verdict.clone(),
            text: format!(
                "the weight of subset {} on route {} is {} since {}",
                target.name, split.route, target.weight, split.since
            ),
        })
    }

    fn known_routes(&self, active: &Active, wanted: &str) -> String {
        let names: Vec<&str> = active.snapshot.splits.iter().map(|split| &*split.name).collect();
        match (trysail_routing::nearest(wanted, names.iter().copied()), names.len()) {
            (Some(near), _) => format!("did you mean {near:?}?"),
            (None, 0) => "there is none that forwards".to_owned(),
            (None, 1..=5) => format!("there is {}", names.join(", ")),
            (None, many) => format!("there are {} others", render::thousands(many as u64)),
        }
    }

    /// Whether a revision serves, by the first digits of its hash.
    pub(crate) fn wait(&self, wanted: &str) -> WaitOf {
        let active = self.active.load_full();
        let hash = active.revision.hash();
        let serves = hash.starts_with(wanted);
        let newest = self.history.find(|entry| entry.revision.hash().starts_with(wanted));
        let refused =
            newest.filter(|entry| !serves && entry.outcome == Outcome::Refused).map(|entry| entry.told());
        let former = self.former(&active, true);
        WaitOf {
            revision: active.revision.short().to_owned(),
            hash: hash.to_owned(),
            serves,
            refused,
            former,
        }
    }

    /// The revisions before: those with requests, and where `last` is asked for the last that has none. The same one with
    /// its state reconciled anew is no other.
    fn former(&self, active: &Active, last: bool) -> Vec<Former> {
        let mut running: BTreeMap<String, Former> = BTreeMap::new();
        let mut ended = None;
        for Ending { revision, ended: after, requests, long } in self.formers.endings() {
            if revision == active.revision || revision.hash().is_empty() {
                continue;
            }
            let former = Former {
                revision: revision.short().to_owned(),
                hash: revision.hash().to_owned(),
                requests,
                long,
                ended_ms: after.map(|after| after.as_secs_f64() * 1000.0),
            };
            match after {
                Some(_) => ended = Some(former),
                None => {
                    let sum = running.entry(former.hash.clone()).or_insert(Former {
                        requests: 0,
                        long: 0,
                        ..former
                    });
                    (sum.requests, sum.long) = (sum.requests + requests, sum.long + long);
                }
            }
        }
        running.into_values().chain(ended.filter(|_| last)).collect()
    }
}

fn listeners(active: &Active) -> Vec<Listener> {
    let listener = |(address, index): &(std::net::SocketAddr, usize)| {
        let listener = active.snapshot.listeners.get(*index)?;
        let hosts: Vec<_> = listener.all_virtual_hosts().collect();
        Some(Listener {
            port: listener.key.port,
            address: address.to_string(),
            protocol: listener.speaks().to_owned(),
            place: listener.origin.to_string(),
            hosts: hosts.len(),
            routes: hosts.iter().map(|host| host.routes.len()).sum(),
        })
    };
    active.bound.iter().filter_map(listener).collect()
}

/// Each once, whatever splits it is held in.
fn held(active: &Active) -> Vec<Held> {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in active.upstreams.held() {
        let name = |id| render::cluster(&active.snapshot.cluster(id).key);
        let to = held.entry(name(one.cluster)).or_default();
        to.extend(one.siblings.iter().map(|sibling| name(*sibling)));
        to.sort();
        to.dedup();
    }
    held.into_iter().map(|(name, to)| Held { name, to }).collect()
}
