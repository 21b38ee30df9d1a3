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
//!
//! Of a hundred thousand routes few are asked in a minute. So the counters of a period are made with its first request, and
//! each request's end says, once a step, that its route is to be looked at: nothing is done for the others.

mod cell;
mod export;
mod histogram;
pub(crate) mod interval;
pub(crate) mod quantile;
mod series;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A digest of its destinations, which are written out with the first request.
    shape: u64,
    counted: OnceLock<Box<Counted>>,
    /// Whether its route is on the list of those to be looked at.
    stirred: AtomicBool,
}

/// What is counted in a period, from its first request's end on; all in the order of the split's targets.
#[derive(Debug)]
struct Counted {
    destinations: Box<[Destination]>,
    cells: Box<[Cell]>,
    /// What the series have of the cells already.
    sampled: Mutex<Box<[Tally]>>,
}

impl Counted {
    fn of(destinations: Vec<Destination>) -> Box<Self> {
        Box::new(Counted {
            cells: destinations.iter().map(|_| Cell::default()).collect(),
            sampled: Mutex::new(destinations.iter().map(|_| Tally::default()).collect()),
            destinations: destinations.into(),
        })
    }
}

impl Period {
    fn new(ticket: &Arc<Ticket>, shape: u64, since: SystemTime) -> Self {
        Period {
            since,
            first: ticket.taken(),
            ticket: ticket.clone(),
            shape,
            counted: OnceLock::new(),
            stirred: AtomicBool::new(false),
        }
    }

    /// How many requests each target was given, in their order.
    pub(crate) fn assigned(&self) -> Vec<u64> {
        let (now, before) = (self.ticket.given(self.ticket.taken()), self.ticket.given(self.first));
        now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
    }

    /// How many requests were given to its targets, and how many ended: a look that costs little.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.ticket.taken(), self.cells().iter().map(Cell::requests).sum())
    }

    /// What became of each target's requests, in their order.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        match self.counted.get() {
            Some(counted) => counted.cells.iter().map(Cell::tally).collect(),
            None => self.assigned().iter().map(|_| Tally::default()).collect(),
        }
    }

    /// Empty before its first request.
    fn cells(&self) -> &[Cell] {
        self.counted.get().map_or(&[], |counted| &counted.cells)
    }

    /// Where the requests of its targets are counted.
    fn count(&self, snapshot: &Snapshot, split: &Split) -> &Counted {
        self.counted.get_or_init(|| Counted::of(destinations(snapshot, split)))
    }

    /// What came to each destination since this was last asked.
    fn sample(&self) -> Vec<(&Destination, Tally)> {
        let Some(counted) = self.counted.get() else { return Vec::new() };
        let mut sampled = counted.sampled.lock();
        let news = counted.destinations.iter().zip(&counted.cells).zip(sampled.iter_mut());
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
pub(crate) struct Handles {
    periods: Vec<Arc<Period>>,
    snapshot: Arc<Snapshot>,
    stirred: Stirred,
}

/// The routes of which a request has ended since the last step, each once.
type Stirred = Arc<Mutex<Vec<RouteKey>>>;

impl Handles {
    /// Where a request of a target is counted that is over now.
    pub(crate) fn of(&self, (split, target): (SplitId, usize)) -> Option<&Cell> {
        let (period, split) = (self.period(split)?, self.snapshot.splits.get(split.index())?);
        let counted = period.count(&self.snapshot, split);
        if !period.stirred.load(Ordering::Relaxed) && !period.stirred.swap(true, Ordering::Relaxed) {
            self.stirred.lock().push(split.key);
        }
        counted.cells.get(target)
    }

    /// The period in which a split's weights are in force.
    pub(crate) fn period(&self, split: SplitId) -> Option<&Arc<Period>> {
        self.periods.get(split.index())
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
    /// Its split in the snapshot in force.
    split: SplitId,
    /// Steps since it was last heard of.
    calm: u8,
    rest: Option<Box<Rest>>,
    /// Since when no snapshot has had it.
    gone: Option<Instant>,
}

/// What there is of routes that were asked lately, or edited.
#[derive(Default)]
struct Rest {
    /// Periods before this one, that requests still end in.
    past: Vec<Arc<Period>>,
    over: BTreeMap<Destination, Totals>,
    series: BTreeMap<Destination, Series>,
}

/// All routes that forward.
#[derive(Default)]
pub(crate) struct Board(Mutex<Routes>, Stirred);

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;
type Keys = HashSet<RouteKey, BuildHasherDefault<DefaultHasher>>;

#[derive(Default)]
struct Routes {
    by_key: Map<RouteKey, Route>,
    /// Those with something to do at each step: they were asked lately, have periods that end, or are gone.
    busy: Keys,
    /// The one in force.
    snapshot: Arc<Snapshot>,
}

impl Board {
    /// The periods for a snapshot with its tickets: those that go on, else new ones. `before` is what is in force: a split
    /// that is the same one there has the same destinations.
    pub(crate) fn bind(
        &self,
        before: &Handles,
        snapshot: &Arc<Snapshot>,
        upstreams: &Upstreams,
        now: Instant,
    ) -> Handles {
        let since = SystemTime::now();
        let routes = &mut *self.0.lock();
        let mut gone: Map<RouteKey, &Arc<Split>> = Map::default();
        let old = |index: usize| before.snapshot.splits.get(index).zip(before.periods.get(index));
        let stays = |index: usize, split: &Arc<Split>| {
            let (was, period) = old(index)?;
            (Arc::ptr_eq(was, split) && Arc::ptr_eq(&period.ticket, upstreams.ticket(split.id)))
                .then_some(period)
        };
        for (index, split) in before.snapshot.splits.iter().enumerate() {
            if snapshot.splits.get(index).is_none_or(|new| !Arc::ptr_eq(new, split)) {
                gone.insert(split.key, split);
            }
        }
        let bind = |(index, split): (usize, &Arc<Split>)| {
            if let Some(period) = stays(index, split) {
                return period.clone();
            }
            gone.remove(&split.key);
            routes.bind(snapshot, split, upstreams.ticket(split.id), since)
        };
        let periods = snapshot.splits.iter().enumerate().map(bind).collect();
        for (key, split) in gone {
            if let Some(route) = routes.by_key.get_mut(&key) {
                // From here on nobody knows them from the snapshot.
                route.now.count(&before.snapshot, split);
                route.gone = route.gone.or(Some(now));
                routes.busy.insert(key);
            }
        }
        routes.snapshot = snapshot.clone();
        routes.fold(now);
        Handles { periods, snapshot: snapshot.clone(), stirred: self.1.clone() }
    }

    /// What each target of a route had over all its periods, in the order of its targets now.
    pub(crate) fn totals(&self, key: RouteKey) -> Vec<Totals> {
        let routes = self.0.lock();
        let Some(route) = routes.by_key.get(&key) else { return Vec::new() };
        let own = routes.destinations(key, route);
        let mut totals = route.totals(&own);
        own.iter().map(|destination| totals.remove(destination).unwrap_or_default()).collect()
    }

    /// The last ten minutes of each target of a route, in the order of its targets now.
    pub(crate) fn series(&self, key: RouteKey) -> Vec<Vec<Option<Step>>> {
        let routes = self.0.lock();
        let Some(route) = routes.by_key.get(&key) else { return Vec::new() };
        let series = |destination| route.rest.as_ref()?.series.get(destination).map(Series::steps);
        let own = routes.destinations(key, route);
        own.iter().map(|destination| series(destination).unwrap_or_default()).collect()
    }

    /// Adds a step to every series; to be called each [`STEP`].
    pub(crate) fn sample(&self, now: Instant) {
        let stirred = std::mem::take(&mut *self.1.lock());
        let routes = &mut *self.0.lock();
        for key in stirred {
            if let Some(route) = routes.by_key.get_mut(&key) {
                route.calm = 0;
                routes.busy.insert(key);
            }
        }
        for key in &routes.busy {
            if let Some(route) = routes.by_key.get_mut(key) {
                route.sample();
            }
        }
        routes.fold(now);
    }
}

impl Routes {
    fn bind(
        &mut self,
        snapshot: &Snapshot,
        split: &Arc<Split>,
        ticket: &Arc<Ticket>,
        since: SystemTime,
    ) -> Arc<Period> {
        let shape = shape(&destinations(snapshot, split));
        let begin = || Arc::new(Period::new(ticket, shape, since));
        let Some(route) = self.by_key.get_mut(&split.key) else {
            let period = begin();
            self.by_key.insert(split.key, Route::new(split, period.clone()));
            return period;
        };
        let goes_on = Arc::ptr_eq(&route.now.ticket, ticket) && route.now.shape == shape;
        if !goes_on {
            // Whose turns were taken is to be known also where no request has ended yet.
            let was = self.snapshot.splits.get(route.split.index()).filter(|was| was.key == split.key);
            if let Some(was) = was.filter(|_| route.now.ticket.taken() > route.now.first) {
                route.now.count(&self.snapshot, was);
            }
            let before = std::mem::replace(&mut route.now, begin());
            route.rest.get_or_insert_default().past.push(before);
            self.busy.insert(split.key);
        }
        (route.gone, route.name, route.split) = (None, split.name.clone(), split.id);
        route.now.clone()
    }

    /// The destinations of a route's targets, where they are known.
    fn destinations(&self, key: RouteKey, route: &Route) -> Vec<Destination> {
        if let Some(counted) = route.now.counted.get() {
            return counted.destinations.to_vec();
        }
        let split = self.snapshot.splits.get(route.split.index()).filter(|split| split.key == key);
        split.map_or_else(Vec::new, |split| destinations(&self.snapshot, split))
    }

    /// Lets go of periods in which nothing ends any more, of what has long been gone, and of who has nothing to do.
    fn fold(&mut self, now: Instant) {
        let Routes { by_key, busy, .. } = self;
        busy.retain(|key| {
            let Some(route) = by_key.get_mut(key) else { return false };
            route.fold();
            if route.gone.is_some_and(|gone| now.duration_since(gone) >= GRACE) {
                by_key.remove(key);
                return false;
            }
            route.is_busy()
        });
    }
}

impl Route {
    fn new(split: &Split, now: Arc<Period>) -> Self {
        Route { name: split.name.clone(), now, split: split.id, calm: 0, rest: None, gone: None }
    }

    /// Whether there is something to do for it at the next step. A request that was heard of may be counted a moment later,
    /// so the step after that is not the last.
    fn is_busy(&self) -> bool {
        let rest = self.rest.as_ref().is_some_and(|rest| !rest.past.is_empty() || !rest.series.is_empty());
        rest || self.calm < 2 || self.gone.is_some()
    }

    /// Lets go of periods in which nothing ends any more.
    fn fold(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        for at in (0..rest.past.len()).rev() {
            if rest.past.get(at).is_some_and(|past| Arc::strong_count(past) == 1) {
                let past = rest.past.swap_remove(at);
                rest.take_in(&past.sample());
                add(&mut rest.over, &past);
            }
        }
    }

    fn periods(&self) -> impl Iterator<Item = &Arc<Period>> {
        self.rest.iter().flat_map(|rest| &rest.past).chain([&self.now])
    }

    /// How many requests each destination was given; `own` are those of its targets now.
    fn assigned(&self, own: &[Destination]) -> BTreeMap<Destination, u64> {
        let totals = self.totals(own).into_iter();
        totals.map(|(destination, totals)| (destination, totals.assigned)).collect()
    }

    fn totals(&self, own: &[Destination]) -> BTreeMap<Destination, Totals> {
        let mut totals = self.rest.as_ref().map(|rest| rest.over.clone()).unwrap_or_default();
        self.periods().for_each(|period| add(&mut totals, period));
        if self.now.counted.get().is_none() {
            for (destination, assigned) in own.iter().zip(self.now.assigned()) {
                totals.entry(destination.clone()).or_default().assigned += assigned;
            }
        }
        totals
    }

    fn sample(&mut self) {
        self.calm = self.calm.saturating_add(1);
        // From here on a request's end is news again.
        self.periods().for_each(|period| period.stirred.store(false, Ordering::Relaxed));
        let mut news: BTreeMap<Destination, Tally> = BTreeMap::new();
        for (destination, tally) in self.periods().flat_map(|period| period.sample()) {
            if tally.requests > 0 {
                news.entry(destination.clone()).or_default().add(&tally);
            }
        }
        if news.is_empty() && self.rest.is_none() {
            return;
        }
        let rest = self.rest.get_or_insert_default();
        for (destination, tally) in news {
            rest.series.entry(destination).or_default().begin(&tally);
        }
        rest.series.values_mut().for_each(Series::step);
        rest.series.retain(|_, series| !series.is_empty());
    }
}

impl Rest {
    fn take_in(&mut self, news: &[(&Destination, Tally)]) {
        for (destination, tally) in news.iter().filter(|(_, tally)| tally.requests > 0) {
            self.series.entry((*destination).clone()).or_default().begin(tally);
        }
    }
}

/// Adds what a period has counted so far.
fn add(totals: &mut BTreeMap<Destination, Totals>, period: &Period) {
    let Some(counted) = period.counted.get() else { return };
    let counts = counted.destinations.iter().zip(period.assigned()).zip(&counted.cells);
    for ((destination, assigned), cell) in counts {
        let tally = cell.tally();
        let sum = totals.entry(destination.clone()).or_default();
        sum.assigned += assigned;
        sum.requests += tally.requests;
        sum.errors += tally.errors;
    }
}

/// A digest of destinations: who has the same has the same ones.
fn shape(destinations: &[Destination]) -> u64 {
    let mut hasher = DefaultHasher::default();
    destinations.hash(&mut hasher);
    hasher.finish()
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
