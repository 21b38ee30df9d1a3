//! A root's conditions and a delegate's, put together block by block, or why they can't be.

use super::{Within, joined};
use crate::origin::At;
use crate::wire::virtual_service::{HttpMatch, StringMatch};

/// Fields with how each is compared.
type Named = [(At<String>, At<StringMatch>)];

/// Istio `mergeHTTPMatchRequests`: every block of the delegate needs one of the root that it lies within, and is
/// put together with each such; where one side has none, the other's stand. With each goes the root's that it lies within.
pub(super) fn merge(
    root: &[At<HttpMatch>],
    delegate: &[At<HttpMatch>],
) -> Result<(Vec<At<HttpMatch>>, Within), String> {
    if root.is_empty() || delegate.is_empty() {
        return Ok(([root, delegate].concat(), Vec::new()));
    }
    let (mut merged, mut within) = (Vec::new(), Vec::new());
    for (index, own) in delegate.iter().enumerate() {
        let before = merged.len();
        let mut why = String::new();
        for root in root {
            match conflict(root, own) {
                None => {
                    merged.push(At { value: together(root, own), pos: own.pos });
                    within.push(root.pos.place());
                }
                Some(field) => why = field,
            }
        }
        if merged.len() == before {
            return Err(format!("match[{index}] lies within no match of its root ({why})"));
        }
    }
    Ok((merged, within))
}

/// Istio `mergeHTTPMatchRequest`: the delegate's, or else the root's; what has keys is united.
fn together(root: &HttpMatch, own: &HttpMatch) -> HttpMatch {
    let HttpMatch {
        name,
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        gateways,
        source_labels,
        source_namespace,
        stat_prefix,
    } = own.clone();
    HttpMatch {
        name: joined(root.name.as_ref(), name),
        uri: uri.or_else(|| root.uri.clone()),
        ignore_uri_case,
        scheme: scheme.or_else(|| root.scheme.clone()),
        method: method.or_else(|| root.method.clone()),
        authority: authority.or_else(|| root.authority.clone()),
        headers: united(&root.headers, &headers),
        without_headers: united(&root.without_headers, &without_headers),
        query_params: united(&root.query_params, &query_params),
        port: port.or(root.port),
        gateways: if gateways.is_empty() { root.gateways.clone() } else { gateways },
        source_labels: united(&root.source_labels, &source_labels),
        source_namespace: source_namespace.or_else(|| root.source_namespace.clone()),
        stat_prefix: stat_prefix.or_else(|| root.stat_prefix.clone()),
    }
}

/// What is said by name.
type ByName<T> = Box<[(At<String>, At<T>)]>;

fn united<T: Clone>(root: &[(At<String>, At<T>)], own: &ByName<T>) -> ByName<T> {
    let missing = root.iter().filter(|(key, _)| own.iter().all(|(other, _)| other.value != key.value));
    missing.chain(own).cloned().collect()
}

/// Istio `hasConflict`: the field by which a block does not lie within its root's.
fn conflict(root: &HttpMatch, own: &HttpMatch) -> Option<String> {
    let whole = [
        ("uri", &root.uri, &own.uri),
        ("scheme", &root.scheme, &own.scheme),
        ("method", &root.method, &own.method),
        ("authority", &root.authority, &own.authority),
    ];
    for (field, root, own) in whole {
        if let (Some(root), Some(own)) = (root, own)
            && differs(root, own)
        {
            return Some(format!("its {field} is not within the root's"));
        }
    }
    let keyed: [(&str, &Named, &Named); 3] = [
        ("headers", &root.headers, &own.headers),
        ("withoutHeaders", &root.without_headers, &own.without_headers),
        ("queryParams", &root.query_params, &own.query_params),
    ];
    for (field, root, own) in keyed {
        let clash = own.iter().find(|(key, value)| {
            root.iter().any(|(other, root)| other.value == key.value && differs(root, value))
        });
        if let Some((key, _)) = clash {
            return Some(format!("its {field} say something else of {:?}", key.value));
        }
    }
    let ignores = |block: &HttpMatch| block.ignore_uri_case.as_ref().is_some_and(|ignore| ignore.value);
    if ignores(root) != ignores(own) {
        return Some("ignoreUriCase differs".into());
    }
    if root.port.as_ref().zip(own.port.as_ref()).is_some_and(|(root, own)| root.value != own.value) {
        return Some("port differs".into());
    }
    let namespace = |block: &HttpMatch| {
        block.source_namespace.as_ref().map(|name| name.value.clone()).unwrap_or_default()
    };
    if !namespace(root).is_empty() && namespace(root) != namespace(own) {
        return Some("sourceNamespace differs".into());
    }
    let clash = own.source_labels.iter().any(|(key, value)| {
        root.source_labels.iter().any(|(other, root)| other.value == key.value && root.value != value.value)
    });
    if clash {
        return Some("sourceLabels differ".into());
    }
    let outside = |gateway: &At<String>| !root.gateways.iter().any(|other| other.value == gateway.value);
    if !root.gateways.is_empty() && own.gateways.iter().any(outside) {
        return Some("gateways are not among the root's".into());
    }
    None
}

/// Istio `stringMatchConflict`: patterns never lie within anything, and neither does "present".
fn differs(root: &StringMatch, own: &StringMatch) -> bool {
    let said =
        |text: &Option<At<String>>| text.as_ref().map(|at| at.value.clone()).filter(|text| !text.is_empty());
    let StringMatch { exact, prefix, regex } = root;
    let (exact, prefix, regex) = (said(exact), said(prefix), said(regex));
    let (own_exact, own_prefix, own_regex) = (said(&own.exact), said(&own.prefix), said(&own.regex));
    if regex.is_some() || own_regex.is_some() {
        return true;
    }
    match (exact, prefix) {
        (Some(exact), _) => own_exact.as_ref() != Some(&exact),
        (None, Some(prefix)) => match own_prefix.or(own_exact) {
            Some(own) => !own.starts_with(&prefix),
            None => true,
        },
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Pos;

    fn value(text: &str) -> StringMatch {
        let at = |value: &str| Some(At { value: value.to_owned(), pos: Pos::default() });
        let (exact, prefix, regex) = match text.split_once(' ') {
            Some(("=", value)) => (at(value), None, None),
            Some(("^", value)) => (None, at(value), None),
            Some(("~", value)) => (None, None, at(value)),
            _ => (None, None, None),
        };
        StringMatch { exact, prefix, regex }
    }

    #[test]
    fn a_value_lies_within_another() {
        for (root, own, fits) in [
            ("= /a", "= /a", true),
            ("= /a", "= /b", false),
            ("= /a", "^ /a", false),
            ("^ /a", "^ /a", true),
            ("^ /a", "^ /a/b", true),
            ("^ /a", "= /a/b", true),
            ("^ /a/b", "^ /a", false),
            ("^ /a", "~ /a", false),
            ("~ /a", "~ /a", false),
            ("~ /a", "= /a", false),
            ("{}", "{}", false),
            ("{}", "= a", false),
            ("= a", "{}", false),
        ] {
            assert_eq!(!differs(&value(root), &value(own)), fits, "{root} and {own}");
        }
    }
}
