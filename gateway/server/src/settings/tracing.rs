//! Settings of traces: whether spans are made, and where they are sent.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::Deserialize;

use super::units::Share;

/// Traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Tracing {
    /// The collector. None switches it off: `traceparent` passes untouched.
    pub(crate) endpoint: Option<Endpoint>,
    /// The share of requests without a `traceparent` that begin a recorded trace; the others go by what theirs says.
    pub(crate) sample: Share,
    /// `service.name` of all spans.
    pub(crate) service_name: String,
}

impl Default for Tracing {
    fn default() -> Self {
        // Istio's share.
        Tracing { endpoint: None, sample: Share::percent(1), service_name: "trysail".to_owned() }
    }
}

impl Tracing {
    /// Which is wrong, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.endpoint.is_some() && !cfg!(feature = "otlp") {
            return Err((
                "endpoint",
                "tracing.endpoint is set, and this trysail is built without tracing; build one with it: cargo build \
                 --release -p trysail --features otlp"
                    .to_owned(),
            ));
        }
        if self.service_name.is_empty() {
            return Err((
                "serviceName",
                "tracing.serviceName is empty; it is how spans are found".to_owned(),
            ));
        }
        Ok(())
    }
}

/// A collector, by its URL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl FromStr for Endpoint {
    type Err = String;

    /// Without a path it is the one that collectors listen on.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let uri: Uri = text.parse().ok()?;
            let tls = match uri.scheme_str()? {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
            let host = authority.host().trim_matches(['[', ']']).to_owned();
            let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
                "/" => "/v1/traces".to_owned(),
                path => path.to_owned(),
            };
            (!host.is_empty() && port > 0).then_some(Endpoint { tls, host, port, path })
        };
        read().ok_or(format!("{text:?} is not the URL of a collector; write http://127.0.0.1:4318"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl Endpoint {
    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        let Endpoint { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_by_their_urls() {
        for (text, whole) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://collector.test:4318/", Some("http://collector.test:4318/v1/traces")),
            ("https://collector.test/otlp/v1/traces", Some("https://collector.test:443/otlp/v1/traces")),
            ("http://[::1]:4318", Some("http://[::1]:4318/v1/traces")),
            ("127.0.0.1:4318", None),
            ("grpc://127.0.0.1:4317", None),
            ("http://me:secret@collector.test", None),
            ("http://", None),
            ("", None),
        ] {
            let read = text.parse::<Endpoint>();
            assert_eq!(read.as_ref().ok().map(Endpoint::to_string).as_deref(), whole, "{text}");
        }
    }
}
