//! An HTTP/1 request's head as bytes: passed as it is, written anew, or refused.
//!
//! One pass over the lines, without allocation, for nearly all; what has to be changed costs a second one. The grammar is
//! RFC 9112's without what it merely tolerates: CR and LF at each line's end, one space, no folding.

use memchr::memchr;

use super::framing::Framing;
use super::{Reason, TOKEN, authority, is_token, items, trim};

/// A head that may be handed on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How long it is as it came.
    pub length: usize,
    /// What takes its place, if anything does.
    pub rewritten: Option<Vec<u8>>,
    /// Whether its body comes in chunks.
    pub chunked: bool,
    /// There where it asks for nothing that is special.
    pub plain: Option<Plain>,
}

/// A request of HTTP/1.1 that asks for no other protocol and no word before its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// Of its body; `None` where that comes in chunks.
    pub length: Option<u64>,
    /// Whether its connection ends with it.
    pub close: bool,
}

/// How many things `Connection` may name.
const NOMINATED: usize = 16;

/// What has been found, and what has to be done about it.
#[derive(Default)]
struct Found<'h> {
    framing: Framing,
    hosts: usize,
    cookies: usize,
    expects: bool,
    /// A field that no one behind us is to see.
    unwanted: bool,
    upgrade: Option<&'h [u8]>,
    upgrades: usize,
    connection: Connection,
}

/// What `Connection` says.
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Other fields are named.
    others: bool,
    count: usize,
}

/// A first line's parts.
struct Line<'h> {
    method: &'h [u8],
    target: &'h [u8],
    version: &'h [u8],
    absolute: Option<Absolute<'h>>,
}

/// What stands before something, and what stands behind it.
type Halves<'h> = (&'h [u8], &'h [u8]);

/// A target in absolute form.
struct Absolute<'h> {
    authority: &'h [u8],
    path: &'h [u8],
}

/// Judges what begins with a request's head; `None` where it has not ended, and nothing is wrong so far.
pub fn read(bytes: &[u8]) -> Result<Option<Head>, Reason> {
    // RFC 9112 2.2: an empty line before a request is ignored, "at least one". Two, as some send one behind a body.
    let lead = bytes.chunks_exact(2).take(2).take_while(|line| line == b"\r\n").count() * 2;
    let head = bytes.get(lead..).unwrap_or_default();
    let Some((first, mut rest)) = line(head)? else { return Ok(None) };
    let first = request_line(first)?;
    let (mut found, mut lines) = (Found::default(), 1);
    loop {
        let Some((field, after)) = line(rest)? else { return Ok(None) };
        (rest, lines) = (after, lines + 1);
        if field.is_empty() {
            break;
        }
        let (name, value) = split(field)?;
        found.take(name, value)?;
    }
    let length = bytes.len() - rest.len();
    // Every control character is one of those that end lines, or it has no business here.
    if controls(bytes.get(lead..length).unwrap_or_default()) != lines * 2 {
        return Err(Reason::ControlCharacter);
    }
    found.judge(&first)?;
    let changed = first.absolute.is_some() || lead > 0 || found.changes(&first);
    let rewritten = changed.then(|| found.write(&first, head));
    Ok(Some(Head { length, rewritten, chunked: found.framing.chunked, plain: found.plain(&first) }))
}

/// A line without its end, and what follows.
fn line(bytes: &[u8]) -> Result<Option<Halves<'_>>, Reason> {
    let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
    let (line, rest) = bytes.split_at(end);
    let line = line.strip_suffix(b"\r").ok_or(Reason::ControlCharacter)?;
    Ok(Some((line, rest.get(1..).unwrap_or_default())))
}

/// How many control characters there are, tabs aside. In blocks of one size, so that each is looked at in a few steps.
fn controls(bytes: &[u8]) -> usize {
    let is = |byte: u8| u8::from((byte < b' ' && byte != b'\t') || byte == 0x7f);
    let of = |block: &[u8; 32]| usize::from(block.map(is).into_iter().sum::<u8>());
    let (blocks, rest) = bytes.as_chunks();
    let mut last = [b' '; 32];
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    blocks.iter().map(of).sum::<usize>() + of(&last)
}

/// A field's name and value.
fn split(field: &[u8]) -> Result<Halves<'_>, Reason> {
    let end = field.iter().position(|byte| !TOKEN[usize::from(*byte)]).unwrap_or(field.len());
    let (name, value) = field.split_at(end);
    match value {
        [b':', value @ ..] if end > 0 => Ok((name, trim(value))),
        [b' ' | b'\t', ..] if end == 0 => Err(Reason::FoldedLine),
        _ => Err(Reason::FieldName),
    }
}

fn request_line(line: &[u8]) -> Result<Line<'_>, Reason> {
    let (method, rest) = before_space(line)?;
    let (target, version) = before_space(rest)?;
    // A tab is no space here, and nothing else. PRI is HTTP/2's (RFC 9113 3.4).
    if !is_token(method) || method == b"PRI" || target.is_empty() || memchr(b'\t', target).is_some() {
        return Err(Reason::RequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        [b'H', b'T', b'T', b'P', b'/', digit, b'.', minor]
            if digit.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Reason::Version);
        }
        _ => return Err(Reason::RequestLine),
    }
    if method == b"CONNECT" {
        return Err(Reason::Connect);
    }
    let absolute = match target {
        [b'/', ..] => None,
        // Of the server as a whole. That only OPTIONS has it, and that nobody answers it here, is the router's.
        b"*" => None,
        _ => Some(absolute(target).ok_or(Reason::Target)?),
    };
    Ok(Line { method, target, version, absolute })
}

fn before_space(line: &[u8]) -> Result<Halves<'_>, Reason> {
    let (before, after) = line.split_at(memchr(b' ', line).ok_or(Reason::RequestLine)?);
    Ok((before, after.get(1..).unwrap_or_default()))
}

/// `http://host/path`, the host as it is.
fn absolute(target: &[u8]) -> Option<Absolute<'_>> {
    let scheme = memchr(b':', target)?;
    let (scheme, rest) = target.split_at(scheme);
    let known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = rest.strip_prefix(b"://").filter(|_| known)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Some(Absolute { authority, path })
}

impl<'h> Found<'h> {
    fn take(&mut self, name: &[u8], value: &'h [u8]) -> Result<(), Reason> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 || !authority::is_valid(value) {
                    return Err(Reason::Authority);
                }
            }
            // No field of HTTP, but a variable of CGI's that programs read: "httpoxy".
            5 if is(b"proxy") => self.unwanted = true,
            6 if is(b"cookie") => self.cookies += 1,
            6 if is(b"expect") => self.expects = true,
            7 if is(b"upgrade") => {
                self.upgrade = Some(value);
                self.upgrades += 1;
            }
            10 if is(b"connection") => return self.connection.take(value),
            14 if is(b"content-length") => return self.framing.length(value),
            14 if is(b"http2-settings") => self.unwanted = true,
            17 if is(b"transfer-encoding") => return self.framing.coding(value),
            _ => {}
        }
        Ok(())
    }

    /// What can only be told once all fields are known.
    fn judge(&self, first: &Line<'_>) -> Result<(), Reason> {
        let one = first.version == b"HTTP/1.1";
        if !one && self.framing.chunked {
            return Err(Reason::TransferEncoding);
        }
        // HTTP/1.0 has no host to be said; it is for the hosts that a `*` serves.
        if one && self.hosts == 0 {
            return Err(Reason::Authority);
        }
        match &first.absolute {
            Some(target) if !authority::is_valid(target.authority) => Err(Reason::Authority),
            _ => Ok(()),
        }
    }

    /// Whether a WebSocket is asked for, as RFC 6455 4.1 says how. Other protocols are not spoken behind us, HTTP/2 by
    /// `Upgrade` least of all.
    fn is_websocket(&self, first: &Line<'_>) -> bool {
        self.upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
            && self.upgrades == 1
            && self.connection.upgrade
            && !self.framing.body
            && first.method == b"GET"
            && first.version == b"HTTP/1.1"
    }

    fn plain(&self, first: &Line<'_>) -> Option<Plain> {
        let special = self.expects || self.is_websocket(first);
        let length = (!self.framing.chunked).then_some(self.framing.number);
        let plain = Plain { length, close: self.connection.close };
        (first.version == b"HTTP/1.1" && !special).then_some(plain)
    }

    fn changes(&self, first: &Line<'_>) -> bool {
        self.unwanted
            || self.cookies > 1
            || self.connection.others
            || (self.upgrade.is_some() || self.connection.upgrade) && !self.is_websocket(first)
    }

    /// Writes a head anew. Everything in it has been judged.
    fn write(&self, first: &Line<'_>, head: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len().min(64 * 1024) + 32);
        let path = first.absolute.as_ref().map_or(first.target, |target| target.path);
        let slash: &[u8] = if path.starts_with(b"/") || path == b"*" { b"" } else { b"/" };
        for part in [first.method, b" ", slash, path, b" ", first.version, b"\r\n"] {
            out.extend_from_slice(part);
        }
        // RFC 9112 3.2.2: the target's own host takes the place of whatever `Host` says.
        if let Some(target) = &first.absolute {
            put(&mut out, b"Host", target.authority);
        }
        let websocket = self.is_websocket(first);
        let fields = || fields(head);
        let named = fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
        let named: Vec<&[u8]> = named.flat_map(|(_, value)| items(value)).take(NOMINATED).collect();
        let mut joined = false;
        for (name, value) in fields() {
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            if is(b"cookie") {
                if !joined {
                    let cookies = fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
                    let cookies: Vec<&[u8]> =
                        cookies.map(|(_, value)| value).filter(|value| !value.is_empty()).collect();
                    put(&mut out, name, &cookies.join(&b"; "[..]));
                }
                joined = true;
                continue;
            }
            let dropped = (is(b"host") && first.absolute.is_some())
                || is(b"proxy")
                || is(b"http2-settings")
                || is(b"connection")
                || (is(b"upgrade") && !websocket)
                || (!is(b"upgrade") && named.iter().any(|item| is(item)));
            if !dropped {
                put(&mut out, name, value);
            }
        }
        let said = [
            (self.connection.close, "close"),
            (self.connection.keep_alive && !self.connection.close, "keep-alive"),
            (websocket, "Upgrade"),
        ];
        let said: Vec<&str> = said.into_iter().filter(|(says, _)| *says).map(|(_, option)| option).collect();
        if !said.is_empty() {
            put(&mut out, b"Connection", said.join(", ").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

impl Connection {
    fn take(&mut self, value: &[u8]) -> Result<(), Reason> {
        for item in items(value) {
            let is = |known: &[u8]| item.eq_ignore_ascii_case(known);
            self.count += 1;
            if self.count > NOMINATED || !is_token(item) || is_protected(item) {
                return Err(Reason::Connection);
            }
            match item.len() {
                5 if is(b"close") => self.close = true,
                10 if is(b"keep-alive") => self.keep_alive = true,
                7 if is(b"upgrade") => self.upgrade = true,
                // Taken off in any case, before the upstream.
                2 if is(b"te") => {}
                _ => self.others = true,
            }
        }
        Ok(())
    }
}

/// Fields that a client may not have taken off by naming them: those that frame, route, or say who it is.
fn is_protected(name: &[u8]) -> bool {
    const NAMES: [&str; 9] = [
        "host",
        "content-length",
        "transfer-encoding",
        "forwarded",
        "via",
        "x-real-ip",
        "x-request-id",
        "authorization",
        "cookie",
    ];
    const FAMILIES: [&str; 3] = ["x-forwarded-", "x-envoy-", "x-trysail-"];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || FAMILIES.iter().any(|family| {
            name.get(..family.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(family.as_bytes()))
        })
}

/// The fields of a head that has been judged.
fn fields(head: &[u8]) -> impl Iterator<Item = Halves<'_>> {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    std::iter::from_fn(move || lines.next()?.strip_suffix(b"\r").filter(|line| !line.is_empty()))
        .filter_map(|field| split(field).ok())
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", trim(value), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
