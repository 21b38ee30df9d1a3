//! What an Ingress's annotations ask for, in Istio's terms: everything that does not depend on hosts and paths.

mod asked;
mod cors;
mod policy;
mod redirect;
mod retries;

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::Options;
use super::canary::Canary;
use super::read::Source;
use super::yaml::{Value, map, number, text};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::origin::At;
pub(super) use asked::Protection;
use asked::{Asked, Unprotected};
pub(super) use policy::Policy;

/// What is done with an Ingress's requests.
#[derive(Default)]
pub(super) struct Treatment {
    /// Whether its paths are patterns.
    pub(super) use_regex: bool,
    /// The path that upstreams are told.
    pub(super) rewrite: Option<At<String>>,
    /// Where requests for `/` are sent.
    pub(super) app_root: Option<At<String>>,
    /// Where all requests are sent, in place of an upstream.
    pub(super) redirect: Option<Value>,
    /// Whether requests are sent to https where the host has a certificate, and whether also where it has none.
    pub(super) ssl_redirect: bool,
    pub(super) force_ssl_redirect: bool,
    /// What kept people out, and does not here.
    pub(super) protections: Vec<Protection>,
    /// The authority that upstreams are told.
    pub(super) authority: Option<String>,
    /// Further fields of its rules.
    pub(super) fields: Vec<(String, Value)>,
    /// How its Services are talked to.
    pub(super) policy: Policy,
    /// Other names of its hosts.
    pub(super) aliases: Vec<At<String>>,
    /// Where it stands beside another Ingress.
    pub(super) canary: Option<Canary>,
    /// What is different here, for comments.
    pub(super) remarks: Vec<String>,
}

/// Reads an Ingress's annotations; what is not carried over is a finding.
pub(super) fn read(
    source: &Source,
    config_maps: &BTreeMap<String, Vec<(String, String)>>,
    options: &Options,
    out: &mut Diagnostics,
) -> Treatment {
    let mut asked = Asked::new(source, source.sink(out));
    if asked.truth("canary") == Some(true) {
        return canary(source, asked);
    }
    let mut remarks = Vec::new();
    for name in super::canary::NAMES {
        if let Some(value) = asked.text(name) {
            let message = format!("{name:?} does nothing without \"canary: true\", in ingress-nginx too");
            asked.sink.add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, value.pos, message);
        }
    }
    let rewrite = asked.text("rewrite-target").cloned();
    let headers = headers(&mut asked, config_maps, rewrite.is_some());
    let mut fields = Vec::new();
    let mut put =
        |name: &str, value: Option<Value>| fields.extend(value.map(|value| (name.to_owned(), value)));
    put("headers", headers);
    put("timeout", timeout(&mut asked, &mut remarks));
    put("retries", retries::read(&mut asked, &mut remarks));
    put("mirrors", mirror(&mut asked));
    put("corsPolicy", cors::read(&mut asked, &mut remarks));
    let authority = asked.text("upstream-vhost");
    let authority = authority.and_then(|name| {
        let sound = !name.contains('$') && HeaderValue::from_str(name).is_ok();
        if !sound {
            asked.lost(name.pos, format!("{:?} can't be told to upstreams as their host", name.value));
        }
        sound.then(|| name.value.clone())
    });
    let mut treatment = Treatment {
        use_regex: asked.truth("use-regex").unwrap_or(false),
        rewrite,
        app_root: redirect::app_root(&mut asked),
        redirect: redirect::read(&mut asked),
        ssl_redirect: asked.truth("ssl-redirect").unwrap_or(true),
        force_ssl_redirect: asked.truth("force-ssl-redirect").unwrap_or(false),
        protections: Vec::new(),
        authority,
        fields,
        policy: policy::read(&mut asked, &mut remarks),
        aliases: aliases(&mut asked),
        canary: None,
        remarks,
    };
    treatment.protections = asked.rest(match (&treatment.redirect, options.open) {
        (Some(_), _) => Unprotected::Redirected,
        (None, true) => Unprotected::Open,
        (None, false) => Unprotected::Closed,
    });
    treatment
}

/// ingress-nginx: of a canary only its own annotations count, the others are those of the Ingress that it stands beside.
fn canary(source: &Source, mut asked: Asked<'_, '_>) -> Treatment {
    let canary = Canary::read(
        asked.text("canary-by-header"),
        asked.text("canary-by-header-value"),
        asked.text("canary-by-header-pattern"),
        asked.text("canary-by-cookie"),
        &mut asked.sink,
    );
    let (weight, total) = (asked.number("canary-weight"), asked.number("canary-weight-total"));
    let canary = canary.weighted(weight, total, &mut asked.sink);
    let own = |name: &str| name == "canary" || super::canary::NAMES.contains(&name);
    let short = |key: &At<String>| key.strip_prefix("nginx.ingress.kubernetes.io/").map(str::to_owned);
    let others: Vec<String> =
        source.annotations.iter().filter_map(|(key, _)| short(key)).filter(|name| !own(name)).collect();
    if !others.is_empty() {
        let message = format!("of a canary ingress-nginx does not look at {}", others.join(", "));
        asked
            .sink
            .add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, source.pos, message)
            .hints
            .push("the main Ingress's annotations count for both, and here too".into());
    }
    Treatment { canary: Some(canary), ..Treatment::default() }
}

/// nginx counts between two reads, Istio the whole request.
fn timeout(asked: &mut Asked<'_, '_>, remarks: &mut Vec<String>) -> Option<Value> {
    let seconds = asked.number("proxy-read-timeout")?;
    if seconds.value == 0 {
        return None;
    }
    let message = format!(
        "\"proxy-read-timeout\" was the longest pause in an answer; \"timeout: {}s\" is the whole request's time",
        seconds.value
    );
    asked.differs(seconds.pos, message).hints.push("take it out where answers stream or are long".into());
    remarks.push("timeout counts from the request's end to the answer's, not between two reads.".into());
    Some(text(format!("{}s", seconds.value)))
}

/// `custom-headers` names a ConfigMap of fields for answers; `x-forwarded-prefix` is told to upstreams of a rewrite.
fn headers(
    asked: &mut Asked<'_, '_>,
    config_maps: &BTreeMap<String, Vec<(String, String)>>,
    rewrites: bool,
) -> Option<Value> {
    let mut operations = Vec::new();
    if let Some(prefix) = asked.text("x-forwarded-prefix") {
        if !rewrites {
            let message =
                "\"x-forwarded-prefix\" does nothing without \"rewrite-target\", in ingress-nginx too";
            asked.sink.add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, prefix.pos, message.to_owned());
        } else if let Some(value) = header_value(prefix) {
            let set = Value::Map(vec![("x-forwarded-prefix".to_owned(), value)]);
            operations.push(("request".to_owned(), map([("set", set)])));
        } else {
            asked.lost(prefix.pos, format!("{:?} can't be the value of a header field", prefix.value));
        }
    }
    if let Some(named) = asked.text("custom-headers") {
        match config_maps.get(named.as_str()) {
            None => {
                let message = format!(
                    "\"custom-headers\" sets what ConfigMap {:?} says, which is not here",
                    named.value
                );
                asked.lost(named.pos, message).hints.push(
                    "give it too: kubectl get ingress,service,configmap -A -o yaml | trysail import nginx-ingress -"
                        .into(),
                );
            }
            Some(data) => {
                let mut set: Vec<(String, Value)> = Vec::new();
                for (name, value) in data {
                    let field = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
                    let field = field.ok().filter(|field| *field != http::header::HOST);
                    match (field, header_value(value)) {
                        (Some(field), Some(value)) => {
                            set.retain(|(other, _)| other != field.as_str());
                            set.push((field.to_string(), value));
                        }
                        _ => {
                            asked.lost(
                                named.pos,
                                format!("{name}: {value:?} of ConfigMap {:?} can't be set", named.value),
                            );
                        }
                    }
                }
                set.sort_by(|(a, _), (b, _)| a.cmp(b));
                if !set.is_empty() {
                    operations.push(("response".to_owned(), map([("set", Value::Map(set))])));
                }
            }
        }
    }
    (!operations.is_empty()).then_some(Value::Map(operations))
}

/// A field's value, with the signs doubled that begin a variable; `None` where it has nginx's variables.
fn header_value(written: &str) -> Option<Value> {
    let sound = !written.contains('$') && HeaderValue::from_str(written).is_ok();
    sound.then(|| text(written.replace('%', "%%")))
}

fn mirror(asked: &mut Asked<'_, '_>) -> Option<Value> {
    let body = asked.text("mirror-request-body");
    let host = asked.text("mirror-host");
    let target = asked.text("mirror-target")?;
    let Some(destination) = mirrored(target) else {
        let message =
            format!("copies for {:?} are not carried over: it is no Service of the cluster", target.value);
        asked
            .lost(target.pos, message)
            .hints
            .push("write a ServiceEntry for it, and \"mirrors: [{destination: {host: …}}]\"".into());
        return None;
    };
    if let Some(body) = body.filter(|body| body.value == "off") {
        asked.differs(body.pos, "copies have their bodies here, up to the setting mirrorBody".to_owned());
    }
    if let Some(host) = host {
        let message = "copies keep the request's host here (setting mirrorHostSuffix)".to_owned();
        asked.differs(host.pos, message);
    }
    Some(super::yaml::list([map([("destination", destination)])]))
}

/// `http://NAME.NAMESPACE.svc…:PORT$request_uri` → a destination.
fn mirrored(target: &str) -> Option<Value> {
    let rest = target.trim().strip_prefix("http://")?;
    let rest = rest.strip_suffix("$request_uri").unwrap_or(rest).trim_end_matches('/');
    let (host, port) = rest.split_once(':').unwrap_or((rest, "80"));
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let service = host.strip_suffix(".svc.cluster.local").or_else(|| host.strip_suffix(".svc"))?;
    let (name, namespace) = service.split_once('.')?;
    let sound = |name: &str| !name.contains('.') && crate::wire::object::is_dns_name(name);
    (sound(name) && sound(namespace)).then(|| {
        let host = text(format!("{service}.svc.cluster.local"));
        map([("host", host), ("port", map([("number", number(port))]))])
    })
}

fn aliases(asked: &mut Asked<'_, '_>) -> Vec<At<String>> {
    let Some(written) = asked.text("server-alias") else { return Vec::new() };
    let mut aliases = Vec::new();
    for alias in written.split(',').map(|alias| alias.trim().to_ascii_lowercase()) {
        if alias.contains('*') || crate::HostPattern::parse(&alias).is_err() {
            let message = format!("the alias {alias:?} is not carried over: it is no plain host name");
            asked
                .lost(written.pos, message)
                .hints
                .push("add what it means to the VirtualService's hosts".into());
        } else {
            aliases.push(At { value: alias, pos: written.pos });
        }
    }
    aliases
}
