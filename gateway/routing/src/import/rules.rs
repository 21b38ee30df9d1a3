//! A host → the rules of its VirtualService, in order, each with a comment that says where it comes from.

use super::Options;
use super::canary::Step;
use super::hosts::{Destination, Host};
use super::locations::{self, Ordered};
use super::paths;
use super::read::Source;
use super::treatment::{Protection, Treatment};
use super::yaml::{self, Item, Value, list, map, number, text};
use crate::diagnostic::{Code, Diagnostics, Severity};

type Fields = Vec<(String, Value)>;

/// Where plain requests are sent to https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToHttps {
    Nowhere,
    /// By the Gateway's server.
    Everywhere,
    /// By rules before those that do.
    Somewhere,
}

/// What is sent to https of a host: what its Ingresses force, and what they do where there is a certificate.
pub(super) fn to_https(host: &Host, treatments: &[Treatment]) -> ToHttps {
    let mut answers = host.locations.iter().map(|location| redirects(host, &treatments[location.source]));
    let first = answers.next().unwrap_or(false);
    match (first, answers.all(|answer| answer == first)) {
        (_, false) => ToHttps::Somewhere,
        (true, true) => ToHttps::Everywhere,
        (false, true) => ToHttps::Nowhere,
    }
}

fn redirects(host: &Host, treatment: &Treatment) -> bool {
    treatment.force_ssl_redirect || treatment.ssl_redirect && host.certificate.is_some()
}

/// The rules of a host.
pub(super) fn rules(
    host: &Host,
    sources: &[Source],
    treatments: &[Treatment],
    options: &Options,
    out: &mut Diagnostics,
) -> Vec<Item> {
    let mut rules = Vec::new();
    let to_https = to_https(host, treatments);
    let root = host.locations.iter().find_map(|location| {
        let root = treatments[location.source].app_root.as_ref()?;
        Some((root, sources[location.source].told(root.pos)))
    });
    if let Some((root, told)) = root {
        let redirect = map([("uri", text(root.value.as_str())), ("redirectCode", number(302))]);
        let blocks = vec![uri_only(&paths::PathTest::Exact("/".to_owned()))];
        let fields = vec![("redirect".to_owned(), redirect)];
        rules.push(rule(vec![format!("Ingress {told}: app-root.")], blocks, fields));
    }
    let host_wide = host_wide(host, treatments);
    for ordered in locations::order(host, sources, treatments, out) {
        let location = ordered.location;
        let (source, treatment) = (&sources[location.source], &treatments[location.source]);
        let told = format!("Ingress {}", source.told(location.pos));
        if let Some(bare) = &ordered.slash {
            let redirect = map([("uri", text(format!("{bare}/"))), ("redirectCode", number(301))]);
            let blocks = vec![uri_only(&paths::PathTest::Exact(bare.clone()))];
            let comment = format!("{told}: nginx sends {bare} to {bare}/.");
            rules.push(rule(vec![comment], blocks, vec![("redirect".to_owned(), redirect)]));
        }
        if to_https == ToHttps::Somewhere && redirects(host, treatment) {
            let redirect = map([("scheme", text("https")), ("redirectCode", number(308))]);
            let port = |mut fields: Fields| {
                fields.push(("port".to_owned(), number(80)));
                Value::Map(fields)
            };
            let blocks = ordered.tests.iter().map(|test| port(test.fields())).collect();
            rules.push(rule(
                vec![format!("{told}: to https.")],
                blocks,
                vec![("redirect".to_owned(), redirect)],
            ));
        }
        let mut comment = vec![format!("{told}: {} {}.", word(location.kind), location.path)];
        comment.extend(treatment.remarks.iter().cloned());
        let blocks: Vec<Fields> = ordered.tests.iter().map(|test| test.fields()).collect();
        let plain = || blocks.iter().cloned().map(Value::Map).collect();
        if let Some(redirect) = &treatment.redirect {
            rules.push(rule(comment, plain(), vec![("redirect".to_owned(), redirect.clone())]));
            continue;
        }
        let rewritten = rewrite(&ordered, treatment, source, out);
        let further = |rest: &mut Fields| {
            rest.extend(rewritten.iter().map(|rewrite| ("rewrite".to_owned(), rewrite.clone())));
            rest.extend(treatment.fields.iter().cloned());
        };
        let canary = location.canary.as_ref().and_then(|(index, pos, backend)| {
            let canary = treatments[*index].canary.as_ref()?;
            Some((canary, sources[*index].told(*pos), backend))
        });
        let weighted = match &canary {
            None => whole(&location.backend),
            Some((canary, _, backend)) => match canary.weights() {
                [_, 0] => whole(&location.backend),
                [0, _] => whole(backend),
                [stable, weight] => list([part(&location.backend, stable), part(backend, weight)]),
            },
        };
        let mut last = vec![("route".to_owned(), weighted)];
        further(&mut last);
        let protections: Vec<&Protection> = treatment.protections.iter().chain(&host_wide).collect();
        if let (Some((protection, did)), false) = (protections.first(), options.open) {
            let mut others: Vec<&str> = Vec::new();
            for (name, _) in protections.iter().skip(1) {
                if name != protection && !others.contains(&name.as_str()) {
                    others.push(name);
                }
            }
            let more = if others.is_empty() { String::new() } else { format!(", and {}", others.join(", ")) };
            comment.push(format!(
                "CLOSED: ingress-nginx protected this: {protection} {did}{more}. Nothing here does, so it answers 403. \
                 When something else does, put this in place of directResponse:"
            ));
            comment.extend(yaml::lines(&Value::Map(last), 96).into_iter().map(|line| format!("  {line}")));
            if canary.is_some_and(|(canary, ..)| !canary.steps().is_empty()) {
                comment.push(
                    "and rules above it for the canary's header or cookie (--open writes them).".to_owned(),
                );
            }
            let body =
                map([("string", text("closed: its protection was not carried over from ingress-nginx"))]);
            let closed = map([("status", number(403)), ("body", body)]);
            rules.push(rule(comment, plain(), vec![("directResponse".to_owned(), closed)]));
            continue;
        }
        if let Some((canary, told, backend)) = &canary {
            for Step { field, test, to_canary, told: step } in canary.steps() {
                let condition = ("headers".to_owned(), Value::Map(vec![(field, test)]));
                let with = |mut fields: Fields| {
                    fields.push(condition.clone());
                    Value::Map(fields)
                };
                let to = if to_canary { *backend } else { &location.backend };
                let mut rest = vec![("route".to_owned(), whole(to))];
                further(&mut rest);
                let goes = if to_canary { "to the canary" } else { "not to the canary" };
                let comment = vec![format!("Ingress {told}: canary of {}, {step}: {goes}.", location.path)];
                rules.push(rule(comment, blocks.iter().cloned().map(with).collect(), rest));
            }
            let [stable, weight] = canary.weights();
            if weight > 0 {
                let percent = f64::from(weight) * 100.0 / f64::from(stable + weight);
                comment.push(format!("With its canary {told}: {percent} % go there."));
            }
        }
        rules.push(rule(comment, plain(), last));
    }
    rules
}

/// What protected a whole host, whichever of its Ingresses said so.
fn host_wide(host: &Host, treatments: &[Treatment]) -> Vec<Protection> {
    let mut all: Vec<Protection> = Vec::new();
    for protection in host.locations.iter().flat_map(|location| &treatments[location.source].protections) {
        if matches!(protection.0.as_str(), "auth-tls-secret" | "server-snippet") && !all.contains(protection)
        {
            all.push(protection.clone());
        }
    }
    all
}

fn word(kind: super::hosts::PathKind) -> &'static str {
    match kind {
        super::hosts::PathKind::Exact => "Exact",
        super::hosts::PathKind::Prefix => "Prefix",
        super::hosts::PathKind::Specific => "ImplementationSpecific",
    }
}

/// The path and host that upstreams are told.
fn rewrite(
    ordered: &Ordered<'_>,
    treatment: &Treatment,
    source: &Source,
    out: &mut Diagnostics,
) -> Option<Value> {
    let path = ordered.location.path.as_str();
    let mut fields = Fields::new();
    let target = treatment.rewrite.as_ref().filter(|target| ordered.patterns && target.value != path);
    if let Some(target) = target {
        match paths::rewrite(path, target) {
            Ok(Value::Map(rewrite)) => fields.extend(rewrite),
            Ok(_) => {}
            Err(message) => {
                let message = format!("{path} → {:?} is not carried over: {message}", target.value);
                source
                    .sink(out)
                    .add(Severity::Error, Code::NOT_CARRIED_OVER, target.pos, message)
                    .hints
                    .push(
                        "the upstream is told the path as it is; see rewrite, redirect and headers of a rule"
                            .into(),
                    );
            }
        }
    }
    fields.extend(treatment.authority.iter().map(|name| ("authority".to_owned(), text(name.as_str()))));
    (!fields.is_empty()).then_some(Value::Map(fields))
}

fn rule(comment: Vec<String>, blocks: Vec<Value>, rest: Fields) -> Item {
    let mut fields = vec![("match".to_owned(), list(blocks))];
    fields.extend(rest);
    Item { comment, value: Value::Map(fields) }
}

fn uri_only(test: &paths::PathTest) -> Value {
    Value::Map(test.fields())
}

fn whole(to: &Destination) -> Value {
    list([map([("destination", destination(to))])])
}

fn part(to: &Destination, weight: u32) -> Value {
    map([("destination", destination(to)), ("weight", number(weight))])
}

fn destination(to: &Destination) -> Value {
    let mut fields = vec![("host".to_owned(), text(to.host()))];
    fields.extend(to.port.map(|port| ("port".to_owned(), map([("number", number(port))]))));
    Value::Map(fields)
}
