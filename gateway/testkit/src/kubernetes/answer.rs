//! What goes back for a request: written as HTTP/1.1, with the headers of the real server that matter.

use std::io::{self, Write};

use serde_json::Value;

use super::refusal::Refusal;

/// An answer that is whole; those of watches are written event by event.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(code: u16, body: &Value) -> Answer {
        let mut body = body.to_string().into_bytes();
        body.push(b'\n');
        Answer { code, content_type: JSON, headers: Vec::new(), body }
    }

    pub(super) fn text(code: u16, body: &str) -> Answer {
        let body = body.as_bytes().to_vec();
        Answer { code, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body }
    }

    /// How the real server answers for what it does not know: no `Status`.
    pub(super) fn nothing_there() -> Answer {
        Answer::text(404, "404 page not found\n")
    }

    pub(super) fn refused(refusal: &Refusal) -> Answer {
        let mut answer = Answer::json(refusal.code, &refusal.status());
        if let Some(seconds) = refusal.retry_after {
            answer.headers.push(("retry-after", seconds.to_string()));
        }
        answer
    }

    /// With a content type of its own.
    pub(super) fn typed(mut self, content_type: &'static str) -> Answer {
        self.content_type = content_type;
        self
    }

    /// With a Warning header for each.
    pub(super) fn warning(mut self, warnings: &[String]) -> Answer {
        for warning in warnings {
            let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
            self.headers.push(("warning", format!("299 - \"{quoted}\"")));
        }
        self
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n{COMMON}", self.code, phrase(self.code));
        head.push_str(&format!(
            "content-type: {}\r\ncontent-length: {}\r\n",
            self.content_type,
            self.body.len()
        ));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        // At once: a client that reads a head alone may take the body for late.
        to.write_all(&[head.as_bytes(), &self.body].concat())
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        Answer::refused(&refusal)
    }
}

/// The head of a stream of events.
pub(super) fn begin_stream(to: &mut impl Write) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\n{COMMON}content-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n");
    to.write_all(head.as_bytes())
}

/// Events, each a line, all in one chunk.
pub(super) fn stream(to: &mut impl Write, events: &[Value]) -> io::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    to.write_all(format!("{:x}\r\n{lines}\r\n", lines.len()).as_bytes())
}

/// The end of a stream.
pub(super) fn end_stream(to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"0\r\n\r\n")
}

fn phrase(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Whatever",
    }
}

const JSON: &str = "application/json";
const COMMON: &str = "cache-control: no-cache, private\r\n";
