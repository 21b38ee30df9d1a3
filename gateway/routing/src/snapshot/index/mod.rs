//! A virtual host's rules in an index: which of many blocks of conditions a request can fulfil at all.
//!
//! Each block is filed under one thing that a request must have for it: its exact path, a prefix of it, the value
//! of a field. Of the keys that a block offers the one that fewest blocks share is taken, so 10,000 rules that
//! differ only by a field's value are as flat as 10,000 paths. A block that offers none is asked every time.
//!
//! A request looks up what it has, and asks of each list of blocks found, from the front, until one holds or the
//! list passes the best found so far. Lists are in written order, so what remains is the first block in written
//! order that holds: what a scan finds, without merging the lists, which would need memory for each request.
//! Refused: one automaton over all paths (built anew at each edit, and blind to fields), and a tree of conditions
//! (rules that share nothing are its worst case). Patterns are asked one by one; an automaton for them all would
//! be the next step, where somebody has hundreds on one host.

mod prefixes;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::predicate::{Match, Test, ValueTest, joined};
use super::request::Request;
use super::route::Route;
use prefixes::Prefixes;

/// Blocks of conditions by what a request must have for them.
#[derive(Debug)]
pub(super) struct RouteIndex {
    /// Every block in written order: its route, and its place in the route's list; none for a route without.
    blocks: Box<[Place]>,
    /// The lists' members, list after list; indices into `blocks`, ascending within a list.
    members: Box<[u32]>,
    exact_paths: Table<Box<str>>,
    /// The same in lower case, for blocks that ignore it.
    exact_lower_paths: Table<Box<str>>,
    prefixes: Prefixes,
    lower_prefixes: Prefixes,
    fields: Table<HeaderName, Values>,
    parameters: Table<Box<str>, Values>,
    methods: Table<Box<str>>,
    authorities: Table<Box<str>>,
    /// Blocks that are asked every time.
    always: List,
}

/// Where a block stands: which route, and which of its blocks.
type Place = (u32, Option<u32>);

/// A part of `members`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    from: u32,
    to: u32,
}

/// Keys come from files that we trust not to attack us, so the hash needs no secret.
type Table<K, V = List> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// The blocks that are filed under a field or parameter.
#[derive(Debug, Default)]
struct Values {
    exact: Table<Box<[u8]>>,
    /// Blocks that ask something else of it: that it is there, a prefix, a pattern.
    any: List,
}

/// What a block can be filed under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key<'m> {
    ExactPath(&'m str),
    ExactLowerPath(Cow<'m, str>),
    Field(&'m HeaderName, &'m str),
    Parameter(&'m str, &'m str),
    Authority(&'m str),
    Prefix(&'m str),
    LowerPrefix(Cow<'m, str>),
    AnyField(&'m HeaderName),
    AnyParameter(&'m str),
    Method(&'m str),
}

impl RouteIndex {
    /// Up to so many blocks are asked one after the other, which is as fast and needs no memory.
    const WORTH_IT: usize = 8;

    /// Whether an index over these routes is better than a scan.
    pub(super) fn is_worth_it(routes: &[Arc<Route>]) -> bool {
        let blocks: usize = routes.iter().map(|route| route.matches.len().max(1)).sum();
        blocks > Self::WORTH_IT && u32::try_from(blocks).is_ok()
    }

    /// An index over routes in the order in which they are tried.
    pub(super) fn build(routes: &[Arc<Route>]) -> RouteIndex {
        let mut blocks: Vec<(Place, Option<&Match>)> = Vec::new();
        for (route, number) in routes.iter().zip(0_u32..) {
            if route.matches.is_empty() {
                blocks.push(((number, None), None));
            }
            let here = route.matches.iter().zip(0_u32..);
            blocks.extend(here.map(|(block, place)| ((number, Some(place)), Some(&**block))));
        }
        Filing::of(&blocks).finish(blocks.iter().map(|(place, _)| *place).collect())
    }

    /// The first block in written order that a request fulfils.
    pub(super) fn find(&self, routes: &[Arc<Route>], request: &Request<'_>) -> Option<Place> {
        let mut search = Search { index: self, routes, request, best: u32::MAX };
        let path = request.path;
        search.ask_under(&self.exact_paths, path);
        search.ask_prefixes(&self.prefixes, path);
        if !(self.exact_lower_paths.is_empty() && self.lower_prefixes.is_empty()) {
            let lower: &str = &lower_case(path);
            search.ask_under(&self.exact_lower_paths, lower);
            search.ask_prefixes(&self.lower_prefixes, lower);
        }
        search.ask_fields(request.headers);
        search.ask_parameters(request.query);
        search.ask_under(&self.authorities, request.authority);
        search.ask_under(&self.methods, request.method);
        search.ask(self.always);
        self.blocks.get(search.best as usize).copied()
    }
}

/// A search under way.
struct Search<'a, 'r> {
    index: &'a RouteIndex,
    routes: &'a [Arc<Route>],
    request: &'a Request<'r>,
    /// The first block in written order that is known to hold.
    best: u32,
}

impl Search<'_, '_> {
    /// Asks a list's blocks until one holds, or none before the best is left.
    fn ask(&mut self, list: List) {
        let members = self.index.members.get(list.from as usize..list.to as usize).unwrap_or_default();
        let before = members.iter().take_while(|block| **block < self.best);
        if let Some(block) = before.copied().find(|block| self.holds(*block)) {
            self.best = block;
        }
    }

    fn holds(&self, block: u32) -> bool {
        let Some((route, place)) = self.index.blocks.get(block as usize) else { return false };
        let Some(place) = place else { return true };
        let block = self.routes.get(*route as usize).and_then(|route| route.matches.get(*place as usize));
        block.is_some_and(|block| block.failing(self.request).is_none())
    }

    fn ask_under(&mut self, table: &Table<Box<str>>, value: &str) {
        // The table may be empty, and a look-up hashes all the same.
        if let Some(list) = (!table.is_empty()).then(|| table.get(value)).flatten() {
            self.ask(*list);
        }
    }

    fn ask_prefixes(&mut self, table: &Prefixes, path: &str) {
        for list in table.of(path) {
            self.ask(list);
        }
    }

    /// The request has few fields and the index mostly fewer: whichever has fewer is gone through.
    fn ask_fields(&mut self, headers: &HeaderMap) {
        let index = self.index;
        if index.fields.len() <= headers.keys_len() {
            for (name, values) in &index.fields {
                self.ask_field(headers, name, values);
            }
        } else {
            for name in headers.keys() {
                if let Some(values) = index.fields.get(name) {
                    self.ask_field(headers, name, values);
                }
            }
        }
    }

    fn ask_field(&mut self, headers: &HeaderMap, name: &HeaderName, values: &Values) {
        if let Some(value) = joined(headers, name) {
            self.ask_value(values, &value);
        }
    }

    fn ask_value(&mut self, values: &Values, value: &[u8]) {
        if let Some(list) = values.exact.get(value) {
            self.ask(*list);
        }
        self.ask(values.any);
    }

    /// Of a parameter that is repeated only the first counts; a block asks for itself, so looking up the others
    /// too costs a little and finds nothing wrong.
    fn ask_parameters(&mut self, query: Option<&str>) {
        let index = self.index;
        let Some(query) = query.filter(|_| !index.parameters.is_empty()) else { return };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(values) = index.parameters.get(name) {
                self.ask_value(values, value.as_bytes());
            }
        }
    }
}

/// A text in lower case; borrowed where it is so already.
fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

/// Blocks on their way into an index: the list of each key.
struct Filing<'m> {
    lists: Table<Key<'m>, Vec<u32>>,
    always: Vec<u32>,
    /// How many blocks there are.
    blocks: usize,
}

impl<'m> Filing<'m> {
    /// Files every block under the key that fewest blocks share.
    fn of(blocks: &[(Place, Option<&'m Match>)]) -> Self {
        let mut shared: Table<Key<'m>, u32> = Table::default();
        for (_, block) in blocks {
            keys(*block, |key| *shared.entry(key).or_default() += 1);
        }
        let mut filing = Filing { lists: Table::default(), always: Vec::new(), blocks: blocks.len() };
        for ((_, block), number) in blocks.iter().zip(0_u32..) {
            let mut best: Option<((u32, u8), Key<'m>)> = None;
            keys(*block, |key| {
                let cost = (shared.get(&key).copied().unwrap_or_default(), key.rank());
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, key));
                }
            });
            match best {
                Some((_, key)) => filing.lists.entry(key).or_default().push(number),
                None => filing.always.push(number),
            }
        }
        filing
    }

    fn finish(self, blocks: Box<[Place]>) -> RouteIndex {
        let mut members: Vec<u32> = Vec::with_capacity(self.blocks);
        let mut list = |numbers: &[u32]| {
            let from = members.len() as u32;
            members.extend_from_slice(numbers);
            List { from, to: members.len() as u32 }
        };
        let mut index = RouteIndex {
            blocks,
            members: Box::default(),
            exact_paths: Table::default(),
            exact_lower_paths: Table::default(),
            prefixes: Prefixes::default(),
            lower_prefixes: Prefixes::default(),
            fields: Table::default(),
            parameters: Table::default(),
            methods: Table::default(),
            authorities: Table::default(),
            always: list(&self.always),
        };
        let (mut prefixes, mut lower_prefixes) = (Vec::new(), Vec::new());
        for (key, numbers) in &self.lists {
            let list = list(numbers);
            match key {
                Key::ExactPath(path) => put(&mut index.exact_paths, path, list),
                Key::ExactLowerPath(path) => put(&mut index.exact_lower_paths, path, list),
                Key::Prefix(prefix) => prefixes.push(((*prefix).into(), list)),
                Key::LowerPrefix(prefix) => lower_prefixes.push((prefix.clone().into(), list)),
                Key::Field(name, value) => {
                    let values = index.fields.entry((*name).clone()).or_default();
                    values.exact.insert(value.as_bytes().into(), list);
                }
                Key::AnyField(name) => index.fields.entry((*name).clone()).or_default().any = list,
                Key::Parameter(name, value) => {
                    let values = index.parameters.entry((*name).into()).or_default();
                    values.exact.insert(value.as_bytes().into(), list);
                }
                Key::AnyParameter(name) => index.parameters.entry((*name).into()).or_default().any = list,
                Key::Method(method) => put(&mut index.methods, method, list),
                Key::Authority(authority) => put(&mut index.authorities, authority, list),
            }
        }
        (index.prefixes, index.lower_prefixes) = (Prefixes::new(prefixes), Prefixes::new(lower_prefixes));
        index.members = members.into();
        index
    }
}

impl Key<'_> {
    /// Of keys that equally many blocks share the one that the fewest requests have comes first.
    fn rank(&self) -> u8 {
        match self {
            Key::ExactPath(_) | Key::ExactLowerPath(_) => 0,
            Key::Field(..) | Key::Parameter(..) => 1,
            Key::Authority(_) => 2,
            // A longer prefix is had by fewer requests, and the shortest, `/`, by all.
            Key::Prefix("" | "/") => 5,
            Key::Prefix(_) | Key::LowerPrefix(_) => 3,
            Key::AnyField(_) | Key::AnyParameter(_) => 4,
            Key::Method(_) => 6,
        }
    }
}

/// Every key that a block offers: each a condition without which it can not hold.
fn keys<'m>(block: Option<&'m Match>, mut offer: impl FnMut(Key<'m>)) {
    for condition in block.iter().flat_map(|block| &block.conditions) {
        match &condition.test {
            Test::Path(ValueTest::Exact(path)) => offer(Key::ExactPath(path)),
            Test::Path(ValueTest::Prefix(prefix)) => offer(Key::Prefix(prefix)),
            Test::Path(ValueTest::ExactIgnoringCase(path)) => offer(Key::ExactLowerPath(lower_case(path))),
            Test::Path(ValueTest::PrefixIgnoringCase(prefix)) => offer(Key::LowerPrefix(lower_case(prefix))),
            Test::Header(name, ValueTest::Exact(value)) => offer(Key::Field(name, value)),
            Test::Header(name, _) => offer(Key::AnyField(name)),
            Test::Query(name, ValueTest::Exact(value)) => offer(Key::Parameter(name, value)),
            Test::Query(name, _) => offer(Key::AnyParameter(name)),
            Test::Method(ValueTest::Exact(method)) => offer(Key::Method(method)),
            Test::Authority(ValueTest::Exact(authority)) => offer(Key::Authority(authority)),
            // What a request must not have, what nearly all have alike, and what only asking tells.
            Test::WithoutHeader(..)
            | Test::Scheme(_)
            | Test::Target(_)
            | Test::Path(_)
            | Test::Method(_)
            | Test::Authority(_) => {}
        }
    }
}

fn put(table: &mut Table<Box<str>>, key: &str, list: List) {
    table.insert(key.into(), list);
}
