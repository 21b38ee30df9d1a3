//! Endpoints that share what their group gets: by lot, in turn, or by how busy they are.

use std::sync::Arc;
use std::time::Instant;

use trysail_routing::snapshot::policy::{Balancer, Warmup};

use super::least_request::{least_request, pair};
use super::lot::{again, below, by_weight, part};
use super::round_robin::RoundRobin;
use super::warmup::factor;
use crate::endpoint::EndpointState;

/// Endpoints of one priority that share by their own weights. Never empty.
#[derive(Debug)]
pub(super) struct Group {
    /// The group's share of its priority.
    pub(super) weight: u32,
    /// Indices into the cluster's endpoints, with weights.
    members: Box<[(u32, u32)]>,
    /// Whether all weights are the same.
    even: bool,
    turns: Option<RoundRobin>,
}

/// What choosing an endpoint looks at.
pub(super) struct View<'v> {
    pub(super) endpoints: &'v [Arc<EndpointState>],
    pub(super) balancer: &'v Balancer,
    pub(super) lot: u64,
    /// `None` where no endpoint is warming up.
    pub(super) now: Option<Instant>,
    /// Whether every endpoint is open, so that nobody has to be asked.
    pub(super) all_open: bool,
    /// Whether some are left out, beside those that were tried.
    pub(super) some_out: bool,
}

impl Group {
    /// A group of endpoints; `seed` is where turns begin.
    pub(super) fn build(weight: u32, members: Vec<(u32, u32)>, balancer: &Balancer, seed: u64) -> Self {
        let even = members.iter().zip(members.iter().skip(1)).all(|(one, next)| one.1 == next.1);
        let turns = matches!(balancer, Balancer::RoundRobin(_)).then(|| RoundRobin::build(&members, seed));
        Group { weight, members: members.into(), even, turns }
    }

    /// How many endpoints it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether any endpoint is open.
    pub(super) fn has_open(&self, open: impl Fn(usize) -> bool) -> bool {
        self.members.iter().any(|&(index, _)| open(index as usize))
    }

    /// How many endpoints are open.
    pub(super) fn count_open(&self, open: impl Fn(usize) -> bool) -> usize {
        self.members.iter().filter(|&&(index, _)| open(index as usize)).count()
    }

    /// Which part of its share a group can take: all, until more than two sevenths of it are out. As Envoy weighs
    /// localities. Who was never ready is no part of it.
    pub(super) fn provisioned(&self, view: &View<'_>, open: impl Fn(usize) -> bool) -> f64 {
        let known = |index: usize| view.endpoints.get(index).is_some_and(|endpoint| !endpoint.is_new());
        match view.some_out {
            true => {
                let known = self.count_open(known).max(1);
                (OVERPROVISIONED * self.count_open(open) as f64 / known as f64).min(1.0)
            }
            false => 1.0,
        }
    }

    /// An open endpoint; `None` where none is.
    pub(super) fn choose(&self, view: &View<'_>, open: impl Fn(usize) -> bool + Copy) -> Option<usize> {
        match view.balancer {
            Balancer::LeastRequest(warmup) => self.least_request(view, warmup.as_ref(), open),
            Balancer::RoundRobin(warmup) => self.next(view, warmup.as_ref(), open),
            // A request without a key goes to an endpoint by lot.
            Balancer::Random | Balancer::Hash(_) => self.random(view, open),
        }
    }

    fn random(&self, view: &View<'_>, open: impl Fn(usize) -> bool + Copy) -> Option<usize> {
        if self.even && view.all_open {
            let place = below(view.lot as u32, self.members.len() as u64) as usize;
            return self.members.get(place).map(|&(index, _)| index as usize);
        }
        by_weight(self.open(open).map(|(index, weight)| (index, f64::from(weight))), view.lot)
    }

    fn least_request(
        &self,
        view: &View<'_>,
        warmup: Option<&Warmup>,
        open: impl Fn(usize) -> bool + Copy,
    ) -> Option<usize> {
        let active = |index: usize| view.endpoints.get(index).map_or(0, |endpoint| endpoint.active());
        let warming = warmup.zip(view.now);
        if self.even && warming.is_none() {
            if view.all_open {
                let of = |place: usize| self.members.get(place).map_or(0, |&(index, _)| index as usize);
                return least_request(self.members.len(), view.lot, |place| active(of(place))).map(of);
            }
            if let Some((first, second)) = self.open_pair(view.lot, open) {
                return Some(if active(second) < active(first) { second } else { first });
            }
            let of = |place: usize| self.open(open).nth(place).map_or(0, |(index, _)| index);
            return least_request(self.open(open).count(), view.lot, |place| active(of(place))).map(of);
        }
        let weighed = self.open(open).map(|(index, weight)| {
            let warmth = warming.map_or(1.0, |(warmup, now)| self.warmth(view, warmup, now, index));
            (index, f64::from(weight) * warmth / (f64::from(active(index)) + 1.0))
        });
        by_weight(weighed, view.lot)
    }

    /// Two open endpoints, each pair as likely, found without looking at all: where most are open, one of some draws
    /// is of such.
    fn open_pair(&self, lot: u64, open: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let of = |place: usize| self.members.get(place).map_or(0, |&(index, _)| index as usize);
        let draws = (0..DRAWS).filter(|_| self.members.len() > 1).map(|draw| {
            let (first, second) = pair(self.members.len(), again(lot, FIRST_DRAW + draw));
            (of(first), of(second))
        });
        draws.into_iter().find(|&(first, second)| open(first) && open(second))
    }

    /// The next open endpoint in turn. One that is warming up passes some of its turns on.
    fn next(
        &self,
        view: &View<'_>,
        warmup: Option<&Warmup>,
        open: impl Fn(usize) -> bool + Copy,
    ) -> Option<usize> {
        let turns = self.turns.as_ref()?;
        let warming = warmup.zip(view.now);
        for turn in 0..turns.cycle().min(MOST_TURNS) {
            let index = turns.take();
            let takes =
                |(warmup, now)| part(again(view.lot, turn as u64)) < self.warmth(view, warmup, now, index);
            if (view.all_open || open(index)) && warming.is_none_or(takes) {
                return Some(index);
            }
        }
        self.random(view, open)
    }

    fn warmth(&self, view: &View<'_>, warmup: &Warmup, now: Instant, index: usize) -> f64 {
        factor(warmup, view.endpoints.get(index).and_then(|endpoint| endpoint.joined()), now)
    }

    fn open(&self, open: impl Fn(usize) -> bool + Copy) -> impl Iterator<Item = (usize, u32)> + Clone {
        let members = self.members.iter().map(|&(index, weight)| (index as usize, weight));
        members.filter(move |&(index, _)| open(index))
    }
}

/// Pairs that are drawn before all endpoints are looked at.
const DRAWS: u64 = 4;
/// Where their numbers begin, past those of other choices by the same lot.
const FIRST_DRAW: u64 = 1 << 32;

/// Envoy's factor.
const OVERPROVISIONED: f64 = 1.4;

/// Turns that are passed on before an endpoint is drawn by lot.
const MOST_TURNS: usize = 64;
