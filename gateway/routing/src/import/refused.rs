//! Annotations that are not carried over: what each did, and what there is instead. First those that kept people out.

use Loss::{Harmless, Lost, Protection, ProtectionPart};

/// What is lost with an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Who may come in: the rule is closed.
    Protection,
    /// A part of such a protection, which does nothing by itself.
    ProtectionPart,
    /// Something that requests or answers had.
    Lost,
    /// Something that only tuned nginx, or that nobody sees.
    Harmless,
}

/// An annotation: its name, or `NAME*` for all that begin so; what is lost; what it did; what helps.
pub(super) struct Refused {
    name: &'static str,
    pub(super) loss: Loss,
    pub(super) did: &'static str,
    pub(super) hint: &'static str,
}

/// What is known of an annotation that is not carried over.
pub(super) fn find(name: &str) -> Option<&'static Refused> {
    ALL.iter().find(|refused| match refused.name.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == refused.name,
    })
}

/// The names that are known here, for whoever mistypes one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|refused| refused.name).filter(|name| !name.ends_with('*'))
}

/// Words of a snippet that keep somebody out.
pub(super) fn protects(snippet: &str) -> bool {
    const WORDS: [&str; 9] = [
        "deny",
        "allow ",
        "auth_basic",
        "auth_request",
        "auth_jwt",
        "return 4",
        "satisfy",
        "ssl_verify_client",
        "access_by_lua",
    ];
    WORDS.iter().any(|word| snippet.contains(word))
}

const fn row(name: &'static str, loss: Loss, did: &'static str, hint: &'static str) -> Refused {
    Refused { name, loss, did, hint }
}

const NO_AUTH: &str =
    "Trysail asks nobody who they are; let the application ask, or a proxy of its own before it";
const NO_LISTS: &str =
    "Trysail has no lists of addresses; use a firewall, a NetworkPolicy or the load balancer's own list";
const NO_LIMITS: &str =
    "Trysail limits no client; a DestinationRule's connectionPool bounds what an upstream gets at once";
const TUNING: &str = "it tuned nginx; leave it out";
const SETTING: &str = "trysail.yaml has limits and times for the whole process";

const ALL: &[Refused] = &[
    row("auth-type", Protection, "asked for a password", NO_AUTH),
    row("auth-url", Protection, "asked another service whether a request may pass", NO_AUTH),
    row(
        "auth-tls-secret",
        Protection,
        "asked for a client's certificate",
        "a Gateway server with \"tls: {mode: MUTUAL, credentialName: …}\" asks all clients of its hosts for one",
    ),
    row("whitelist-source-range", Protection, "let in these addresses only", NO_LISTS),
    row("allowlist-source-range", Protection, "let in these addresses only", NO_LISTS),
    row("denylist-source-range", Protection, "kept these addresses out", NO_LISTS),
    row("enable-global-auth", ProtectionPart, "switched the controller's own authentication", NO_AUTH),
    row("auth-*", ProtectionPart, "is part of how clients were asked who they are", NO_AUTH),
    row("satisfy", ProtectionPart, "said whether one protection is enough", NO_AUTH),
    row(
        "enable-modsecurity",
        Lost,
        "switched a web application firewall on",
        "Trysail looks for no attacks in requests; put a firewall before it",
    ),
    row(
        "enable-owasp-core-rules",
        Lost,
        "gave the web application firewall its rules",
        "put a firewall before it",
    ),
    row("modsecurity-*", Lost, "set the web application firewall", "put a firewall before it"),
    row("limit-whitelist", Lost, "said whom limits do not count for", NO_LIMITS),
    row("limit-allowlist", Lost, "said whom limits do not count for", NO_LIMITS),
    row("limit-*", Lost, "limited what a client may ask for", NO_LIMITS),
    row("global-rate-limit*", Lost, "limited what a client may ask for", NO_LIMITS),
    row(
        "proxy-ssl-*",
        Lost,
        "said how nginx shows and checks certificates towards the upstream",
        "write trafficPolicy.tls of the DestinationRule: mode MUTUAL, clientCertificate, caCertificates, sni",
    ),
    row(
        "secure-verify-ca-secret",
        Lost,
        "said which authority signs the upstream's certificate",
        "write trafficPolicy.tls.caCertificates of the DestinationRule",
    ),
    row(
        "ssl-passthrough",
        Lost,
        "passed TLS on unopened",
        "write a Gateway server with \"tls: {mode: PASSTHROUGH}\" and a VirtualService with \"tls\" rules",
    ),
    row(
        "ssl-ciphers",
        Lost,
        "said which ciphers a host speaks",
        "write tls.cipherSuites of the Gateway's server; Trysail speaks TLS 1.2 and 1.3 with safe ciphers only",
    ),
    row("ssl-prefer-server-ciphers", Harmless, "said whose order of ciphers counts", "leave it out"),
    row(
        "from-to-www-redirect",
        Lost,
        "sent clients from www.HOST to HOST, or back",
        "write a VirtualService for the other host with \"redirect: {authority: HOST, redirectCode: 308}\"",
    ),
    row(
        "default-backend",
        Lost,
        "named a Service for when no endpoint is there",
        "without an endpoint Trysail answers 503",
    ),
    row(
        "custom-http-errors",
        Lost,
        "gave answers with these statuses other bodies",
        "let the application write them; a rule's directResponse has a body of its own",
    ),
    row("disable-proxy-intercept-errors", Harmless, "switched custom-http-errors off", "leave it out"),
    row(
        "proxy-cookie-*",
        Lost,
        "rewrote cookies of answers",
        "let the application set them as clients are to see them",
    ),
    row(
        "proxy-redirect-*",
        Lost,
        "rewrote the location of redirects",
        "let the application say the location that clients are to see, from x-forwarded-proto and x-envoy-original-path",
    ),
    row(
        "connection-proxy-header",
        Lost,
        "said what stands in the field connection",
        "Trysail writes that field itself",
    ),
    row(
        "fastcgi-*",
        Lost,
        "spoke FastCGI with the upstream",
        "Trysail speaks HTTP; put a web server before the upstream",
    ),
    row(
        "proxy-body-size",
        Lost,
        "limited the size of a request's body",
        "limits.body of trysail.yaml bounds the bodies of all requests",
    ),
    row("proxy-send-timeout", Harmless, "limited the pause between two writes to the upstream", SETTING),
    row(
        "proxy-request-buffering",
        Harmless,
        "said whether bodies are gathered first",
        "Trysail passes them on as they come",
    ),
    row(
        "proxy-buffering",
        Harmless,
        "said whether answers are gathered first",
        "Trysail passes them on as they come",
    ),
    row("proxy-buffer*", Harmless, "sized nginx's buffers", TUNING),
    row("proxy-busy-buffers-size", Harmless, "sized nginx's buffers", TUNING),
    row("proxy-max-temp-file-size", Harmless, "sized nginx's files", TUNING),
    row("client-body-buffer-size", Harmless, "sized nginx's buffers", TUNING),
    row("proxy-http-version", Harmless, "said which HTTP/1 is spoken", "Trysail speaks HTTP/1.1"),
    row("http2-push-preload", Harmless, "pushed what answers preload", "no browser takes it any more"),
    row(
        "enable-access-log",
        Harmless,
        "switched the access log",
        "setting accessLog is for the whole process",
    ),
    row(
        "enable-rewrite-log",
        Harmless,
        "switched the log of rewrites",
        "trysail explain tells of each rewrite",
    ),
    row("enable-opentelemetry", Lost, "switched traces", "Trysail sends no traces"),
    row("opentelemetry-*", Harmless, "set traces", "Trysail sends no traces"),
    row("enable-opentracing", Lost, "switched traces", "Trysail sends no traces"),
    row("opentracing-*", Harmless, "set traces", "Trysail sends no traces"),
    row(
        "service-upstream",
        Harmless,
        "sent requests to the Service's own address",
        "Trysail knows the endpoints",
    ),
    row(
        "preserve-trailing-slash",
        Harmless,
        "kept a slash in the redirect to https",
        "Trysail keeps the path as it is",
    ),
    row(
        "use-port-in-redirects",
        Harmless,
        "put the port into redirects",
        "a redirect's port says it, where one is needed",
    ),
    row("relative-redirects", Harmless, "left the host out of redirects", "Trysail's redirects name it"),
    row("upstream-hash-by-subset*", Lost, "hashed to a group of endpoints", "Trysail hashes to one endpoint"),
    row(
        "session-cookie-change-on-failure",
        Harmless,
        "gave a new cookie where the endpoint failed",
        "the hash finds another endpoint, and the cookie stays",
    ),
    row(
        "session-cookie-conditional-samesite-none",
        Harmless,
        "left SameSite=None out for old browsers",
        "leave it out",
    ),
    row("influxdb-*", Harmless, "sent metrics to InfluxDB", "metrics are on port 15020"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_is_found() {
        for (name, loss) in [
            ("auth-type", Some(Protection)),
            ("auth-realm", Some(ProtectionPart)),
            ("whitelist-source-range", Some(Protection)),
            ("limit-rps", Some(Lost)),
            ("proxy-buffers-number", Some(Harmless)),
            ("canary", None),
        ] {
            assert_eq!(find(name).map(|refused| refused.loss), loss, "{name}");
        }
        assert!(protects("location /x { deny all; }") && !protects("more_set_headers 'X-A: b';"));
    }
}
