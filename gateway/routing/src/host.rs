//! Host names and host patterns: how short names are completed, what a wildcard covers, what two patterns share.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The domain that Kubernetes gives its services.
const CLUSTER_DOMAIN: &str = "svc.cluster.local";

/// A host as Istio completes it: a name without a dot means the service of that name in the namespace of the
/// object that says it. `*`, addresses and anything with a dot stay as they are.
pub(crate) fn complete(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host == "*" || is_address(&host) {
        return host;
    }
    of_service(&host, namespace).to_string()
}

/// The host that a Service of Kubernetes is.
pub(crate) fn of_service(name: &str, namespace: &str) -> Arc<str> {
    format!("{name}.{namespace}.{CLUSTER_DOMAIN}").into()
}

/// Whether it is an IP address.
pub(crate) fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Which hosts something is for. Lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `shop.test`: this host.
    Exact(Box<str>),
    /// `*.test`, kept as `.test`: every host that ends so and has at least one more character before it.
    Suffix(Box<str>),
    /// `*`: every host.
    Any,
}

impl HostPattern {
    /// Reads `*`, `*.suffix`, a name or an address; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let host = text.to_ascii_lowercase();
        if host == "*" {
            return Ok(HostPattern::Any);
        }
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, host.as_str()),
        };
        if name.contains('*') {
            return Err(format!(
                "{text:?} is not a host: \"*\" may stand alone or lead, as in \"*.example.com\""
            ));
        }
        let label = |l: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !l.is_empty() && l.len() <= 63 && l.chars().all(inner) && !l.starts_with('-') && !l.ends_with('-')
        };
        let sound = name.len() <= 253 && name.split('.').all(label);
        match (sound || (is_address(name) && !wildcard), wildcard) {
            (false, _) => Err(format!("{text:?} is not a host name")),
            (true, true) => Ok(HostPattern::Suffix(format!(".{name}").into())),
            (true, false) => Ok(HostPattern::Exact(name.into())),
        }
    }

    /// Whether every host of `other` is one of this pattern's too.
    pub(crate) fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) => true,
            (_, HostPattern::Any) => false,
            (HostPattern::Exact(a), HostPattern::Exact(b)) => a == b,
            (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
            (HostPattern::Suffix(suffix), HostPattern::Exact(host)) => {
                host.len() > suffix.len() && host.ends_with(&**suffix)
            }
            (HostPattern::Suffix(wide), HostPattern::Suffix(narrow)) => narrow.ends_with(&**wide),
        }
    }

    /// The hosts that both cover: the narrower of the two, or nothing. Istio `host.Names.Intersection`.
    pub(crate) fn intersection(&self, other: &HostPattern) -> Option<HostPattern> {
        if self.covers(other) {
            Some(other.clone())
        } else if other.covers(self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (host, completed) in [
            ("reviews", "reviews.shop.svc.cluster.local"),
            ("Reviews", "reviews.shop.svc.cluster.local"),
            ("reviews.prod", "reviews.prod"),
            ("*", "*"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("*.test", "*.test"),
        ] {
            assert_eq!(complete(host, "shop"), completed, "{host}");
        }
    }

    #[test]
    fn patterns_share_the_narrower() {
        for (a, b, shared) in [
            ("*", "*", Some("*")),
            ("shop.test", "*", Some("shop.test")),
            ("*.com", "a.com", Some("a.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.com", "*.org", None),
            ("a.com", "b.com", None),
            ("*.com", "*.com", Some("*.com")),
            ("*.ample.com", "*.example.com", None),
        ] {
            let (a, b) = (HostPattern::parse(a).unwrap(), HostPattern::parse(b).unwrap());
            assert_eq!(a.intersection(&b).map(|h| h.to_string()).as_deref(), shared, "{a} and {b}");
            assert_eq!(b.intersection(&a).map(|h| h.to_string()).as_deref(), shared, "{b} and {a}");
        }
    }

    #[test]
    fn what_is_no_host_is_said() {
        for text in ["", "a*", "*a.com", "a..b", "-a.com", "a.com:80", "http://a", "a b", "*.10.0.0.*"] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
