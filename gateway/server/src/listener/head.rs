//! The head of an HTTP/1 request, gathered before anybody reads it: within one time from its first byte, and within
//! its limits; and judged, so that Pingora gets the connection with a head that it may have.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::conn::Conn;
use trysail_edge::chunks::Chunks;
use trysail_edge::head::{Head, Plain};
use trysail_edge::{self as edge, Reason};

/// What a head may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// From its first byte to its last.
    pub(crate) time: Duration,
    /// All of it.
    pub(crate) bytes: usize,
    /// Its lines after the first.
    pub(crate) fields: usize,
    /// The target in its first line.
    pub(crate) target: usize,
}

/// A head that is whole, and stands first in what was read ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    /// How long it was as it came.
    pub(super) came: usize,
    /// How long it is where it stands.
    pub(super) stands: usize,
    /// There where it asks for nothing that is special.
    pub(super) plain: Option<Plain>,
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client has gone.
    Gone,
    /// It did not come in time.
    Late,
    /// It is too long, or has too many fields.
    TooLarge,
    /// Its target is too long.
    TargetTooLong,
    /// It is not to be served.
    Refused(Reason),
}

/// Reads ahead until there is a whole head, judges it, and says how long it is. One that is there already costs
/// no timer.
pub(super) async fn gather(conn: &mut Conn, limits: &HeadLimits) -> Result<Gathered, Fault> {
    if conn.is_within_body() {
        return Err(Fault::Gone);
    }
    let mut scan = Scan::default();
    let mut end = None;
    // What has come in one piece, as nearly all have, is read once. Of others the first line is looked at when it has
    // ended, as one of HTTP/0.9 is all there is, and the rest when all has.
    let (mut looked, mut line) = (false, false);
    loop {
        let whole = scan.is_whole(conn.pending(), limits)?;
        let line_ended = !line && scan.lines > 0;
        if !looked || line_ended || whole {
            (looked, line) = (true, line || line_ended);
            if let Some(head) = edge::head::read(conn.pending()).map_err(Fault::Refused)? {
                return begin(conn, head).map_err(Fault::Refused);
            }
        }
        let end = *end.get_or_insert_with(|| Instant::now() + limits.time);
        match timeout_at(end, conn.fill()).await {
            Err(_) => return Err(Fault::Late),
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Err(Fault::Gone),
        }
    }
}

/// Puts the head in order, and follows the chunks behind it.
fn begin(conn: &mut Conn, head: edge::head::Head) -> Result<Gathered, Reason> {
    let Head { length, rewritten, chunked, plain } = head;
    let stands = rewritten.as_ref().map_or(length, Vec::len);
    if chunked {
        let mut chunks = Chunks::default();
        if !chunks.take(conn.pending().get(length..).unwrap_or_default())? {
            conn.follow(chunks);
        }
    }
    if let Some(new) = rewritten {
        conn.replace(length, &new);
    }
    Ok(Gathered { came: length, stands, plain })
}

/// How far a head has been looked through, so that no byte is looked at twice.
#[derive(Debug, Default)]
struct Scan {
    /// Where the line begins that is not whole yet.
    line: usize,
    /// Up to where there is no end of it.
    seen: usize,
    /// Lines that are whole, without empty ones before the first.
    lines: usize,
}

impl Scan {
    /// Whether all of a head is there. Lines end as Pingora takes them: with LF, or CR LF.
    fn is_whole(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<bool, Fault> {
        while let Some(end) = memchr::memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + end;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (self.line, self.seen) = (end + 1, end + 1);
            match (line.is_empty(), self.lines) {
                // Empty lines before a request are passed over (RFC 9112 section 2.2).
                (true, 0) => {}
                (true, _) if end < limits.bytes => return Ok(true),
                (true, _) => return Err(Fault::TooLarge),
                (false, 0) if target(line) > limits.target => return Err(Fault::TargetTooLong),
                (false, _) => self.lines += 1,
            }
            if self.lines > limits.fields + 1 {
                return Err(Fault::TooLarge);
            }
        }
        let rest = bytes.get(self.line..).unwrap_or_default();
        if self.lines == 0 && target(rest) > limits.target {
            return Err(Fault::TargetTooLong);
        }
        if bytes.len() >= limits.bytes {
            return Err(Fault::TooLarge);
        }
        self.seen = bytes.len();
        // What does not begin as a method does is no request, and whoever reads it says so at once.
        Ok(self.lines == 0
            && rest.first().is_some_and(|first| !first.is_ascii_alphanumeric() && *first != b'\r'))
    }
}

/// The length of the target in a first line, or in what there is of one.
fn target(line: &[u8]) -> usize {
    let Some(begin) = memchr::memchr(b' ', line) else { return 0 };
    let rest = line.get(begin + 1..).unwrap_or_default();
    memchr::memrchr(b' ', rest).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { time: Duration::from_secs(1), bytes: 100, fields: 2, target: 10 };

    /// However a text is cut into pieces, the same comes out.
    #[test]
    fn heads_are_whole_or_too_much() {
        let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(100));
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Ok(true)),
            ("GET / HTTP/1.1\n\n", Ok(true)),
            ("\r\n\r\nGET / HTTP/1.1\r\na: b\r\nc: d\r\n\r\n", Ok(true)),
            ("GET / HTTP/1.1\r\na: b\r\n", Ok(false)),
            ("\r\n\r\n", Ok(false)),
            ("", Ok(false)),
            ("GET / HTTP/1.1\r\na: b\r\nc: d\r\ne: f\r\n", Err(Fault::TooLarge)),
            (&long, Err(Fault::TooLarge)),
            (&long[..100], Err(Fault::TooLarge)),
            ("GET /123456789 HTTP/1.1\r\n\r\n", Ok(true)),
            ("GET /1234567890 HTTP/1.1\r\n\r\n", Err(Fault::TargetTooLong)),
            ("GET /1234567890", Err(Fault::TargetTooLong)),
            ("\x16\x03\x01", Ok(true)),
        ] {
            let mut whole = Scan::default();
            assert_eq!(whole.is_whole(text.as_bytes(), &LIMITS), expected, "{text:?}");
            let mut scan = Scan::default();
            let piecewise = (0..=text.len())
                .map(|end| scan.is_whole(&text.as_bytes()[..end], &LIMITS))
                .find(|found| *found != Ok(false));
            assert_eq!(piecewise.unwrap_or(Ok(false)), expected, "{text:?} byte by byte");
        }
    }
}
