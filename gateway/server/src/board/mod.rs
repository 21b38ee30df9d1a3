//! The scoreboard: what share each target of a split really got, and how its requests fared.
//!
//! **Problem.** An edit of weights begins a new account, and requests that are under way then belong to the old one.
//! **Choice.** A *period* is the time in which a split goes by one ticket to one list of destinations, and it has
//! counters of its own. A request reaches those of its own revision by index, so whenever it ends, it is counted under
//! the weights by which it was sent. Kept by route and destination over reloads that leave the weights alone.
//! **Refused.** One set of counters and a copy of it at each edit: what ends after the edit would be mixed in.
//!
//! What was *assigned* is not counted at all: the ticket knows how many turns were taken, and the schedule whose they
//! were.

mod cell;
mod export;
mod histogram;
pub(crate) mod interval;
pub(crate) mod quantile;
mod series;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use trysail_routing::snapshot::{ClusterKey, RouteKey, Snapshot, Split, SplitId};
use trysail_upstream::{Ticket, Upstreams};

pub(crate) use cell::{Cell, Tally};
pub(crate) use export::Exported;
use series::Series;
pub(crate) use series::{STEP, Step};

/// How long what is gone is still kept: scrapers see its end, and a route that comes back goes on.
const GRACE: Duration = Duration::from_secs(600);

/// A destination in its split: one may be there several times, with other changes to requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    pub(crate) cluster: ClusterKey,
    /// Which of several alike, from 0.
    nth: usize,
}

/// The time in which a split's weights are in force.
#[derive(Debug)]
pub(crate) struct Period {
    /// When it began.
    pub(crate) since: SystemTime,
    ticket: Arc<Ticket>,
    /// The turns that were taken before: a ticket goes on where only destinations are others.
    first: u64,
    /// In the order of the split's targets, as the cells.
    destinations: Box<[Destination]>,
    cells: Box<[Cell]>,
    /// What the series have of the cells already.
    sampled: Mutex<Vec<Tally>>,
}

impl Period {
    fn new(ticket: &Arc<Ticket>, destinations: Vec<Destination>, since: SystemTime) -> Self {
        Period {
            since,
            first: ticket.taken(),
            ticket: ticket.clone(),
            cells: destinations.iter().map(|_| Cell::default()).collect(),
            sampled: Mutex::new(vec![Tally::default(); destinations.len()]),
            destinations: destinations.into(),
        }
    }

    /// How many requests each target was given, in their order.
    pub(crate) fn assigned(&self) -> Vec<u64> {
        let (now, before) = (self.ticket.given(self.ticket.taken()), self.ticket.given(self.first));
        now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
    }

    /// How many requests were given to its targets, and how many ended: a look that costs little.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.ticket.taken(), self.cells.iter().map(Cell::requests).sum())
    }

    /// What became of each target's requests, in their order.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        self.cells.iter().map(Cell::tally).collect()
    }

    /// What came to each destination since this was last asked.
    fn sample(&self) -> Vec<(&Destination, Tally)> {
        let mut sampled = self.sampled.lock();
        let news = self.destinations.iter().zip(&self.cells).zip(sampled.iter_mut());
        let news = news.map(|((destination, cell), before)| {
            let now = cell.tally();
            let news = now.since(before);
            if news.requests > 0 {
                *before = now;
            }
            (destination, news)
        });
        news.collect()
    }
}

/// The periods of one snapshot's splits, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Handles(Vec<Arc<Period>>);

impl Handles {
    /// Where the requests of a target are counted.
    pub(crate) fn of(&self, (split, target): (SplitId, usize)) -> Option<&Cell> {
        self.0.get(split.index())?.cells.get(target)
    }

    /// The period in which a split's weights are in force.
    pub(crate) fn period(&self, split: SplitId) -> Option<&Arc<Period>> {
        self.0.get(split.index())
    }
}

/// What is left of periods that are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) assigned: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// One route, over all its periods.
struct Route {
    name: Arc<str>,
    now: Arc<Period>,
    /// Those before, that requests still end in.
    past: Vec<Arc<Period>>,
    over: BTreeMap<Destination, Totals>,
    series: BTreeMap<Destination, Series>,
    /// Since when no snapshot has had it.
    gone: Option<Instant>,
}

/// All routes that forward.
#[derive(Default)]
pub(crate) struct Board(Mutex<HashMap<RouteKey, Route>>);

impl Board {
    /// The periods for a snapshot with its tickets: those that go on, else new ones. `before` is the snapshot in force: a
    /// split that is the same one there has the same destinations.
    pub(crate) fn bind(
        &self,
        before: &Snapshot,
        snapshot: &Snapshot,
        upstreams: &Upstreams,
        now: Instant,
    ) -> Handles {
        let since = SystemTime::now();
        let mut routes = self.0.lock();
        routes.values_mut().for_each(|route| route.gone = route.gone.or(Some(now)));
        let bind = |split: &Arc<Split>| {
            let ticket = upstreams.ticket(split.id);
            let stays = before.splits.get(split.id.index()).is_some_and(|was| Arc::ptr_eq(was, split));
            if let Some(route) = routes.get_mut(&split.key).filter(|_| stays)
                && Arc::ptr_eq(&route.now.ticket, ticket)
            {
                route.gone = None;
                return route.now.clone();
            }
            let destinations = destinations(snapshot, split);
            let begin = |destinations| Arc::new(Period::new(ticket, destinations, since));
            let Some(route) = routes.get_mut(&split.key) else {
                let period = begin(destinations);
                routes.insert(split.key, Route::new(split.name.clone(), period.clone()));
                return period;
            };
            (route.gone, route.name) = (None, split.name.clone());
            if !Arc::ptr_eq(&route.now.ticket, ticket) || *route.now.destinations != *destinations {
                let before = std::mem::replace(&mut route.now, begin(destinations));
                route.past.push(before);
            }
            route.now.clone()
        };
        let handles = Handles(snapshot.splits.iter().map(bind).collect());
        routes.values_mut().for_each(Route::fold);
        routes.retain(|_, route| route.gone.is_none_or(|gone| now.duration_since(gone) < GRACE));
        handles
    }

    /// What each target of a route had over all its periods, in the order of its targets now.
    pub(crate) fn totals(&self, key: RouteKey) -> Vec<Totals> {
        let routes = self.0.lock();
        let Some(route) = routes.get(&key) else { return Vec::new() };
        let mut totals = route.totals();
        let own = route.now.destinations.iter();
        own.map(|destination| totals.remove(destination).unwrap_or_default()).collect()
    }

    /// The last ten minutes of each target of a route, in the order of its targets now.
    pub(crate) fn series(&self, key: RouteKey) -> Vec<Vec<Option<Step>>> {
        let routes = self.0.lock();
        let Some(route) = routes.get(&key) else { return Vec::new() };
        let own = route.now.destinations.iter();
        own.map(|destination| route.series.get(destination).map(Series::steps).unwrap_or_default()).collect()
    }

    /// Adds a step to every series; to be called each [`STEP`].
    pub(crate) fn sample(&self, now: Instant) {
        let mut routes = self.0.lock();
        routes.values_mut().for_each(|route| {
            route.sample();
            route.fold();
        });
        routes.retain(|_, route| route.gone.is_none_or(|gone| now.duration_since(gone) < GRACE));
    }
}

impl Route {
    fn new(name: Arc<str>, now: Arc<Period>) -> Self {
        let (past, over, series) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Route { name, now, past, over, series, gone: None }
    }

    /// Lets go of periods in which nothing ends any more.
    fn fold(&mut self) {
        for at in (0..self.past.len()).rev() {
            if self.past.get(at).is_some_and(|past| Arc::strong_count(past) == 1) {
                let past = self.past.swap_remove(at);
                self.take_in(&past.sample());
                add(&mut self.over, &past);
            }
        }
    }

    /// How many requests each destination was given.
    fn assigned(&self) -> BTreeMap<Destination, u64> {
        let mut sums: BTreeMap<Destination, u64> =
            self.over.iter().map(|(destination, totals)| (destination.clone(), totals.assigned)).collect();
        for period in self.past.iter().chain([&self.now]) {
            for (destination, assigned) in period.destinations.iter().zip(period.assigned()) {
                *sums.entry(destination.clone()).or_default() += assigned;
            }
        }
        sums
    }

    fn totals(&self) -> BTreeMap<Destination, Totals> {
        let mut totals = self.over.clone();
        self.past.iter().chain([&self.now]).for_each(|period| add(&mut totals, period));
        totals
    }

    fn sample(&mut self) {
        let now = self.now.clone();
        let periods = self.past.iter().chain([&now]);
        let mut news: BTreeMap<&Destination, Tally> = BTreeMap::new();
        for (destination, tally) in periods.flat_map(|period| period.sample()) {
            if tally.requests > 0 {
                news.entry(destination).or_default().add(&tally);
            }
        }
        let news: Vec<(Destination, Tally)> =
            news.into_iter().map(|(destination, tally)| (destination.clone(), tally)).collect();
        for (destination, tally) in &news {
            self.series.entry(destination.clone()).or_default().begin(tally);
        }
        self.series.values_mut().for_each(Series::step);
        self.series.retain(|_, series| !series.is_empty());
    }

    fn take_in(&mut self, news: &[(&Destination, Tally)]) {
        for (destination, tally) in news.iter().filter(|(_, tally)| tally.requests > 0) {
            self.series.entry((*destination).clone()).or_default().begin(tally);
        }
    }
}

/// Adds what a period has counted so far.
fn add(totals: &mut BTreeMap<Destination, Totals>, period: &Period) {
    let counted = period.destinations.iter().zip(period.assigned()).zip(&period.cells);
    for ((destination, assigned), cell) in counted {
        let tally = cell.tally();
        let sum = totals.entry(destination.clone()).or_default();
        sum.assigned += assigned;
        sum.requests += tally.requests;
        sum.errors += tally.errors;
    }
}

fn destinations(snapshot: &Snapshot, split: &Split) -> Vec<Destination> {
    let mut found: Vec<Destination> = Vec::with_capacity(split.targets.len());
    for target in &split.targets {
        let cluster = snapshot.cluster(target.cluster).key.clone();
        let nth = found.iter().filter(|other| other.cluster == cluster).count();
        found.push(Destination { cluster, nth });
    }
    found
}
