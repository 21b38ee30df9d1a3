//! Objects of another gateway, written anew as Istio's: ingress-nginx's Ingresses as Gateways, VirtualServices and
//! DestinationRules.
//!
//! ```text
//! text ─read─▶ Ingresses ─treatment─▶ what annotations ask for ─hosts─▶ locations ─rules─▶ YAML
//! ```
//! What is written is text for people, with comments; what could not be carried over is a finding at its place. Who was
//! kept out is not let in: a rule whose protection is lost answers 403 (`docs/decisions/0037-importing-ingresses.md`).

mod canary;
mod destinations;
mod gateways;
mod hosts;
mod locations;
mod paths;
mod read;
mod refused;
mod rules;
mod treatment;
mod yaml;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::Diagnostics;
use crate::wire::name_paths;
use treatment::Treatment;
use yaml::Value;

/// How Ingresses are imported.
#[derive(Clone, Debug)]
pub struct Options {
    /// The class of those that are imported.
    pub class: String,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// Whether rules whose protection is lost let everybody in, in place of answering 403.
    pub open: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { class: "nginx".to_owned(), namespace: "default".to_owned(), open: false }
    }
}

/// What was made of Ingresses.
#[derive(Debug)]
pub struct Imported {
    /// Istio's objects; empty where there was nothing to import.
    pub yaml: String,
    /// What is different, and what is not there; in the order of files and lines.
    pub findings: Diagnostics,
    /// How many Ingresses were imported.
    pub ingresses: usize,
    /// How many Gateways, VirtualServices and DestinationRules were written.
    pub objects: [usize; 3],
}

/// Imports Ingresses of ingress-nginx from texts, given by the names that people know their files by. Services give the
/// numbers of named ports, ConfigMaps the fields of `custom-headers`.
pub fn nginx_ingress<'t>(
    texts: impl IntoIterator<Item = (&'t Arc<str>, &'t Arc<str>)>,
    options: &Options,
) -> Imported {
    let mut findings = Diagnostics::default();
    let read = read::read(texts, options, &mut findings);
    let treatments: Vec<Treatment> = read
        .ingresses
        .iter()
        .map(|source| treatment::read(source, &read.config_maps, options, &mut findings))
        .collect();
    let mut hosts = hosts::gather(&read, &treatments, &mut findings);
    let mut services: Vec<(String, String, String)> = Vec::new();
    let mut taken = BTreeSet::new();
    hosts.retain(|name, host| {
        let rules = rules::rules(host, &read.ingresses, &treatments, options, &mut findings);
        if rules.is_empty() {
            return false;
        }
        let namespace = read.ingresses[host.first].name.namespace.to_string();
        let mut called = gateways::virtual_service(name);
        while !taken.insert((namespace.clone(), called.clone())) {
            called.push_str("-2");
        }
        let spec = yaml::map([
            ("hosts", yaml::texts(std::iter::once(name).chain(&host.aliases).map(String::as_str))),
            ("gateways", yaml::texts([gateways::name(name)])),
            ("http", Value::List(rules)),
        ]);
        let written = yaml::document("VirtualService", &called, &namespace, &[], &spec);
        services.push((namespace, called, written));
        true
    });
    services.sort();
    let gateways = gateways::write(&hosts, &read.ingresses, &treatments, &mut findings);
    let rules = destinations::write(&hosts, &read.ingresses, &treatments, &mut findings);
    let objects = [gateways.len(), services.len(), rules.len()];
    let services = services.into_iter().map(|(_, _, written)| written);
    let yaml: String = gateways.into_iter().chain(services).chain(rules).collect();
    name_paths(&mut findings);
    findings.sort();
    findings.say_once();
    Imported { yaml, findings, ingresses: read.ingresses.len(), objects }
}
