//! A request's head, which has been judged as bytes (`trysail_edge::head`), as the rooms that decide look at it; and as the
//! upstream reads it.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use memchr::memchr;
use pingora_http::RequestHeader;
use trysail_routing::path::PathRules;

use super::super::target;

/// Fields of a connection that no standard knows. Pingora takes off the same.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What is asked of the gateway itself (`proxy/explained`).
const EXPLAIN: &str = "x-trysail-explain";

/// A request's head.
pub(super) struct Head {
    pub(super) parts: Parts,
    /// How long its target is as it came.
    pub(super) target: usize,
    /// It has fields that are its connection's.
    pub(super) hops: bool,
}

/// Reads a head that may pass; `None` where it is better read by Pingora.
pub(super) fn read(head: &[u8], rules: PathRules) -> Option<Head> {
    let all = Bytes::copy_from_slice(head);
    let (first, mut rest) = line(&all)?;
    let (method, after) = first.split_at(memchr(b' ', first)?);
    let after = after.get(1..)?;
    let (target, _) = after.split_at(memchr(b' ', after)?);
    // A fragment is cut off there, and what is no text is kept beside the rest.
    if target.first() != Some(&b'/') || memchr(b'#', target).is_some() || !target.is_ascii() {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method).ok()?;
    let path = match target::made_of(target, rules).ok()? {
        None => PathAndQuery::from_maybe_shared(all.slice_ref(target)).ok()?,
        Some(made) => PathAndQuery::from_maybe_shared(Bytes::from(made)).ok()?,
    };
    parts.uri = Uri::from(path);
    let (length, mut hops) = (target.len(), false);
    let mut fields = HeaderMap::with_capacity(16);
    loop {
        let (field, after) = line(rest)?;
        rest = after;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_at(memchr(b':', field)?);
        if name.eq_ignore_ascii_case(EXPLAIN.as_bytes()) {
            return None;
        }
        let name = HeaderName::from_bytes(name).ok()?;
        hops |= is_hop(&name);
        let value = all.slice_ref(value.get(1..)?.trim_ascii());
        fields.try_append(name, HeaderValue::from_maybe_shared(value).ok()?).ok()?;
    }
    parts.headers = fields;
    Some(Head { parts, target: length, hops })
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = bytes.split_at(memchr(b'\n', bytes)?);
    Some((line.strip_suffix(b"\r")?, rest.get(1..)?))
}

/// Whether fields ask the gateway itself.
pub(super) fn asks(fields: &HeaderMap) -> bool {
    fields.contains_key(EXPLAIN)
}

/// Whether some are their connection's.
pub(super) fn has_hops(fields: &HeaderMap) -> bool {
    fields.keys().any(is_hop)
}

/// Whether a field says something of one connection. Lengths tell nearly all others apart.
fn is_hop(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 2 | 7 | 10 | 16..=19)
        && [
            CONNECTION,
            KEEP_ALIVE,
            PROXY_CONNECTION,
            PROXY_AUTHENTICATE,
            PROXY_AUTHORIZATION,
            TE,
            TRAILER,
            TRANSFER_ENCODING,
            UPGRADE,
        ]
        .contains(name)
}

/// Takes off what is the connection's.
pub(super) fn take_off_hops(request: &mut RequestHeader) {
    for name in [
        &CONNECTION,
        &KEEP_ALIVE,
        &PROXY_CONNECTION,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
        &TE,
        &TRAILER,
        &TRANSFER_ENCODING,
        &UPGRADE,
    ] {
        request.remove_header(name);
    }
}

/// Says again what frames a request, and whom it is for, whatever a route's changes made of it: what is sent is as long as
/// what came.
pub(super) fn frame(
    request: &mut RequestHeader,
    came: &RequestHeader,
    chunked: bool,
) -> pingora_core::Result<()> {
    match chunked {
        true => request.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?,
        false => drop(request.remove_header(&TRANSFER_ENCODING)),
    }
    match came.headers.get(CONTENT_LENGTH) {
        Some(length) if !chunked => request.insert_header(CONTENT_LENGTH, length.clone())?,
        _ => drop(request.remove_header(&CONTENT_LENGTH)),
    }
    if !request.headers.contains_key(HOST)
        && let Some(host) = came.headers.get(HOST)
    {
        request.insert_header(HOST, host.clone())?;
    }
    Ok(())
}

/// Says as a field whom a request is for, as what changes it expects; HTTP/2 has it in its target.
pub(super) fn say_host(request: &mut RequestHeader) -> pingora_core::Result<()> {
    match unsaid(request).map(HeaderValue::from_str) {
        Some(Ok(host)) => request.insert_header(HOST, host),
        _ => Ok(()),
    }
}

/// Whom it is for, where no field says so.
fn unsaid(request: &RequestHeader) -> Option<&str> {
    let authority = request.uri.authority()?;
    (!request.headers.contains_key(HOST)).then(|| authority.as_str())
}

/// Writes a head as HTTP/1.1 has it; `None` where its target can not be written.
pub(super) fn write(request: &RequestHeader, out: &mut BytesMut) -> Option<()> {
    let target = request.raw_path();
    // A route may have made another of it.
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    for part in [request.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        out.put_slice(part);
    }
    request.header_to_h1_wire(out);
    if let Some(authority) = unsaid(request) {
        for part in [b"Host: ", authority.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
    }
    out.put_slice(b"\r\n");
    Some(())
}
