//! What became of the last hundred revisions that were read.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use trysail_routing::diagnostic::{Diagnostic, Severity};
use trysail_routing::wire::Revision;

use super::told::{Finding, Outcome, RevisionEntry, Source};
use super::words::time;

/// So many are kept.
const KEPT: usize = 100;

/// So many findings are kept of one.
const FINDINGS: usize = 20;

/// The history, and a number that grows with whatever changes of what `status` tells.
pub(crate) struct History {
    entries: Mutex<VecDeque<Entry>>,
    /// When what serves was kept on disk, where it is from there.
    kept: Mutex<Option<SystemTime>>,
    changes: watch::Sender<u64>,
}

/// One revision that was read.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: SystemTime,
    /// Empty where it could not be read at all.
    pub(crate) revision: Revision,
    pub(crate) source: Source,
    pub(crate) outcome: Outcome,
    /// What it changed, in one sentence; may be empty.
    pub(crate) changes: String,
    pub(crate) took: Duration,
    findings: Vec<Finding>,
    more: usize,
}

impl Default for History {
    fn default() -> Self {
        History { entries: Mutex::default(), kept: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl History {
    /// Notes that a revision is in force.
    pub(crate) fn applied(&self, revision: &Revision, source: Source, changes: String, took: Duration) {
        let (at, outcome) = (SystemTime::now(), Outcome::Applied);
        let (findings, more) = (Vec::new(), 0);
        self.put(Entry { at, revision: revision.clone(), source, outcome, changes, took, findings, more });
    }

    /// Notes that one was refused, unless that is what was noted last.
    pub(crate) fn refused<'d>(
        &self,
        revision: &Revision,
        source: Source,
        findings: impl Iterator<Item = &'d Diagnostic>,
        took: Duration,
    ) {
        let errors: Vec<Finding> =
            findings.filter(|finding| finding.severity == Severity::Error).map(Finding::of).collect();
        let more = errors.len().saturating_sub(FINDINGS);
        let entry = Entry {
            at: SystemTime::now(),
            revision: revision.clone(),
            source,
            outcome: Outcome::Refused,
            changes: String::new(),
            took,
            findings: errors.into_iter().take(FINDINGS).collect(),
            more,
        };
        let again = |last: &Entry| {
            last.outcome == Outcome::Refused
                && last.revision == entry.revision
                && last.findings == entry.findings
        };
        if !self.entries.lock().back().is_some_and(again) {
            self.put(entry);
        }
    }

    /// Notes that files say again what is in force, where that ends a refusal.
    pub(crate) fn confirmed(&self, revision: &Revision, source: Source, took: Duration) {
        if self.refusal().is_some() {
            self.applied(revision, source, "the files say again what is in force".to_owned(), took);
        }
    }

    fn put(&self, entry: Entry) {
        let mut entries = self.entries.lock();
        if entries.len() >= KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
        drop(entries);
        self.stir();
    }

    /// Notes when what serves was kept on disk, where it is from there.
    pub(crate) fn serves_kept(&self, at: Option<SystemTime>) {
        let before = std::mem::replace(&mut *self.kept.lock(), at);
        if before != at {
            self.stir();
        }
    }

    /// When what serves was kept on disk, where it is from there.
    pub(crate) fn kept(&self) -> Option<SystemTime> {
        *self.kept.lock()
    }

    /// Says that something changed.
    pub(crate) fn stir(&self) {
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
    }

    /// To hear of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All of it, the newest first.
    pub(crate) fn told(&self) -> Vec<RevisionEntry> {
        self.entries.lock().iter().rev().map(Entry::told).collect()
    }

    /// The last refusal, if nothing was applied or found in order since.
    pub(crate) fn refusal(&self) -> Option<RevisionEntry> {
        let entries = self.entries.lock();
        entries.back().filter(|entry| entry.outcome == Outcome::Refused).map(Entry::told)
    }

    /// Since when a revision is in force that was applied last: what is applied once more, as after a refusal or with
    /// other certificates, was there before.
    pub(crate) fn since(&self, hash: &str) -> Option<SystemTime> {
        let entries = self.entries.lock();
        let applied = entries.iter().rev().filter(|entry| entry.outcome == Outcome::Applied);
        applied.take_while(|entry| entry.revision.hash() == hash).last().map(|entry| entry.at)
    }

    /// The newest one.
    pub(crate) fn newest(&self) -> Option<RevisionEntry> {
        self.entries.lock().back().map(Entry::told)
    }

    /// When the newest one was noted.
    pub(crate) fn latest(&self) -> Option<String> {
        self.entries.lock().back().map(|entry| time(entry.at))
    }

    /// The last one that fulfils something.
    pub(crate) fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.entries.lock().iter().rev().find(|entry| wanted(entry)).cloned()
    }
}

impl Entry {
    pub(crate) fn told(&self) -> RevisionEntry {
        RevisionEntry {
            at: time(self.at),
            revision: self.revision.short().to_owned(),
            hash: self.revision.hash().to_owned(),
            source: self.source,
            outcome: self.outcome,
            changes: self.changes.clone(),
            took_ms: self.took.as_secs_f64() * 1000.0,
            findings: self.findings.clone(),
            more_findings: self.more,
        }
    }
}
