//! What there is to ask for: versions, groups, kinds, and as much of OpenAPI as kubectl needs for `apply`.

use serde_json::{Value, json};

use super::answer::Answer;
use super::kinds::{Kind, KindId};

/// Which versions of which kinds are served now.
pub(super) type IsServed<'a> = &'a dyn Fn(KindId, &str) -> bool;

/// The answer for a path that is about no object; `None` where there is nothing. `accept` is the header's value,
/// `address` the server's own.
pub(super) fn answer(
    path: &[&str],
    accept: &str,
    address: &str,
    kinds: &[Kind],
    is_served: IsServed<'_>,
) -> Option<Answer> {
    let is_aggregated = accept.contains("as=APIGroupDiscoveryList");
    let groups = || {
        let mut groups: Vec<&str> = Vec::new();
        for (_, kind) in served(kinds, is_served) {
            if !groups.contains(&kind.group.as_str()) && !kind.group.is_empty() {
                groups.push(&kind.group);
            }
        }
        groups
    };
    let found = match path {
        ["healthz" | "readyz" | "livez"] => return Some(Answer::text(200, "ok")),
        ["version"] => release(),
        ["api"] if is_aggregated => return Some(aggregated(&[""], kinds, is_served)),
        ["apis"] if is_aggregated => return Some(aggregated(&groups(), kinds, is_served)),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }),
        ["apis"] => {
            let groups: Vec<Value> =
                groups().iter().filter_map(|name| group(name, kinds, is_served)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let mut group = group(name, kinds, is_served)?;
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["api", version] => resources("", version, kinds, is_served)?,
        ["apis", group, version] => resources(group, version, kinds, is_served)?,
        ["openapi", "v2"] => {
            let info = json!({"title": "Kubernetes", "version": "v1.36.2"});
            json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})
        }
        ["openapi", "v3"] => {
            let mut paths = json!({});
            for (id, kind) in served(kinds, is_served) {
                for version in kind.versions.iter().filter(|version| is_served(id, version)) {
                    let root = if kind.group.is_empty() { "api" } else { "apis" };
                    let path = format!("{root}/{}", kind.api_version(version));
                    paths[&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash=1")});
                }
            }
            json!({"paths": paths})
        }
        ["openapi", "v3", "api", version] => openapi("", version, kinds, is_served)?,
        ["openapi", "v3", "apis", group, version] => openapi(group, version, kinds, is_served)?,
        _ => return None,
    };
    Some(Answer::json(200, &found))
}

/// Kinds of which any version is served.
fn served<'a>(kinds: &'a [Kind], is_served: IsServed<'a>) -> impl Iterator<Item = (KindId, &'a Kind)> {
    let any = move |(id, kind): &(KindId, &Kind)| kind.versions.iter().any(|version| is_served(*id, version));
    kinds.iter().enumerate().filter(any)
}

fn within<'a>(
    group: &str,
    version: &str,
    kinds: &'a [Kind],
    is_served: IsServed<'_>,
) -> Option<Vec<&'a Kind>> {
    let is_meant = |(id, kind): &(KindId, &Kind)| {
        kind.group == group && kind.versions.iter().any(|known| known == version) && is_served(*id, version)
    };
    let found: Vec<&Kind> = kinds.iter().enumerate().filter(is_meant).map(|(_, kind)| kind).collect();
    (!found.is_empty()).then_some(found)
}

/// The versions of a group that are served, the preferred one first.
fn versions(group: &str, kinds: &[Kind], is_served: IsServed<'_>) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for (id, kind) in kinds.iter().enumerate().filter(|(_, kind)| kind.group == group) {
        for version in kind.versions.iter().filter(|version| is_served(id, version)) {
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
    }
    versions.sort_by_key(|version| (version.contains("alpha"), version.contains("beta"), version.clone()));
    versions
}

fn group(name: &str, kinds: &[Kind], is_served: IsServed<'_>) -> Option<Value> {
    let versions: Vec<Value> = versions(name, kinds, is_served)
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let first = versions.first()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": first}))
}

fn resources(group: &str, version: &str, kinds: &[Kind], is_served: IsServed<'_>) -> Option<Value> {
    let mut resources = Vec::new();
    let found = within(group, version, kinds, is_served)?;
    for kind in &found {
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced,
            "kind": kind.kind, "verbs": VERBS,
        });
        for (field, words) in [("shortNames", &kind.short), ("categories", &kind.categories)] {
            if !words.is_empty() {
                entry[field] = json!(words);
            }
        }
        resources.push(entry);
        if kind.has_status {
            resources.push(json!({
                "name": format!("{}/status", kind.plural), "singularName": "", "namespaced": kind.is_namespaced,
                "kind": kind.kind, "verbs": STATUS_VERBS,
            }));
        }
    }
    let group_version = found.first()?.api_version(version);
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

fn aggregated(groups: &[&str], kinds: &[Kind], is_served: IsServed<'_>) -> Answer {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = versions(group, kinds, is_served)
                .iter()
                .map(|version| {
                    let found = within(group, version, kinds, is_served).unwrap_or_default();
                    let resources: Vec<Value> = found.iter().map(|kind| told(kind, version)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    Answer::json(200, &list).typed("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
}

fn told(kind: &Kind, version: &str) -> Value {
    let response = json!({"group": kind.group, "version": version, "kind": kind.kind});
    let mut told = json!({
        "resource": kind.plural, "responseKind": response, "singularResource": kind.singular, "verbs": VERBS,
        "scope": if kind.is_namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": kind.short, "categories": kind.categories,
    });
    if kind.has_status {
        told["subresources"] =
            json!([{"subresource": "status", "responseKind": response, "verbs": STATUS_VERBS}]);
    }
    told
}

/// As much of a document as makes kubectl leave validation to the server: that a PATCH takes `fieldValidation`.
fn openapi(group: &str, version: &str, kinds: &[Kind], is_served: IsServed<'_>) -> Option<Value> {
    let mut paths = json!({});
    let mut schemas = json!({});
    for kind in within(group, version, kinds, is_served)? {
        let root = if group.is_empty() { "api" } else { "apis" };
        let within = if kind.is_namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{root}/{}{within}/{}/{{name}}", kind.api_version(version), kind.plural);
        let what = json!({"group": group, "version": version, "kind": kind.kind});
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        paths[path] = json!({"patch": {
            "parameters": parameters, "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": what,
            "responses": {"200": {"description": "OK"}},
        }});
        schemas[format!("{group}.{version}.{}", kind.kind)] =
            json!({"type": "object", "x-kubernetes-group-version-kind": [what]});
    }
    let info = json!({"title": "Kubernetes", "version": "v1.36.2"});
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}))
}

fn release() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35", "gitVersion": "v1.36.2", "gitCommit": "vendored", "gitTreeState": "clean",
        "buildDate": "2026-08-21T00:00:00Z", "goVersion": "go1.27.3", "compiler": "gc", "platform": "linux/amd64",
    })
}

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];
