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
}

impl Sink<'_> {
    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: Code,
        pos: Pos,
        message: String,
    ) -> &mut Diagnostic {
        let origin = Origin { piece: self.piece.clone(), pos };
        let diagnostic = Diagnostic::new(code, severity, Some(origin), message);
        self.out.push(Diagnostic { object: self.object.to_owned(), ..diagnostic })
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
