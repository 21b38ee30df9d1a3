//! What is to be written to each object of a cluster: whether it is in force, and what was found.

use std::collections::{BTreeMap, BTreeSet};

use trysail_kubernetes::{Judgement, Key, Message, Verdict, View};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};

use super::isolate::{Isolated, Stand};
use crate::render;

/// Findings that are handed on of one object.
const MOST: usize = 50;

/// What is to be said of Istio's objects: of those that are broken, and of those that a gateway of ours uses. The others
/// may be another gateway's, who says so.
pub(super) fn judgements(view: &View, isolated: &Isolated, found: &Diagnostics) -> BTreeMap<Key, Judgement> {
    let mut by_object: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    let mut not_ours = BTreeSet::new();
    for finding in isolated.errors.iter().chain(found.iter()) {
        let Some(origin) = &finding.origin else { continue };
        if finding.code == Code::NOT_FOR_US {
            not_ours.insert(&*origin.piece.file);
        }
        if finding.severity > Severity::Note {
            by_object.entry(&origin.piece.file).or_default().push(finding);
        }
    }
    let mut judgements = BTreeMap::new();
    for (key, entry) in view.entries.iter().filter(|(key, _)| key.kind.is_istios()) {
        let title = &**entry.single.title();
        let verdict = match isolated.refused.get(key) {
            Some(Stand::Before) => Verdict::Kept,
            Some(Stand::Out) => Verdict::LeftOut,
            None if not_ours.contains(title) => continue,
            None => Verdict::Applied,
        };
        let mut findings = by_object.remove(title).unwrap_or_default();
        // Of a version that stays in place of a broken one, what else there is to say is no news.
        findings.retain(|finding| verdict == Verdict::Applied || finding.severity == Severity::Error);
        let messages = findings.into_iter().take(MOST).map(message).collect();
        let judgement = Judgement { generation: entry.facts.generation, verdict, messages };
        judgements.insert(key.clone(), judgement);
    }
    judgements
}

fn message(finding: &Diagnostic) -> Message {
    let place = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
    let hint = finding.hints.first().map_or_else(String::new, |hint| format!(" ({hint})"));
    Message {
        code: finding.code.id,
        name: finding.code.name,
        is_error: finding.severity == Severity::Error,
        text: format!("{place}{}{hint}", finding.message),
        url: render::documentation(&finding.code).unwrap_or_default(),
    }
}
