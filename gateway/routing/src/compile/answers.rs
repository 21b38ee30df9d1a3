//! HTTPRedirect and HTTPDirectResponse → answers that need no upstream.

use std::sync::Arc;

use http::HeaderValue;

use super::base64;
use super::values::{warn, within};
use crate::origin::At;
use crate::snapshot::{Action, DirectResponse, Match, Redirect, RedirectPath, RedirectPort};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{
    Body, DerivePort, DirectResponse as WrittenResponse, Redirect as WrittenRedirect,
};

/// The statuses that Envoy can redirect with; Istio's validation lets others pass that then do nothing.
const REDIRECTS: [i64; 5] = [301, 302, 303, 307, 308];

/// A direct response's body may have this many bytes, as in Istio.
const MAX_BODY: usize = 1 << 20;

/// One with more than this is worth a warning, as in Istio.
const LARGE_BODY: usize = 100 << 10;

/// Compiles a redirect; `blocks` are the conditions of its rule.
pub(super) fn redirect(
    written: &At<Box<WrittenRedirect>>,
    blocks: &[Arc<Match>],
    sink: &mut Sink<'_>,
) -> Option<Action> {
    let WrittenRedirect { uri, prefix_rewrite, authority, scheme, port, derive_port, redirect_code } =
        &*written.value;
    // proto3 does not tell what is empty from what is absent.
    let [uri, prefix_rewrite, authority, scheme] =
        [uri, prefix_rewrite, authority, scheme].map(|text| text.as_ref().filter(|text| !text.is_empty()));
    let redirect_code = redirect_code.as_ref().filter(|code| code.value != 0);
    let says_something = uri.is_some()
        || prefix_rewrite.is_some()
        || authority.is_some()
        || scheme.is_some()
        || port.is_some();
    if !says_something && derive_port.is_none() {
        sink.schema(
            written.pos,
            "a redirect needs one of uri, prefixRewrite, authority, scheme and port".into(),
        );
        return None;
    }
    let status = read_status(redirect_code, sink);
    let sound = |scheme: &At<String>| matches!(scheme.as_str(), "http" | "https");
    let unknown = scheme.filter(|scheme| !sound(scheme));
    if let Some(scheme) = unknown {
        sink.schema(scheme.pos, format!("{:?} is neither http nor https", scheme.value));
    }
    // Envoy refuses one that no field can hold.
    let unsayable = authority.filter(|authority| HeaderValue::from_str(authority).is_err());
    if let Some(authority) = unsayable {
        sink.schema(authority.pos, format!("{:?} is not an authority", authority.value));
    }
    let path = read_path(uri, prefix_rewrite, blocks, sink);
    let port = match (port, derive_port.as_ref().map(|derive| derive.value)) {
        (Some(port), None) => RedirectPort::Number(port.value),
        (None, Some(DerivePort::Request)) => RedirectPort::Server,
        (None, None | Some(DerivePort::ProtocolDefault)) => RedirectPort::Kept,
        (Some(port), Some(_)) => {
            sink.schema(port.pos, "port and derivePort exclude each other".into());
            return None;
        }
    };
    if unknown.is_some() || unsayable.is_some() {
        return None;
    }
    Some(Action::Redirect(Arc::new(Redirect {
        status: status?,
        scheme: scheme.map(|scheme| scheme.as_str().into()),
        authority: authority.map(|authority| authority.as_str().into()),
        port,
        path: path?,
    })))
}

fn read_status(written: Option<&At<i64>>, sink: &mut Sink<'_>) -> Option<u16> {
    let Some(written) = written else { return Some(301) };
    if !REDIRECTS.contains(&written.value) {
        sink.schema(written.pos, format!("{} is not a status to redirect with", written.value))
            .hints
            .push("it is one of 301, 302, 303, 307, 308".into());
        return None;
    }
    u16::try_from(written.value).ok()
}

fn read_path(
    uri: Option<&At<String>>,
    prefix_rewrite: Option<&At<String>>,
    blocks: &[Arc<Match>],
    sink: &mut Sink<'_>,
) -> Option<RedirectPath> {
    match (uri, prefix_rewrite) {
        (None, None) => Some(RedirectPath::Kept),
        (Some(uri), None) => Some(RedirectPath::Whole(with_slash(uri))),
        (None, Some(prefix)) => {
            if blocks.iter().any(|block| block.matched_prefix().is_none()) {
                let message = "\"prefixRewrite\" needs a prefix in every match that has a uri".to_owned();
                sink.schema(prefix.pos, message);
                return None;
            }
            Some(RedirectPath::Prefix(prefix.as_str().into()))
        }
        (Some(_), Some(prefix)) => {
            sink.schema(prefix.pos, "uri and prefixRewrite exclude each other".into());
            None
        }
    }
}

fn with_slash(uri: &str) -> Box<str> {
    if uri.starts_with('/') { uri.into() } else { format!("/{uri}").into() }
}

/// Compiles a direct response.
pub(super) fn response(written: &At<Box<WrittenResponse>>, sink: &mut Sink<'_>) -> Option<Action> {
    let WrittenResponse { status, body } = &*written.value;
    let code = within(Some(status), 200, 599, sink).and_then(|code| u16::try_from(code).ok());
    let body = match body {
        Some(body) => self::body(body, sink),
        None => Some(Box::default()),
    };
    Some(Action::Respond(Arc::new(DirectResponse { status: code?, body: body? })))
}

fn body(written: &At<Body>, sink: &mut Sink<'_>) -> Option<Box<[u8]>> {
    let bytes = match &written.value {
        Body { string: None, bytes: None } => Vec::new(),
        Body { string: Some(text), bytes: None } => text.value.clone().into_bytes(),
        Body { string: None, bytes: Some(text) } => match base64::decode(text) {
            Some(bytes) => bytes,
            None => {
                sink.schema(text.pos, "the body's bytes are not base64".into());
                return None;
            }
        },
        Body { string: Some(_), bytes: Some(bytes) } => {
            sink.schema(bytes.pos, "string and bytes exclude each other".into());
            return None;
        }
    };
    if bytes.len() > MAX_BODY {
        sink.schema(written.pos, format!("a body of {} bytes is over the limit of {MAX_BODY}", bytes.len()));
        return None;
    }
    if bytes.len() > LARGE_BODY {
        let message = format!("a body of {} bytes is kept in memory; let an upstream serve it", bytes.len());
        warn(message, written.pos, sink);
    }
    Some(bytes.into())
}
