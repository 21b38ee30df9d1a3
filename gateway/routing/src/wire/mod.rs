//! Configuration as written: text cut into documents, documents read into objects, with places and findings.
//!
//! ```text
//! text ─cut─▶ piece ─node─▶ tree ─fields─▶ object        a piece whose text was read before is not read again
//! ```
//! Nothing here knows what an object means; that is `compile`'s.

pub(crate) mod destination_rule;
pub(crate) mod documents;
pub(crate) mod elsewhere;
pub(crate) mod fields;
pub(crate) mod gateway;
pub(crate) mod ingress;
pub(crate) mod kubernetes;
pub(crate) mod node;
pub(crate) mod object;
mod path;
pub(crate) mod read;
pub(crate) mod registry;
mod single;
pub(crate) mod sink;
pub(crate) mod virtual_service;

use std::sync::Arc;

pub use documents::Documents;
pub use object::{Object, ObjectName};
pub use path::{Places, name_paths};
pub use read::{Limits, Reader};
pub use single::Single;

use crate::diagnostic::Diagnostics;
use crate::origin::{Origin, Piece, Pos};

/// An object and the text it was read from.
#[derive(Clone, Debug)]
pub struct Document {
    /// The text.
    pub piece: Arc<Piece>,
    /// The object.
    pub object: Arc<Object>,
}

impl Document {
    /// A place in this document's file.
    pub fn origin(&self, pos: Pos) -> Origin {
        Origin { piece: self.piece.clone(), pos }
    }

    /// Where findings about this document go; `title` is its object's.
    pub(crate) fn sink<'a>(&'a self, title: &'a str, out: &'a mut Diagnostics) -> sink::Sink<'a> {
        sink::Sink { piece: &self.piece, object: title, out, root: None }
    }

    /// Whether a field of the map at a place is written and could not be read: it is not absent, and why is said.
    pub(crate) fn is_unread(&self, map: Pos, field: &str) -> bool {
        self.object.unread.iter().any(|(node, name)| *node == map.node() && *name == field)
    }

    /// Where the object's name stands.
    pub fn named_at(&self) -> Origin {
        self.origin(self.object.pos)
    }
}

/// Everything a source has to say at one moment.
#[derive(Clone, Debug, Default)]
pub struct ConfigSet {
    /// The objects, in no particular order.
    pub documents: Documents,
    /// What reading found.
    pub findings: Diagnostics,
    /// How many files were read.
    pub files: usize,
    /// The content's hash, whatever files it lies in and in whatever order.
    pub revision: Revision,
}

/// The SHA-256 of a configuration's objects, in lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// All 64 digits; empty before anything was read.
    pub fn hash(&self) -> &str {
        &self.0
    }

    /// The first eight digits: how logs, metrics and people name it.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}
