//! WorkloadGroups: what they lend to WorkloadEntries, and which they cover.
//!
//! In a mesh a group is what istiod makes WorkloadEntries from when agents connect. Here there are no agents, so
//! entries are written by hand, and a group stands for what several of them have in common (decision 0015).

use std::sync::Arc;

use super::{Labels, labels, probe, selects, workload};
use crate::compile::objects::Objects;
use crate::compile::validate;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::origin::At;
use crate::snapshot::Probe;
use crate::wire::registry::{GroupMetadata, WorkloadEntry, WorkloadGroup};
use crate::wire::sink::Sink;
use crate::wire::{Document, ObjectName};

/// Istio: the annotation by which an entry names its group.
const ANNOTATION: &str = "istio.io/autoRegistrationGroup";

/// Every group, in Istio's order.
pub(super) struct Groups<'s>(Vec<Group<'s>>);

/// What a group lends to its entries.
pub(super) struct Group<'s> {
    pub(super) document: &'s Document,
    pub(super) template: &'s WorkloadEntry,
    /// By which it covers entries.
    wanted: Labels,
    /// What its entries carry where they don't say otherwise.
    pub(super) labels: Labels,
    pub(super) probe: Option<Arc<Probe>>,
}

impl<'s> Groups<'s> {
    pub(super) fn read_all(objects: &Objects<'s>, out: &mut Diagnostics) -> Self {
        Groups(objects.workload_groups.iter().map(|&(document, group)| read(document, group, out)).collect())
    }

    /// The group of an entry that has these labels of its own: the one that it names, else the oldest whose
    /// `metadata.labels` it carries.
    pub(super) fn of(&self, document: &Document, labels: &Labels, sink: &mut Sink<'_>) -> Option<&Group<'s>> {
        let ObjectName { namespace, .. } = &document.object.name;
        let mut near = self.0.iter().filter(|group| group.document.object.name.namespace == *namespace);
        match named(document) {
            // A group without labels covers nobody by them; else one for agents would take every entry.
            None => near.find(|group| !group.wanted.is_empty() && selects(&group.wanted, labels)),
            Some(name) => {
                let group = near.find(|group| *group.document.object.name.name == *name.value);
                if group.is_none() {
                    let message = format!("there is no WorkloadGroup {namespace}/{}", name.value);
                    sink.add(Severity::Warning, Code::REFERENCED_RESOURCE_NOT_FOUND, name.pos, message);
                }
                group
            }
        }
    }
}

/// The group that an entry says it is of.
pub(super) fn named(document: &Document) -> Option<&At<String>> {
    document.object.annotations.iter().find(|(key, _)| key.value == ANNOTATION).map(|(_, name)| name)
}

fn read<'s>(document: &'s Document, group: &'s WorkloadGroup, out: &mut Diagnostics) -> Group<'s> {
    let title = document.object.title();
    let sink = &mut document.sink(&title, out);
    let WorkloadGroup { metadata, template, probe } = group;
    validate::workload_group(group, sink);
    workload::read_weight(template, sink);
    // Annotations of entries mean nothing but their group's name, which a group does not lend.
    let lent = metadata.as_ref().map(|metadata| {
        let GroupMetadata { labels, annotations: _ } = &metadata.value;
        labels
    });
    let lent = || lent.into_iter().flatten();
    Group {
        document,
        template: &template.value,
        wanted: labels(lent()),
        // Istio: "node metadata > WorkloadGroup.Metadata > WorkloadGroup.Template".
        labels: labels(template.labels.iter().chain(lent())),
        probe: probe::read(probe, sink),
    }
}
