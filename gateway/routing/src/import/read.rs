//! Texts into Ingresses, and what they name: Services' ports, ConfigMaps. What is wrong with them is a finding.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::origin::{At, Origin, Piece, Pos};
use crate::wire::ObjectName;
use crate::wire::fields::{Fields, FromNode};
use crate::wire::ingress::{ConfigMap, Ingress, IngressMetadata, IngressSpec};
use crate::wire::kubernetes::Service;
use crate::wire::node::{self, Node};
use crate::wire::object::is_dns_name;
use crate::wire::read::cut;
use crate::wire::sink::Sink;

/// An Ingress of the class that is imported.
pub(super) struct Source {
    piece: Arc<Piece>,
    pub(super) name: ObjectName,
    /// `Ingress shop/cart`.
    pub(super) title: String,
    /// Where its name stands.
    pub(super) pos: Pos,
    created: String,
    pub(super) annotations: Box<[(At<String>, At<String>)]>,
    pub(super) spec: IngressSpec,
}

impl Source {
    /// Where findings about it go.
    pub(super) fn sink<'a>(&'a self, out: &'a mut Diagnostics) -> Sink<'a> {
        Sink { piece: &self.piece, object: &self.title, out, root: None }
    }

    /// `shop/cart (ingress.yaml:12)`: what comments name it.
    pub(super) fn told(&self, pos: Pos) -> String {
        let origin = Origin { piece: self.piece.clone(), pos };
        format!("{} ({}:{})", self.name, self.piece.file, origin.line())
    }
}

/// What texts say.
#[derive(Default)]
pub(super) struct Read {
    /// The oldest first, then by name: of two that say the same, ingress-nginx hears the first.
    pub(super) ingresses: Vec<Source>,
    /// Ports by their names, of Services.
    pub(super) services: BTreeMap<ObjectName, Vec<(Option<String>, u16)>>,
    /// `namespace/name` → data.
    pub(super) config_maps: BTreeMap<String, Vec<(String, String)>>,
    passed_over: BTreeMap<String, (usize, Origin)>,
}

const PREFIX_CLASS: &str = "kubernetes.io/ingress.class";

/// Reads texts, given by the names that people know their files by.
pub(super) fn read<'t>(
    texts: impl IntoIterator<Item = (&'t Arc<str>, &'t Arc<str>)>,
    options: &Options,
    out: &mut Diagnostics,
) -> Read {
    let mut read = Read::default();
    for (file, text) in texts {
        for (first_line, text) in cut(text) {
            let piece =
                Arc::new(Piece { file: file.clone(), first_line: first_line.into(), text: text.into() });
            match node::parse(text) {
                Ok(tree) => read.take(&tree, &piece, options, out),
                Err(error) => {
                    let mut sink = Sink { piece: &piece, object: "", out, root: None };
                    sink.add(Severity::Error, Code::SYNTAX, error.pos, error.message);
                }
            }
        }
    }
    read.ingresses.sort_by(|a, b| {
        let key = |source: &Source| (source.created.clone(), source.name.clone());
        key(a).cmp(&key(b))
    });
    for (kind, (count, origin)) in std::mem::take(&mut read.passed_over) {
        let message = format!("{kind} is not imported: {count} passed over");
        out.push(Diagnostic::new(Code::IGNORED_KIND, Severity::Note, Some(origin), message));
    }
    read
}

impl Read {
    fn take(&mut self, tree: &At<Node>, piece: &Arc<Piece>, options: &Options, out: &mut Diagnostics) {
        if matches!(tree.value, Node::Null) {
            return;
        }
        let mut sink = Sink { piece, object: "", out, root: None };
        let Some(fields) = Fields::of(tree, &mut sink) else { return };
        let version = fields.required::<At<String>>("apiVersion", &mut sink);
        let kind = fields.required::<At<String>>("kind", &mut sink);
        let (Some(version), Some(kind)) = (version, kind) else { return };
        let items = fields.node("items").map(|items| &items.value);
        if let Some(Node::List(items)) = items.filter(|_| kind.ends_with("List")) {
            items.iter().for_each(|item| self.take(item, piece, options, out));
            return;
        }
        match (kind.as_str(), version.as_str()) {
            ("Ingress", "networking.k8s.io/v1") => self.take_ingress(tree, piece, options, out),
            ("Ingress", old) => {
                sink.schema(version.pos, format!("an Ingress of {old:?} is not imported")).hints.push(
                    "kubectl convert -f FILE --output-version networking.k8s.io/v1 writes it anew".into(),
                );
            }
            ("Service", "v1") => {
                let meta = fields.required::<At<IngressMetadata>>("metadata", &mut sink);
                let service = Service::from_node(tree, &mut sink);
                let (Some(meta), Some(service)) = (meta, service) else { return };
                let ports = service.spec.value.ports.iter();
                let port = |name: &Option<At<String>>| name.as_ref().map(|name| name.value.clone());
                let ports = ports.map(|written| (port(&written.name), written.port.value)).collect();
                self.services.insert(object_name(&meta, options), ports);
            }
            ("ConfigMap", "v1") => {
                let Some(ConfigMap { metadata, data }) = ConfigMap::from_node(tree, &mut sink) else {
                    return;
                };
                for (key, _) in data.iter().filter(|(key, value)| guards(key) && !value.is_empty()) {
                    let message =
                        format!("{:?} kept people out of every host, and is not carried over", key.value);
                    sink.add(Severity::Error, Code::PROTECTION_NOT_CARRIED_OVER, key.pos, message)
                        .hints
                        .push("see to it before these hosts are served".into());
                }
                let data = data.into_iter().map(|(name, value)| (name.value, value.value)).collect();
                self.config_maps.insert(object_name(&metadata, options).to_string(), data);
            }
            // They say who answers, and are no concern of a rule's.
            ("EndpointSlice", _) | ("Endpoints" | "Pod" | "Secret", "v1") => {}
            (kind, version) => {
                let origin = Origin { piece: piece.clone(), pos: tree.pos };
                let kind = format!("{kind} ({version})");
                self.passed_over.entry(kind).or_insert_with(|| (0, origin)).0 += 1;
            }
        }
    }

    fn take_ingress(
        &mut self,
        tree: &At<Node>,
        piece: &Arc<Piece>,
        options: &Options,
        out: &mut Diagnostics,
    ) {
        let mut sink = Sink { piece, object: "", out, root: None };
        let named = Fields::of(tree, &mut sink).and_then(|fields| {
            let meta = Fields::of(fields.node("metadata")?, &mut sink)?;
            let namespace = meta.node("namespace").map(|node| &node.value);
            let Node::Text(name) = &meta.node("name")?.value else { return None };
            Some(match namespace {
                Some(Node::Text(namespace)) => format!("Ingress {namespace}/{name}"),
                _ => format!("Ingress {}/{name}", options.namespace),
            })
        });
        let title = named.unwrap_or_default();
        let mut sink = Sink { piece, object: &title, out, root: None };
        let Some(Ingress { metadata, spec }) = Ingress::from_node(tree, &mut sink) else { return };
        sink.out.take_unread();
        let name = object_name(&metadata, options);
        if let Some(part) = [&*name.name, &*name.namespace].into_iter().find(|part| !is_dns_name(part)) {
            sink.schema(metadata.value.name.pos, format!("{part:?} is not a name"));
            return;
        }
        let Some(spec) = spec else {
            sink.schema(metadata.value.name.pos, "an Ingress needs a spec".into());
            return;
        };
        let IngressMetadata { name: written, namespace: _, annotations, created } = metadata.value;
        let by_annotation =
            annotations.iter().find(|(key, _)| key.value == PREFIX_CLASS).map(|(_, value)| value);
        match by_annotation.or(spec.value.class.as_ref()) {
            Some(class) if class.value != options.class => {
                let message = format!(
                    "it is of class {:?}, and {:?} is imported: passed over",
                    class.value, options.class
                );
                sink.add(Severity::Note, Code::NOT_FOR_US, class.pos, message)
                    .hints
                    .push(format!("--class {} imports it", class.value));
                return;
            }
            None => {
                let message = "it has no class, and is imported as if it had".to_owned();
                sink.add(Severity::Note, Code::NOT_FOR_US, written.pos, message)
                    .hints
                    .push("ingress-nginx serves it only with --watch-ingress-without-class".into());
            }
            Some(_) => {}
        }
        self.ingresses.push(Source {
            piece: piece.clone(),
            name,
            title: title.clone(),
            pos: written.pos,
            created: created.map(|created| created.value).unwrap_or_default(),
            annotations,
            spec: spec.value,
        });
    }
}

/// Whether it is a setting of the controller's own ConfigMap that protects all hosts.
fn guards(key: &str) -> bool {
    const KEYS: [&str; 8] = [
        "global-auth-url",
        "whitelist-source-range",
        "allowlist-source-range",
        "denylist-source-range",
        "block-cidrs",
        "block-user-agents",
        "block-referers",
        "server-snippet",
    ];
    KEYS.contains(&key)
}

fn object_name(meta: &IngressMetadata, options: &Options) -> ObjectName {
    let namespace = meta.namespace.as_ref().map_or(&options.namespace, |namespace| &namespace.value);
    ObjectName { namespace: namespace.as_str().into(), name: meta.name.as_str().into() }
}
