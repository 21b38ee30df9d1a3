//! How Services are talked to → a traffic policy: protocol, time to connect, who gets which request.

use http::HeaderName;

use super::super::yaml::{Item, Value, map, text, truth};
use super::asked::Asked;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;

/// A traffic policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Policy {
    /// Seconds to connect.
    connect: Option<u32>,
    tls: bool,
    http2: bool,
    balancer: Option<Value>,
}

impl Policy {
    /// Whether it says nothing.
    pub(in super::super) fn is_default(&self) -> bool {
        *self == Policy::default()
    }

    /// A DestinationRule's fields.
    pub(in super::super) fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = Vec::new();
        fields.extend(self.balancer.clone().map(|balancer| ("loadBalancer".to_owned(), balancer)));
        let mut pool = Vec::new();
        if let Some(seconds) = self.connect {
            let time = text(format!("{seconds}s"));
            pool.push(("tcp".to_owned(), map([("connectTimeout", time)])));
        }
        if self.http2 {
            pool.push(("http".to_owned(), map([("h2UpgradePolicy", text("UPGRADE"))])));
        }
        if !pool.is_empty() {
            fields.push(("connectionPool".to_owned(), Value::Map(pool)));
        }
        if self.tls {
            let tls = map([("mode", text("SIMPLE")), ("insecureSkipVerify", truth(true))]);
            fields.push(("tls".to_owned(), tls));
        }
        fields
    }
}

/// Reads the annotations.
pub(super) fn read(asked: &mut Asked<'_, '_>, remarks: &mut Vec<String>) -> Policy {
    let mut policy = Policy::default();
    if let Some(protocol) = asked.text("backend-protocol") {
        match protocol.trim().to_ascii_uppercase().as_str() {
            "HTTP" => {}
            "HTTPS" => policy.tls = true,
            "GRPC" => policy.http2 = true,
            "GRPCS" => (policy.tls, policy.http2) = (true, true),
            other => {
                let message =
                    format!("\"backend-protocol\" {other} is not spoken with upstreams: HTTP/1.1 is");
                asked.lost(protocol.pos, message).hints.push("HTTP, HTTPS, GRPC and GRPCS are".into());
            }
        }
        if policy.tls {
            let message = "the upstream's certificate is not looked at, as ingress-nginx did not".to_owned();
            asked
                .sink
                .add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, protocol.pos, message)
                .hints
                .push("write caCertificates in place of insecureSkipVerify".into());
        }
    }
    policy.connect = asked.number("proxy-connect-timeout").map(|time| time.value).filter(|time| *time > 0);
    let affinity = affinity(asked, remarks);
    let hash = asked.text("upstream-hash-by").and_then(|by| hash(by, asked));
    let plain = asked.text("load-balance").and_then(|kind| balance(kind, asked));
    policy.balancer = affinity.or(hash).or(plain);
    policy
}

const COOKIE: [&str; 7] = [
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-domain",
    "session-cookie-samesite",
    "session-cookie-max-age",
    "session-cookie-expires",
    "session-cookie-secure",
];

/// `affinity: cookie` → a hash of a cookie, which is made where a client has none.
fn affinity(asked: &mut Asked<'_, '_>, remarks: &mut Vec<String>) -> Option<Value> {
    let kind = asked.text("affinity");
    let mode = asked.text("affinity-mode");
    let canary = asked.text("affinity-canary-behavior");
    let [name, path, domain, same_site, age, expires, secure] = COOKIE.map(|name| asked.text(name));
    let kind = kind?;
    if kind.value != "cookie" {
        asked.lost(kind.pos, format!("an affinity {:?} is not known; \"cookie\" is", kind.value));
        return None;
    }
    if let Some(mode) = mode.filter(|mode| mode.value == "persistent") {
        let message =
            "\"affinity-mode: persistent\": when endpoints come and go, about 1/n of the clients move"
                .to_owned();
        asked.differs(mode.pos, message);
    }
    if let Some(canary) = canary.filter(|canary| canary.value != "legacy") {
        let message =
            "a client is not kept on the canary or off it: each of its requests takes its turn".to_owned();
        asked.differs(canary.pos, message);
    }
    let message =
        "clients are placed by a hash of the cookie: those that have nginx's cookie are placed anew, once";
    asked.differs(kind.pos, message.to_owned()).hints.push(
        "the share of each endpoint is even for many clients only; sessions on endpoints are lost once"
            .into(),
    );
    remarks.push("The cookie is hashed; clients that come with nginx's are placed anew, once.".into());
    let seconds = age.or(expires).and_then(|age| {
        let seconds = age.trim().parse::<u32>().ok().filter(|seconds| *seconds <= i32::MAX.unsigned_abs());
        if seconds.is_none() {
            asked.differs(
                age.pos,
                format!("{:?} is not a number of seconds: the cookie ends with the session", age.value),
            );
        }
        seconds
    });
    // Whatever is put into the cookie may not end it.
    let mut sound = |written: Option<&At<String>>, default: &str| {
        let Some(written) = written else { return default.to_owned() };
        let sound = written.bytes().all(|byte| byte.is_ascii_graphic() && !b";,=\"".contains(&byte));
        if !sound {
            asked.differs(written.pos, format!("{:?} can't stand in a cookie: left out", written.value));
        }
        if sound { written.value.clone() } else { default.to_owned() }
    };
    let mut attributes = Vec::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            attributes.push(map([("name", text(name)), ("value", text(value))]));
        }
    };
    let name = sound(name, "INGRESSCOOKIE");
    let path = sound(path, "/");
    put("Domain", sound(domain, ""));
    put("SameSite", sound(same_site, ""));
    if secure.is_some_and(|secure| secure.value == "true") {
        attributes.push(map([("name", text("Secure"))]));
    }
    let mut cookie = vec![
        ("name".to_owned(), text(name)),
        ("path".to_owned(), text(path)),
        ("ttl".to_owned(), text(format!("{}s", seconds.unwrap_or(0)))),
    ];
    if !attributes.is_empty() {
        let items = attributes.into_iter().map(|value| Item { comment: Vec::new(), value }).collect();
        cookie.push(("attributes".to_owned(), Value::List(items)));
    }
    Some(map([("consistentHash", map([("httpCookie", Value::Map(cookie))]))]))
}

/// `upstream-hash-by: $variable` → the same of Istio's.
fn hash(by: &At<String>, asked: &mut Asked<'_, '_>) -> Option<Value> {
    let variable = by.trim().trim_start_matches('$').trim_matches(['{', '}']);
    let field = |name: &str| HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok();
    let key = match variable {
        "remote_addr" | "binary_remote_addr" => Some(map([("useSourceIp", truth(true))])),
        "http_host" => None,
        variable => match variable.split_once('_') {
            Some(("http", name)) => field(name).map(|name| map([("httpHeaderName", text(name.as_str()))])),
            Some(("arg", name)) if !name.contains('$') && !name.is_empty() => {
                Some(map([("httpQueryParameterName", text(name))]))
            }
            Some(("cookie", name)) if field(name).is_some() => {
                Some(map([("httpCookie", map([("name", text(name))]))]))
            }
            _ => None,
        },
    };
    match key {
        Some(key) => Some(map([("consistentHash", key)])),
        None => {
            asked
                .lost(by.pos, format!("a hash of {:?} is not carried over", by.value))
                .hints
                .push("$remote_addr, $http_NAME, $arg_NAME and $cookie_NAME are, each alone".into());
            None
        }
    }
}

fn balance(kind: &At<String>, asked: &mut Asked<'_, '_>) -> Option<Value> {
    let simple = match kind.as_str() {
        "round_robin" => "ROUND_ROBIN",
        "ewma" => {
            let message =
                "\"ewma\" goes by how long answers take, LEAST_REQUEST by how many are under way".to_owned();
            asked.differs(kind.pos, message);
            "LEAST_REQUEST"
        }
        other => {
            asked.lost(kind.pos, format!("a balancer {other:?} is not carried over"));
            return None;
        }
    };
    Some(map([("simple", text(simple))]))
}
