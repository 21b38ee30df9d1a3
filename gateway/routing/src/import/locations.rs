//! A host's locations in the order in which nginx would find them, each with its conditions on the path.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::hosts::{Host, Location, PathKind};
use super::paths::{self, PathTest};
use super::read::Source;
use super::treatment::Treatment;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::path::{Normalization, canonical};

/// A location that is ready to be a rule.
pub(super) struct Ordered<'h> {
    pub(super) location: &'h Location,
    /// One of them is enough.
    pub(super) tests: Vec<PathTest>,
    /// nginx sends `/foo` to `/foo/` where only that is a location.
    pub(super) slash: Option<String>,
    /// Whether the host's paths are patterns.
    pub(super) patterns: bool,
}

/// Whether ingress-nginx makes patterns of all paths of a host: where one of them is one, or is rewritten.
fn are_patterns(host: &Host, treatments: &[Treatment]) -> bool {
    host.locations.iter().any(|location| {
        treatments.get(location.source).is_some_and(|treatment| {
            treatment.use_regex
                || treatment.rewrite.as_ref().is_some_and(|target| target.value != location.path)
        })
    })
}

/// Orders a host's locations: the longest path first, and what is exact before what is not.
pub(super) fn order<'h>(
    host: &'h Host,
    sources: &[Source],
    treatments: &[Treatment],
    out: &mut Diagnostics,
) -> Vec<Ordered<'h>> {
    let patterns = are_patterns(host, treatments);
    let mut ordered = Vec::new();
    let mut taken: BTreeSet<PathTest> = BTreeSet::new();
    for location in &host.locations {
        let Some(source) = sources.get(location.source) else { continue };
        let path = location.path.as_str();
        // nginx compares what escapes mean, and here they are compared as they are written: in one way.
        let written =
            canonical(path.as_bytes(), Normalization::Base).ok().filter(|_| !path.contains(['?', '#']));
        let plain = written.as_ref().map_or(path, |target| &*target.path);
        let (tests, length) = match (patterns, location.kind) {
            (true, kind) => {
                let test = match paths::of_pattern(path) {
                    Ok(test) => test,
                    Err(message) => {
                        let message =
                            format!("{path:?} is not a pattern here, so its rule is left out: {message}");
                        source
                            .sink(out)
                            .add(Severity::Error, Code::NOT_CARRIED_OVER, location.pos, message)
                            .hints
                            .push("patterns are RE2's: no look-around, no back-references; its requests go to the next rule that takes them".into());
                        continue;
                    }
                };
                if kind != PathKind::Specific && path != "/" && !uses_patterns(location, treatments) {
                    let word = if kind == PathKind::Exact { "Exact" } else { "Prefix" };
                    let message = format!(
                        "{word} {path} takes all that begins so, in upper or lower case: another path of its host is a pattern"
                    );
                    source
                        .sink(out)
                        .add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, location.pos, message)
                        .hints
                        .push("so it was in ingress-nginx; the rule may say \"exact\" now".into());
                }
                (vec![test], path.len())
            }
            (false, PathKind::Exact) => (vec![PathTest::Exact(plain.to_owned())], path.len()),
            (false, PathKind::Prefix) if plain != "/" => {
                let bare = plain.strip_suffix('/').unwrap_or(plain);
                let exact = bare == plain && !host.has(path, PathKind::Exact);
                let slashed = PathTest::Prefix(format!("{bare}/"));
                (
                    exact.then(|| PathTest::Exact(bare.to_owned())).into_iter().chain([slashed]).collect(),
                    path.strip_suffix('/').unwrap_or(path).len() + 1,
                )
            }
            (false, PathKind::Prefix | PathKind::Specific) => {
                (vec![PathTest::Prefix(plain.to_owned())], path.len())
            }
        };
        // Two ways to write one location: the first counts.
        if tests.last().is_some_and(|test| !taken.insert(test.clone())) {
            let message = format!("{path} is a location of its host already");
            source.sink(out).add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, location.pos, message);
            continue;
        }
        let bare = path.strip_suffix('/').filter(|bare| !patterns && !bare.is_empty());
        let kinds = [PathKind::Exact, PathKind::Prefix, PathKind::Specific];
        let slash = bare.filter(|bare| kinds.into_iter().all(|kind| !host.has(bare, kind)));
        let exact = matches!(tests.as_slice(), [PathTest::Exact(_)]);
        let key =
            (Reverse(length), !exact, if patterns { Order::Last(Reverse(path)) } else { Order::First(path) });
        ordered.push((key, Ordered { location, tests, slash: slash.map(str::to_owned), patterns }));
    }
    ordered.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Where an exact /foo/ and a prefix /foo/ would both send /foo there, once is enough.
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut all: Vec<Ordered<'h>> = ordered.into_iter().map(|(_, one)| one).collect();
    for one in &mut all {
        one.slash = one.slash.take().filter(|slash| !seen.contains(slash));
        seen.extend(one.slash.clone());
    }
    all
}

/// Paths of one length: as they are, or of patterns the last in the alphabet first, as ingress-nginx sorts them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Order<'p> {
    First(&'p str),
    Last(Reverse<&'p str>),
}

fn uses_patterns(location: &Location, treatments: &[Treatment]) -> bool {
    treatments
        .get(location.source)
        .is_some_and(|treatment| treatment.use_regex || treatment.rewrite.is_some())
}
