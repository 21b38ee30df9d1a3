//! A field's value as written → texts and `%VARIABLES%`; what the process alone knows becomes text here.

use http::{HeaderName, HeaderValue};

use super::Surroundings;
use crate::nearest::nearest;
use crate::origin::At;
use crate::snapshot::{Asked, Part, Value, Variable, is_time};
use crate::wire::sink::Sink;

/// What a value may name beside the request: the process, and the route it stands in.
pub(super) struct Around<'a> {
    pub(super) surroundings: &'a Surroundings,
    /// The route's name as written; empty for none.
    pub(super) route: &'a str,
}

/// Variables without an argument.
const PLAIN: [(&str, Variable); 22] = [
    ("DOWNSTREAM_REMOTE_ADDRESS", Variable::DownstreamRemoteAddress),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Variable::DownstreamRemoteAddressWithoutPort),
    ("DOWNSTREAM_REMOTE_PORT", Variable::DownstreamRemotePort),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Variable::DownstreamDirectRemoteAddress),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Variable::DownstreamDirectRemoteAddressWithoutPort),
    ("DOWNSTREAM_LOCAL_ADDRESS", Variable::DownstreamLocalAddress),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Variable::DownstreamLocalAddressWithoutPort),
    ("DOWNSTREAM_LOCAL_PORT", Variable::DownstreamLocalPort),
    ("DOWNSTREAM_PEER_SUBJECT", Variable::DownstreamPeerSubject),
    ("DOWNSTREAM_PEER_URI_SAN", Variable::DownstreamPeerUriSan),
    ("DOWNSTREAM_PEER_CERT", Variable::DownstreamPeerCert),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", Variable::DownstreamPeerFingerprint256),
    ("DOWNSTREAM_TLS_VERSION", Variable::DownstreamTlsVersion),
    ("DOWNSTREAM_TLS_CIPHER", Variable::DownstreamTlsCipher),
    ("REQUESTED_SERVER_NAME", Variable::RequestedServerName),
    ("PROTOCOL", Variable::Protocol),
    ("RESPONSE_CODE", Variable::ResponseCode),
    ("RESPONSE_FLAGS", Variable::ResponseFlags),
    ("UPSTREAM_REMOTE_ADDRESS", Variable::UpstreamRemoteAddress),
    ("UPSTREAM_CLUSTER", Variable::UpstreamCluster),
    ("BYTES_RECEIVED", Variable::BytesReceived),
    ("BYTES_SENT", Variable::BytesSent),
];

/// Variables that become text here, or take an argument.
const OTHERS: [&str; 6] = ["HOSTNAME", "ROUTE_NAME", "ENVIRONMENT", "REQ", "RESP", "START_TIME"];

/// Reads a value; `None` where it is not one, with the reason in the sink.
pub(super) fn read(written: &At<String>, around: &Around<'_>, sink: &mut Sink<'_>) -> Option<Value> {
    let parts = said(parts(written, around), written, sink)?;
    let literal = match parts.as_slice() {
        [] => Some(""),
        [Part::Text(text)] => Some(&**text),
        _ => None,
    };
    let sound = |text: &str| HeaderValue::from_str(text).ok();
    let text_is_sound = |part: &Part| match part {
        Part::Text(text) => sound(text).is_some(),
        Part::Variable(_) => true,
    };
    let value = match literal {
        // A value that the process makes empty is as one that a request makes empty: it changes nothing.
        Some("") if !written.is_empty() => Some(Value::Parts(written.as_str().into(), Box::default())),
        Some(text) => sound(text).map(Value::Literal),
        None if parts.iter().all(text_is_sound) => {
            Some(Value::Parts(written.as_str().into(), parts.into_boxed_slice()))
        }
        None => None,
    };
    if value.is_none() {
        sink.schema(written.pos, format!("{:?} is not the value of a header field", written.value));
    }
    value
}

/// Whether every `%` of a text that is taken as it is would be closed (Istio `validateHeaderValue`).
pub(super) fn is_closed(written: &At<String>, sink: &mut Sink<'_>) -> bool {
    said(pieces(written), written, sink).is_some()
}

fn said<T>(read: Result<T, String>, written: &At<String>, sink: &mut Sink<'_>) -> Option<T> {
    read.map_err(|message| {
        sink.schema(written.pos, message).hints.push("write \"%%\" for the sign itself".into());
    })
    .ok()
}

/// A text with what the process knows put in.
fn parts(written: &str, around: &Around<'_>) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    for piece in pieces(written)? {
        let part = match piece {
            Piece::Text(text) => Part::Text(text.into()),
            Piece::Variable(variable) => variable_of(variable, around)?,
        };
        match part {
            Part::Text(more) => text.push_str(&more),
            variable => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(variable);
            }
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(parts)
}

/// A text, or what stands between two `%`.
enum Piece<'w> {
    Text(&'w str),
    Variable(&'w str),
}

/// Cuts a text at its variables. Envoy: `%NAME%`, `%NAME(arguments)%`, `%NAME(arguments):length%`, `%%` for the sign.
fn pieces(written: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('%') {
        pieces.push(Piece::Text(before));
        if let Some(tail) = after.strip_prefix('%') {
            pieces.push(Piece::Text("%"));
            rest = tail;
            continue;
        }
        let (variable, tail) =
            cut(after).map_err(|sign| format!("{written:?} has a \"{sign}\" that nothing closes"))?;
        pieces.push(Piece::Variable(variable));
        rest = tail;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// A variable and what stands behind it, or the sign that nothing closes. Within its parentheses a `%` does not end
/// it: `%START_TIME(%s)%`.
fn cut(after: &str) -> Result<(&str, &str), char> {
    let name = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
    let (_, arguments) = after.split_at(name);
    let closed = match arguments.starts_with('(') {
        true => name + arguments.find(')').ok_or('(')?,
        false => 0,
    };
    let (before, behind) = after.split_at(closed);
    let (rest, tail) = behind.split_once('%').ok_or('%')?;
    Ok((after.get(..before.len() + rest.len()).unwrap_or_default(), tail))
}

fn variable_of(written: &str, around: &Around<'_>) -> Result<Part, String> {
    let (name, rest) = written.split_at(written.find(['(', ':']).unwrap_or(written.len()));
    let (argument, length) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((argument, length)) => (Some(argument), length),
        None => (None, rest),
    };
    let most = match length.strip_prefix(':') {
        Some(digits) => {
            Some(digits.parse().map_err(|_| format!("{digits:?} of %{written}% is not a length"))?)
        }
        None if length.is_empty() => None,
        None => return Err(format!("%{written}% has {length:?} behind its parentheses")),
    };
    let needed = || argument.ok_or_else(|| format!("%{name}% needs an argument in parentheses"));
    let text = |text: &str| Ok(Part::Text(text.into()));
    let process = around.surroundings;
    let variable = match name {
        "HOSTNAME" => return text(&process.hostname),
        "ROUTE_NAME" => return text(around.route),
        "ENVIRONMENT" => return text(process.environment.get(needed()?).map_or("", String::as_str)),
        "REQ" => {
            let (first, second) = asked(needed()?)?;
            Variable::Request(first, second, most)
        }
        "RESP" => {
            let (first, second) = asked(needed()?)?;
            Variable::Response(first, second, most)
        }
        "START_TIME" => match argument.filter(|format| !format.is_empty()) {
            None => Variable::StartTime(None),
            Some(format) if is_time(format) => Variable::StartTime(Some(format.into())),
            Some(format) => {
                return Err(format!("{format:?} has more than %Y %m %d %H %M %S %s %3f %6f %9f %%"));
            }
        },
        name => match (PLAIN.iter().find(|(plain, _)| *plain == name), argument) {
            (Some((_, variable)), None) => variable.clone(),
            (Some(_), Some(_)) => return Err(format!("%{name}% takes no argument")),
            (None, _) => return Err(unknown(name)),
        },
    };
    Ok(Part::Variable(variable))
}

fn unknown(name: &str) -> String {
    let known = || PLAIN.iter().map(|(name, _)| *name).chain(OTHERS);
    let meant = nearest(name, known()).map(|near| format!("; did you mean %{near}%?")).unwrap_or_default();
    format!("there is no variable %{name}%{meant}")
}

/// `X?Y`: a field, and another in its place.
fn asked(written: &str) -> Result<(Asked, Option<Asked>), String> {
    let one = |name: &str| match name.to_ascii_lowercase().as_str() {
        ":method" => Ok(Asked::Method),
        ":path" => Ok(Asked::Path),
        ":authority" | "host" => Ok(Asked::Authority),
        ":scheme" => Ok(Asked::Scheme),
        lower => HeaderName::from_bytes(lower.as_bytes())
            .map(Asked::Field)
            .map_err(|_| format!("{name:?} is not the name of a header field")),
    };
    match written.split_once('?') {
        None => Ok((one(written)?, None)),
        Some((first, second)) => Ok((one(first)?, Some(one(second)?))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::snapshot::{Request, Tls, View};

    #[test]
    fn values_are_filled_in() {
        let surroundings = Surroundings {
            hostname: "edge-1".into(),
            environment: [("ZONE".to_owned(), "b".to_owned())].into(),
            ..Surroundings::default()
        };
        let around = Around { surroundings: &surroundings, route: "canary" };
        let mut headers = HeaderMap::new();
        headers.insert("x-a", "abcdef".parse().unwrap());
        let mut answer = HeaderMap::new();
        answer.insert("x-v", "v2".parse().unwrap());
        let request = Request {
            authority: "shop.test:80",
            method: "GET",
            scheme: "http",
            path: "/cart",
            query: Some("q=1"),
            headers: &headers,
        };
        let view = View {
            peer: "192.0.2.7:4711".parse().ok(),
            direct: "192.0.2.9:4712".parse().ok(),
            local: "[2001:db8::1]:8080".parse().ok(),
            protocol: "HTTP/1.1",
            tls: Some(Tls { version: Some("TLSv1.3"), ..Tls::default() }),
            request,
            response: Some(&answer),
            status: Some(503),
            flags: "UF",
            upstream: "10.0.0.1:9080".parse().ok(),
            cluster: None,
            start: Duration::from_secs(1),
            received: 7,
            sent: 0,
        };
        for (written, value) in [
            ("plain 100%%", Some("plain 100%")),
            ("%DOWNSTREAM_REMOTE_ADDRESS%", Some("192.0.2.7:4711")),
            ("<%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%>", Some("<192.0.2.7>")),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", Some("192.0.2.9:4712")),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", Some("192.0.2.9")),
            ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", Some("[2001:db8::1]:8080 8080")),
            ("%HOSTNAME%/%ENVIRONMENT(ZONE)%/%ROUTE_NAME%", Some("edge-1/b/canary")),
            ("%ENVIRONMENT(NONE)%", None),
            ("%REQ(X-A):3%,%REQ(x-none?:PATH)%,%REQ(:METHOD)%", Some("abc,/cart?q=1,GET")),
            ("%REQ(x-none)%", None),
            ("a%REQ(x-none)%", Some("a")),
            ("%RESP(x-v)% %RESPONSE_CODE% %RESPONSE_FLAGS%", Some("v2 503 UF")),
            ("%START_TIME%", Some("1970-01-01T00:00:01.000Z")),
            ("%START_TIME(%s)%", Some("1")),
            ("%PROTOCOL% %DOWNSTREAM_TLS_VERSION%%DOWNSTREAM_TLS_CIPHER%", Some("HTTP/1.1 TLSv1.3")),
            ("%UPSTREAM_REMOTE_ADDRESS% %BYTES_RECEIVED%", Some("10.0.0.1:9080 7")),
        ] {
            let value_of = |parts: Vec<Part>| Value::Parts("".into(), parts.into()).of(&view);
            let filled = value_of(parts(written, &around).unwrap());
            assert_eq!(filled.as_ref().map(|v| v.to_str().unwrap()), value, "{written}");
        }
        for (written, message) in [
            ("100%", "has a \"%\" that nothing closes"),
            ("abc%123", "has a \"%\" that nothing closes"),
            ("%START_TIME%%", "has a \"%\" that nothing closes"),
            ("%%%", "has a \"%\" that nothing closes"),
            ("%REQ(x%", "has a \"(\" that nothing closes"),
            ("%REQ(a\\", "has a \"(\" that nothing closes"),
            ("%REQ(x-a) x%", "behind its parentheses"),
            ("%REQ%", "needs an argument"),
            ("%REQ(a b)%", "not the name of a header field"),
            ("%REQ(a):x%", "not a length"),
            ("%HOSTNAEM%", "did you mean %HOSTNAME%?"),
            ("%START_TIME(%Q)%", "has more than"),
            ("%PROTOCOL(x)%", "takes no argument"),
            ("%REQ(a)x%", "behind its parentheses"),
        ] {
            let found = parts(written, &around).unwrap_err();
            assert!(found.contains(message), "{written}: {found}");
        }
    }
}
