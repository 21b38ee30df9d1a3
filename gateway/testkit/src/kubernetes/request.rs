//! A request: read from a connection, and taken apart into what it is about.

use std::io::{self, BufRead};

use super::kinds::{Kind, KindId};
use crate::message::{self, Head};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With its query, as it was sent.
    pub(super) target: String,
    path: Vec<String>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// The objects that a path is about.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kind: KindId,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// `status`, mostly.
    pub(super) below: Option<String>,
}

impl Asked {
    /// Reads one; `None` where the peer closed before it.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
        let Some(head) = Head::read(reader)? else { return Ok(None) };
        let body = message::read_body(reader, head.request_framing()?)?;
        let mut words = head.start.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path =
            path.split('/').filter(|part| !part.is_empty()).map(|part| unescape(part, false)).collect();
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key, true), unescape(value, true))
        };
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        Ok(Some(Asked { method, path, query, headers: head.headers, body, target }))
    }

    /// The path's parts, unescaped.
    pub(super) fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// A parameter; one that is empty counts as absent.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// A parameter that is a yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1"))
    }

    /// A header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The token by which it says who it is from.
    pub(super) fn token(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// The body's media type, without parameters.
    pub(super) fn media_type(&self) -> &str {
        let value = self.header("content-type").unwrap_or("application/json");
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Whether only `metadata` is asked for.
    pub(super) fn wants_metadata_only(&self) -> bool {
        let first = self.header("accept").unwrap_or_default().split(',').next().unwrap_or_default();
        first.contains("as=PartialObjectMetadata")
    }

    /// As authorization and counters name what is done.
    pub(super) fn verb(&self, target: &Target) -> &'static str {
        match (self.method.as_str(), &target.name) {
            ("GET" | "HEAD", _) if self.flag("watch") => "watch",
            ("GET" | "HEAD", None) => "list",
            ("GET" | "HEAD", Some(_)) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", None) => "deletecollection",
            ("DELETE", Some(_)) => "delete",
            _ => "",
        }
    }
}

/// What a path is about; `None` where no kind that is known is there.
pub(super) fn target(path: &[&str], kinds: &[Kind]) -> Option<Target> {
    let (group, version, rest) = match path {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // What is below a namespace is an object of it, unless it is a part of the namespace itself.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        rest => (None, rest),
    };
    let (plural, rest) = rest.split_first()?;
    let is_meant = |kind: &Kind| {
        kind.group == group && kind.plural == *plural && kind.versions.iter().any(|known| known == version)
    };
    let kind = kinds.iter().position(is_meant)?;
    let mut rest = rest.iter().map(|part| (*part).to_owned());
    let (name, below) = (rest.next(), rest.next());
    let is_whole = rest.next().is_none() && (namespace.is_none() || kinds[kind].is_namespaced);
    is_whole.then(|| Target { kind, version: version.to_owned(), namespace, name, below })
}

fn unescape(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        rest = match escaped {
            Some(escaped) => {
                bytes.push(escaped);
                &after[2..]
            }
            None => {
                bytes.push(if byte == b'+' && is_query { b' ' } else { byte });
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
