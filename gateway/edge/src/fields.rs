//! An HTTP/2 request's fields, where HTTP/1 may be spoken behind us: RFC 9113 8, as far as its reader leaves it to us.
//!
//! The h2 crate resets streams with pseudo-fields that are missing, doubled or misplaced, names in upper case, fields of a
//! connection, and bodies of another length than told; Pingora answers 400 to two hosts. What is left is here.

use http::{HeaderMap, Uri, header};

use super::{Reason, authority};

/// What there is to be done with fields that may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Several `cookie` fields, which are one (RFC 9113 8.2.3).
    pub crumbs: bool,
    /// A field that no one behind us is to see: [`UNWANTED`].
    pub unwanted: bool,
}

/// CGI's "httpoxy", and what only an upgrade from HTTP/1 would carry.
pub const UNWANTED: [&str; 2] = ["proxy", "http2-settings"];

/// Judges a request's target and fields.
pub fn read(target: &Uri, fields: &HeaderMap) -> Result<Found, Reason> {
    if target.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Reason::Target);
    }
    let path = target.path_and_query().map_or("", http::uri::PathAndQuery::as_str).as_bytes();
    // `*` is of the server as a whole, and the router's to refuse.
    if !path.starts_with(b"/") && path != b"*" {
        return Err(Reason::Target);
    }
    let host = || fields.get(header::HOST).map(http::HeaderValue::as_bytes);
    let said = target.authority().map(|authority| authority.as_str().as_bytes()).or_else(host);
    if !said.is_some_and(authority::is_valid) {
        return Err(Reason::Authority);
    }
    let (mut found, mut cookies, mut lengths) = (Found::default(), 0, 0);
    for (name, value) in fields {
        let name = name.as_str();
        // What http takes for a name is a token, but for this one character.
        if name.contains('"') {
            return Err(Reason::FieldName);
        }
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value.as_bytes() {
            return Err(Reason::FieldValue);
        }
        match name.len() {
            5 | 14 if UNWANTED.contains(&name) => found.unwanted = true,
            6 if name == "cookie" => cookies += 1,
            14 if name == "content-length" => lengths += 1,
            _ => {}
        }
    }
    found.crumbs = cookies > 1;
    if lengths > 1 { Err(Reason::ContentLength) } else { Ok(found) }
}

/// Several values as the one that they are pieces of. A piece that is empty says nothing; at the end it would leave a space.
pub fn joined(fields: &HeaderMap) -> Vec<u8> {
    let crumbs = fields.get_all(header::COOKIE).iter().map(http::HeaderValue::as_bytes);
    crumbs.filter(|crumb| !crumb.is_empty()).collect::<Vec<_>>().join(&b"; "[..])
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn what_is_left_to_us_of_http2() {
        for (target, fields, comes_to) in [
            ("http://shop.test/", "", "Ok"),
            ("https://shop.test:81/a", "cookie: a=1|x: y", "Ok"),
            ("http://shop.test/", "cookie: a=1|cookie: b=2", "crumbs a=1; b=2"),
            // Found by fuzzing: it was "a=1; ", which is no value.
            ("http://shop.test/", "cookie: a=1|cookie: ", "crumbs a=1"),
            ("http://shop.test/", "cookie: |cookie: ", "crumbs "),
            ("http://shop.test/", "proxy: x", "unwanted"),
            ("http://shop.test/", "http2-settings: x", "unwanted"),
            ("/", "host: shop.test", "Ok"),
            ("/", "", "authority"),
            ("/", "host: shop.test:0", "authority"),
            ("http://shop.test:/", "", "authority"),
            ("http://a,b/", "", "authority"),
            ("ftp://shop.test/", "", "target"),
            ("http://shop.test/", "a\"b: c", "field_name"),
            ("http://shop.test/", "a:  c", "field_value"),
            ("http://shop.test/", "a: c\t", "field_value"),
            ("http://shop.test/", "content-length: 1|content-length: 1", "content_length"),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields.split('|').filter_map(|field| field.split_once(": ")) {
                let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let is = match read(&target.parse().unwrap(), &map) {
                Err(reason) => reason.as_str().to_owned(),
                Ok(Found { crumbs: true, .. }) => {
                    format!("crumbs {}", String::from_utf8(joined(&map)).unwrap())
                }
                Ok(Found { unwanted: true, .. }) => "unwanted".to_owned(),
                Ok(_) => "Ok".to_owned(),
            };
            assert_eq!(is, comes_to, "{target} {fields}");
        }
    }
}
