//! How many bytes a head takes on the wire, as HTTP/1 writes it.
//!
//! Of HTTP/2, whose heads are packed, the same is counted: what a head says, whatever it was packed into.

use http::HeaderMap;
use pingora_http::{RequestHeader, ResponseHeader};

/// `GET /path HTTP/1.1`, the fields, and an empty line.
pub(super) fn of_request(head: &RequestHeader) -> u64 {
    let line = head.method.as_str().len() + head.raw_path().len() + " ".len() + " HTTP/1.1\r\n".len();
    (line + of_fields(&head.headers)) as u64
}

/// `HTTP/1.1 200 OK`, the fields, and an empty line.
pub(super) fn of_response(head: &ResponseHeader) -> u64 {
    let reason = head.get_reason_phrase().map_or(0, str::len);
    ("HTTP/1.1 200 \r\n".len() + reason + of_fields(&head.headers)) as u64
}

/// Each field is `name: value` and the end of its line.
fn of_fields(fields: &HeaderMap) -> usize {
    let each = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    each.sum::<usize>() + "\r\n".len()
}
