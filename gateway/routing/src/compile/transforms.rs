//! Headers and HTTPRewrite → what is changed of a request and its answer.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::support::Written;
use super::values::quoted;
use super::variables::{self, Around};
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Place, Pos};
use crate::snapshot::{HeaderOps, PathRewrite, Substitution, Transform, TransformPlaces};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HeaderOperations, Headers, RegexRewrite, Rewrite};

/// What one level (a route, or a destination) changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    request: HeaderOps,
    response: HeaderOps,
    /// `Host` among the set fields, and among the added ones.
    host: Option<HeaderValue>,
    /// Where both are written, as far as they change anything.
    places: [Option<Place>; 2],
}

/// What a rule changes, whatever its destination.
#[derive(Debug, Default)]
pub(super) struct RuleLevel {
    level: Level,
    authority: Option<HeaderValue>,
    path: Option<Arc<PathRewrite>>,
    /// Where the rewrite is written.
    rewrite: Option<Place>,
}

/// Reads one level; what is wrong with it is in the sink.
pub(super) fn level(written: Option<&At<Box<Headers>>>, around: &Around<'_>, sink: &mut Sink<'_>) -> Level {
    let Some(Headers { request: inward, response: outward }) = written.map(|headers| &*headers.value) else {
        return Level::default();
    };
    let mut host = None;
    let request =
        inward.as_ref().map(|ops| operations(ops, Some(&mut host), around, sink)).unwrap_or_default();
    let response = outward.as_ref().map(|ops| operations(ops, None, around, sink)).unwrap_or_default();
    let changes = [!request.is_empty() || host.is_some(), !response.is_empty()];
    let place = |field: &dyn Written, changes: bool| field.key().filter(|_| changes).and_then(Pos::place);
    let places = [place(inward, changes[0]), place(outward, changes[1])];
    Level { request, response, host, places }
}

/// Istio: `Host` may be set or added in a request, which rewrites the authority; set goes before added.
fn operations(
    written: &HeaderOperations,
    mut host: Option<&mut Option<HeaderValue>>,
    around: &Around<'_>,
    sink: &mut Sink<'_>,
) -> HeaderOps {
    let HeaderOperations { set, add, remove } = written;
    let mut ops = HeaderOps::default();
    for (fields, into) in [(set, &mut ops.set), (add, &mut ops.add)] {
        for (name, value) in fields {
            if is_host(name)
                && let Some(host) = host.as_deref_mut()
            {
                // Istio's host_rewrite_literal: as it is written, without variables.
                if variables::is_closed(value, sink) {
                    *host = host.take().or_else(|| literal_authority(value, sink));
                }
                continue;
            }
            let value = variables::read(value, around, sink);
            if let (Some(name), Some(value)) = (field_name(name, sink), value) {
                into.push((name, value));
            }
        }
        into.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    }
    ops.remove = remove.iter().filter_map(|name| field_name(name, sink)).collect();
    ops
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// A field that may be changed. Where a message ends is told by who sends it: a route that says another length would have
/// its rest read as the next message.
fn field_name(name: &At<String>, sink: &mut Sink<'_>) -> Option<HeaderName> {
    if ["content-length", "transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        let message =
            format!("{:?} is not changed: it tells where a message ends, which a route can't", name.value);
        sink.add(Severity::Warning, Code::UNSUPPORTED_FIELD, name.pos, message);
        return None;
    }
    let parsed = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok().filter(|_| !is_host(name));
    if parsed.is_none() {
        sink.schema(
            name.pos,
            format!("{:?} can't be changed here, or is not the name of a header field", name.value),
        );
    }
    parsed
}

/// Reads what a rule changes.
pub(super) fn rule(
    headers: Option<&At<Box<Headers>>>,
    rewrite: Option<&At<Box<Rewrite>>>,
    around: &Around<'_>,
    sink: &mut Sink<'_>,
) -> RuleLevel {
    let level = level(headers, around, sink);
    let Some(written) = rewrite else { return RuleLevel { level, ..RuleLevel::default() } };
    let Rewrite { uri, authority, uri_regex_rewrite } = &*written.value;
    if uri.is_none() && authority.is_none() && uri_regex_rewrite.is_none() {
        sink.schema(written.pos, "a rewrite needs one of uri, authority and uriRegexRewrite".into());
    }
    if let (Some(_), Some(regex)) = (uri, uri_regex_rewrite) {
        sink.schema(regex.pos, "uri and uriRegexRewrite exclude each other".into());
    }
    if let (Some(authority), Some(_)) = (authority, &level.host) {
        sink.schema(
            authority.pos,
            "the authority is rewritten here and by a header operation on Host".into(),
        );
    }
    let authority = authority.as_ref().and_then(|authority| literal_authority(authority, sink));
    let path = path(uri.as_ref(), uri_regex_rewrite.as_ref(), sink);
    let changes = authority.is_some() || path.is_some();
    let rewrite = written.key().filter(|_| changes).and_then(Pos::place);
    RuleLevel { level, authority, path: path.map(Arc::new), rewrite }
}

impl RuleLevel {
    /// What is changed of the answers that the gateway gives itself.
    pub(super) fn of_answers(&self) -> (Option<Arc<HeaderOps>>, Option<Place>) {
        let response = Some(&self.level.response).filter(|ops| !ops.is_empty());
        (response.cloned().map(Arc::new), self.level.places[1])
    }

    /// What is changed on the way to a destination; `alone` where the rule has no other. `None` for nothing.
    ///
    /// Istio: of a lone destination, both lists are one level, so its own `set` comes last and wins; of several,
    /// the destination's level comes first, and the rule's wins. The rule's authority always goes before.
    pub(super) fn towards(&self, destination: &Level, alone: bool) -> Option<Arc<Transform>> {
        let levels = |rule: &HeaderOps, own: &HeaderOps| -> Box<[HeaderOps]> {
            let levels = match alone {
                true => vec![HeaderOps {
                    remove: [rule.remove.as_slice(), &own.remove].concat(),
                    set: [rule.set.as_slice(), &own.set].concat(),
                    add: [rule.add.as_slice(), &own.add].concat(),
                }],
                false => vec![own.clone(), rule.clone()],
            };
            levels.into_iter().filter(|ops| !ops.is_empty()).collect()
        };
        let transform = Transform {
            request: levels(&self.level.request, &destination.request),
            response: levels(&self.level.response, &destination.response),
            authority: self.authority.clone().or(self.level.host.clone()).or(destination.host.clone()),
            path: self.path.clone(),
            places: TransformPlaces {
                request: [self.rewrite, self.level.places[0], destination.places[0]],
                response: [self.level.places[1], destination.places[1]],
            },
        };
        (transform != Transform::default()).then(|| Arc::new(transform))
    }
}

fn literal_authority(authority: &At<String>, sink: &mut Sink<'_>) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_str(authority).ok().filter(|value| !value.is_empty());
    if parsed.is_none() {
        sink.schema(authority.pos, format!("{:?} is not an authority", authority.value));
    }
    parsed
}

fn path(
    uri: Option<&At<String>>,
    regex: Option<&At<RegexRewrite>>,
    sink: &mut Sink<'_>,
) -> Option<PathRewrite> {
    if let Some(uri) = uri {
        return Some(PathRewrite::Uri(uri.as_str().into()));
    }
    let regex = regex?;
    let RegexRewrite { matches: Some(written), rewrite: Some(text) } = &regex.value else {
        sink.schema(regex.pos, "uriRegexRewrite needs match and rewrite".into());
        return None;
    };
    match Substitution::new(written, text) {
        Ok(substitution) => Some(PathRewrite::Regex(substitution)),
        Err(message) => {
            sink.schema(
                regex.pos,
                format!("{} → {} can't be done: {message}", quoted(written), quoted(text)),
            );
            None
        }
    }
}
