//! Who may ask the admin port: whoever means it, and no web page that a browser on this machine has open.
//!
//! A page from elsewhere can make a browser send requests here. Its requests bear its `Origin`, or say in
//! `Sec-Fetch-Site` that they are another's; and where its own name was made to point here, they bear that name as
//! `Host`. So a foreign `Origin` is refused, and a `Host` that is neither an address nor `localhost`. Where there is a
//! token, callers have to show it (`Authorization: Bearer …`, or `Basic …` as the password, which browsers ask for), and
//! may call the port by any name: no page knows it. A browser that knows it sends it with other pages' requests too, and
//! these are refused by their `Origin` as before.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::text;
use crate::settings::Token;

/// Whether a request may be answered; else the answer that it gets.
pub(super) fn admits(headers: &HeaderMap, token: Option<&Token>) -> Result<(), Box<Response<Vec<u8>>>> {
    let refused = |why| Err(Box::new(text(StatusCode::FORBIDDEN, why)));
    let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = said("host").unwrap_or_default();
    if token.is_none() && !is_here(host) {
        return refused("the Host of a request to the admin port is an IP address or localhost\n");
    }
    let foreign = |origin: &str| origin.split_once("://").is_none_or(|(_, from)| from != host);
    let elsewhere = |site: &str| !matches!(site, "same-origin" | "none");
    if said("origin").is_some_and(foreign) || said("sec-fetch-site").is_some_and(elsewhere) {
        return refused("requests of foreign pages are refused\n");
    }
    match token {
        Some(token) if !shows(headers, token) => {
            let mut answer = text(
                StatusCode::UNAUTHORIZED,
                "show the token: Authorization: Bearer …, or as a password with any name\n",
            );
            let asked = HeaderValue::from_static(
                "Basic realm=\"trysail: the token is the password\", charset=\"UTF-8\"",
            );
            answer.headers_mut().insert(WWW_AUTHENTICATE, asked);
            Err(Box::new(answer))
        }
        _ => Ok(()),
    }
}

/// Whether a request shows the token. Digests are compared, and all of them: neither where two differ nor how long
/// they are can be told from the time that it takes.
fn shows(headers: &HeaderMap, token: &Token) -> bool {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let field = field.as_bytes();
    let of = |scheme: &[u8]| {
        let (said, rest) = field.split_at_checked(scheme.len())?;
        said.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let shown = match (of(b"bearer "), of(b"basic ")) {
        (Some(shown), _) => shown.to_vec(),
        (None, Some(encoded)) => password(encoded),
        (None, None) => return false,
    };
    let (shown, wanted) = (Sha256::digest(shown), Sha256::digest(token.bytes()));
    let differing = shown.iter().zip(wanted).fold(0, |all, (one, other)| all | (one ^ other));
    std::hint::black_box(differing) == 0
}

/// The password of a field `Basic …`; empty, which no token is, where there is none.
fn password(encoded: &[u8]) -> Vec<u8> {
    let decoded = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':');
    colon.and_then(|at| decoded.get(at + 1..)).unwrap_or_default().to_vec()
}

/// Whether an authority is an address or `localhost`, with or without a port.
fn is_here(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status that a request is refused with; 200 for none.
    fn status(fields: &[(&'static str, &str)], token: Option<&Token>) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        admits(&headers, token).map_or_else(|answer| answer.status().as_u16(), |()| 200)
    }

    #[test]
    fn names_and_foreign_pages_are_refused() {
        for (host, origin, site, admitted) in [
            ("127.0.0.1:15000", "", "", true),
            ("localhost:15000", "", "", true),
            ("LOCALHOST", "", "", true),
            ("[::1]:15000", "", "", true),
            ("10.0.0.7:15000", "http://10.0.0.7:15000", "", true),
            ("127.0.0.1:15000", "", "none", true),
            ("127.0.0.1:15000", "http://127.0.0.1:15000", "same-origin", true),
            ("127.0.0.1:15000", "", "cross-site", false),
            ("127.0.0.1:15000", "", "same-site", false),
            ("127.0.0.1:15000", "http://127.0.0.1:15001", "", false),
            ("127.0.0.1:15000", "http://evil.test", "", false),
            ("127.0.0.1:15000", "null", "", false),
            ("evil.test:15000", "", "", false),
            ("evil.test:15000", "http://evil.test:15000", "", false),
            ("127.0.0.1.evil.test", "", "", false),
            ("", "", "", false),
        ] {
            let fields = [("host", host), ("origin", origin), ("sec-fetch-site", site)];
            let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            assert_eq!(status(&fields, None), if admitted { 200 } else { 403 }, "{fields:?}");
        }
    }

    #[test]
    fn a_token_is_shown_whole_and_once() {
        let token = Token::new("0123456789abcdef");
        for (fields, wanted) in [
            (&[("authorization", "Bearer 0123456789abcdef")][..], 200),
            (&[("authorization", "bearer 0123456789abcdef")], 200),
            (&[("host", "gateway.test"), ("authorization", "Bearer 0123456789abcdef")], 200),
            (&[("origin", "http://evil.test"), ("authorization", "Bearer 0123456789abcdef")], 403),
            (&[("sec-fetch-site", "cross-site"), ("authorization", "Bearer 0123456789abcdef")], 403),
            (&[("authorization", "Bearer 0123456789abcdee")], 401),
            (&[("authorization", "Bearer 0123456789abcde")], 401),
            (&[("authorization", "Bearer 0123456789abcdef0")], 401),
            (&[("authorization", "Bearer ")], 401),
            (&[("authorization", "Bearer")], 401),
            (&[("authorization", "Basic 0123456789abcdef")], 401),
            (&[("authorization", "0123456789abcdef")], 401),
            (&[("authorization", "Basic YW55OjAxMjM0NTY3ODlhYmNkZWY=")], 200),
            (&[("authorization", "basic OjAxMjM0NTY3ODlhYmNkZWY=")], 200),
            (&[("authorization", "Basic YW55OjAxMjM0NTY3ODlhYmNkZWU=")], 401),
            (&[("authorization", "Basic MDEyMzQ1Njc4OWFiY2RlZg==")], 401),
            (&[("authorization", "Basic ?")], 401),
            (&[("authorization", "Basic ")], 401),
            (&[("origin", "http://evil.test"), ("authorization", "Basic OjAxMjM0NTY3ODlhYmNkZWY=")], 403),
            (
                &[("authorization", "Bearer 0123456789abcdef"), ("authorization", "Bearer 0123456789abcdef")],
                401,
            ),
            (&[("host", "127.0.0.1")], 401),
            (&[], 401),
        ] {
            assert_eq!(status(fields, Some(&token)), wanted, "{fields:?}");
        }
    }
}
