//! Names as Istio's validation has them: labels, hosts, Gateways, and what selectors select by.

use std::sync::Arc;

use http::HeaderName;

use super::values::warn;
use crate::host::{HostPattern, is_address};
use crate::origin::At;
use crate::wire::ObjectName;
use crate::wire::object::is_dns_name;
use crate::wire::sink::Sink;

/// What to do about a name with a dot that is only the beginning of a host: only names without one are completed.
pub(super) fn never_completed(whole: &str) -> String {
    format!("write {whole:?}: a name with a dot is not completed")
}

/// Istio `IsDNS1123Label`, which takes capitals: letters, digits and `-` inside, 63 at most.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Istio `ValidateWildcardDomain`: a name of labels whose first may be `*` or begin with it; the error says what is
/// wrong. An address is none.
pub(super) fn domain(host: &str) -> Result<(), String> {
    let mut labels = host.split('.');
    let first = labels.next().unwrap_or_default();
    let rest: Vec<&str> = labels.collect();
    let rest = rest.strip_suffix(&[""]).unwrap_or(&rest);
    let leads = match first.strip_prefix('*') {
        Some(rest) => rest.is_empty() || is_label(rest.strip_prefix('-').unwrap_or(rest)),
        None => is_label(first),
    };
    let fault = if host.contains('_') {
        ": it may not have \"_\""
    } else if rest.last().is_some_and(|last| last.parse::<i64>().is_ok()) {
        ": its last part is a number"
    } else if host.len() > 255 || !leads || !rest.iter().all(|label| is_label(label)) {
        ""
    } else {
        return Ok(());
    };
    Err(format!("{host:?} is not a host name{fault}"))
}

/// A host that Istio takes, which an address is too; the error says what is wrong.
pub(super) fn host(written: &str) -> Result<HostPattern, String> {
    let pattern = HostPattern::parse(written)?;
    if !is_address(written) {
        domain(written)?;
    }
    Ok(pattern)
}

/// The name of a header field.
pub(super) fn read_field(written: &At<String>, sink: &mut Sink<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(written.as_bytes()).ok();
    if name.is_none() {
        sink.schema(written.pos, format!("{:?} is not the name of a header field", written.value));
    }
    name
}

/// Istio `resolveGatewayName`: `name` and `./name` are in the own namespace, `namespace/name` is anywhere, and so is
/// `name.namespace` of old, whatever follows it. `None` for what is no name.
pub(super) fn gateway(written: &str, own: &Arc<str>) -> Option<ObjectName> {
    let (namespace, name) = match written.split_once('/') {
        None if is_dns_name(&written.to_ascii_lowercase()) => {
            let mut parts = written.split('.');
            let name = parts.next().unwrap_or_default();
            (parts.next().map_or_else(|| own.clone(), Into::into), name)
        }
        Some((".", name)) if is_label(name) => (own.clone(), name),
        Some((namespace, name)) if is_label(namespace) && is_label(name) => (namespace.into(), name),
        _ => return None,
    };
    Some(ObjectName { namespace, name: name.into() })
}

/// The same, with what is wrong with it in the sink (Istio `validateGatewayNames`).
pub(super) fn read_gateway(written: &At<String>, own: &Arc<str>, sink: &mut Sink<'_>) -> Option<ObjectName> {
    let name = gateway(written, own);
    match &name {
        None => sink
            .schema(written.pos, format!("{:?} is not the name of a Gateway", written.value))
            .hints
            .push("write \"name\" or \"namespace/name\"".into()),
        Some(name) if written.contains('.') && !written.contains('/') => {
            warn(
                format!("{:?} is the old way to name a Gateway; write \"{name}\"", written.value),
                written.pos,
                sink,
            );
        }
        Some(_) => {}
    }
    name
}

/// Istio `ValidateFQDN`: a domain without a wildcard.
pub(super) fn is_domain(host: &str) -> bool {
    !host.contains('*') && host.parse::<i64>().is_err() && domain(host).is_ok()
}

/// Istio `labels.Instance.Validate`: keys are `prefix/name` or `name`, values are names or empty.
pub(super) fn check_labels(written: &[(At<String>, At<String>)], sink: &mut Sink<'_>) {
    let word = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
    };
    for (key, value) in written {
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key.as_str()),
        };
        let sound = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(is_label);
        if !word(name) || !prefix.is_none_or(sound) {
            sink.schema(key.pos, format!("{:?} is not a label's name", key.value));
        }
        if !value.is_empty() && !word(value) {
            sink.schema(value.pos, format!("{:?} is not a label's value", value.value));
        }
    }
}
