//! The field path of a finding, found by the number of the node it points at.
//!
//! Paths are needed only where something is wrong, so no value carries one: the finding's piece is read again,
//! which costs what reading one object costs, and the node with the number is looked for.

use std::sync::Arc;

use super::node::{self, Node};
use crate::diagnostic::Diagnostics;
use crate::origin::{At, Origin, Piece, Pos};

/// Documents that are read once more, for the paths and lines of what is known by its node's number.
#[derive(Default)]
pub struct Places {
    read: Vec<(Arc<Piece>, Option<At<Node>>)>,
}

impl Places {
    /// The field path of a place, and the place with its line and column. A document is read for the first of its places.
    pub fn find(&mut self, origin: &Origin) -> (String, Origin) {
        let known = self.read.iter().position(|(piece, _)| Arc::ptr_eq(piece, &origin.piece));
        let at = known.unwrap_or_else(|| {
            self.read.push((origin.piece.clone(), node::parse(&origin.piece.text).ok()));
            self.read.len() - 1
        });
        match &self.read[at].1 {
            None => (String::new(), origin.clone()),
            Some(tree) => {
                let (path, pos) = path_to(tree, origin.pos.node());
                (path, Origin { piece: origin.piece.clone(), pos })
            }
        }
    }

    fn has(&self, piece: &Arc<Piece>) -> bool {
        self.read.iter().any(|(known, _)| Arc::ptr_eq(known, piece))
    }
}

/// Fills in the field path of every finding that has a node and no path yet, and its line and column where
/// only the node's number is known.
pub fn name_paths(findings: &mut Diagnostics) {
    let mut places = Places::default();
    for finding in findings.iter_mut().filter(|finding| finding.path.is_empty()) {
        let Some(origin) = finding.origin.as_mut().filter(|origin| origin.pos.node() > 0) else { continue };
        // They come document by document, so only the last one is kept.
        if !places.has(&origin.piece) {
            places = Places::default();
        }
        let (path, found) = places.find(origin);
        (finding.path, *origin) = (path, found);
    }
}

/// The way to a node, and its place: numbers are given in reading order, so at each level it lies below the last entry whose
/// number is not over it.
fn path_to(tree: &At<Node>, wanted: u32) -> (String, Pos) {
    let mut path = String::new();
    let mut here = tree;
    while here.pos.node() != wanted {
        match &here.value {
            Node::Map(entries) => {
                let after = entries.partition_point(|(key, _)| key.pos.node() <= wanted);
                let Some((key, value)) = entries[..after].last() else { break };
                let plain = !key.contains(['.', '/', '[']);
                let dot = if path.is_empty() { "" } else { "." };
                path.push_str(&if plain {
                    format!("{dot}{}", key.value)
                } else {
                    format!("[{:?}]", key.value)
                });
                if key.pos.node() == wanted {
                    return (path, key.pos);
                }
                here = value;
            }
            Node::List(items) => {
                let after = items.partition_point(|item| item.pos.node() <= wanted);
                let Some(item) = items[..after].last() else { break };
                path.push_str(&format!("[{}]", after - 1));
                here = item;
            }
            _ => break,
        }
    }
    (path, here.pos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_its_path() {
        let tree = node::parse(
            "spec:\n  http:\n  - match:\n    - uri: {prefix: /a}\n  - name: b\n  labels: {a.b/c: d}\n",
        )
        .unwrap();
        let mut paths: Vec<String> = (1..=18).map(|number| path_to(&tree, number).0).collect();
        paths.dedup();
        let expected = [
            "",
            "spec",
            "spec.http",
            "spec.http[0]",
            "spec.http[0].match",
            "spec.http[0].match[0]",
            "spec.http[0].match[0].uri",
            "spec.http[0].match[0].uri.prefix",
            "spec.http[1]",
            "spec.http[1].name",
            "spec.labels",
        ];
        assert_eq!(paths, expected);
        assert_eq!(path_to(&tree, 19).0, "spec.labels[\"a.b/c\"]");
    }
}
