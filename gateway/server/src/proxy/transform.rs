//! A route's changes, carried out on Pingora's heads.

use http::{HeaderMap, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use trysail_routing::snapshot::{HeaderOps, Transform, Value};

/// Carries out levels of operations. Pingora's two heads have the same methods and no trait in common.
///
/// Envoy: values are put together from the fields as they are after the removals and before anything is set; one
/// that comes out empty changes nothing. Values that do not vary cost nothing here.
macro_rules! operate {
    ($levels:expr, $head:ident, $fill:ident) => {
        for ops in $levels {
            for name in &ops.remove {
                $head.remove_header(name);
            }
            let varying =
                ops.set.iter().chain(&ops.add).map(|(_, value)| value).filter(|value| value.varies());
            let filled: Vec<Option<HeaderValue>> =
                varying.map(|value| $fill(&$head.headers, value)).collect();
            let mut filled = filled.into_iter();
            let mut value = |value: &Value| match value {
                Value::Literal(value) => Some(value.clone()),
                Value::Parts(..) => filled.next().flatten(),
            };
            for (name, written) in &ops.set {
                if let Some(value) = value(written) {
                    $head.insert_header(name.clone(), value)?;
                }
            }
            for (name, written) in &ops.add {
                if let Some(value) = value(written) {
                    $head.append_header(name.clone(), value)?;
                }
            }
        }
    };
}

/// Changes a request on its way to its target. Envoy's order: fields first, then authority and path, whose former
/// values go along in `x-envoy-original-host` and `x-envoy-original-path`.
pub(super) fn request(
    transform: &Transform,
    path: Option<&str>,
    head: &mut RequestHeader,
    fill: impl Fn(&HeaderMap, &Value) -> Option<HeaderValue>,
) -> Result<()> {
    operate!(&transform.request, head, fill);
    // Changing the path of an HTTP/2 request drops its authority, so it is said as a field first.
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let before = authority.or_else(|| head.headers.get("host").cloned());
    if let Some(path) = path {
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let original = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        head.insert_header("x-envoy-original-path", original)?;
        head.set_raw_path(format!("{path}{query}").as_bytes())?;
    }
    match (&transform.authority, before) {
        (Some(authority), before) => {
            if let Some(before) = before {
                head.insert_header("x-envoy-original-host", before)?;
            }
            head.insert_header("host", authority.clone())
        }
        (None, Some(before)) if path.is_some() => head.insert_header("host", before),
        (None, _) => Ok(()),
    }
}

/// Changes an answer on its way to the client.
pub(super) fn response(
    levels: &[HeaderOps],
    head: &mut ResponseHeader,
    fill: impl Fn(&HeaderMap, &Value) -> Option<HeaderValue>,
) -> Result<()> {
    operate!(levels, head, fill);
    Ok(())
}
