//! Each object judged alone, as Istio's admission webhook does: by its schema and Istio's validation, whatever
//! other objects there are.

use super::{Compiler, Surroundings};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::wire::{self, ConfigSet};

/// What is wrong with the objects of a set, each taken alone.
///
/// What Istio accepts and we cannot execute is a warning. What an object says of others (a host, a subset, a
/// gateway, whom it is for) is not judged.
pub fn judge_alone(set: &ConfigSet, surroundings: &Surroundings) -> Diagnostics {
    let mut all = set.findings.clone();
    let mut compiler = Compiler::new(0);
    for document in set.documents.iter() {
        let alone = ConfigSet { documents: [document.clone()].into_iter().collect(), ..ConfigSet::default() };
        let mut found = compiler.found(&alone, surroundings);
        found.iter_mut().for_each(|finding| {
            let unable = UNABLE.contains(&finding.code);
            if unable && finding.severity == Severity::Error {
                finding.severity = Severity::Warning;
            }
        });
        all.leave_out(&found);
        all.extend(found.into_iter().filter(|finding| !OF_OTHERS.contains(&finding.code)));
    }
    wire::name_paths(&mut all);
    all.sort();
    all.say_once();
    all
}

/// What Istio accepts and we cannot do, alone or at all.
const UNABLE: [Code; 3] = [Code::UNSUPPORTED_FIELD, Code::NEEDS_MESH, Code::JWT_CLAIM_WITHOUT_AUTHENTICATION];

/// Findings about what other objects say, or fail to say.
const OF_OTHERS: [Code; 7] = [
    Code::REFERENCED_RESOURCE_NOT_FOUND,
    Code::DESTINATION_PORT_REQUIRED,
    Code::HOST_NOT_FOUND_IN_GATEWAY,
    Code::SUBSET_SELECTS_NOTHING,
    Code::UNKNOWN_DESTINATION_RULE_HOST,
    Code::DUPLICATE_OBJECT,
    Code::NOT_FOR_US,
];
