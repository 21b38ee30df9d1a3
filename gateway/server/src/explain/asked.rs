//! A request that is asked about, as a person writes it: method, URL, header fields.

use http::{HeaderMap, HeaderName, HeaderValue};
use trysail_routing::decide::Request;
use trysail_routing::path::{PathRules, Refusal, canonical};

/// The request that is asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) scheme: String,
    pub(super) authority: String,
    /// The name that a connection for it asks for: the URL's host, or where that is an address the authority's.
    pub(super) server_name: String,
    /// The port that it is sent to.
    pub(super) port: u16,
    /// As written, with the query and whatever else stands behind the authority.
    target: String,
    pub(super) headers: HeaderMap,
}

/// A path and query as the gateway would make them canonical.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// Whether the path is another than the one that was written.
    pub(super) changed: bool,
}

impl Asked {
    /// Reads one; the error says what is wrong with it.
    pub(crate) fn read(method: &str, url: &str, fields: &[String]) -> Result<Self, String> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!(
                "{method:?} is not a method; write for example: trysail explain conf/ GET http://shop.test/"
            ));
        }
        let (scheme, rest) = url
            .split_once("://")
            .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
            .ok_or_else(|| format!("{url:?} lacks scheme or host; write http://shop.test/cart"))?;
        // Not read as a URI: what a client may send is more than what a URI may be.
        let (authority, target) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        let parsed: http::uri::Authority =
            authority.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        let mut headers = HeaderMap::new();
        for field in fields {
            let read = field.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                read.ok_or_else(|| format!("{field:?} is not a header field; write \"name: value\""))?;
            headers.append(name, value);
        }
        let host = headers.get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
        let name_of = |authority: &str| authority.split(':').next().unwrap_or_default().to_owned();
        let is_address = authority.starts_with('[') || parsed.host().parse::<std::net::IpAddr>().is_ok();
        let server_name = match &host {
            Some(host) if is_address => name_of(host),
            _ => name_of(authority),
        };
        Ok(Asked {
            scheme: scheme.to_owned(),
            authority: host.unwrap_or_else(|| authority.to_owned()),
            server_name,
            port: parsed.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 }),
            target: if target.starts_with(['?', '#']) || target.is_empty() {
                format!("/{target}")
            } else {
                target.to_owned()
            },
            method: method.to_owned(),
            url: url.to_owned(),
            headers,
        })
    }

    /// The target that the gateway makes of it.
    pub(super) fn target(&self, rules: PathRules) -> Result<Target, Refusal> {
        let made = canonical(self.target.as_bytes(), rules)?;
        let written = self.target.split(['?', '#']).next().unwrap_or_default();
        Ok(Target {
            changed: made.path != written,
            path: made.path.into_owned(),
            query: made.query.map(|query| String::from_utf8_lossy(query).into_owned()),
        })
    }

    /// The request as conditions see it.
    pub(super) fn request<'r>(&'r self, target: &'r Target) -> Request<'r> {
        Request {
            authority: &self.authority,
            method: &self.method,
            scheme: &self.scheme,
            path: &target.path,
            query: target.query.as_deref(),
            headers: &self.headers,
        }
    }
}
