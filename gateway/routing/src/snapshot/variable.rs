//! Values of header fields: texts, or texts with `%VARIABLES%` that a request fills in.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::cluster::ClusterKey;
use super::request::Request;

/// A field's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// The same for every request.
    Literal(HeaderValue),
    /// Put together for each request; the first is what is written.
    Parts(Box<str>, Box<[Part]>),
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(Box<str>),
    /// As the request has it; empty where it has none.
    Variable(Variable),
}

/// What can be asked of a request and its connection, by Envoy's names. What the process alone knows
/// (`HOSTNAME`, `ENVIRONMENT(…)`) is text when it comes here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Envoy's, and their meaning is its own documentation's")]
pub enum Variable {
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamRemotePort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteAddressWithoutPort,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    DownstreamPeerSubject,
    DownstreamPeerUriSan,
    DownstreamPeerCert,
    DownstreamPeerFingerprint256,
    DownstreamTlsVersion,
    DownstreamTlsCipher,
    RequestedServerName,
    Protocol,
    /// A field, the one in its place where it is absent, and how many bytes of it at most.
    Request(Asked, Option<Asked>, Option<usize>),
    /// As [`Variable::Request`], of the answer.
    Response(Asked, Option<Asked>, Option<usize>),
    /// In this notation of strftime; the default is Envoy's.
    StartTime(Option<Box<str>>),
    ResponseCode,
    ResponseFlags,
    UpstreamRemoteAddress,
    UpstreamCluster,
    BytesReceived,
    BytesSent,
}

/// A field that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the pseudo-fields of HTTP/2")]
pub enum Asked {
    Method,
    Path,
    Authority,
    Scheme,
    Field(HeaderName),
}

/// A request and its connection, as far as they are known when a value is put together.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// The client, as far as whoever stands between is believed.
    pub peer: Option<SocketAddr>,
    /// Who connected.
    pub direct: Option<SocketAddr>,
    /// The address that it connected to.
    pub local: Option<SocketAddr>,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'v str,
    /// The client's TLS, where it speaks it.
    pub tls: Option<Tls<'v>>,
    /// The request, with its fields as they are now.
    pub request: Request<'v>,
    /// The answer's fields, once there is one.
    pub response: Option<&'v HeaderMap>,
    /// The answer's status, once there is one.
    pub status: Option<u16>,
    /// Why the answer is what it is; `-` for nothing unusual.
    pub flags: &'v str,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// The cluster.
    pub cluster: Option<&'v ClusterKey>,
    /// When the request came, since 1970.
    pub start: Duration,
    /// Bytes of the request's body so far.
    pub received: u64,
    /// Bytes of the answer's body so far.
    pub sent: u64,
}

/// What is known of a client's TLS.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "each is the variable of its name")]
pub struct Tls<'v> {
    pub version: Option<&'v str>,
    pub cipher: Option<&'v str>,
    pub server_name: Option<&'v str>,
    pub peer_subject: Option<&'v str>,
    pub peer_uri_san: Option<&'v str>,
    pub peer_cert: Option<&'v str>,
    pub peer_fingerprint: Option<&'v str>,
}

impl Value {
    /// Whether each request has its own.
    pub fn varies(&self) -> bool {
        matches!(self, Value::Parts(..))
    }

    /// The value for a request; `None` where it is empty, or not one that a field can have. Envoy leaves the field
    /// as it is then.
    pub fn of(&self, view: &View<'_>) -> Option<HeaderValue> {
        let parts = match self {
            Value::Literal(value) => return Some(value.clone()),
            Value::Parts(_, parts) => parts,
        };
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => variable.put(view, &mut bytes),
            }
        }
        HeaderValue::from_bytes(&bytes).ok().filter(|value| !value.is_empty())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Literal(one), Value::Literal(other)) => one == other,
            // What the process alone knows is in the parts, not in what is written.
            (Value::Parts(_, one), Value::Parts(_, other)) => one == other,
            _ => false,
        }
    }
}

/// As written.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Literal(value) => f.write_str(&String::from_utf8_lossy(value.as_bytes())),
            Value::Parts(written, _) => f.write_str(written),
        }
    }
}

impl Variable {
    fn put(&self, view: &View<'_>, into: &mut Vec<u8>) {
        let tls = view.tls.unwrap_or_default();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let whole = |address: Option<SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
        let ip = |address: Option<SocketAddr>| address.map(|a| a.ip().to_string()).unwrap_or_default();
        let port = |address: Option<SocketAddr>| address.map(|a| a.port().to_string()).unwrap_or_default();
        let value = match self {
            Variable::DownstreamRemoteAddress => whole(view.peer),
            Variable::DownstreamRemoteAddressWithoutPort => ip(view.peer),
            Variable::DownstreamRemotePort => port(view.peer),
            Variable::DownstreamDirectRemoteAddress => whole(view.direct),
            Variable::DownstreamDirectRemoteAddressWithoutPort => ip(view.direct),
            Variable::DownstreamLocalAddress => whole(view.local),
            Variable::DownstreamLocalAddressWithoutPort => ip(view.local),
            Variable::DownstreamLocalPort => port(view.local),
            Variable::DownstreamPeerSubject => text(tls.peer_subject),
            Variable::DownstreamPeerUriSan => text(tls.peer_uri_san),
            Variable::DownstreamPeerCert => text(tls.peer_cert),
            Variable::DownstreamPeerFingerprint256 => text(tls.peer_fingerprint),
            Variable::DownstreamTlsVersion => text(tls.version),
            Variable::DownstreamTlsCipher => text(tls.cipher),
            Variable::RequestedServerName => text(tls.server_name),
            Variable::Protocol => view.protocol.to_owned(),
            Variable::Request(first, second, most) => {
                let found = first.of_request(view).or_else(|| second.as_ref()?.of_request(view));
                return into.extend(cut(found.unwrap_or_default(), *most));
            }
            Variable::Response(first, second, most) => {
                let found = first.of_response(view).or_else(|| second.as_ref()?.of_response(view));
                return into.extend(cut(found.unwrap_or_default(), *most));
            }
            Variable::StartTime(format) => time(view.start, format.as_deref().unwrap_or(START_TIME)),
            Variable::ResponseCode => view.status.map(|status| status.to_string()).unwrap_or_default(),
            Variable::ResponseFlags => view.flags.to_owned(),
            Variable::UpstreamRemoteAddress => whole(view.upstream),
            Variable::UpstreamCluster => view.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            Variable::BytesReceived => view.received.to_string(),
            Variable::BytesSent => view.sent.to_string(),
        };
        into.extend_from_slice(value.as_bytes());
    }
}

fn cut(mut value: Vec<u8>, most: Option<usize>) -> Vec<u8> {
    value.truncate(most.unwrap_or(usize::MAX));
    value
}

impl Asked {
    fn of_request(&self, view: &View<'_>) -> Option<Vec<u8>> {
        let request = &view.request;
        let text = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        match self {
            Asked::Method => text(request.method),
            Asked::Path => match request.query {
                None => text(request.path),
                Some(query) => Some(format!("{}?{query}", request.path).into_bytes()),
            },
            Asked::Authority => text(request.authority),
            Asked::Scheme => text(request.scheme),
            Asked::Field(name) => request.headers.get(name).map(|value| value.as_bytes().to_vec()),
        }
    }

    fn of_response(&self, view: &View<'_>) -> Option<Vec<u8>> {
        match self {
            Asked::Field(name) => view.response?.get(name).map(|value| value.as_bytes().to_vec()),
            _ => None,
        }
    }
}

/// Envoy's default: RFC 3339 in UTC, with milliseconds.
const START_TIME: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

/// A moment since 1970 in strftime's notation; [`is_time`] says which part of it is known.
fn time(since: Duration, format: &str) -> String {
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (word, tail) = specifier(after).unwrap_or(("%", after));
        let _ = match word {
            "Y" => write!(text, "{year:04}"),
            "m" => write!(text, "{month:02}"),
            "d" => write!(text, "{day:02}"),
            "H" => write!(text, "{hour:02}"),
            "M" => write!(text, "{minute:02}"),
            "S" => write!(text, "{second:02}"),
            "s" => write!(text, "{seconds}"),
            "3f" => write!(text, "{:03}", nanos / 1_000_000),
            "6f" => write!(text, "{:06}", nanos / 1_000),
            "9f" | "f" => write!(text, "{nanos:09}"),
            word => write!(text, "{word}"),
        };
        rest = tail;
    }
    text.push_str(rest);
    text
}

/// What stands behind a `%`, and the rest.
fn specifier(after: &str) -> Option<(&str, &str)> {
    const KNOWN: [&str; 12] = ["Y", "m", "d", "H", "M", "S", "s", "3f", "6f", "9f", "f", "%"];
    let word = KNOWN.into_iter().find(|word| after.starts_with(word))?;
    Some((word, after.get(word.len()..)?))
}

/// Whether every part of a notation is one that is known here.
pub(crate) fn is_time(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        let Some((_, tail)) = specifier(after) else { return false };
        rest = tail;
    }
    true
}

/// Year, month and day of a day since 1970, in the Gregorian calendar (Hinnant's `civil_from_days`).
pub fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = month < 10;
    let year = year + era * 400 + u64::from(!first);
    (year, if first { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_as_strftime_writes_them() {
        for (seconds, format, text) in [
            (0, START_TIME, "1970-01-01T00:00:00.250Z"),
            (951_782_400, START_TIME, "2000-02-29T00:00:00.250Z"),
            (1_709_251_199, START_TIME, "2024-02-29T23:59:59.250Z"),
            (4_102_444_800, "%d/%m/%Y %s%%", "01/01/2100 4102444800%"),
        ] {
            assert_eq!(time(Duration::from_millis(seconds * 1000 + 250), format), text);
        }
        for (format, known) in [(START_TIME, true), ("%s%%", true), ("%Q", false), ("%", false)] {
            assert_eq!(is_time(format), known, "{format}");
        }
    }
}
