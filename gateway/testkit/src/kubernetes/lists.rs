//! Lists: which version, which page, which objects, and in which form they are shown.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::kinds::Kind;
use super::refusal::Refusal;
use super::request::{Asked, Target};
use super::selector::Selector;

/// A list, or what is wrong with the question.
pub(super) fn list(cluster: &Cluster, asked: &Asked, target: &Target) -> Result<Value, Refusal> {
    let kind = &cluster.kinds[target.kind];
    let selector = Selector::read(kind, asked.parameter("labelSelector"), asked.parameter("fieldSelector"))?;
    let page = asked.parameter("continue").map(read_token).transpose()?;
    let exact = match &page {
        // A token that was given in exchange for one that is too old goes on with what there is now.
        Some(page) => u64::try_from(page.version).ok(),
        None if asked.parameter("resourceVersionMatch") == Some("Exact") => Some(version(asked)?),
        None => {
            version(asked)?;
            None
        }
    };
    let objects = match exact {
        Some(version) => cluster
            .store
            .list_at(target.kind, target.namespace.as_deref(), version)
            .ok_or_else(|| expired(page.as_ref()))?,
        None => cluster.store.list(target.kind, target.namespace.as_deref()),
    };
    let version = exact.unwrap_or_else(|| cluster.store.version());
    let mut objects = objects;
    objects.retain(|(key, object)| {
        let is_left =
            page.as_ref().is_none_or(|page| (&key.namespace, &key.name) > (&page.namespace, &page.name));
        is_left && selector.selects(object)
    });
    let limit = asked.parameter("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let shown = limit.unwrap_or(objects.len()).min(objects.len());
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if shown < objects.len() {
        let (last, _) = objects[shown - 1];
        let start = format!("/{}/{}\0", last.namespace, last.name);
        let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": start.replacen("//", "/", 1)});
        metadata["continue"] = BASE64.encode(token.to_string()).into();
        metadata["remainingItemCount"] = (objects.len() - shown).into();
    } else if kind.is_custom && !asked.wants_metadata_only() {
        metadata["continue"] = "".into();
    }
    let is_bare = asked.wants_metadata_only();
    let items = objects[..shown].iter().map(|(_, object)| {
        let mut object = show(kind, &target.version, object, is_bare);
        // Items of built-in kinds do not repeat what the list says.
        if let Some(fields) = object.as_object_mut().filter(|_| !kind.is_custom && !is_bare) {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        object
    });
    let items: Value = items.collect();
    let (api_version, list_kind) = if is_bare {
        (META.to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (kind.api_version(&target.version), format!("{}List", kind.kind))
    };
    Ok(json!({"apiVersion": api_version, "kind": list_kind, "metadata": metadata, "items": items}))
}

/// An object as a reader of this version sees it; `is_bare`: its metadata alone.
pub(super) fn show(kind: &Kind, version: &str, object: &Arc<Value>, is_bare: bool) -> Value {
    if is_bare {
        return json!({"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": object["metadata"]});
    }
    let mut object = Value::clone(object);
    object["apiVersion"] = kind.api_version(version).into();
    object
}

/// The version that is asked for; 0 where there is none.
pub(super) fn version(asked: &Asked) -> Result<u64, Refusal> {
    let Some(text) = asked.parameter("resourceVersion") else { return Ok(0) };
    text.parse().map_err(|_| {
        let says = format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
        Refusal::new(500, "", format!("resourceVersion: Invalid value: \"{text}\": {says}"))
    })
}

/// The refusal of a version that has not been yet.
pub(super) fn too_large(asked: u64, current: u64) -> Refusal {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    let mut refusal = Refusal::new(504, "Timeout", message);
    refusal.details = json!({"causes": [cause]});
    refusal.retry_after = Some(1);
    refusal
}

/// Where a list goes on.
struct Page {
    /// Of the first page; negative: whatever is newest.
    version: i64,
    namespace: String,
    name: String,
}

fn read_token(token: &str) -> Result<Page, Refusal> {
    let read = || {
        let bytes = BASE64.decode(token).ok()?;
        let token: Value = serde_json::from_slice(&bytes).ok()?;
        let start = token["start"].as_str()?.trim_start_matches('/').trim_end_matches('\0').to_owned();
        let (namespace, name) = start.split_once('/').unwrap_or(("", &start));
        Some(Page { version: token["rv"].as_i64()?, namespace: namespace.to_owned(), name: name.to_owned() })
    };
    read().ok_or_else(|| Refusal::bad_request("continue key is not valid"))
}

fn expired(page: Option<&Page>) -> Refusal {
    let Some(page) = page else {
        return Refusal::new(410, "Expired", "The resourceVersion for the provided list is too old.");
    };
    let start = format!("{}/{}\0", page.namespace, page.name);
    let token = json!({"v": "meta.k8s.io/v1", "rv": -1, "start": start.trim_start_matches('/')});
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a \
                   new list without the continue parameter, or use the continue token in this response to retrieve \
                   the remainder of the results. Continuing with the provided token results in an inconsistent list \
                   - objects that were created, modified, or deleted between the time the first chunk was returned \
                   and now may show up in the list.";
    let mut refusal = Refusal::new(410, "Expired", message);
    refusal.metadata = json!({"continue": BASE64.encode(token.to_string())});
    refusal
}

const META: &str = "meta.k8s.io/v1";
