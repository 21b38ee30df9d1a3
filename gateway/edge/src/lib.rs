//! What may pass? Bytes and fields of strangers: requests before anyone routes them, answers before a client reads them.
//!
//! ```text
//! HTTP/1 bytes ─▶ head ─┬─ as it is ──────────────┐
//!                       ├─ written anew ──────────┼─▶ Pingora ─▶ route ─▶ upstream
//! HTTP/2 fields ─▶ fields ─ joined, dropped ──────┘                          │
//!                       └─ refused ─▶ 400 405 501             client ◀─ response
//! ```
//! All of it is pure: bytes or fields in, a verdict out, so that tables and fuzzers can ask it (`gateway/fuzz`). Who acts on
//! a verdict is the server: `listener/head` for HTTP/1, where a message is still bytes, and `proxy/strict` for the rest. What
//! may stand before the first message, a PROXY header, is read here too (`proxy_header`).
//!
//! Pingora reads HTTP/1 with a parser that forgives: bare line feeds, several lengths, codings in front of `chunked`. What it
//! forgives can not be seen in what it makes of it. So the head is judged as bytes, once, before Pingora gets it, and what
//! has to be changed is changed there: the request that is routed is the one that was judged. Refused was a second parser
//! that hands its result to Pingora (it takes none), and cleaning after routing (conditions would see what the upstream
//! does not).
//!
//! Limits of size and time are not here, nor is who a client says it is.

pub mod authority;
pub mod chunks;
pub mod fields;
mod framing;
pub mod head;
pub mod proxy_header;
pub mod response;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first line is not a method, a target and a version, with one space between.
    RequestLine,
    /// It is neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// CONNECT: this is no tunnel.
    Connect,
    /// The target is neither a path nor a URL of HTTP.
    Target,
    /// There is no host where one is needed, more than one, or one that is none.
    Authority,
    /// A control character, or a line that does not end with CR and LF.
    ControlCharacter,
    /// A field's name is no token.
    FieldName,
    /// A field's value begins or ends with a space, in HTTP/2.
    FieldValue,
    /// A line goes on with the next.
    FoldedLine,
    /// A length that is no plain number, or several.
    ContentLength,
    /// Transfer codings of which `chunked` is not the last, or not the only one of its kind; any in HTTP/1.0.
    TransferEncoding,
    /// Transfer codings that are not known here.
    TransferCoding,
    /// A length beside a transfer coding.
    BothLengths,
    /// `Connection` names what it may not, or too much.
    Connection,
    /// A body's chunks are not written as they have to be.
    Chunk,
    /// The path is written in a form that a setting refuses.
    Path,
    /// Whoever reads it after us does not take it: CONNECT in HTTP/2, or what is passed over here.
    Unreadable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 17] = [
        Reason::RequestLine,
        Reason::Version,
        Reason::Connect,
        Reason::Target,
        Reason::Authority,
        Reason::ControlCharacter,
        Reason::FieldName,
        Reason::FieldValue,
        Reason::FoldedLine,
        Reason::ContentLength,
        Reason::TransferEncoding,
        Reason::TransferCoding,
        Reason::BothLengths,
        Reason::Connection,
        Reason::Chunk,
        Reason::Path,
        Reason::Unreadable,
    ];

    /// As metrics have it, and the answer's body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::RequestLine => "request_line",
            Reason::Version => "version",
            Reason::Connect => "connect",
            Reason::Target => "target",
            Reason::Authority => "authority",
            Reason::ControlCharacter => "control_character",
            Reason::FieldName => "field_name",
            Reason::FieldValue => "field_value",
            Reason::FoldedLine => "folded_line",
            Reason::ContentLength => "content_length",
            Reason::TransferEncoding => "transfer_encoding",
            Reason::TransferCoding => "transfer_coding",
            Reason::BothLengths => "content_length_and_transfer_encoding",
            Reason::Connection => "connection",
            Reason::Chunk => "chunk",
            Reason::Path => "path",
            Reason::Unreadable => "unreadable",
        }
    }

    /// What it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Reason::Connect => 405,
            Reason::TransferCoding => 501,
            _ => 400,
        }
    }

    /// The whole answer on HTTP/1, where Pingora has no session yet.
    pub fn answer(self) -> String {
        let (status, body) = (self.status(), self.as_str());
        let phrase = match status {
            405 => "Method Not Allowed",
            501 => "Not Implemented",
            _ => "Bad Request",
        };
        // RFC 9110 15.5.6: what is not allowed is answered with what is; for a tunnel nothing is.
        let allow = if status == 405 { "allow: \r\n" } else { "" };
        format!(
            "HTTP/1.1 {status} {phrase}\r\n{allow}content-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Reason {}

/// RFC 9110 5.6.2 "token".
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| TOKEN[usize::from(*byte)])
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
            || matches!(byte as u8, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
            || matches!(byte as u8, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

/// The items of a list with commas, without the spaces around them; empty ones are none.
fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|item| !item.is_empty())
}

/// Without optional white space (RFC 9110 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
