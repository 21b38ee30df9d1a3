//! Hosts → Gateways: ports, certificates, and who is sent to https.
//!
//! Hosts that cover each other need Gateways of their own: of one Gateway with `*.test` and `a.test`, Istio would give
//! `a.test` the rules of both, and ingress-nginx gives it its own alone.

use std::collections::{BTreeMap, BTreeSet};

use super::hosts::{Certificate, Host, Hosts};
use super::read::Source;
use super::rules::{ToHttps, to_https};
use super::treatment::Treatment;
use super::yaml::{self, Value, list, map, text, texts, truth};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::wire::ObjectName;

/// The credential that stands for the controller's own certificate.
pub(super) const DEFAULT_CERTIFICATE: &str = "default-certificate";

/// What a Gateway opens.
#[derive(Default)]
struct Servers {
    plain: Vec<String>,
    to_https: Vec<String>,
    /// By credential.
    https: BTreeMap<String, Vec<String>>,
}

/// The Gateway of a host, in the host's namespace. It may not have dots.
pub(super) fn name(host: &str) -> String {
    match host {
        "*" => "ingress-any-host".to_owned(),
        host => match host.strip_prefix("*.") {
            Some(rest) => format!("ingress-wildcard-{}", object_name(rest).replace('.', "-")),
            None => "ingress".to_owned(),
        },
    }
}

/// What a host's VirtualService is called.
pub(super) fn virtual_service(host: &str) -> String {
    match host {
        "*" => "any-host".to_owned(),
        host => match host.strip_prefix("*.") {
            Some(rest) => format!("wildcard.{}", object_name(rest)),
            None => object_name(host),
        },
    }
}

fn object_name(host: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = host.chars().map(letter).collect();
    name.trim_matches(['-', '.']).to_owned()
}

/// Writes the Gateways, in order of namespaces and names.
pub(super) fn write(
    hosts: &Hosts,
    sources: &[Source],
    treatments: &[Treatment],
    out: &mut Diagnostics,
) -> Vec<String> {
    let credentials = credentials(hosts, sources, out);
    let mut gateways: BTreeMap<(String, String), Servers> = BTreeMap::new();
    for (name, host) in hosts {
        let namespace = sources[host.first].name.namespace.to_string();
        let servers = gateways.entry((namespace, self::name(name))).or_default();
        let to_https = to_https(host, treatments);
        let forced = to_https != ToHttps::Nowhere && host.certificate.is_none();
        if forced {
            let message = format!(
                "requests for {name} are sent to https, and there is no certificate for it: it is ended before this gateway"
            );
            let source = &sources[host.first];
            source
                .sink(out)
                .add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, source.pos, message)
                .hints
                .push("list who ends it under trustedNetworks of trysail.yaml, or all its requests go in circles".into());
        }
        for name in std::iter::once(name).chain(&host.aliases) {
            match to_https {
                ToHttps::Everywhere => servers.to_https.push(name.clone()),
                ToHttps::Nowhere | ToHttps::Somewhere => servers.plain.push(name.clone()),
            }
            if let Some(certificate) = &host.certificate {
                let credential = credentials.get(certificate).cloned().unwrap_or_default();
                servers.https.entry(credential).or_default().push(name.clone());
            }
        }
    }
    gateways.into_iter().map(|((namespace, name), servers)| servers.write(&namespace, &name)).collect()
}

impl Servers {
    fn write(self, namespace: &str, name: &str) -> String {
        let mut comment = Vec::new();
        let mut servers = Vec::new();
        let port = |number: u16, name: &str, protocol: &str| {
            map([("number", yaml::number(number)), ("name", text(name)), ("protocol", text(protocol))])
        };
        if !self.plain.is_empty() {
            servers.push(map([("port", port(80, "http", "HTTP")), ("hosts", texts(self.plain))]));
        }
        if !self.to_https.is_empty() {
            comment.push(
                "To https: 301 in place of ingress-nginx's 308, so a POST may come again as a GET."
                    .to_owned(),
            );
            let tls = map([("httpsRedirect", truth(true))]);
            let port = port(80, "http-to-https", "HTTP");
            servers.push(map([("port", port), ("hosts", texts(self.to_https)), ("tls", tls)]));
        }
        for (index, (credential, hosts)) in self.https.into_iter().enumerate() {
            let name = if index == 0 { "https".to_owned() } else { format!("https-{}", index + 1) };
            let tls = map([("mode", text("SIMPLE")), ("credentialName", text(credential))]);
            servers.push(map([("port", port(443, &name, "HTTPS")), ("hosts", texts(hosts)), ("tls", tls)]));
        }
        let selector = map([("istio", text("ingressgateway"))]);
        let spec = Value::Map(vec![("selector".to_owned(), selector), ("servers".to_owned(), list(servers))]);
        yaml::document("Gateway", name, namespace, &comment, &spec)
    }
}

/// What each certificate's credential is called: as its Secret, with the namespace where two have one name.
fn credentials(hosts: &Hosts, sources: &[Source], out: &mut Diagnostics) -> BTreeMap<Certificate, String> {
    let mut first: BTreeMap<&Certificate, &Host> = BTreeMap::new();
    for host in hosts.values() {
        if let Some(certificate) = &host.certificate {
            first.entry(certificate).or_insert(host);
        }
    }
    let named = |name: &str| {
        let same = |other: &&&Certificate| other.secret.as_ref().is_some_and(|secret| &*secret.name == name);
        first.keys().filter(same).count() + usize::from(name == DEFAULT_CERTIFICATE)
    };
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut credentials = BTreeMap::new();
    for (certificate, host) in &first {
        let Some(ObjectName { namespace, name }) = &certificate.secret else {
            credentials.insert((*certificate).clone(), DEFAULT_CERTIFICATE.to_owned());
            continue;
        };
        let mut credential = if named(name) > 1 { format!("{namespace}-{name}") } else { name.to_string() };
        while !taken.insert(credential.clone()) {
            credential.push_str("-2");
        }
        let (source, pos) = (&sources[host.certificate_at.0], host.certificate_at.1);
        let message = format!(
            "the certificate of Secret {namespace}/{name} is looked for as credential {credential:?}"
        );
        source.sink(out).add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, pos, message).hints.push(format!(
            "put it into {credential}/tls.crt and {credential}/tls.key under the setting certificates: kubectl -n {namespace} \
             get secret {name} -o jsonpath='{{.data.tls\\.crt}}' | base64 -d"
        ));
        credentials.insert((*certificate).clone(), credential);
    }
    if let Some(host) = first.values().next() {
        let (source, pos) = (&sources[host.certificate_at.0], host.certificate_at.1);
        let message = "ingress-nginx adds strict-transport-security to answers over TLS by itself".to_owned();
        source.sink(out).add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, pos, message).hints.push(
            "headers: {response: {set: {strict-transport-security: 'max-age=31536000; includeSubDomains'}}} of a rule does".into(),
        );
    }
    credentials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        for (host, gateway, service) in [
            ("shop.test", "ingress", "shop.test"),
            ("*.shop.test", "ingress-wildcard-shop-test", "wildcard.shop.test"),
            ("*", "ingress-any-host", "any-host"),
            ("a_b.test", "ingress", "a-b.test"),
        ] {
            assert_eq!((name(host).as_str(), virtual_service(host).as_str()), (gateway, service));
        }
    }
}
