//! Why a request goes where it goes: the decision itself, written down by someone who looked on.

use std::sync::Arc;

use super::{Decision, Observe, Request, decide};
use crate::origin::Origin;
use crate::snapshot::{Condition, Match, Route, Test, ValueTest, VirtualHost, VirtualHosts};

/// A decision with everything that led to it.
#[derive(Debug)]
pub struct Explanation<'s> {
    /// The decision.
    pub decision: Decision<'s>,
    /// The virtual host that was found.
    pub host: Option<&'s VirtualHost>,
    /// Every block of conditions that was asked, in order.
    pub considered: Vec<Considered>,
}

/// One route's block of conditions, and what became of it.
#[derive(Debug)]
pub struct Considered {
    /// The rule's number on its host, from 1; each of its blocks has it.
    pub rule: usize,
    /// The route's name.
    pub route: Arc<str>,
    /// The deciding place: the condition that failed, or the first of those that held.
    pub origin: Origin,
    /// Whether it took the request.
    pub took: bool,
    /// Why, in words.
    pub why: String,
    /// Where it took the request: each of its conditions, in words, with its place.
    pub held: Vec<(String, Origin)>,
    /// Of a delegate's rule: its block of conditions, and the one of its root that this lies within.
    pub merged: Option<[Origin; 2]>,
}

/// Explains one request: the same walk as [`decide`], with a recorder.
pub fn explain<'s>(hosts: &'s VirtualHosts, request: &Request<'_>) -> Explanation<'s> {
    let mut recorder = Recorder { request, considered: Vec::new(), rules: (0, None) };
    let decision = decide(hosts, request, &mut recorder);
    let host = hosts.find(request.authority).map(|host| &**host);
    Explanation { decision, host, considered: recorder.considered }
}

struct Recorder<'r> {
    request: &'r Request<'r>,
    considered: Vec<Considered>,
    /// How many rules were asked, and the last of them.
    rules: (usize, Option<Arc<Route>>),
}

impl Observe for Recorder<'_> {
    fn route(&mut self, route: &Arc<Route>, block: Option<&Match>, failed: Option<&Condition>) {
        let held = block.filter(|_| failed.is_none()).map_or(&[][..], |block| &block.conditions);
        let held = held.iter().map(|condition| (consent(&condition.test), condition.origin.clone()));
        let held: Vec<(String, Origin)> = held.collect();
        let (origin, why) = match (failed, held.as_slice()) {
            (Some(condition), _) => (&condition.origin, refusal(&condition.test, self.request)),
            (None, []) => (&route.origin, "it takes every request".to_owned()),
            (None, [(_, first), ..]) => {
                let words: Vec<&str> = held.iter().map(|(words, _)| words.as_str()).collect();
                (first, words.join(", "))
            }
        };
        let (origin, took) = (origin.clone(), failed.is_none());
        let merged = block.and_then(|block| block.merged);
        let merged = merged.map(|both| both.map(|place| route.origin_of(place)));
        if !self.rules.1.as_ref().is_some_and(|last| Arc::ptr_eq(last, route)) {
            self.rules = (self.rules.0 + 1, Some(route.clone()));
        }
        let (rule, route) = (self.rules.0, route.name.clone());
        self.considered.push(Considered { rule, route, origin, took, why, held, merged });
    }
}

/// `method is "GET"`: what a test that held asked for.
pub fn consent(test: &Test) -> String {
    match test {
        Test::WithoutHeader(name, ValueTest::Present) => format!("there is no {name}"),
        Test::WithoutHeader(name, test) => {
            format!("{name} {}", words(test, "is not", "does not start with", "does not match"))
        }
        _ => format!("{} {}", what(test), words(value_test(test), "is", "starts with", "matches")),
    }
}

/// `end-user "jason" is not "tester"`: what a test that failed found.
fn refusal(test: &Test, request: &Request<'_>) -> String {
    let found = match test {
        Test::Path(_) => Some(request.path.to_owned()),
        Test::Target(_) => {
            Some(request.query.map_or(request.path.to_owned(), |query| format!("{}?{query}", request.path)))
        }
        Test::Method(_) => Some(request.method.to_owned()),
        Test::Scheme(_) => Some(request.scheme.to_owned()),
        Test::Authority(_) => Some(request.authority.to_owned()),
        Test::Header(name, _) | Test::WithoutHeader(name, _) => {
            let values: Vec<_> =
                request.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
            (!values.is_empty()).then(|| values.join(","))
        }
        Test::Query(name, _) => crate::snapshot::parameter(request.query, name).map(str::to_owned),
    };
    match (test, found) {
        (Test::WithoutHeader(name, ValueTest::Present), _) => format!("there is a field {name}"),
        (Test::WithoutHeader(name, test), found) => {
            format!("{name} {:?} {}", found.unwrap_or_default(), words(test, "is", "starts with", "matches"))
        }
        (_, None) => format!("there is no {}", what(test)),
        (_, Some(found)) => {
            let words = words(value_test(test), "is not", "does not start with", "does not match");
            format!("{} {found:?} {words}", what(test))
        }
    }
}

/// What a test looks at.
fn what(test: &Test) -> String {
    match test {
        Test::Path(_) => "path".to_owned(),
        Test::Target(_) => ":path".to_owned(),
        Test::Method(_) => "method".to_owned(),
        Test::Scheme(_) => "scheme".to_owned(),
        Test::Authority(_) => "authority".to_owned(),
        Test::Header(name, _) | Test::WithoutHeader(name, _) => name.to_string(),
        Test::Query(name, _) => format!("query parameter {name}"),
    }
}

fn value_test(test: &Test) -> &ValueTest {
    match test {
        Test::Path(test)
        | Test::Target(test)
        | Test::Method(test)
        | Test::Scheme(test)
        | Test::Authority(test) => test,
        Test::Header(_, test) | Test::WithoutHeader(_, test) | Test::Query(_, test) => test,
    }
}

fn words(test: &ValueTest, exact: &str, prefix: &str, regex: &str) -> String {
    match test {
        ValueTest::Present => "is there".to_owned(),
        ValueTest::Exact(text) => format!("{exact} {text:?}"),
        ValueTest::ExactIgnoringCase(text) => format!("{exact} {text:?} in any case"),
        ValueTest::Prefix(text) => format!("{prefix} {text:?}"),
        ValueTest::PrefixIgnoringCase(text) => format!("{prefix} {text:?} in any case"),
        ValueTest::Regex(pattern) => format!("{regex} {:?}", pattern.as_str()),
    }
}
