//! `enable-cors` and `cors-…` → corsPolicy.

use http::{HeaderName, HeaderValue};

use super::super::yaml::{Value, list, map, text, texts, truth};
use super::asked::Asked;

const METHODS: &str = "GET, PUT, POST, DELETE, PATCH, OPTIONS";
const HEADERS: &str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,\
                       Authorization";
/// What Istio's policies may allow.
const KNOWN: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// Reads the annotations; ingress-nginx's own defaults are written out.
pub(super) fn read(asked: &mut Asked<'_, '_>, remarks: &mut Vec<String>) -> Option<Value> {
    let enabled = asked.truth("enable-cors");
    let origins = asked.text("cors-allow-origin");
    let methods = asked.text("cors-allow-methods");
    let headers = asked.text("cors-allow-headers");
    let expose = asked.text("cors-expose-headers");
    let credentials = asked.truth("cors-allow-credentials").unwrap_or(true);
    let age = asked.number("cors-max-age").map_or(1_728_000, |age| age.value);
    if enabled != Some(true) {
        return None;
    }
    let written = origins.map_or("*", |origins| origins.as_str());
    let every = written.split(',').any(|origin| origin.trim() == "*");
    let allowed: Vec<Value> = match every {
        true => vec![map([("exact", text("*"))])],
        false => written.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(origin).collect(),
    };
    let mut fields = vec![("allowOrigins".to_owned(), list(allowed))];
    let mut put = |name: &str, value: Value| fields.push((name.to_owned(), value));
    let mut words = |written: Option<&crate::origin::At<String>>, default: &str, sound: fn(&str) -> bool| {
        let text = written.map_or(default, |written| written.as_str());
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
        if let (Some(written), Some(odd)) = (written, words.iter().find(|word| !sound(word))) {
            let message = format!("{odd:?} can't stand in a CORS policy, and is left out");
            asked.lost(written.pos, message);
        }
        words.into_iter().filter(|word| sound(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    let is_field =
        |word: &str| HeaderName::from_bytes(word.as_bytes()).is_ok() && HeaderValue::from_str(word).is_ok();
    for (name, list) in [
        ("allowMethods", words(methods, METHODS, |word| KNOWN.contains(&word))),
        ("allowHeaders", words(headers, HEADERS, is_field)),
        ("exposeHeaders", words(expose, "", is_field)),
    ] {
        if !list.is_empty() {
            put(name, texts(list));
        }
    }
    // Istio takes no 0s; without it a browser remembers for five seconds.
    if age > 0 {
        put("maxAge", text(format!("{age}s")));
    }
    // A browser takes no cookies' answer for "*", which nginx says; here the origin is said back, and it would.
    if credentials && !every {
        put("allowCredentials", truth(true));
    } else if credentials {
        remarks.push(
            "No allowCredentials: with the origin \"*\" browsers refused it from nginx, and would take it here.".into(),
        );
    }
    Some(Value::Map(fields))
}

/// ingress-nginx: `*` within an origin is letters, digits and `-`.
fn origin(written: &str) -> Value {
    match written.contains('*') {
        false => map([("exact", text(written))]),
        true => map([("regex", text(regex::escape(written).replace(r"\*", "[A-Za-z0-9-]+")))]),
    }
}
