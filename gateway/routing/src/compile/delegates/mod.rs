//! Rules of other VirtualServices in the place of those that delegate to them.
//!
//! Rules are put together as written, before anything is compiled. What a delegate's rule takes over from its root
//! keeps the root's place (`wire::elsewhere`), so findings and conditions point into the file where they are written.
//! Istio `mergeVirtualServices`: one level deep; a delegate has no hosts; where it is missing, or a rule of it does
//! not fit into its root's conditions, just that rule is left out.

mod conditions;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::export::Export;
use super::names;
use super::objects::Of;
use crate::diagnostic::{Code, Severity};
use crate::host;
use crate::nearest::nearest;
use crate::origin::{At, Origin, Place};
use crate::wire::elsewhere::Elsewhere;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Delegate, HttpRoute, VirtualService};
use crate::wire::{Document, ObjectName};

/// The VirtualServices that others may delegate to.
pub(super) struct Delegates<'s> {
    by_name: BTreeMap<&'s ObjectName, Of<'s, VirtualService>>,
    /// Those with hosts, to which nobody can delegate.
    roots: Vec<&'s ObjectName>,
    /// Those that somebody delegates to, or means to.
    wanted: BTreeSet<ObjectName>,
}

/// A rule as it is to be compiled: one of a VirtualService itself, or a delegate's in its place.
pub(super) struct Standing<'s> {
    /// Where it is written.
    pub(super) document: &'s Document,
    /// Its number there.
    pub(super) index: usize,
    pub(super) route: Cow<'s, At<HttpRoute>>,
    /// The delegate's title; `None` where the rule is the VirtualService's own.
    pub(super) title: Option<String>,
    /// Where the rule that delegates says so.
    pub(super) root: Option<Arc<Origin>>,
    pub(super) within: Within,
}

/// The block of the root that each of a delegate's blocks lies within; shorter where there are none.
type Within = Vec<Option<Place>>;

impl<'s> Standing<'s> {
    /// A rule where it is written.
    pub(super) fn own(document: &'s Document, index: usize, route: &'s At<HttpRoute>) -> Self {
        let route = Cow::Borrowed(route);
        Standing { document, index, route, title: None, root: None, within: Vec::new() }
    }

    /// Where findings about it go, within those of its root.
    pub(super) fn sink<'a>(&'a self, root: &'a mut Sink<'_>) -> Sink<'a> {
        match &self.title {
            None => Sink { piece: root.piece, object: root.object, out: root.out, root: None },
            Some(title) => Sink {
                piece: &self.document.piece,
                object: title,
                out: root.out,
                root: Some((root.piece, root.object)),
            },
        }
    }
}

impl<'s> Delegates<'s> {
    pub(super) fn index(services: &[Of<'s, VirtualService>]) -> Self {
        let (delegates, roots): (Vec<_>, Vec<_>) =
            services.iter().copied().partition(|(document, service)| is_delegate(document, service));
        let name = |document: &'s Document| &document.object.name;
        let wants = |(document, service): &Of<'s, VirtualService>| -> Vec<ObjectName> {
            let delegates = service.http.iter().filter_map(|route| route.delegate.as_ref());
            delegates.map(|delegate| wanted(delegate, &name(document).namespace)).collect()
        };
        Delegates {
            wanted: roots.iter().flat_map(wants).collect(),
            by_name: delegates.into_iter().map(|of| (name(of.0), of)).collect(),
            roots: roots.into_iter().map(|(document, _)| name(document)).collect(),
        }
    }

    /// The rules that stand where rule `index` of a VirtualService is written. `missing` is how bad it is that a
    /// delegate is not there.
    pub(super) fn stand_in(
        &self,
        document: &'s Document,
        index: usize,
        route: &'s At<HttpRoute>,
        missing: Severity,
        sink: &mut Sink<'_>,
    ) -> Vec<Standing<'s>> {
        let Some(written) = &route.delegate else {
            return vec![Standing::own(document, index, route)];
        };
        let own = &document.object.name.namespace;
        let Some((delegate, service)) = self.find(written, own, missing, sink) else {
            return Vec::new();
        };
        if !Export::of_written(&service.export_to, &delegate.object.name.namespace).admits(own) {
            let message =
                format!("VirtualService {} is not exported to namespace {own:?}", delegate.object.name);
            sink.add(missing, Code::REFERENCED_RESOURCE_NOT_FOUND, written.pos, message)
                .hints
                .push(format!("its exportTo says so, at {}", delegate.named_at()));
            return Vec::new();
        }
        let mut root = At { value: route.value.clone(), pos: route.pos };
        complete_names(&mut root.value, own);
        root.mark();
        let title = delegate.object.title();
        let says_so = Arc::new(document.origin(written.pos.back(1)));
        let mut standing = Vec::new();
        for (index, rule) in service.http.iter().enumerate() {
            let merged = match rule.delegate {
                None => merge(&root.value, rule),
                // Its own finding has been made where it is written.
                Some(_) => continue,
            };
            match merged {
                Ok((route, within)) => standing.push(Standing {
                    document: delegate,
                    index,
                    route: Cow::Owned(route),
                    title: Some(title.clone()),
                    root: Some(says_so.clone()),
                    within,
                }),
                Err(why) => {
                    let mut own = Sink { piece: &delegate.piece, object: &title, out: sink.out, root: None };
                    let message = format!("this rule is left out under {}: {why}", sink.object);
                    own.add(Severity::Warning, Code::DELEGATE, rule.pos, message)
                        .hints
                        .push(format!("the rule that delegates is at {}", document.origin(route.pos)));
                }
            }
        }
        standing
    }

    /// Whether somebody delegates to it.
    pub(super) fn is_wanted(&self, name: &ObjectName) -> bool {
        self.wanted.contains(name)
    }

    fn find(
        &self,
        written: &At<Box<Delegate>>,
        own_namespace: &Arc<str>,
        missing: Severity,
        sink: &mut Sink<'_>,
    ) -> Option<Of<'s, VirtualService>> {
        let wanted = wanted(written, own_namespace);
        if let Some(found) = self.by_name.get(&wanted) {
            return Some(*found);
        }
        let pos = written.name.as_ref().map_or(written.pos, |name| name.pos);
        let (message, hint) = if wanted.name.is_empty() {
            ("it names no VirtualService to delegate to".to_owned(), None)
        } else if self.roots.contains(&&wanted) {
            let message = format!("VirtualService {wanted} has hosts, so nobody can delegate to it");
            (message, Some("a delegate has neither hosts nor gateways".to_owned()))
        } else {
            let names: Vec<String> = self.by_name.keys().map(ToString::to_string).collect();
            let near = nearest(&wanted.to_string(), names.iter().map(String::as_str));
            (
                format!("there is no VirtualService {wanted} to delegate to"),
                near.map(|near| format!("the nearest is {near}")),
            )
        };
        sink.add(missing, Code::REFERENCED_RESOURCE_NOT_FOUND, pos, message).hints.extend(hint);
        None
    }
}

/// The VirtualService that is delegated to: of the own namespace where none is said.
fn wanted(written: &Delegate, own_namespace: &Arc<str>) -> ObjectName {
    let Delegate { name, namespace } = written;
    let said =
        |text: &Option<At<String>>| text.as_ref().map(|at| at.value.clone()).filter(|text| !text.is_empty());
    ObjectName {
        name: said(name).unwrap_or_default().into(),
        namespace: said(namespace).map_or_else(|| own_namespace.clone(), Into::into),
    }
}

/// Whether it is there for others to delegate to: it has no hosts, and none that could not be read.
pub(super) fn is_delegate(document: &Document, service: &VirtualService) -> bool {
    service.hosts.is_empty() && !document.is_unread(document.object.spec_pos, "hosts")
}

/// Names that a root writes mean what they mean in its own namespace, also under a delegate of another.
fn complete_names(route: &mut HttpRoute, namespace: &Arc<str>) {
    for block in &mut route.matches {
        for gateway in &mut block.value.gateways {
            if let Some(name) = names::gateway(gateway, namespace).filter(|_| gateway.value != "mesh") {
                gateway.value = name.to_string();
            }
        }
    }
    let mirrors = route.mirrors.iter_mut().map(|mirror| &mut mirror.value.destination.value);
    for destination in route.mirror.iter_mut().map(|mirror| &mut *mirror.value).chain(mirrors) {
        destination.host.value = host::complete(&destination.host.value, namespace);
    }
}

/// A delegate's rule with what it takes over from its root's, and within which of the root's blocks each of its own lies;
/// else why it can't stand there.
fn merge(root: &HttpRoute, delegate: &At<HttpRoute>) -> Result<(At<HttpRoute>, Within), String> {
    let HttpRoute {
        name,
        matches,
        route,
        redirect,
        direct_response,
        delegate: _,
        rewrite,
        headers,
        timeout,
        retries,
        fault,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percent_snake,
        mirror_percentage,
        cors_policy,
    } = delegate.value.clone();
    // A root's answer stands before a delegate's route; a delegate's redirect stands before it.
    let direct_response =
        direct_response.or_else(|| root.direct_response.clone().filter(|_| redirect.is_none()));
    let answers = redirect.is_some() || direct_response.is_some();
    let (matches, within) = conditions::merge(&root.matches, &matches)?;
    let merged = HttpRoute {
        name: joined(root.name.as_ref(), name),
        matches: matches.into(),
        route: if direct_response.is_some() { Box::default() } else { route },
        redirect,
        direct_response,
        delegate: None,
        // What answers by itself has nothing to rewrite.
        rewrite: if answers { None } else { rewrite.or_else(|| root.rewrite.clone()) },
        headers: headers.or_else(|| root.headers.clone()),
        timeout: timeout.or(root.timeout),
        retries: retries.or_else(|| root.retries.clone()),
        fault: fault.or_else(|| root.fault.clone()),
        mirror: mirror.or_else(|| root.mirror.clone()),
        mirrors: if mirrors.is_empty() { root.mirrors.clone() } else { mirrors },
        mirror_percent: mirror_percent.or(root.mirror_percent),
        mirror_percent_snake: mirror_percent_snake.or(root.mirror_percent_snake),
        mirror_percentage: mirror_percentage.or_else(|| root.mirror_percentage.clone()),
        cors_policy: cors_policy.or_else(|| root.cors_policy.clone()),
    };
    Ok((At { value: merged, pos: delegate.pos }, within))
}

/// Istio: names join as `root-delegate`.
fn joined(root: Option<&At<String>>, own: Option<At<String>>) -> Option<At<String>> {
    match (root.filter(|name| !name.is_empty()), own) {
        (Some(root), Some(own)) => Some(At { value: format!("{}-{}", root.value, own.value), pos: own.pos }),
        (Some(root), None) => Some(root.clone()),
        (None, own) => own,
    }
}
