//! One object: kind, metadata and spec, and the tree turned into it.

use std::fmt;
use std::sync::Arc;

use super::destination_rule::DestinationRule;
use super::fields::{Fields, FromNode};
use super::gateway::Gateway;
use super::kubernetes::{self, EndpointSlice, Pod, Service};
use super::node::Node;
use super::registry::{ServiceEntry, WorkloadEntry, WorkloadGroup};
use super::sink::Sink;
use super::virtual_service::VirtualService;
use crate::diagnostic::{Code, Severity};
use crate::nearest::nearest;
use crate::origin::{At, Pos};

/// The name of an object inside its kind: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace; the settings' where the file says none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object as written. Places inside it count from the start of its piece of text.
#[derive(Debug)]
pub struct Object {
    pub(crate) name: ObjectName,
    /// `metadata.labels`.
    pub(crate) labels: Pairs,
    /// `metadata.annotations`.
    pub(crate) annotations: Pairs,
    /// `metadata.creationTimestamp` (RFC 3339, so that text order is time order); `None` in most files.
    pub(crate) created: Option<Box<str>>,
    /// Where `metadata.name` stands.
    pub(crate) pos: Pos,
    /// Where the spec stands.
    pub(crate) spec_pos: Pos,
    pub(crate) spec: Spec,
    /// Fields that are written and could not be read, by their map's node.
    pub(crate) unread: Box<[(u32, &'static str)]>,
}

/// Texts by name, as written.
pub(crate) type Pairs = Box<[(At<String>, At<String>)]>;

/// Istio's six kinds, and Kubernetes' three; in boxes those that are bigger than a VirtualService, of which there are most.
#[derive(Debug)]
pub(crate) enum Spec {
    Gateway(Gateway),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(Box<WorkloadEntry>),
    WorkloadGroup(Box<WorkloadGroup>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<Pod>),
}

/// The kinds that are read of group `networking.istio.io`.
const KINDS: [&str; 6] =
    ["Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "WorkloadGroup"];
const GROUP: &str = "networking.istio.io";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

impl Object {
    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self.spec {
            Spec::Gateway(_) => "Gateway",
            Spec::VirtualService(_) => "VirtualService",
            Spec::DestinationRule(_) => "DestinationRule",
            Spec::ServiceEntry(_) => "ServiceEntry",
            Spec::WorkloadEntry(_) => "WorkloadEntry",
            Spec::WorkloadGroup(_) => "WorkloadGroup",
            Spec::Service(_) => "Service",
            Spec::EndpointSlice(_) => "EndpointSlice",
            Spec::Pod(_) => "Pod",
        }
    }

    /// The object's name inside its kind.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// `VirtualService default/reviews`: how messages name it.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.kind(), self.name)
    }
}

/// What a document's tree turned out to be.
pub(crate) enum Read {
    Object(Box<Object>),
    /// A `List`: its items are documents of their own.
    List(Vec<At<Node>>),
    /// A kind that is not ours, as `Deployment (apps/v1)`.
    Ignored(String),
    /// Nothing, with the reason already in the sink.
    Nothing,
}

/// Turns a document's tree into an object. `namespace` is for objects that name none.
pub(crate) fn read(tree: &At<Node>, namespace: &str, sink: &mut Sink<'_>) -> Read {
    let Some(fields) = Fields::of(tree, sink) else { return Read::Nothing };
    let version = fields.required::<At<String>>("apiVersion", sink);
    let kind = fields.required::<At<String>>("kind", sink);
    let (Some(version), Some(kind)) = (version, kind) else { return Read::Nothing };
    if let Some(Node::List(items)) = fields.node("items").map(|n| &n.value).filter(|_| kind.ends_with("List"))
    {
        return Read::List(items.clone());
    }
    if kubernetes::KINDS.contains(&(kind.as_str(), version.as_str())) {
        return read_kubernetes(tree, &kind, &fields, namespace, sink);
    }
    let (group, number) = version.rsplit_once('/').unwrap_or(("", &version));
    if group != GROUP || !KINDS.contains(&kind.as_str()) {
        if group == GROUP
            && let Some(meant) = nearest(&kind, KINDS)
        {
            sink.schema(kind.pos, format!("unknown kind {:?}; did you mean {meant:?}?", kind.value));
            return Read::Nothing;
        }
        // One of ours by its kind, and of no group or of one that is nearly ours: a slip, which must not take a
        // route away in silence.
        let slip = group.is_empty() || nearest(group, [GROUP]).is_some();
        if KINDS.contains(&kind.as_str()) && slip {
            sink.schema(
                version.pos,
                format!("{:?} is not the apiVersion of a {}", version.value, kind.value),
            )
            .hints
            .push(format!("it is {GROUP}/v1, or v1beta1 or v1alpha3 of the same"));
            return Read::Nothing;
        }
        if kind.value == "List" {
            sink.schema(kind.pos, "a List needs \"items\", a list of objects".into());
            return Read::Nothing;
        }
        return Read::Ignored(format!("{} ({})", kind.value, version.value));
    }
    if !VERSIONS.contains(&number) {
        sink.schema(version.pos, format!("{GROUP} has no version {number:?}"))
            .hints
            .push(format!("it is one of {}", VERSIONS.join(", ")));
    }
    fields.finish(&["apiVersion", "kind", "metadata", "spec", "status"], sink);
    let Some(meta) = fields.required::<Meta>("metadata", sink) else { return Read::Nothing };
    let name = meta.object_name(namespace);
    let title = format!("{} {name}", kind.value);
    let sink = &mut Sink { piece: sink.piece, object: &title, out: sink.out, root: None };
    check_annotations(&meta, sink);
    sink.out.take_unread(); // of an object before it, of which nothing came
    let spec = match kind.as_str() {
        "Gateway" => fields.required("spec", sink).map(Spec::Gateway),
        "VirtualService" => fields.required("spec", sink).map(Spec::VirtualService),
        "DestinationRule" => fields.required("spec", sink).map(Spec::DestinationRule),
        "ServiceEntry" => fields.required("spec", sink).map(Spec::ServiceEntry),
        "WorkloadEntry" => fields.required("spec", sink).map(Spec::WorkloadEntry),
        _ => fields.required("spec", sink).map(Spec::WorkloadGroup),
    };
    let spec_pos = fields.node("spec").map(|spec| spec.pos).unwrap_or_default();
    spec.map_or(Read::Nothing, |spec| meta.object(name, spec_pos, spec, sink))
}

/// Turns a tree into one of Kubernetes' objects: they have more than a `spec`, so each takes the whole.
fn read_kubernetes(
    tree: &At<Node>,
    kind: &str,
    fields: &Fields<'_>,
    namespace: &str,
    sink: &mut Sink<'_>,
) -> Read {
    let Some(meta) = fields.required::<Meta>("metadata", sink) else { return Read::Nothing };
    let name = meta.object_name(namespace);
    let title = format!("{kind} {name}");
    let sink = &mut Sink { piece: sink.piece, object: &title, out: sink.out, root: None };
    sink.out.take_unread();
    let spec = match kind {
        "Service" => FromNode::from_node(tree, sink).map(Spec::Service),
        "EndpointSlice" => FromNode::from_node(tree, sink).map(Spec::EndpointSlice),
        _ => FromNode::from_node(tree, sink).map(Spec::Pod),
    };
    spec.map_or(Read::Nothing, |spec| meta.object(name, tree.pos, spec, sink))
}

/// `trysail.dev/…` is ours, so a name there that we do not know is a mistake, not a stranger's note.
fn check_annotations(meta: &Meta, sink: &mut Sink<'_>) {
    for (key, _) in meta.annotations.iter().filter(|(key, _)| key.starts_with("trysail.dev/")) {
        sink.add(
            Severity::Error,
            Code::UNKNOWN_ANNOTATION,
            key.pos,
            format!("unknown annotation {:?}", key.value),
        )
        .hints
        .push("this version knows no annotation of its own".into());
    }
}

/// What we use of ObjectMeta.
struct Meta {
    name: At<String>,
    namespace: Option<String>,
    labels: Pairs,
    annotations: Pairs,
    created: Option<String>,
}

impl Meta {
    /// `namespace` is for an object that names none.
    fn object_name(&self, namespace: &str) -> ObjectName {
        ObjectName {
            namespace: self.namespace.as_deref().unwrap_or(namespace).into(),
            name: self.name.as_str().into(),
        }
    }

    fn object(self, name: ObjectName, spec_pos: Pos, spec: Spec, sink: &mut Sink<'_>) -> Read {
        Read::Object(Box::new(Object {
            name,
            labels: self.labels,
            annotations: self.annotations,
            created: self.created.map(Into::into),
            pos: self.name.pos,
            spec_pos,
            spec,
            unread: sink.out.take_unread().into(),
        }))
    }
}

impl FromNode for Meta {
    fn from_node(node: &At<Node>, sink: &mut Sink<'_>) -> Option<Self> {
        let fields = Fields::of(node, sink)?;
        fields.finish(
            &[
                "name",
                "namespace",
                "labels",
                "annotations",
                "creationTimestamp",
                "generateName",
                "uid",
                "resourceVersion",
                "generation",
                "selfLink",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "ownerReferences",
                "finalizers",
                "managedFields",
                "clusterName",
            ],
            sink,
        );
        let name = fields.required::<At<String>>("name", sink);
        let namespace = fields.optional::<At<String>>("namespace", sink);
        for name in name.iter().chain(&namespace).filter(|name| !is_dns_name(name)) {
            sink.schema(name.pos, format!("{:?} is not a name", name.value))
                .hints
                .push("a name has lower-case letters, digits, \"-\" and \".\", at most 253 of them".into());
        }
        Some(Meta {
            labels: fields.optional("labels", sink).unwrap_or_default(),
            annotations: fields.optional("annotations", sink).unwrap_or_default(),
            created: fields.optional("creationTimestamp", sink),
            namespace: namespace.map(|namespace| namespace.value),
            name: name?,
        })
    }
}

/// RFC 1123's subdomain, which is what Kubernetes takes as an object's name.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(label.chars().next())
            && edge(label.chars().last())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
