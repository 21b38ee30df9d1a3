//! Who may ask the admin port: whoever means it, and no web page that a browser on this machine has open.
//!
//! A page from elsewhere can make a browser send requests here. Its requests bear its `Origin`; and where its own name
//! was made to point here, they bear that name as `Host`. So a foreign `Origin` is refused, and a `Host` that is
//! neither an address nor `localhost`.

use std::net::IpAddr;

use http::HeaderMap;

/// Whether a request may be answered; the error says why not.
pub(super) fn admits(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text("host").unwrap_or_default();
    if !is_here(host) {
        return Err("the Host of a request to the admin port is an IP address or localhost\n");
    }
    match text("origin") {
        Some(origin) if origin.split_once("://").is_none_or(|(_, from)| from != host) => {
            Err("requests of foreign pages are refused\n")
        }
        _ => Ok(()),
    }
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

    #[test]
    fn names_and_foreign_pages_are_refused() {
        for (host, origin, admitted) in [
            ("127.0.0.1:15000", "", true),
            ("localhost:15000", "", true),
            ("LOCALHOST", "", true),
            ("[::1]:15000", "", true),
            ("10.0.0.7:15000", "http://10.0.0.7:15000", true),
            ("127.0.0.1:15000", "http://127.0.0.1:15001", false),
            ("127.0.0.1:15000", "http://evil.test", false),
            ("127.0.0.1:15000", "null", false),
            ("evil.test:15000", "", false),
            ("evil.test:15000", "http://evil.test:15000", false),
            ("127.0.0.1.evil.test", "", false),
            ("", "", false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("host", host), ("origin", origin)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(admits(&headers).is_ok(), admitted, "{host} {origin}");
        }
    }
}
