//! HTTPRoute → route: conditions, and what happens to a request that fulfils them.

use std::sync::Arc;

use super::clusters::Clusters;
use super::delegates::Standing;
use super::gateways::GatewayServer;
use super::matches::{self, Block};
use super::splits::{Forwarding, Splits};
use super::support::Written;
use super::variables::Around;
use super::{Surroundings, answers, handling, transforms};
use crate::origin::{At, Pos};
use crate::snapshot::{Action, Match, Route, RoutePlaces};
use crate::wire::Document;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::HttpRoute;

/// A rule of a VirtualService, compiled, before it is known which server it stands under.
pub(super) struct Rule {
    route: Arc<Route>,
    blocks: Vec<Block>,
}

impl Rule {
    /// Its blocks, in written order.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The route with all its blocks.
    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Whether it stands as it is under every server: see [`Rule::under`], and that a block which takes everything goes
    /// behind others.
    pub(super) fn is_plain(&self) -> bool {
        let all = self.route.matches.iter().position(|block| block.takes_all());
        self.blocks.iter().all(Block::applies_everywhere) && all.is_none_or(|block| block == 0)
    }

    /// The route as requests that come in through a server see it: with the blocks that apply there; `None` where
    /// it has blocks and none of them does.
    pub(super) fn under(&self, server: &GatewayServer<'_>) -> Option<Arc<Route>> {
        if self.blocks.iter().all(Block::applies_everywhere) {
            return Some(self.route.clone());
        }
        let applying = self.blocks.iter().filter(|block| block.applies(server));
        let matches: Vec<Arc<Match>> = applying.map(|block| block.conditions.clone()).collect();
        (!matches.is_empty())
            .then(|| Arc::new(Route { matches: matches.into(), ..Route::clone(&self.route) }))
    }
}

/// How people name a rule: `default/reviews http[0]`, or with its own name in place of `http[0]`.
pub(super) fn name_of(document: &Document, index: usize, name: Option<&At<String>>) -> Arc<str> {
    match name {
        Some(name) => format!("{} {}", document.object.name, name.value).into(),
        None => format!("{} http[{index}]", document.object.name).into(),
    }
}

/// Compiles a rule of a VirtualService; `None` where it could not be, with the reason in the sink.
///
/// `clusters` is `None` for a VirtualService that no gateway of ours serves: its destinations need not exist.
pub(super) fn compile(
    rule: &Standing<'_>,
    mut clusters: Option<&mut Clusters<'_>>,
    splits: &mut Splits<'_>,
    surroundings: &Surroundings,
    sink: &mut Sink<'_>,
) -> Option<Rule> {
    let Standing { document, index, route, title: _, root, within } = rule;
    let HttpRoute {
        name,
        matches: written_matches,
        route: destinations,
        redirect,
        direct_response,
        delegate, // its rules stand here by now
        rewrite,
        headers,
        // Compiled as one, in `handling`.
        timeout: _,
        retries: _,
        fault: _,
        mirror: _,
        mirrors: _,
        mirror_percent: _,
        mirror_percent_snake: _,
        mirror_percentage: _,
        cors_policy: _,
    } = &route.value;
    let namespace = &document.object.name.namespace;
    let block = |(at, block): (usize, &At<_>)| {
        let within = within.get(at).copied().flatten();
        matches::compile(block, within, namespace, surroundings, sink)
    };
    let blocks: Vec<Block> = written_matches.iter().enumerate().filter_map(block).collect();
    let sound = blocks.len() == written_matches.len();
    let conditions: Box<[Arc<Match>]> = blocks.iter().map(|block| block.conditions.clone()).collect();
    let around = Around { surroundings, route: name.as_ref().map_or("", |name| name.as_str()) };
    let name = name_of(document, *index, name.as_ref());
    let changes = transforms::rule(headers.as_ref(), rewrite.as_ref(), &around, sink);
    if let (Some(rewrite), true) = (rewrite, redirect.is_some() || direct_response.is_some()) {
        sink.schema(rewrite.pos.back(1), "\"rewrite\" has no place in a rule that has no route".into());
    }
    let handling = handling::compile(&route.value, namespace, clusters.as_deref_mut(), sink);
    // All that a rule says is read, also where it says too much: what is wrong with it is found at once.
    let redirected = redirect.as_ref().and_then(|redirect| answers::redirect(redirect, &conditions, sink));
    let answered = direct_response.as_ref().and_then(|response| answers::response(response, sink));
    let answer = redirect.key().or(direct_response.key());
    let forwarded = if destinations.is_empty() {
        None
    } else {
        let (name, changes) = (name.clone(), &changes);
        let rule = Forwarding { document, route, blocks: &blocks, name, changes, around: &around };
        splits.make(&rule, clusters.filter(|_| answer.is_none()), sink).map(Action::Forward)
    };
    let unread = ["route", "redirect", "directResponse", "delegate"];
    let unread = unread.into_iter().any(|field| document.is_unread(route.pos, field));
    let said = [!destinations.is_empty(), redirect.is_some(), direct_response.is_some()];
    match said.into_iter().filter(|said| *said).count() {
        0 if delegate.is_none() && !unread => {
            sink.schema(route.pos, "a rule needs a route, a redirect or a directResponse".into());
        }
        0 | 1 => {}
        _ => {
            sink.schema(route.pos, "route, redirect and directResponse exclude each other".into());
        }
    }
    // Where several slip through, Istio looks at the redirect first.
    let action = match (redirect, direct_response) {
        (Some(_), _) => redirected,
        (None, Some(_)) => answered,
        (None, None) => forwarded,
    };
    let (action, true) = (action?, sound) else { return None };
    let origin = document.origin(route.pos);
    // What is answered here has no upstream to be late, to fail or to be copied; Istio leaves CORS out too.
    let handling = handling.filter(|_| matches!(action, Action::Forward(_)));
    let (answers, changed) = changes.of_answers();
    let places = RoutePlaces { answer: answer.and_then(Pos::place), answers: changed };
    let root = root.clone();
    let route =
        Arc::new(Route { name, origin, matches: conditions, action, handling, answers, root, places });
    Some(Rule { route, blocks })
}
