//! One line: each fact as Istio's text has it, and as its JSON has it.
//!
//! What a client sends is never trusted to be text: in a line, control characters, quotes, backslashes and whatever is no
//! ASCII are written `\xHH`, as nginx does, so that nobody adds a line or a field of his own.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trysail_routing::snapshot::date;

use super::{Details, Entry};
use crate::metrics::Flags;
use crate::settings::{Operator, Part, Template};

/// A fact's value.
enum Value<'a> {
    /// What the client, or the configuration, says.
    Bytes(&'a [u8]),
    /// What the gateway itself says: nothing in it is in need of care.
    Plain(&'a dyn Display),
    Number(u64),
    Absent,
}

/// A line of text, without its end.
pub(super) fn text(template: &Template, entry: &Entry<'_>, line: &mut Vec<u8>) {
    for piece in &template.0 {
        match piece {
            Part::Text(text) => line.extend_from_slice(text.as_bytes()),
            Part::Operator(operator) => of(*operator, entry, |value| match value {
                Value::Bytes(bytes) => escape(bytes, line),
                Value::Plain(plain) => print(line, plain),
                Value::Number(number) => decimal(number, line),
                Value::Absent => line.push(b'-'),
            }),
        }
    }
}

/// A line of JSON, without its end. What is not known is null, and numbers are numbers, as from Envoy.
pub(super) fn json(facts: &[Operator], entry: &Entry<'_>, line: &mut Vec<u8>) {
    let mut before = b'{';
    for fact in facts {
        line.push(before);
        before = b',';
        print(line, &format_args!("\"{}\":", fact.key()));
        of(*fact, entry, |value| match value {
            Value::Bytes(bytes) => quote(bytes, line),
            Value::Plain(plain) => {
                line.push(b'"');
                print(line, plain);
                line.push(b'"');
            }
            // Envoy's is a field of the answer, and so a text.
            Value::Number(number) if *fact == Operator::UpstreamServiceTime => {
                print(line, &format_args!("\"{number}\""));
            }
            Value::Number(number) => decimal(number, line),
            Value::Absent => line.extend_from_slice(b"null"),
        });
    }
    line.push(b'}');
}

/// Hands on a fact.
fn of(operator: Operator, entry: &Entry<'_>, mut take: impl FnMut(Value<'_>)) {
    let Entry { ended, request, .. } = entry;
    let flags;
    let details;
    let at;
    let value = match operator {
        Operator::StartTime => {
            at = Timestamp(entry.start);
            Value::Plain(&at)
        }
        Operator::RouteName => entry.route.and_then(|route| name(&route.name)).into(),
        Operator::Method => request.method.into(),
        Operator::Path => request.target.into(),
        Operator::Protocol => request.protocol.into(),
        Operator::ResponseCode => Value::Number(u64::from(ended.status)),
        Operator::ResponseFlags if ended.flags == Flags::default() => Value::Plain(&"-"),
        Operator::ResponseFlags => {
            flags = ended.flags.text();
            Value::Plain(&flags)
        }
        Operator::ResponseCodeDetails => match entry.details {
            Details::None => Value::Absent,
            Details::Is(is) => is.into(),
            Details::Before(reason) => {
                details = because("upstream_reset_before_response_started", reason, entry.transport);
                Value::Bytes(details.as_bytes())
            }
            Details::After(reason) => {
                details = because("upstream_reset_after_response_started", reason, entry.transport);
                Value::Bytes(details.as_bytes())
            }
        },
        Operator::ConnectionTerminationDetails => entry.termination.into(),
        Operator::UpstreamTransportFailureReason => entry.transport.into(),
        Operator::BytesReceived => Value::Number(ended.received),
        Operator::BytesSent => Value::Number(ended.sent),
        Operator::Duration => Value::Number(milliseconds(ended.duration)),
        Operator::UpstreamServiceTime => {
            entry.service_time.map_or(Value::Absent, |time| Value::Number(milliseconds(time)))
        }
        Operator::ForwardedFor => request.forwarded_for.into(),
        Operator::UserAgent => request.user_agent.into(),
        Operator::RequestId => request.request_id.into(),
        Operator::Authority => request.authority.into(),
        Operator::UpstreamHost => entry.upstream.as_ref().into(),
        Operator::UpstreamCluster => entry.cluster.map_or(Value::Absent, |cluster| Value::Plain(cluster)),
        Operator::UpstreamLocalAddress => entry.upstream_local.as_ref().into(),
        Operator::DownstreamLocalAddress => entry.local.as_ref().into(),
        Operator::DownstreamRemoteAddress => entry.remote.as_ref().into(),
        Operator::RequestedServerName => entry.server_name.into(),
        Operator::Route => entry.route.map(|route| &*route.name).into(),
        Operator::Subset => entry.cluster.map(|cluster| &*cluster.subset).into(),
        Operator::Revision => entry.revision.into(),
        Operator::Attempts => Value::Number(u64::from(entry.attempts)),
        Operator::Origin => match entry.route {
            None => Value::Absent,
            Some(route) => {
                details = route.origin.short().to_string();
                Value::Bytes(details.as_bytes())
            }
        },
    };
    take(value);
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        if bytes.is_empty() { Value::Absent } else { Value::Bytes(bytes) }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        text.as_bytes().into()
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.unwrap_or_default().into()
    }
}

impl<'a> From<Option<&'a SocketAddr>> for Value<'a> {
    fn from(address: Option<&'a SocketAddr>) -> Self {
        address.map_or(Value::Absent, |address| Value::Plain(address))
    }
}

/// A rule's own name; `None` where it has none and goes by its place.
fn name(route: &str) -> Option<&str> {
    let (_, name) = route.split_once(' ')?;
    let place = name.strip_prefix("http[").and_then(|rest| rest.strip_suffix(']'));
    let is_place = place.is_some_and(|place| place.bytes().all(|byte| byte.is_ascii_digit()));
    (!is_place).then_some(name)
}

/// Envoy's form of what failed, in one word: `…{remote_connection_failure|delayed_connect_error:_Connection_refused}`.
fn because(what: &str, reason: &str, transport: &str) -> String {
    let between = if transport.is_empty() { "" } else { "|" };
    format!("{what}{{{reason}{between}{transport}}}").replace(' ', "_")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn print(line: &mut Vec<u8>, value: &dyn Display) {
    // A Vec takes everything.
    let _ = write!(line, "{value}");
}

fn decimal(mut number: u64, line: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Bytes as they may stand in a line.
fn escape(bytes: &[u8], line: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !plain(*byte)) {
        let byte = rest[at];
        line.extend_from_slice(&rest[..at]);
        let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        line.extend_from_slice(&[b'\\', b'x', high, low]);
        rest = &rest[at + 1..];
    }
    line.extend_from_slice(rest);
}

/// Bytes as a text of JSON; what is no UTF-8 in them is U+FFFD.
fn quote(bytes: &[u8], line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(bytes);
    // A Vec takes everything, and a text is always one of JSON.
    let _ = serde_json::to_writer(line, &text);
}

/// A moment as Envoy prints it: `2026-01-02T03:04:05.678Z`.
struct Timestamp(SystemTime);

impl Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let milliseconds = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
    }
}
