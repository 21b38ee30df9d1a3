//! An upstream's answer as bytes: its head, and where its body ends.
//!
//! The head is read as Pingora reads it, by the same parser with the same leave, so that both lanes take and refuse the
//! same. What its fields mean is judged behind that, by `trysail_edge::response`; how long its body is has to be known
//! before, and here.

use std::mem::MaybeUninit;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use memchr::memchr_iter;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use trysail_edge::chunks::Chunks;

/// Fields of a head: so many nearly all have, and so many one may have. Pingora's figure.
const FEW: usize = 48;
const MOST: usize = 256;

/// The longest head. Pingora's figure.
const LONGEST: usize = 1_048_575;

/// An answer's head.
pub(super) struct Heard {
    pub(super) response: ResponseHeader,
    /// How its body ends.
    pub(super) body: Body,
    /// Whether its connection may carry another request after it.
    pub(super) keeps: bool,
}

/// How an answer's body ends.
#[derive(Debug)]
pub(super) enum Body {
    /// It has so many bytes more; none where there can be no body.
    Length(u64),
    /// By its last chunk.
    Chunked(Box<Chunks>),
    /// With its connection.
    UntilClosed,
}

/// Where a field's name and value stand.
type Place = [usize; 4];

/// Takes a head off the bytes, once it is whole, which it was not when there were only so many of them.
pub(super) fn take(bytes: &mut BytesMut, seen: usize, method: &Method) -> Result<Option<Heard>> {
    // It ends with an empty line. One that comes in many pieces is not read from its beginning for each of them.
    let ends = has_empty_line(bytes.get(seen.saturating_sub(2)..).unwrap_or_default());
    if !ends && bytes.len() <= LONGEST && seen > 0 {
        return Ok(None);
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut places = [[0; 4]; FEW];
    let found = match parse::<FEW>(bytes, &mut places) {
        Err(httparse::Error::TooManyHeaders) => {
            let mut places = vec![[0; 4]; MOST];
            let found = parse::<MOST>(bytes, &mut places).map_err(no_http)?;
            return found.map(|found| make(bytes, &found, &places, method)).transpose();
        }
        found => found.map_err(no_http)?,
    };
    match found {
        Some(found) => make(bytes, &found, &places, method).map(Some),
        None if bytes.len() > LONGEST => Err(wrong("a head that does not end")),
        None => Ok(None),
    }
}

fn has_empty_line(bytes: &[u8]) -> bool {
    let behind = |at: usize| bytes.get(at + 1..).unwrap_or_default();
    memchr_iter(b'\n', bytes).any(|at| matches!(behind(at), [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// What there is in a first line, and how much there is of the rest.
struct Found {
    length: usize,
    version: u8,
    status: u16,
    /// Where the reason stands, where it is not the one of the status.
    reason: Option<(usize, usize)>,
    fields: usize,
}

fn parse<const N: usize>(
    bytes: &[u8],
    places: &mut [Place],
) -> std::result::Result<Option<Found>, httparse::Error> {
    let mut space = [const { MaybeUninit::uninit() }; N];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let Status::Complete(length) =
        parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut space)?
    else {
        return Ok(None);
    };
    let base = bytes.as_ptr() as usize;
    let place = |part: &[u8]| {
        let begin = part.as_ptr() as usize - base;
        (begin, begin + part.len())
    };
    let mut fields = 0;
    let named = parsed.headers.iter().filter(|field| !field.name.is_empty());
    for (field, at) in named.zip(places) {
        let (name, value) = (place(field.name.as_bytes()), place(field.value));
        *at = [name.0, name.1, value.0, value.1];
        fields += 1;
    }
    let status = parsed.code.unwrap_or_default();
    let usual = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let reason = parsed.reason.filter(|reason| Some(*reason) != usual);
    // An empty one may be a text that stands elsewhere.
    let reason = reason.map(|reason| if reason.is_empty() { (0, 0) } else { place(reason.as_bytes()) });
    Ok(Some(Found { length, version: parsed.version.unwrap_or_default(), status, reason, fields }))
}

fn make(bytes: &mut BytesMut, found: &Found, places: &[Place], method: &Method) -> Result<Heard> {
    let head = bytes.split_to(found.length).freeze();
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(found.status).map_err(|_| wrong("a status that is none"))?;
    parts.version = if found.version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = HeaderMap::with_capacity(found.fields + OURS);
    for [name, name_end, value, value_end] in places.iter().take(found.fields) {
        let name = head.get(*name..*name_end).and_then(|name| HeaderName::from_bytes(name).ok());
        let value = value_of(&head.slice(value..value_end));
        let appended = name.map(|name| parts.headers.try_append(name, value));
        appended.and_then(std::result::Result::ok).ok_or_else(|| wrong("a field that is none"))?;
    }
    let mut response = ResponseHeader::from(parts);
    if let Some((begin, end)) = found.reason {
        let reason = head.get(begin..end).and_then(|reason| std::str::from_utf8(reason).ok());
        response.set_reason_phrase(Some(reason.unwrap_or_default()))?;
    }
    framed(response, method)
}

/// So many fields are put in: the table of them grows at most once.
const OURS: usize = 3;

/// A field's value. What goes on in the next line is one line from here on.
fn value_of(value: &Bytes) -> HeaderValue {
    match HeaderValue::from_maybe_shared(value.clone()) {
        Ok(value) => value,
        Err(_) => pingora_http::header_value_from_slice(value),
    }
}

/// Says where an answer's body ends (RFC 9112 6.3).
fn framed(mut response: ResponseHeader, method: &Method) -> Result<Heard> {
    let fields = &response.headers;
    let chunked = fields.contains_key(TRANSFER_ENCODING);
    let both = chunked && fields.contains_key(CONTENT_LENGTH);
    let says_close = |value: &HeaderValue| {
        let mut items = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| item.eq_ignore_ascii_case(b"close"))
    };
    // Who does not say it in HTTP/1.1 may say both, or mean both: such a connection is not trusted any further.
    let closes = fields.get_all(CONNECTION).iter().any(says_close);
    let mut keeps = response.version == Version::HTTP_11 && !both && !closes;
    let length = fields.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<u64>().ok());
    let status = response.status;
    let none = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *method == Method::HEAD;
    let body = match (none, chunked, length) {
        (true, ..) => Body::Length(0),
        (_, true, _) => Body::Chunked(Box::default()),
        (.., Some(length)) => Body::Length(length),
        _ => {
            keeps = false;
            Body::UntilClosed
        }
    };
    if both {
        response.remove_header(&CONTENT_LENGTH);
    }
    Ok(Heard { response, body, keeps })
}

impl Body {
    /// Whether there is no more of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Body::Length(0))
    }

    /// How much is worth reading at once.
    pub(super) fn wanted(&self) -> usize {
        const LEAST: u64 = 4 * 1024;
        const MOST: u64 = 64 * 1024;
        match self {
            // One more, to see what should not be there.
            Body::Length(left) => usize::try_from(left.saturating_add(1).clamp(LEAST, MOST)).unwrap_or(0),
            Body::Chunked(_) | Body::UntilClosed => 16 * 1024,
        }
    }

    /// Takes what came where it goes on as it is, and is too much to be copied.
    pub(super) fn long(&mut self, came: &mut BytesMut) -> Option<BytesMut> {
        const LONG: usize = 8 * 1024;
        let Body::Length(left) = self else { return None };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(came.len());
        *left -= if here < LONG { 0 } else { here as u64 };
        (here >= LONG).then(|| came.split_to(here))
    }

    /// Puts what came into `out`, as the client gets it, `bare` where its end is told beside it; what is left is none of it.
    /// Gives how many bytes of the body those were.
    pub(super) fn pass(&mut self, came: &mut BytesMut, out: &mut BytesMut, bare: bool) -> Result<u64> {
        match self {
            Body::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(came.len());
                join(came.split_to(here), out, bare);
                *left -= here as u64;
                Ok(here as u64)
            }
            Body::Chunked(chunks) => {
                let mut held = BytesMut::with_capacity(came.len());
                let behind = chunks.pass(came, |data| held.extend_from_slice(data)).map_err(|reason| {
                    Error::because(ErrorType::InvalidHTTPHeader, "a body's chunks", reason).into_up()
                })?;
                let (behind, ended) = (behind.map_or(0, <[u8]>::len), behind.is_some());
                let passed = held.len() as u64;
                chunk(held, out, bare);
                let _ = came.split_to(came.len() - behind);
                if ended {
                    self.end(out, bare);
                }
                Ok(passed)
            }
            Body::UntilClosed => {
                let passed = came.len() as u64;
                chunk(came.split(), out, bare);
                Ok(passed)
            }
        }
    }

    /// Its connection has ended: whether that is its end.
    pub(super) fn closed(&mut self, out: &mut BytesMut, bare: bool) -> bool {
        let ends = matches!(self, Body::UntilClosed);
        if ends {
            self.end(out, bare);
        }
        ends
    }

    /// The end of what goes to the client in chunks. An upstream's trailers are not passed on.
    fn end(&mut self, out: &mut BytesMut, bare: bool) {
        if !bare {
            out.put_slice(LAST_CHUNK);
        }
        *self = Body::Length(0);
    }
}

/// Puts bytes behind others. Where nobody writes before them, they stay where they stand.
fn join(data: BytesMut, out: &mut BytesMut, bare: bool) {
    if bare && out.is_empty() {
        *out = data;
    } else {
        out.extend_from_slice(&data);
    }
}

/// The end of a body in chunks, without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes a chunk, or with `bare` what it would hold.
fn chunk(data: BytesMut, out: &mut BytesMut, bare: bool) {
    if bare { join(data, out, bare) } else { write_chunk(&data, out) }
}

/// Writes a chunk; of nothing, none, as that would be the end.
pub(super) fn write_chunk(data: &[u8], out: &mut BytesMut) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    let _ = std::fmt::Write::write_fmt(out, format_args!("{:x}\r\n", data.len()));
    out.put_slice(data);
    out.put_slice(b"\r\n");
}

fn no_http(error: httparse::Error) -> Box<Error> {
    Error::because(ErrorType::InvalidHTTPHeader, "an answer's head", error).into_up()
}

fn wrong(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_there_once_its_empty_line_is_however_it_comes() {
        for (head, rest) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "ok"),
            ("HTTP/1.1 200 OK\ncontent-length: 2\n\n", "ok"),
            ("\r\nHTTP/1.1 204 No Content\r\n\r\n", ""),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", ""),
        ] {
            let all = format!("{head}{rest}");
            for step in 1..=all.len() {
                let (mut bytes, mut seen, mut heard) = (BytesMut::new(), 0, None);
                for piece in all.as_bytes().chunks(step) {
                    bytes.extend_from_slice(piece);
                    if heard.is_none() {
                        heard = take(&mut bytes, seen, &Method::GET).expect("a head");
                        seen = bytes.len();
                    }
                }
                assert!(heard.is_some_and(|heard| heard.response.status.is_success()), "{head:?} by {step}");
                assert_eq!(bytes, rest, "{head:?} by {step}");
            }
        }
        let (mut endless, mut parsed) = (BytesMut::from("HTTP/1.1 200 OK\r\n"), 0);
        let refused = loop {
            let seen = endless.len();
            endless.extend_from_slice(format!("x-{parsed}: {}\r\n", "x".repeat(4096)).as_bytes());
            parsed += 1;
            if let Err(error) = take(&mut endless, seen, &Method::GET) {
                break error;
            }
        };
        assert_eq!(refused.etype, ErrorType::InvalidHTTPHeader);
    }
}
