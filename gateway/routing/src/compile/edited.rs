//! Which documents are others than in the compilation before.
//!
//! Documents are compared one by one, and most of them by address alone. All but Pods and EndpointSlices have to be as
//! many, of the same names and in the same places; those two come and go with every rollout, so where they are in order,
//! as a cluster's are, one more or less is seen as that.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::wire::object::Spec;
use crate::wire::{Document, Documents, ObjectName};

/// A document as it was and as it is, where it was or is.
pub(super) type Changed = (Option<Document>, Option<Document>);

/// Documents that are others now.
#[derive(Default)]
pub(super) struct Edited {
    /// VirtualServices, as they were and as they are.
    pub(super) services: Vec<(Document, Document)>,
    pub(super) rules: Vec<(Document, Document)>,
    pub(super) entries: Vec<(Document, Document)>,
    /// EndpointSlices and Pods.
    pub(super) endpoints: Vec<Changed>,
    /// Whether anything else of which services are made is another.
    pub(super) has_other_services: bool,
    /// The files of documents that begin on other lines.
    pub(super) moved: BTreeSet<Arc<str>>,
}

/// What is another now; `None` where something else than an endpoint came, went or moved, or is of a kind that everything
/// hangs on.
pub(super) fn edited(before: &Documents, now: &Documents) -> Option<Edited> {
    let mut edited = Edited::default();
    let (mut old, mut new) = (before.begin(), now.begin());
    let mut is_moved = false;
    loop {
        if old.skip_same(&mut new) {
            continue;
        }
        match (old.get(), new.get()) {
            (None, None) => break,
            (Some((was, stood)), Some((is, stands))) if is_same(was, is) || is_named_alike(was, is) => {
                if stood != stands {
                    edited.moved.insert(is.piece.file.clone());
                }
                if !is_same(was, is) {
                    edited.note(was, is)?;
                }
                old.step();
                new.step();
            }
            (was, is) => {
                is_moved = true;
                let [was, is] = [was, is].map(|place| place.map(|(document, _)| document));
                if which(was, is)? == Ordering::Less {
                    edited.endpoints.push((was.cloned(), None));
                    old.step();
                } else {
                    edited.endpoints.push((None, is.cloned()));
                    new.step();
                }
            }
        }
    }
    (!is_moved || is_in_order(before) && is_in_order(now)).then_some(edited)
}

impl Edited {
    fn note(&mut self, was: &Document, is: &Document) -> Option<()> {
        let (old, new) = (&was.object, &is.object);
        let stays = old.created == new.created
            && was.piece.file == is.piece.file
            && old.unread.is_empty()
            && new.unread.is_empty();
        if !stays {
            return None;
        }
        let pair = (was.clone(), is.clone());
        match &new.spec {
            Spec::Gateway(_) => return None,
            Spec::VirtualService(_) => self.services.push(pair),
            Spec::DestinationRule(_) => self.rules.push(pair),
            Spec::ServiceEntry(_) => self.entries.push(pair),
            Spec::EndpointSlice(_) | Spec::Pod(_) => self.endpoints.push((Some(pair.0), Some(pair.1))),
            Spec::WorkloadEntry(_) | Spec::WorkloadGroup(_) | Spec::Service(_) => {
                self.has_other_services = true;
            }
        }
        Some(())
    }
}

/// Whether two documents are one.
pub(super) fn is_same(a: &Document, b: &Document) -> bool {
    Arc::ptr_eq(&a.piece, &b.piece) && Arc::ptr_eq(&a.object, &b.object)
}

fn is_named_alike(a: &Document, b: &Document) -> bool {
    a.object.kind() == b.object.kind() && a.object.name == b.object.name
}

/// The place of a kind that comes and goes among such kinds.
fn rank(document: &Document) -> Option<u8> {
    match document.object.spec {
        Spec::EndpointSlice(_) => Some(0),
        Spec::Pod(_) => Some(1),
        _ => None,
    }
}

/// Which of two that are not named alike is the one that went (`Less`), or came; `None` where it is no endpoint.
fn which(was: Option<&Document>, is: Option<&Document>) -> Option<Ordering> {
    match (was.and_then(rank), is.and_then(rank)) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(old), Some(new)) => Some(old.cmp(&new).then_with(|| name(was).cmp(&name(is)))),
    }
}

fn name(document: Option<&Document>) -> Option<&ObjectName> {
    document.map(|document| &document.object.name)
}

/// Whether endpoints stand in the order of their names, each of them once.
fn is_in_order(documents: &Documents) -> bool {
    let place = |document| Some((rank(document)?, &document.object.name));
    let places = || documents.iter().filter_map(place);
    places().zip(places().skip(1)).all(|(one, next)| one < next)
}
