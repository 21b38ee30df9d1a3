//! The first revision of a process: what the files say, or, where that is refused, the last good one that was kept.
//!
//! A machine that starts anew with a file that is broken would else serve nothing, though the process before it served
//! well. It is said as loudly as can be, and the files are followed as ever: mended, they are in force.

use std::time::{Instant, SystemTime};

use log::{error, info};
use trysail_kubernetes::View;
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::wire::{ConfigSet, Revision};

use super::kept::Good;
use super::reload::{self, Outcome, Reloader};
use super::{Directories, Reading, Watched, status};
use crate::metrics::Reload;
use crate::render;
use crate::status::told::Source;

impl Reloader {
    /// Puts the first revision in force. The error is what is wrong with the files, where there is nothing to take in
    /// their place.
    pub(crate) fn begin(&mut self, directories: &mut Directories, began: Instant) -> Result<(), Diagnostics> {
        let mut revision = Revision::default();
        let findings = match directories.read() {
            Reading::Unreadable(findings) => {
                self.metrics.configuration.reloaded(Reload::Refused);
                findings
            }
            Reading::Set(set) => {
                info!(
                    "{}: {}, {}, revision {}",
                    directories.name(),
                    render::counted(set.files, "file"),
                    render::counted(set.documents.len(), "object"),
                    set.revision.short()
                );
                revision = set.revision.clone();
                match self.emptied(&set) {
                    Some(findings) => findings,
                    None => match self.apply(set, Source::Start, began) {
                        Outcome::Refused(findings) => findings,
                        Outcome::Applied | Outcome::Unchanged => return Ok(()),
                    },
                }
            }
        };
        // Whoever takes another's place need not serve what is old: the other does.
        if self.kept.is_held() {
            return Err(findings);
        }
        let Some(good) = self.kept.read() else { return Err(findings) };
        let set = directories.read_pieces(&good.pieces);
        if set.revision.hash() != good.revision {
            error!("the last good revision is not used: what is kept is not what was written");
            self.kept.distrust();
            return Err(findings);
        }
        if let Outcome::Refused(more) = self.apply(set, Source::Start, began) {
            error!(
                "the last good revision is refused too: {}{}",
                render::counts(more.count(Severity::Error), 0),
                reload::errors_in_full(&more)
            );
            return Err(findings);
        }
        self.serves_kept(Some(good.at));
        self.refusal = Some(status::refusal(&findings));
        self.desk.history.refused(&revision, Source::Start, findings.iter(), began.elapsed());
        let said = self.refusal_in_words(&findings, &directories.name());
        error!(
            "the files are refused, and the last good revision {} serves in their place: {said}",
            self.active.load().revision.short()
        );
        self.said_of_start = Some(said);
        Ok(())
    }

    /// Whether a start could serve the last good state of a cluster.
    pub(crate) fn has_kept(&self) -> bool {
        self.kept.is_there()
    }

    /// Puts a cluster's last good state in force, as its API server says nothing; whether there is one that can be. What
    /// the cluster says takes its place when all of it is known.
    pub(crate) fn begin_with_kept(&mut self, watched: &mut Watched, began: Instant) -> bool {
        self.in_cluster = true;
        let Some(good) = self.kept.read() else { return false };
        let texts = good.pieces.iter().map(|piece| (&*piece.file, &*piece.text));
        let view = watched.cluster.view_of(texts);
        let is_whole = |view: &View| {
            let set = ConfigSet::of_singles(view.entries.values().map(|entry| &*entry.single));
            set.revision.hash() == good.revision
        };
        let Some(view) = view.filter(is_whole) else {
            error!("the last good revision is not used: what is kept is not what was written of a cluster");
            self.kept.distrust();
            return false;
        };
        watched.kept.clone_from(&view.entries);
        if let Outcome::Refused(findings) = self.apply_view(watched, &view, Source::Start, began).1 {
            watched.kept.clear();
            error!("the last good revision is refused: {}", reload::errors_in_full(&findings));
            return false;
        }
        self.serves_kept(Some(good.at));
        let age = good.at.elapsed().unwrap_or_default().as_secs();
        error!(
            "the API server says nothing, and the last good revision {}, {age} s old, serves in its place: {}; addresses \
             may be others by now, and servers whose certificates are Secrets turn their clients away",
            self.active.load().revision.short(),
            render::counted(view.entries.len(), "object"),
        );
        true
    }

    /// Notes that what is in force is the last good revision, kept at that time; or, with none, that it is not any more.
    pub(super) fn serves_kept(&mut self, at: Option<SystemTime>) {
        if at.is_some() {
            self.metrics.configuration.is_behind();
        }
        self.is_kept = at.is_some();
        self.metrics.configuration.serves_kept(at);
        self.desk.history.serves_kept(at);
    }

    /// What is wrong with a directory that is empty and was not when the process before this one served it: a mount that
    /// is late looks so.
    fn emptied(&mut self, set: &ConfigSet) -> Option<Diagnostics> {
        if !set.documents.is_empty() || set.findings.has_errors() || self.settings.allow_empty {
            return None;
        }
        let Good { revision, pieces, .. } = self.kept.read()?;
        if pieces.is_empty() {
            return None;
        }
        self.metrics.configuration.reloaded(Reload::Refused);
        let revision = revision.get(..8).unwrap_or_default();
        let message = format!("there is no object left, and the last good revision, {revision}, had some");
        let mut findings = Diagnostics::default();
        let finding = Diagnostic::new(Code::EMPTY, Severity::Error, None, message);
        findings.push(finding.hint("the setting allowEmpty: true lets this pass"));
        Some(findings)
    }
}
