//! A route's changes, carried out on Pingora's heads.

use http::HeaderValue;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use trysail_routing::snapshot::{HeaderOps, Transform};

/// Carries out levels of operations. Pingora's two heads have the same methods and no trait in common.
macro_rules! operate {
    ($levels:expr, $head:ident) => {
        for ops in $levels {
            for name in &ops.remove {
                $head.remove_header(name);
            }
            for (name, value) in &ops.set {
                $head.insert_header(name.clone(), value.clone())?;
            }
            for (name, value) in &ops.add {
                $head.append_header(name.clone(), value.clone())?;
            }
        }
    };
}

/// Changes a request on its way to its target. Envoy's order: fields first, then authority and path, whose former
/// values go along in `x-envoy-original-host` and `x-envoy-original-path`.
pub(super) fn request(transform: &Transform, path: Option<&str>, head: &mut RequestHeader) -> Result<()> {
    operate!(&transform.request, head);
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
pub(super) fn response(levels: &[HeaderOps], head: &mut ResponseHeader) -> Result<()> {
    operate!(levels, head);
    Ok(())
}
