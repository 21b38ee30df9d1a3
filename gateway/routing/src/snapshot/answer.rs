//! Answers that need no upstream: redirects and direct responses.

use super::predicate::Match;
use super::request::Request;
use crate::path::sendable;

/// An answer that sends the client elsewhere. Istio `HTTPRedirect`; its `Location` is always absolute.
#[derive(Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The new scheme; `None` keeps the request's.
    pub scheme: Option<Box<str>>,
    /// The new authority; `None` keeps the request's host.
    pub authority: Option<Box<str>>,
    /// The new port.
    pub port: RedirectPort,
    /// The new path.
    pub path: RedirectPath,
}

/// A redirect's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// The one in the request's `Host`, unless it is the default of a scheme that is left.
    Kept,
    /// This one; left out where it is the scheme's default.
    Number(u16),
    /// The Gateway server's port. Istio `derivePort: FROM_REQUEST_PORT`.
    Server,
}

/// A redirect's path. The query stays unless the new path brings its own.
#[derive(Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// The request's.
    Kept,
    /// This, with a leading slash.
    Whole(Box<str>),
    /// This in place of the prefix that matched, by plain substitution: `/foo` → `/` makes `//x` of `/foo/x`.
    Prefix(Box<str>),
}

/// An answer made here.
#[derive(Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; `text/plain` where there is one.
    pub body: Box<[u8]>,
}

impl Redirect {
    /// Istio `tls.httpsRedirect`: the same host, port, path and query under `https` (Envoy
    /// `createSslRedirectPath`).
    pub fn to_https(request: &Request<'_>) -> String {
        let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("https://{}{}{query}", request.authority, request.path)
    }

    /// Where a request is sent that came in on a server's port and fulfilled a block of conditions.
    pub fn location(&self, request: &Request<'_>, block: Option<&Match>, server_port: u16) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let wanted = match self.port {
            RedirectPort::Kept => None,
            RedirectPort::Number(port) => Some(port),
            RedirectPort::Server => Some(server_port),
        };
        let port = wanted.filter(|port| default_port(scheme) != Some(*port));
        let host = match &self.authority {
            Some(authority) => authority,
            None => host_kept(request, scheme, port.is_some()),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}", self.target(request, block))
    }

    fn target(&self, request: &Request<'_>, block: Option<&Match>) -> String {
        let path = match &self.path {
            RedirectPath::Kept => request.path.to_owned(),
            RedirectPath::Whole(path) if path.contains('?') => return located(path),
            RedirectPath::Whole(path) => located(path),
            RedirectPath::Prefix(new) => {
                let matched = block.and_then(Match::matched_prefix).unwrap_or("/").len();
                located(&format!("{new}{}", request.path.get(matched..).unwrap_or_default()))
            }
        };
        match request.query {
            None => path,
            Some(query) => format!("{path}?{query}"),
        }
    }
}

/// A place as clients can read it: it may name a part of what is found there, which a request can not.
fn located(written: &str) -> String {
    match written.split_once('#') {
        None => sendable(written.to_owned()),
        Some((target, part)) => format!("{}#{}", sendable(target.to_owned()), sendable(part.to_owned())),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The request's host. Its port goes where another takes its place, and where it is the default of a scheme that
/// is left (Envoy `processRequestHost`).
fn host_kept<'r>(request: &Request<'r>, scheme: &str, port_is_replaced: bool) -> &'r str {
    let authority = request.authority;
    let Some((host, port)) =
        authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
    else {
        return authority;
    };
    let left = scheme != request.scheme && default_port(request.scheme) == port.parse().ok();
    if port_is_replaced || left { host } else { authority }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn locations_as_envoy_writes_them() {
        let plain = || Redirect {
            status: 301,
            scheme: None,
            authority: None,
            port: RedirectPort::Kept,
            path: RedirectPath::Kept,
        };
        let headers = HeaderMap::new();
        for (redirect, authority, location) in [
            (
                Redirect { authority: Some("new.test".into()), ..plain() },
                "shop.test:8080",
                "http://new.test/foo/x?q=1",
            ),
            (
                Redirect { scheme: Some("https".into()), ..plain() },
                "shop.test",
                "https://shop.test/foo/x?q=1",
            ),
            (
                Redirect { scheme: Some("https".into()), ..plain() },
                "shop.test:80",
                "https://shop.test/foo/x?q=1",
            ),
            (
                Redirect { scheme: Some("https".into()), ..plain() },
                "shop.test:8080",
                "https://shop.test:8080/foo/x?q=1",
            ),
            (
                Redirect { port: RedirectPort::Number(81), ..plain() },
                "shop.test:8080",
                "http://shop.test:81/foo/x?q=1",
            ),
            (
                Redirect { port: RedirectPort::Number(80), ..plain() },
                "shop.test:8080",
                "http://shop.test:8080/foo/x?q=1",
            ),
            (
                Redirect { port: RedirectPort::Server, ..plain() },
                "shop.test",
                "http://shop.test:8443/foo/x?q=1",
            ),
            (Redirect { path: RedirectPath::Whole("/new".into()), ..plain() }, "a", "http://a/new?q=1"),
            (Redirect { path: RedirectPath::Whole("/new?p=2".into()), ..plain() }, "a", "http://a/new?p=2"),
            (
                Redirect { path: RedirectPath::Whole("/a é?b c#d\n".into()), ..plain() },
                "a",
                "http://a/a%20%C3%A9?b%20c#d%0A",
            ),
            (Redirect { path: RedirectPath::Prefix("/bar".into()), ..plain() }, "a", "http://a/barfoo/x?q=1"),
            (Redirect { path: RedirectPath::Prefix("/<".into()), ..plain() }, "a", "http://a/%3Cfoo/x?q=1"),
        ] {
            let request = Request {
                authority,
                method: "GET",
                scheme: "http",
                path: "/foo/x",
                query: Some("q=1"),
                headers: &headers,
            };
            assert_eq!(redirect.location(&request, None, 8443), location, "{redirect:?}");
        }
    }
}
