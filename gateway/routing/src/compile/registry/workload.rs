//! WorkloadEntries, alone and inside ServiceEntries → members.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Labels, Member, labels};
use crate::compile::objects::Objects;
use crate::compile::support::{Written, fields, unsupported};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::snapshot::{Locality, Workload};
use crate::wire::Document;
use crate::wire::registry::WorkloadEntry;
use crate::wire::sink::Sink;

/// A WorkloadEntry that selectors may choose; without a member where it could not be read.
pub(super) struct Selectable<'s> {
    pub(super) document: &'s Document,
    pub(super) labels: Labels,
    pub(super) member: Option<Member>,
}

/// Reads every WorkloadEntry.
pub(super) fn read_all<'s>(objects: &Objects<'s>, out: &mut Diagnostics) -> Vec<Selectable<'s>> {
    objects
        .workload_entries
        .iter()
        .map(|&(document, entry)| {
            let title = document.object.title();
            let sink = &mut document.sink(&title, out);
            let labels = labels(entry.labels.iter().chain(&document.object.labels));
            let name = &document.object.name;
            let own_name = Some(&name.name);
            let member = read_member(entry, labels.clone(), own_name, &name.namespace, &name.name, sink);
            Selectable { document, labels, member }
        })
        .collect()
}

/// Reads an endpoint. `own_name` is a WorkloadEntry's; `host` stands in where nothing names the workload.
pub(super) fn read_member(
    entry: &WorkloadEntry,
    labels: Labels,
    own_name: Option<&Arc<str>>,
    namespace: &Arc<str>,
    host: &str,
    sink: &mut Sink<'_>,
) -> Option<Member> {
    let WorkloadEntry { address, ports, labels: _, network, locality, weight, service_account: _ } = entry;
    unsupported(Severity::Error, fields![network], sink);
    let share = weight.as_ref().map_or(Some(0), |weight| u32::try_from(weight.value).ok());
    if let (Some(weight), None) = (weight, share) {
        sink.schema(weight.pos, format!("weight {} is not within 0 to {}", weight.value, u32::MAX));
    }
    let Some(address) = address else {
        sink.schema(entry_pos(entry), "an endpoint needs an address".into());
        return None;
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        let (code, message) = match address.strip_prefix("unix://") {
            Some(_) => {
                (Code::UNSUPPORTED_FIELD, "a Unix socket as an endpoint is not supported yet".to_owned())
            }
            None => (
                Code::SCHEMA_VALIDATION,
                format!("{:?} is not an IP address, as resolution STATIC wants", address.value),
            ),
        };
        sink.add(Severity::Error, code, address.pos, message);
        return None;
    };
    Some(Member {
        address: ip,
        ports: ports.iter().map(|(name, number)| (name.as_str().into(), number.value)).collect(),
        targets: BTreeMap::new(),
        workload: Arc::new(workload(&labels, own_name, namespace, host)),
        labels: Arc::new(labels),
        // Istio: 0 is as good as absent.
        weight: share.unwrap_or_default().max(1),
        locality: Arc::new(Locality::parse(locality.as_ref().map_or("", |locality| locality.as_str()))),
    })
}

/// Somewhere in an endpoint without an address, to point at.
fn entry_pos(entry: &WorkloadEntry) -> crate::origin::Pos {
    entry.ports.key().or_else(|| entry.labels.key()).unwrap_or_default()
}

/// How metrics name the workload at an endpoint: by label `service.istio.io/workload-name`, else by its
/// WorkloadEntry, else as `app-version` like Bookinfo's Deployments, else as the host's first label.
pub(super) fn workload(
    labels: &Labels,
    own_name: Option<&Arc<str>>,
    namespace: &Arc<str>,
    host: &str,
) -> Workload {
    let label =
        |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned().unwrap_or_else(|| "".into());
    let short: Arc<str> = host.split('.').next().unwrap_or(host).into();
    let (app, version) = (label(&["app"]), label(&["version"]));
    let canonical_service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let name = match (labels.get("service.istio.io/workload-name").or(own_name), version.is_empty()) {
        (Some(name), _) => name.clone(),
        (None, true) => short.clone(),
        (None, false) => format!("{}-{version}", if app.is_empty() { &short } else { &app }).into(),
    };
    Workload {
        name,
        namespace: namespace.clone(),
        canonical_service: if canonical_service.is_empty() { short } else { canonical_service },
        canonical_revision: label(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]),
        app,
        version,
    }
}
