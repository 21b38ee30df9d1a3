//! HTTP/1.1 messages as both the fake origin and the fake client read them: head, framing, body.
//!
//! Strict on purpose: a message framed twice, or with a bare length that is no number, is an error here even
//! where a real peer would guess, because a gateway that emits one is broken.

use std::io::{self, BufRead, Error, ErrorKind, Read};

/// A request's or a reply's lines up to the empty one.
#[derive(Debug)]
pub(crate) struct Head {
    /// As received, without the empty line, line ends made `\n`.
    pub(crate) text: String,
    /// The request line or status line.
    pub(crate) start: String,
    /// In the order received, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

// === impl Head ===

impl Head {
    /// Reads up to the empty line. `None`: the peer closed before the first byte.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut head = Head { text: String::new(), start: String::new(), headers: Vec::new() };
        let mut left = MAX_HEAD;
        loop {
            let Some(line) = read_line(reader, &mut left)? else {
                return if head.text.is_empty() { Ok(None) } else { Err(cut("in the head")) };
            };
            match (head.start.is_empty(), line.is_empty()) {
                // RFC 9112 2.2: empty lines before a request line are ignored.
                (true, true) => continue,
                (true, false) => head.start.clone_from(&line),
                (false, true) => return Ok(Some(head)),
                (false, false) => {
                    let (name, value) =
                        line.split_once(':').ok_or_else(|| odd("no colon in header", &line))?;
                    if name.is_empty() || name.contains([' ', '\t']) {
                        return Err(odd("malformed header name", &line));
                    }
                    head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
            head.text.push_str(&line);
            head.text.push('\n');
        }
    }

    /// Whether one of the comma-separated items of all lines named `name` is `token`, in any case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// How a request's body ends.
    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.declared()?.unwrap_or(Framing::Empty))
    }

    /// How a reply's body ends; `bare` for replies to HEAD.
    pub(crate) fn reply_framing(&self, status: u16, bare: bool) -> io::Result<Framing> {
        let declared = self.declared()?.unwrap_or(Framing::UntilClose);
        Ok(if bare || status == 204 || status == 304 || status < 200 { Framing::Empty } else { declared })
    }

    fn declared(&self) -> io::Result<Option<Framing>> {
        let mut lengths = self.values("content-length");
        let codings: Vec<&str> = self.values("transfer-encoding").collect();
        match (codings.as_slice(), lengths.next(), lengths.next()) {
            (_, Some(_), Some(second)) => Err(odd("a second content-length", second)),
            ([coding], None, None) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([_, ..], Some(length), None) => Err(odd("transfer-encoding beside content-length", length)),
            ([_, ..], None, _) => Err(odd("a transfer-encoding other than chunked", &codings.join(", "))),
            ([], Some(length), None) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_| odd("content-length", length)),
            ([], Some(length), None) => Err(odd("content-length", length)),
            ([], None, _) => Ok(None),
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a body to its end. A peer that closes before it is `UnexpectedEof`.
pub(crate) fn read_body(reader: &mut impl BufRead, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Empty => {}
        Framing::Length(length) => read_exactly(reader, length, &mut body)?,
        Framing::UntilClose => {
            reader.read_to_end(&mut body)?;
        }
        Framing::Chunked => loop {
            let line = need_line(reader, "before a chunk")?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| odd("chunk size", &line))?;
            if size == 0 {
                while !need_line(reader, "in the trailers")?.is_empty() {}
                break;
            }
            read_exactly(reader, size, &mut body)?;
            let end = need_line(reader, "after a chunk")?;
            if !end.is_empty() {
                return Err(odd("bytes after a chunk", &end));
            }
        },
    }
    Ok(body)
}

/// An error for what a peer should not have sent.
pub(crate) fn odd(what: &str, value: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what}: {value:?}"))
}

fn cut(place: &str) -> Error {
    Error::new(ErrorKind::UnexpectedEof, format!("the peer closed {place}"))
}

fn read_exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let got = reader.take(length).read_to_end(body)?;
    if (got as u64) < length { Err(cut(&format!("after {got} of {length} bytes"))) } else { Ok(()) }
}

fn need_line(reader: &mut impl BufRead, place: &str) -> io::Result<String> {
    read_line(reader, &mut { MAX_HEAD })?.ok_or_else(|| cut(place))
}

/// One line without its end; `None` where the peer closed instead. `left` is what the head may still hold.
fn read_line(reader: &mut impl BufRead, left: &mut u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let got = reader.take(*left).read_until(b'\n', &mut line)?;
    *left -= got as u64;
    match line.strip_suffix(b"\n") {
        Some(line) => {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            Ok(Some(String::from_utf8_lossy(line).into_owned()))
        }
        None if got == 0 && *left > 0 => Ok(None),
        None if *left == 0 => Err(Error::new(ErrorKind::InvalidData, "a head of more than 1 MiB")),
        None => Err(cut("inside a line")),
    }
}

const MAX_HEAD: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_of_a_request() {
        let rows = [
            ("", "Empty"),
            ("content-length: 7", "Length(7)"),
            ("transfer-encoding: Chunked", "Chunked"),
            ("content-length: 7\ncontent-length: 7", "a second content-length: \"7\""),
            ("content-length: +7", "content-length: \"+7\""),
            ("content-length: 99999999999999999999", "content-length: \"99999999999999999999\""),
            ("content-length:", "content-length: \"\""),
            (
                "content-length: 1\ntransfer-encoding: chunked",
                "transfer-encoding beside content-length: \"1\"",
            ),
            ("transfer-encoding: gzip", "a transfer-encoding other than chunked: \"gzip\""),
            ("no colon here", "no colon in header: \"no colon here\""),
            ("content-length : 1", "malformed header name: \"content-length : 1\""),
        ];
        for (headers, expected) in rows {
            let text =
                format!("POST / HTTP/1.1\n{headers}\n\n").replace("\n\n\n", "\n\n").replace('\n', "\r\n");
            let framing = Head::read(&mut text.as_bytes()).and_then(|head| head.unwrap().request_framing());
            let actual = framing.map_or_else(|error| error.to_string(), |framing| format!("{framing:?}"));
            assert_eq!(actual, expected, "{headers}");
        }
    }

    #[test]
    fn chunks() {
        let rows = [
            ("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde"),
            ("0\r\nx-trailer: 1\r\n\r\n", ""),
            ("3\r\nabc", "the peer closed after a chunk"),
            ("3\r\nab", "the peer closed after 2 of 3 bytes"),
            ("3\r\nabcd\r\n", "bytes after a chunk: \"d\""),
            ("g\r\n", "chunk size: \"g\""),
            ("0\r\n", "the peer closed in the trailers"),
        ];
        for (text, expected) in rows {
            let body = read_body(&mut text.as_bytes(), Framing::Chunked);
            let actual = body.map_or_else(|error| error.to_string(), |body| String::from_utf8(body).unwrap());
            assert_eq!(actual, expected, "{text:?}");
        }
    }

    #[test]
    fn a_peer_that_closes_early() {
        for (text, expected) in [
            ("", "Ok(None)"),
            ("\r\n", "Ok(None)"),
            ("GET / HTTP/1.1\r\n", "the peer closed in the head"),
            ("GET / HT", "the peer closed inside a line"),
        ] {
            let head = Head::read(&mut text.as_bytes());
            let actual = head.map_or_else(|error| error.to_string(), |head| format!("Ok({head:?})"));
            assert_eq!(actual, expected, "{text:?}");
        }
    }
}
