//! The checks of one snapshot: each question once, with the endpoints that its answers hold for.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use trysail_routing::snapshot::Endpoint;

use super::{Check, Question};
use crate::endpoint::{EndpointState, Health};

type Seed = BuildHasherDefault<DefaultHasher>;
type Addresses = HashSet<SocketAddr, Seed>;

/// The checks of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct Checks(HashMap<Question, Watched, Seed>);

/// One check.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) check: Arc<Check>,
    /// Of which clusters, by their indices in the snapshot, and which endpoints of theirs.
    pub(crate) members: Vec<(usize, usize)>,
}

/// What there was before, of which a new check may know something.
pub(crate) struct Before<'b> {
    checks: &'b Checks,
    /// Who took traffic.
    ready: LazyCell<Addresses, Box<dyn FnOnce() -> Addresses + 'b>>,
}

impl<'b> Before<'b> {
    /// The checks there were, and the endpoints by their addresses: asked for only where a question is new.
    pub(crate) fn new<I>(checks: &'b Checks, endpoints: impl FnOnce() -> I + 'b) -> Self
    where
        I: Iterator<Item = (SocketAddr, &'b Arc<EndpointState>)>,
    {
        let ready = move || {
            endpoints().filter_map(|(address, endpoint)| endpoint.is_ready().then_some(address)).collect()
        };
        Before { checks, ready: LazyCell::new(Box::new(ready)) }
    }
}

impl Checks {
    /// Notes that an endpoint of a snapshot is at `place`; what its probe says of it.
    pub(crate) fn join(&mut self, before: &Before<'_>, endpoint: &Endpoint, place: (usize, usize)) -> Health {
        let Some(probe) = &endpoint.probe else { return Health::Healthy };
        let question = Question { address: endpoint.address, probe: probe.clone() };
        let watched = match self.0.get_mut(&question) {
            Some(watched) => watched,
            None => {
                let check = match before.checks.0.get(&question) {
                    Some(kept) => kept.check.clone(),
                    None => Arc::new(Check::begin(before.ready.contains(&endpoint.address))),
                };
                self.0.entry(question).or_insert(Watched { check, members: Vec::new() })
            }
        };
        watched.members.push(place);
        watched.check.progress().health
    }

    /// What is asked.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.0.keys()
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Watched> {
        self.0.values()
    }

    /// That of a question.
    pub(crate) fn of(&self, question: &Question) -> Option<&Watched> {
        self.0.get(question)
    }
}

impl Watched {
    /// Counts an answer, if there is one, and tells every endpoint what holds now, while no other answer can come in
    /// between: `each` gets an endpoint's place, its health, and whether that has turned. What turned.
    pub(crate) fn tell(
        &self,
        answer: Option<(&Question, bool)>,
        mut each: impl FnMut((usize, usize), Health, bool),
    ) -> Option<(Health, u32)> {
        let mut progress = self.check.progress();
        let turned = answer.and_then(|(question, good)| progress.answer(&question.probe, good));
        self.members.iter().for_each(|place| each(*place, progress.health, turned.is_some()));
        turned
    }
}

/// The state of an endpoint that is first seen in its cluster: one that waits for its probe joins when that succeeds.
pub(crate) fn begin(health: Health, joins: Option<Instant>) -> EndpointState {
    match (health, joins) {
        (Health::Unknown | Health::Unhealthy, _) => EndpointState::pending(),
        (Health::Healthy, Some(now)) => EndpointState::joined_at(now),
        (Health::Healthy, None) => EndpointState::default(),
    }
}
