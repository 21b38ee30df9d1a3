//! Which objects requests of ours can meet: what is wrong with another's does no harm here.
//!
//! A field that is not executed is an error because a request would be treated differently without it. In an
//! object that no request of ours meets it changes nothing, so it is only worth a note.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::wire::Document;

/// The objects that are used, by title.
#[derive(Default)]
pub(super) struct Uses(BTreeSet<String>);

impl Uses {
    /// Notes that an object is used.
    pub(super) fn note(&mut self, document: &Document) {
        self.0.insert(document.object.title());
    }

    /// Notes that objects are used.
    pub(super) fn note_all(&mut self, titles: &[String]) {
        self.0.extend(titles.iter().cloned());
    }

    /// Turns errors about fields that are not executed, or want a mesh, into notes where their object is not used.
    pub(super) fn settle(&self, findings: &mut Diagnostics) {
        let elsewhere = findings.iter_mut().filter(|finding| {
            let unable = [Code::UNSUPPORTED_FIELD, Code::NEEDS_MESH, Code::JWT_CLAIM_WITHOUT_AUTHENTICATION];
            unable.contains(&finding.code)
                && finding.severity == Severity::Error
                && !self.0.contains(&finding.object)
        });
        for finding in elsewhere {
            finding.severity = Severity::Note;
            finding.hints =
                vec!["no request of this gateway meets the object, so it does no harm".to_owned()];
        }
    }
}
