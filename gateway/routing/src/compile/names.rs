//! Names as Istio's validation has them: labels, hosts, and what subsets select by.

use crate::origin::At;
use crate::wire::sink::Sink;

/// Istio `IsDNS1123Label`, which takes capitals: letters, digits and `-` inside, 63 at most.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Istio `ValidateWildcardDomain`: a name of labels whose first may be `*` or begin with it. An address is none.
pub(super) fn is_wildcard_domain(host: &str) -> bool {
    let mut labels = host.split('.');
    let first = labels.next().unwrap_or_default();
    let rest: Vec<&str> = labels.collect();
    let rest = rest.strip_suffix(&[""]).unwrap_or(&rest);
    let last = rest.last();
    let leads = match first.strip_prefix('*') {
        Some(rest) => rest.is_empty() || is_label(rest.strip_prefix('-').unwrap_or(rest)),
        None => is_label(first),
    };
    let named = last.is_none_or(|last| last.parse::<i64>().is_err());
    host.len() <= 255 && leads && named && rest.iter().all(|label| is_label(label))
}

/// Istio `ValidateFQDN`: the same without a wildcard.
pub(super) fn is_domain(host: &str) -> bool {
    !host.contains('*') && host.parse::<i64>().is_err() && is_wildcard_domain(host)
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
