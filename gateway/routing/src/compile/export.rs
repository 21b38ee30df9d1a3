//! `exportTo`: which namespaces' gateways see an object.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::is_label;
use crate::origin::At;
use crate::wire::sink::Sink;

/// Who sees an object. Written forms that mean the same are the same: `.` is the object's own namespace's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Export {
    /// Everyone: `*`, or nothing written.
    Everyone,
    /// These namespaces; none is nobody, not even the object's own: `~`.
    Namespaces(BTreeSet<Arc<str>>),
}

/// What is exported, as far as it is judged otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Exported {
    /// A VirtualService, or a DestinationRule for all workloads.
    Object,
    /// A ServiceEntry: nobody at all may see it, `~`.
    Service,
    /// A DestinationRule for some workloads, which can't be seen from other namespaces.
    ForWorkloads,
}

impl Export {
    /// What a sound `exportTo` means.
    pub(super) fn of_written(written: &[At<String>], own: &Arc<str>) -> Self {
        Export::of(written.iter().map(|scope| scope.as_str()), own)
    }

    /// The same of words that have no places.
    pub(super) fn of<'w>(written: impl Iterator<Item = &'w str> + Clone, own: &Arc<str>) -> Self {
        if written.clone().next().is_none() || written.clone().any(|scope| scope == "*") {
            return Export::Everyone;
        }
        if written.clone().any(|scope| scope == "~") {
            return Export::Namespaces(BTreeSet::new());
        }
        Export::Namespaces(written.map(|scope| whole(scope, own)).collect())
    }

    /// The same, judged (Istio `validateExportTo`).
    pub(super) fn read(written: &[At<String>], own: &Arc<str>, what: Exported, sink: &mut Sink<'_>) -> Self {
        let mut seen = BTreeSet::new();
        for scope in written {
            let name = whole(scope, own);
            if what == Exported::ForWorkloads && name != *own {
                let message = format!(
                    "a rule with a workloadSelector can't be exported beyond its namespace, to {:?}",
                    scope.value
                );
                sink.schema(scope.pos, message);
            }
            match scope.as_str() {
                "*" if written.len() > 1 => {
                    sink.schema(scope.pos, "\"*\" is everyone, so nothing else can stand beside it".into());
                }
                "~" if what == Exported::Service && written.len() > 1 => {
                    sink.schema(scope.pos, "\"~\" is nobody, so nothing else can stand beside it".into());
                }
                "*" => {}
                "~" if what == Exported::Service => {}
                _ if !is_label(&name) => {
                    sink.schema(scope.pos, format!("{:?} is not a namespace", scope.value));
                }
                _ => {}
            }
            if !seen.insert(name) {
                sink.schema(scope.pos, format!("{:?} is there twice", scope.value));
            }
        }
        Export::of_written(written, own)
    }

    /// Whether gateways of a namespace see it.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        match self {
            Export::Everyone => true,
            Export::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether nobody but the object's own namespace sees it.
    pub(super) fn is_private(&self, own: &str) -> bool {
        matches!(self, Export::Namespaces(namespaces) if namespaces.len() == 1 && namespaces.contains(own))
    }
}

fn whole(scope: &str, own: &Arc<str>) -> Arc<str> {
    if scope == "." { own.clone() } else { scope.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_what() {
        for (written, seen) in [
            (&[][..], [true, true, true]),
            (&["*"], [true, true, true]),
            (&["."], [true, false, false]),
            (&["own"], [true, false, false]),
            (&["a", "."], [true, true, false]),
            (&["a", "b"], [false, true, true]),
            (&["~"], [false, false, false]),
        ] {
            let export = Export::of(written.iter().copied(), &"own".into());
            assert_eq!(["own", "a", "b"].map(|namespace| export.admits(namespace)), seen, "{export:?}");
            assert_eq!(export.is_private("own"), seen == [true, false, false], "{export:?}");
        }
    }
}
