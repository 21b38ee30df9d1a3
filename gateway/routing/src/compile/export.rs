//! `exportTo`: which namespaces' gateways see a DestinationRule or a VirtualService.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::is_label;
use crate::origin::At;
use crate::wire::sink::Sink;

/// Who sees an object. Written forms that mean the same are the same: `.` is its own namespace's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Export {
    /// Everyone: `*`, or nothing written.
    Everyone,
    /// These namespaces.
    Namespaces(BTreeSet<Arc<str>>),
}

impl Export {
    /// What `exportTo` of an object in namespace `own` says.
    pub(super) fn of(written: &[At<String>], own: &Arc<str>) -> Self {
        if written.is_empty() || written.iter().any(|scope| scope.value == "*") {
            return Export::Everyone;
        }
        Export::Namespaces(written.iter().map(|scope| whole(scope, own)).collect())
    }

    /// The same, with what is wrong with it in the sink (Istio `validateExportTo`). A rule for some workloads only
    /// can't be seen from other namespaces.
    pub(super) fn read(
        written: &[At<String>],
        own: &Arc<str>,
        for_workloads: bool,
        sink: &mut Sink<'_>,
    ) -> Self {
        let mut names = BTreeSet::new();
        for scope in written {
            let name = whole(scope, own);
            let fault = if scope.value != "*" && !is_label(&name) {
                Some(format!("{:?} is not a namespace", scope.value))
            } else if for_workloads && name != *own {
                let beyond = "a rule with a workloadSelector can't be exported beyond its namespace";
                Some(format!("{beyond}, to {:?}", scope.value))
            } else if names.contains(&name) {
                Some(format!("{:?} is there twice", scope.value))
            } else if scope.value == "*" && written.len() > 1 {
                Some("\"*\" is everyone, so nothing else can stand beside it".to_owned())
            } else {
                None
            };
            if let Some(message) = fault {
                sink.schema(scope.pos, message);
            }
            names.insert(name);
        }
        Export::of(written, own)
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

fn whole(scope: &str, own: &Arc<str>) -> Arc<str> {
    if scope == "." { own.clone() } else { scope.into() }
}
