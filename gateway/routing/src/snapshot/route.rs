//! Routes: conditions, and what happens to a request that fulfils them.

use std::sync::Arc;

use super::answer::{DirectResponse, Redirect};
use super::cluster::ClusterId;
use super::handling::Handling;
use super::predicate::Match;
use super::schedule::Schedule;
use super::transform::{HeaderOps, Transform};
use crate::origin::{Origin, Place};

/// What a route is, over all revisions: its split's position is kept by it.
///
/// A digest of the VirtualService's name and the route's `name`, or, where it has none, of its conditions and
/// destinations as written without weights; so a rule that is put in above it moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey(pub u128);

/// One rule of a VirtualService.
#[derive(Clone, Debug)]
pub struct Route {
    /// How people name it: `default/reviews http[0]`, or with its `name` in place of `http[0]`.
    pub name: Arc<str>,
    /// Where it is written.
    pub origin: Origin,
    /// Its conditions; one block that holds is enough, and none at all takes every request.
    pub matches: Box<[Arc<Match>]>,
    /// What happens.
    pub action: Action,
    /// What happens beside that; `None` for what routes do that say nothing.
    pub handling: Option<Arc<Handling>>,
    /// What is changed of the answers that the gateway gives itself in the route's name.
    pub answers: Option<Arc<HeaderOps>>,
    /// The rule in whose place it stands, where that one delegates.
    pub root: Option<Arc<Origin>>,
    /// Where it says what it does.
    pub places: RoutePlaces,
}

/// Where a route's own fields are written; see [`Route::origin_of`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutePlaces {
    /// The redirect or the direct response.
    pub answer: Option<Place>,
    /// What is changed of the answers that the gateway gives itself.
    pub answers: Option<Place>,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to one of some targets.
    Forward(Arc<Split>),
    /// The client is sent elsewhere.
    Redirect(Arc<Redirect>),
    /// It is answered here and now.
    Respond(Arc<DirectResponse>),
}

impl Route {
    /// Whether it takes every request of its host.
    pub fn takes_all(&self) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|block| block.takes_all())
    }

    /// Where a field of it is written: in its own document, or in that of the rule that delegates to it.
    pub fn origin_of(&self, place: Place) -> Origin {
        place.within(&self.origin.piece, self.root.as_ref().map(|root| &root.piece))
    }
}

/// A split's place in its snapshot's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId(u32);

impl SplitId {
    /// The id of the split at `index`.
    pub(crate) fn new(index: usize) -> Self {
        SplitId(u32::try_from(index).expect("fewer routes than bytes of configuration"))
    }

    /// The index into a snapshot's tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Targets with their shares. Never empty; the weights' sum is over 0.
#[derive(Debug)]
pub struct Split {
    /// Its place in the snapshot's tables.
    pub id: SplitId,
    /// What it is, over all revisions.
    pub key: RouteKey,
    /// Its route's name.
    pub name: Arc<str>,
    /// Where its route is written.
    pub origin: Origin,
    /// Which target serves which turn.
    pub schedule: Arc<Schedule>,
    /// The targets, in written order, also those of weight 0.
    pub targets: Box<[Target]>,
}

/// One target of a split.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is changed of requests on their way there; `None` for nothing.
    pub transform: Option<Arc<Transform>>,
    /// Where its requests go.
    pub cluster: ClusterId,
    /// Its weight as written; 1 where a route has but one target.
    pub weight: u32,
    /// Where it is written.
    pub origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Transform;

    /// There may be a million of them: whoever makes one bigger, says so here.
    #[test]
    fn routes_are_small() {
        let sizes = [size_of::<Route>(), size_of::<Match>(), size_of::<Target>(), size_of::<Transform>()];
        assert_eq!(sizes, [96, 24, 32, 104]);
        assert_eq!(size_of::<Option<Place>>(), 4);
    }
}
