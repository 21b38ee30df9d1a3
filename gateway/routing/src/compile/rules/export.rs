//! `exportTo` of a DestinationRule: which namespaces' gateways see it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::is_label;
use crate::origin::At;
use crate::wire::sink::Sink;

/// Who sees a rule. Written forms that mean the same are the same: `.` is the rule's own namespace's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Export {
    /// Everyone: `*`, or nothing written.
    Everyone,
    /// These namespaces.
    Namespaces(BTreeSet<Arc<str>>),
}

impl Export {
    /// Reads and validates `exportTo` (Istio `validateExportTo`). A rule for some workloads only can't be seen
    /// from other namespaces.
    pub(super) fn read(
        written: &[At<String>],
        own: &Arc<str>,
        for_workloads: bool,
        sink: &mut Sink<'_>,
    ) -> Self {
        let mut namespaces = BTreeSet::new();
        let mut everyone = written.is_empty();
        for scope in written {
            let name: Arc<str> = if scope.value == "." { own.clone() } else { scope.value.as_str().into() };
            if for_workloads && name != *own {
                let message = format!(
                    "a rule with a workloadSelector can't be exported beyond its namespace, to {:?}",
                    scope.value
                );
                sink.schema(scope.pos, message);
            }
            if scope.value == "*" {
                everyone = true;
                if written.len() > 1 {
                    sink.schema(scope.pos, "\"*\" is everyone, so nothing else can stand beside it".into());
                }
            } else if !is_label(&name) {
                sink.schema(scope.pos, format!("{:?} is not a namespace", scope.value));
            }
            if !namespaces.insert(name) {
                sink.schema(scope.pos, format!("{:?} is there twice", scope.value));
            }
        }
        if everyone { Export::Everyone } else { Export::Namespaces(namespaces) }
    }

    /// Whether gateways of a namespace see it.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        match self {
            Export::Everyone => true,
            Export::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether nobody but the rule's own namespace sees it.
    pub(super) fn is_private(&self, own: &str) -> bool {
        matches!(self, Export::Namespaces(namespaces) if namespaces.len() == 1 && namespaces.contains(own))
    }
}
