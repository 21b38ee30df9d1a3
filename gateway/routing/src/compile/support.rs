//! Fields of Istio's API that are read and not executed: each is a finding, none is silently ignored.

use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Pos};
use crate::wire::sink::Sink;

/// Whether a field was written, and where its key stands.
pub(super) trait Written {
    fn key(&self) -> Option<Pos>;
}

impl<T> Written for At<T> {
    fn key(&self) -> Option<Pos> {
        Some(self.pos.back(1))
    }
}

impl<T> Written for Option<At<T>> {
    fn key(&self) -> Option<Pos> {
        self.as_ref().and_then(At::key)
    }
}

/// Between a list's key and its first item stands the list itself.
impl<T> Written for Box<[At<T>]> {
    fn key(&self) -> Option<Pos> {
        self.first().map(|first| first.pos.back(2))
    }
}

impl<T> Written for Box<[(At<String>, At<T>)]> {
    fn key(&self) -> Option<Pos> {
        self.first().map(|(first, _)| first.pos.back(2))
    }
}

/// Reports the fields among `fields` that were written. `Error` where leaving one out would change what
/// happens to a request, `Warning` where it would not.
pub(super) fn unsupported(severity: Severity, fields: &[(&str, &dyn Written)], sink: &mut Sink<'_>) {
    for (name, field) in fields {
        let Some(key) = field.key() else { continue };
        let consequence = match severity {
            Severity::Error => "not supported yet, and requests would be treated differently without it",
            _ => "not supported yet; it has no effect",
        };
        sink.add(severity, Code::UNSUPPORTED_FIELD, key, format!("{name:?} is {consequence}"))
            .hints
            .push("the README's table lists what works; take the field out to go on without it".into());
    }
}

/// Names a list of fields for [`unsupported`]: `fields![a, b]` is `[("a", &a), …]`.
///
/// A field whose name in YAML differs says it: `fields![export_to = "exportTo"]`.
macro_rules! fields {
    ($($field:ident $(= $written:literal)?),* $(,)?) => {
        &[$((fields!(@name $field $($written)?), $field as &dyn $crate::compile::support::Written)),*]
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $written:literal) => { $written };
}
pub(super) use fields;
