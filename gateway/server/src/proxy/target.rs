//! A request's target, made canonical where the request stands, before anything looks at it.
//!
//! What is matched is then what is forwarded, logged and explained: there is but one path. The rules are in
//! `trysail_routing::path`; a target in absolute form has become a path before (`trysail_edge::head`).

use std::borrow::Cow;

use http::Uri;
use pingora_http::RequestHeader;
use trysail_routing::path::{PathRules, Refusal, Target, canonical};

/// Makes a request's target canonical, or says why it is refused.
pub(super) fn make_canonical(head: &mut RequestHeader, rules: PathRules) -> Result<(), Refusal> {
    match made_of(head.raw_path(), rules)? {
        None => Ok(()),
        // What is canonical is a target in any case.
        Some(target) => put(head, &target).ok_or(Refusal::ZeroByte),
    }
}

/// What is made of a target; `None` where it is canonical as it is.
pub(super) fn made_of(target: &[u8], rules: PathRules) -> Result<Option<Vec<u8>>, Refusal> {
    Ok(match canonical(target, rules)? {
        Target { path: Cow::Borrowed(_), .. } => None,
        Target { path, query: None } => Some(path.into_owned().into_bytes()),
        Target { path, query: Some(query) } => Some([path.as_bytes(), b"?", query].concat()),
    })
}

/// Changes the target, and of HTTP/2 only its path.
fn put(head: &mut RequestHeader, target: &[u8]) -> Option<()> {
    if head.uri.authority().is_none() {
        return head.set_raw_path(target).ok();
    }
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(target.try_into().ok()?);
    head.set_uri(Uri::from_parts(parts).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use trysail_routing::path::Normalization;

    use super::*;

    /// The target that is left of a request's.
    fn made(target: &[u8], of_http2: Option<&str>) -> Result<String, Refusal> {
        let mut head = RequestHeader::build("GET", target, None).unwrap();
        if let Some(uri) = of_http2 {
            head.set_uri(uri.parse().unwrap());
        }
        make_canonical(&mut head, Normalization::Base.into())?;
        Ok(String::from_utf8_lossy(head.raw_path()).into_owned())
    }

    #[test]
    fn a_target_becomes_canonical_where_it_stands() {
        for (target, left) in [
            (&b"/a"[..], Ok("/a")),
            (b"/a/../b?\xff", Ok("/b?\u{fffd}")),
            (b"/\xff", Ok("/%FF")),
            (b"*", Err(Refusal::NotAbsolute)),
            (b"/%00", Err(Refusal::ZeroByte)),
        ] {
            let left = left.map(str::to_owned);
            assert_eq!(made(target, None), left, "{:?}", String::from_utf8_lossy(target));
        }
        assert_eq!(made(b"/", Some("https://shop.test:81/a/../b?q")), Ok("/b?q".to_owned()));
    }
}
