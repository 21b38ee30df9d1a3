//! Who a request is from: the fields that say so, made true before anything looks at them.
//!
//! Without trusted hops nothing is believed that a client says of itself. With N of them the N proxies before the gateway
//! are: what they say of the client's address, scheme, host and request id holds (Envoy `xff_num_trusted_hops`, Istio
//! `numTrustedProxies`). What only a mesh may say (`x-envoy-…`) and what a certificate says is never taken from outside.
//!
//! It is done here, before routing, so that a condition on `x-forwarded-proto` asks for what is true; and in one pass
//! over the names, as a look-up for each would cost more than all of them together.

use std::net::IpAddr;

use http::header::{CONNECTION, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use pingora_core::Result;
use pingora_http::RequestHeader;

use super::connection::Connection;
use super::headers;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
static ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// So many fields are put in: the table of them grows at most once.
const OURS: usize = 7;

/// What trusted hops told of a request's client; `None` where the connection is what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) client: Option<IpAddr>,
    pub(super) scheme: Option<&'static str>,
}

/// Makes a request's fields say who it is from.
///
/// Pingora keeps each name of HTTP/1 a second time, as it was written, and reads and copies a name that is put in. Its head
/// is taken apart and put together without that: names go upstream in lower case, as from Envoy (those of the standards
/// with capitals), and our fields cost less than their copies did.
pub(super) fn establish(head: &mut RequestHeader, connection: &Connection) -> Result<Identity> {
    let target = head.uri.path_and_query().map_or(&b""[..], |target| target.as_str().as_bytes());
    // A target that no URI can hold is kept beside it, and would be lost.
    let beside = (head.raw_path() != target).then(|| head.raw_path().to_vec());
    let (nothing, ()) = http::Request::new(()).into_parts();
    let mut parts = Parts::from(std::mem::replace(head, RequestHeader::from(nothing)));
    let identity = tell(&mut parts, connection);
    *head = RequestHeader::from(parts);
    beside.map_or(Ok(()), |target| head.set_raw_path(&target))?;
    Ok(identity)
}

/// The same of a head that is nobody's yet.
pub(super) fn tell(request: &mut Parts, connection: &Connection) -> Identity {
    let Parts { uri, headers, .. } = request;
    let said = Said::read(headers, connection.hops > 0);
    let mut identity = Identity::default();
    if connection.hops > 0 {
        if said.list {
            let list = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
            identity.client = from_right(list, connection.hops);
        }
        identity.scheme = scheme(headers);
    }
    for name in &said.forged {
        headers.remove(name);
    }
    if said.connection {
        keep_from_nomination(headers);
    }
    headers.reserve(OURS);
    if let Some(peer) = &connection.client {
        let list = if said.list { headers::lengthened(headers, peer) } else { Some(peer.clone()) };
        list.and_then(|list| headers.insert(FORWARDED_FOR.clone(), list));
        let client = identity.client.and_then(|client| HeaderValue::from_str(&client.to_string()).ok());
        headers.insert(EXTERNAL_ADDRESS.clone(), client.unwrap_or_else(|| peer.clone()));
    }
    if !said.scheme {
        headers.insert(FORWARDED_PROTO.clone(), HeaderValue::from_static(connection.scheme()));
    }
    if !said.host
        && let Some(host) = host(uri, headers)
    {
        headers.insert(FORWARDED_HOST.clone(), host);
    }
    if !said.id
        && let Ok(id) = HeaderValue::from_bytes(&request_id(fastrand::u128(..)))
    {
        headers.insert(REQUEST_ID.clone(), id);
    }
    if let Some(client) = connection.tls.as_ref().and_then(|tls| tls.client.as_ref()) {
        headers.insert(CLIENT_CERT.clone(), client.forwarded.clone());
    }
    // Most requests are tried once; others have it overwritten (`headers::tries`).
    headers.insert(ATTEMPT.clone(), HeaderValue::from_static("1"));
    identity
}

/// What a request says of itself, as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// It says something of its connection.
    connection: bool,
    /// It has a list of addresses, believed or not: it is lengthened.
    list: bool,
    /// These are there, and stay.
    scheme: bool,
    host: bool,
    id: bool,
    /// These are there, and do not.
    forged: Vec<HeaderName>,
}

impl Said {
    fn read(headers: &HeaderMap, trusted: bool) -> Self {
        let mut said = Said::default();
        for name in headers.keys() {
            // Two bytes tell nearly all fields of a request apart from those that matter here.
            let text = name.as_str();
            said.connection |= text.len() == 10 && *name == CONNECTION;
            if !matches!(text.as_bytes(), [b'x', b'-' | b'_', ..] | [b'f', b'o', ..]) {
                continue;
            }
            match Kind::of(text) {
                Kind::Other => {}
                Kind::List => said.list = true,
                Kind::Scheme if trusted => said.scheme = true,
                Kind::Host if trusted => said.host = true,
                Kind::Id if trusted => said.id = true,
                Kind::Hop if trusted => {}
                // One that is replaced need not be taken off before.
                Kind::Scheme | Kind::Id => {}
                Kind::Host | Kind::Hop | Kind::Never => said.forged.push(name.clone()),
            }
        }
        said
    }
}

/// What a field is to us, by its name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It says nothing of who a request is from.
    Other,
    /// `x-forwarded-for`.
    List,
    /// `x-forwarded-proto`.
    Scheme,
    /// `x-forwarded-host`.
    Host,
    /// `x-request-id`.
    Id,
    /// Another that a trusted hop may set.
    Hop,
    /// Nobody outside may set it.
    Never,
}

impl Kind {
    fn of(name: &str) -> Self {
        if name.contains('_') {
            // Many upstreams do not tell `_` from `-` (CGI's `HTTP_X_REAL_IP`), so such a name passes for one of ours.
            return if Kind::of(&name.replace('_', "-")) == Kind::Other { Kind::Other } else { Kind::Never };
        }
        match name {
            "x-forwarded-for" => Kind::List,
            "x-forwarded-proto" => Kind::Scheme,
            "x-forwarded-host" => Kind::Host,
            "x-request-id" => Kind::Id,
            "x-real-ip" | "forwarded" => Kind::Hop,
            "x-forwarded-client-cert" => Kind::Never,
            name if name.starts_with("x-envoy-") => Kind::Never,
            name if name.starts_with("x-forwarded-") => Kind::Hop,
            _ => Kind::Other,
        }
    }
}

/// The Nth address of a list, counted from its end; `None` where there is none, or something else.
///
/// Envoy counts the same way over the list as it was received, without the peer.
fn from_right<'v>(fields: impl DoubleEndedIterator<Item = &'v [u8]>, hops: u8) -> Option<IpAddr> {
    let mut entries = fields.rev().flat_map(|field| field.rsplit(|byte| *byte == b','));
    let entry = entries.nth(usize::from(hops).checked_sub(1)?)?;
    let address: IpAddr = std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

/// The scheme that a request's field tells; `None` where it tells several, or another.
fn scheme(headers: &HeaderMap) -> Option<&'static str> {
    let mut fields = headers.get_all(&FORWARDED_PROTO).iter().map(HeaderValue::as_bytes);
    match (fields.next(), fields.next()) {
        (Some(b"http"), None) => Some("http"),
        (Some(b"https"), None) => Some("https"),
        _ => None,
    }
}

/// Takes fields that say who a request is from out of `Connection`, by which a client has fields taken off on the way:
/// what is ours goes on.
fn keep_from_nomination(headers: &mut HeaderMap) {
    let plain = |field: &[u8]| {
        [&b"keep-alive"[..], b"close", b"upgrade"].iter().any(|word| field.eq_ignore_ascii_case(word))
    };
    let is_ours = |token: &[u8]| {
        let name = std::str::from_utf8(token).unwrap_or_default().to_ascii_lowercase();
        Kind::of(&name) != Kind::Other
    };
    let fields = || headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    if fields().all(plain) {
        return;
    }
    let tokens = || fields().flat_map(|field| field.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    if !tokens().any(is_ours) {
        return;
    }
    let kept: Vec<&[u8]> = tokens().filter(|token| !is_ours(token)).collect();
    match HeaderValue::from_bytes(&kept.join(&b", "[..])) {
        Ok(kept) if !kept.is_empty() => headers.insert(CONNECTION, kept),
        _ => headers.remove(CONNECTION),
    };
}

/// The host that was asked for.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => headers.get(HOST).filter(|host| !host.is_empty()).cloned(),
    }
}

/// A UUID of version 4 (RFC 9562), as Envoy makes one for each request. It tells requests apart and is no secret.
fn request_id(lot: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let lot = lot & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (nth, byte) in lot.to_be_bytes().into_iter().enumerate() {
        at += usize::from(matches!(nth, 4 | 6 | 8 | 10));
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use trysail_routing::snapshot::ListenerKey;

    use super::super::connection::Arrival;
    use super::*;

    /// The fields that an upstream sees, but for the request id, and what is known of the client.
    fn made(fields: &[(&'static str, &str)], hops: u8) -> (Vec<String>, Identity) {
        let peer: Option<SocketAddr> = "192.0.2.7:4711".parse().ok();
        let arrival = Arrival { client: peer, direct: peer, hops };
        let connection = Connection::new(ListenerKey { port: 80, bind: None }, arrival, None);
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.insert_header("host", "shop.test").unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        let identity = establish(&mut head, &connection).unwrap();
        let mut lines: Vec<String> = head
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "host" | "x-request-id" | "x-envoy-attempt-count"))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort_unstable();
        (lines, identity)
    }

    #[test]
    fn without_trusted_hops_a_client_says_nothing_of_itself() {
        let ours = |list: &str| {
            [
                "x-envoy-external-address: 192.0.2.7".to_owned(),
                format!("x-forwarded-for: {list}"),
                "x-forwarded-host: shop.test".to_owned(),
                "x-forwarded-proto: http".to_owned(),
            ]
        };
        assert_eq!(made(&[], 0), (ours("192.0.2.7").to_vec(), Identity::default()));
        for name in [
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-client-cert",
            "x-real-ip",
            "forwarded",
            "x-envoy-internal",
            "x-envoy-external-address",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-original-path",
            "x-envoy-decorator-operation",
            "x-envoy-upstream-rq-timeout-ms",
            "x-envoy-of-another-day",
            "x_forwarded_for",
            "x-forwarded_for",
            "x_real_ip",
            "x-request_id",
        ] {
            let (lines, identity) = made(&[(name, "https"), (name, "192.0.2.66")], 0);
            assert_eq!((lines, identity), (ours("192.0.2.7").to_vec(), Identity::default()), "{name}");
        }
        let list = [("x-forwarded-for", "192.0.2.66, 10.0.0.1"), ("x-forwarded-for", "x")];
        assert_eq!(made(&list, 0), (ours("192.0.2.66, 10.0.0.1,x,192.0.2.7").to_vec(), Identity::default()));
        for kept in ["x-trace", "x_trace", "x-envoy", "x-forwarded", "forwarded-by", "x-real-ips", "foo"] {
            let (lines, _) = made(&[(kept, "1")], 0);
            assert!(lines.contains(&format!("{kept}: 1")), "{kept}: {lines:?}");
        }
    }

    #[test]
    fn trusted_hops_are_believed_in_what_they_say() {
        let fields = [
            ("x-forwarded-for", "56.5.6.7, 72.9.5.6"),
            ("x-forwarded-for", "98.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.test"),
            ("x-forwarded-port", "8443"),
            ("x-real-ip", "72.9.5.6"),
            ("forwarded", "for=72.9.5.6"),
            ("x-envoy-internal", "true"),
            ("x-forwarded-client-cert", "Subject=\"CN=root\""),
            ("x_real_ip", "1.1.1.1"),
        ];
        let (lines, identity) = made(&fields, 2);
        assert_eq!(
            lines,
            [
                "forwarded: for=72.9.5.6",
                "x-envoy-external-address: 72.9.5.6",
                "x-forwarded-for: 56.5.6.7, 72.9.5.6,98.1.2.3,192.0.2.7",
                "x-forwarded-host: outer.test",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
                "x-real-ip: 72.9.5.6",
            ]
        );
        assert_eq!(identity, Identity { client: "72.9.5.6".parse().ok(), scheme: Some("https") });
        // What they do not say is ours to say.
        let (lines, identity) = made(&[], 2);
        assert!(lines.contains(&"x-forwarded-proto: http".to_owned()), "{lines:?}");
        assert!(lines.contains(&"x-envoy-external-address: 192.0.2.7".to_owned()), "{lines:?}");
        assert_eq!(identity, Identity::default());
        // Envoy keeps a scheme that is none, and does not go by it.
        let (lines, identity) = made(&[("x-forwarded-proto", "HTTPS,http")], 1);
        assert!(lines.contains(&"x-forwarded-proto: HTTPS,http".to_owned()), "{lines:?}");
        assert_eq!(identity.scheme, None);
        let twice = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")];
        assert_eq!(made(&twice, 1).1.scheme, None);
    }

    #[test]
    fn a_client_can_not_have_our_fields_taken_off() {
        for (sent, left) in [
            (&["close"][..], &["close"][..]),
            (&["Keep-Alive", "close"], &["Keep-Alive", "close"]),
            (&["close, X-Forwarded-For"], &["close"]),
            (&["x-request-id", "close,x-a , x-envoy-external-address"], &["close, x-a"]),
            (&["x-forwarded-client-cert,x-envoy-internal,FORWARDED"], &[]),
            (&["x_real_ip"], &[]),
            (&["x-a,close"], &["x-a,close"]),
            (&[], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for field in sent {
                headers.append(CONNECTION, field.parse().unwrap());
            }
            keep_from_nomination(&mut headers);
            let fields: Vec<_> = headers.get_all(CONNECTION).iter().collect();
            assert_eq!(fields, left, "{sent:?}");
        }
    }

    #[test]
    fn addresses_are_counted_from_the_right() {
        for (fields, hops, found) in [
            (&["56.5.6.7, 72.9.5.6, 98.1.2.3"][..], 1, Some("98.1.2.3")),
            (&["56.5.6.7, 72.9.5.6, 98.1.2.3"], 2, Some("72.9.5.6")),
            (&["56.5.6.7, 72.9.5.6, 98.1.2.3"], 3, Some("56.5.6.7")),
            (&["56.5.6.7, 72.9.5.6, 98.1.2.3"], 4, None),
            (&["56.5.6.7", "72.9.5.6,98.1.2.3"], 3, Some("56.5.6.7")),
            (&["56.5.6.7,72.9.5.6", "98.1.2.3"], 2, Some("72.9.5.6")),
            (&["56.5.6.7"], 0, None),
            (&["2001:db8::7"], 1, Some("2001:db8::7")),
            (&["::ffff:192.0.2.1"], 1, Some("192.0.2.1")),
            (&["72.9.5.6,"], 1, None),
            (&["72.9.5.6,"], 2, Some("72.9.5.6")),
            (&["72.9.5.6, unknown"], 1, None),
            (&["72.9.5.6:80"], 1, None),
            (&["072.9.5.6"], 1, None),
            (&["\u{fc}"], 1, None),
            (&[""], 1, None),
            (&[], 1, None),
        ] {
            let list = fields.iter().map(|field| field.as_bytes());
            assert_eq!(
                from_right(list, hops),
                found.map(|found| found.parse().unwrap()),
                "{fields:?} {hops}"
            );
        }
    }

    #[test]
    fn a_target_is_what_it_was() {
        for target in [&b"/a?b=c"[..], b"/\xff\xfe?\x80", b"*", b"http://shop.test/a", b"/"] {
            let connection = Connection::new(
                ListenerKey { port: 80, bind: None },
                Arrival { client: None, direct: None, hops: 0 },
                None,
            );
            let mut head = RequestHeader::build("POST", target, None).unwrap();
            establish(&mut head, &connection).unwrap();
            assert_eq!(head.raw_path(), target);
            assert_eq!(head.method, http::Method::POST);
        }
    }

    #[test]
    fn request_ids_are_random_uuids() {
        assert_eq!(&request_id(0), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&request_id(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        let lot = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(&request_id(lot), b"01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn a_request_id_is_a_trusted_hops_or_ours() {
        for (hops, sent, kept) in
            [(0, Some("mine"), false), (0, None, false), (1, Some("mine"), true), (1, None, false)]
        {
            let arrival = Arrival { client: None, direct: None, hops };
            let connection = Connection::new(ListenerKey { port: 80, bind: None }, arrival, None);
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            if let Some(sent) = sent {
                head.insert_header("x-request-id", sent).unwrap();
            }
            establish(&mut head, &connection).unwrap();
            let ids: Vec<_> = head.headers.get_all("x-request-id").iter().collect();
            assert_eq!((ids.len(), ids[0] == "mine"), (1, kept), "{hops} {sent:?}: {ids:?}");
            assert_eq!(ids[0].len() == 36, !kept, "{ids:?}");
        }
    }
}
