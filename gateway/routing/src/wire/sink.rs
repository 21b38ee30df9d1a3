//! Where findings about one object go.

use std::sync::Arc;

use super::node::Node;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::origin::{At, Origin, Piece, Pos};

/// Where findings about one object go, with what they all share.
pub(crate) struct Sink<'a> {
    pub(crate) piece: &'a Arc<Piece>,
    pub(crate) object: &'a str,
    pub(crate) out: &'a mut Diagnostics,
    /// The other piece and object, where something is put together from two ([`Pos::elsewhere`]).
    pub(crate) root: Option<(&'a Arc<Piece>, &'a str)>,
}

impl Sink<'_> {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: Code,
        pos: Pos,
        message: String,
    ) -> &mut Diagnostic {
        let diagnostic = Diagnostic::new(code, severity, Some(self.origin(pos)), message);
        let object = match self.root {
            Some((_, root)) if pos.resolve().0 => root,
            _ => self.object,
        };
        self.out.push(Diagnostic { object: object.to_owned(), ..diagnostic })
    }

    /// A place in the object, or in the other one.
    pub(crate) fn origin(&self, pos: Pos) -> Origin {
        let (elsewhere, pos) = pos.resolve();
        let piece = match self.root {
            Some((root, _)) if elsewhere => root,
            _ => self.piece,
        };
        Origin { piece: piece.clone(), pos }
    }

    pub(crate) fn schema(&mut self, pos: Pos, message: String) -> &mut Diagnostic {
        self.add(Severity::Error, Code::SCHEMA_VALIDATION, pos, message)
    }

    pub(crate) fn wrong_type(&mut self, node: &At<Node>, wanted: &str) {
        let finding =
            self.schema(node.pos, format!("{wanted} is wanted here, not {}", node.value.describe()));
        if wanted == "text" && matches!(node.value, Node::Bool(_) | Node::Int(_) | Node::Float(_)) {
            finding.hints.push("put it in quotes".into());
        }
    }
}
