//! A request's target and host, made canonical where the request stands, before anything looks at them.
//!
//! What is matched is then what is forwarded, logged and explained: there is but one path. The rules are in
//! `trysail_routing::path`.

use http::{Uri, Version};
use pingora_core::protocols::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora_http::RequestHeader;
use trysail_routing::path::{Normalization, Refusal, Target, canonical};

use super::reply::Answer;

/// Makes a request's target canonical, or says how it is answered. An absolute target (`GET http://shop.test/`) becomes
/// its path, as Pingora has compared its host with `Host` already.
pub(super) fn make_canonical(head: &mut RequestHeader, how: Normalization) -> Result<(), Answer> {
    let absolute = match raw_target_authority(head.raw_path()) {
        RawTargetAuthority::Absolute { authority, path_and_query, .. } => Some((authority, path_and_query)),
        _ => None,
    };
    let host = match absolute {
        // A host that only the target says has to be said as a field once the target is a path.
        Some((authority, _)) if !head.headers.contains_key("host") => Some(authority.to_vec()),
        _ => None,
    };
    let changed = changed(head, absolute.map(|(_, target)| target), how)?;
    if let Some(host) = host {
        head.insert_header("host", host).map_err(|_| Answer::MALFORMED)?;
    }
    if let Some(target) = changed {
        put(head, &target).ok_or(Answer::MALFORMED)?;
    }
    // HTTP/1.0 has no host to be said; it is for the hosts that a `*` serves.
    let needs_host = head.version != Version::HTTP_10;
    if needs_host && super::view::authority(head).is_empty() { Err(Answer::MALFORMED) } else { Ok(()) }
}

/// The target that takes the place of the one that was sent; `None` where it may stay.
fn changed(
    head: &RequestHeader,
    absolute: Option<&[u8]>,
    how: Normalization,
) -> Result<Option<Vec<u8>>, Answer> {
    let rooted = absolute.filter(|target| !target.starts_with(b"/")).map(|target| [b"/", target].concat());
    let sent = rooted.as_deref().or(absolute).unwrap_or_else(|| head.raw_path());
    let Target { path, query } = canonical(sent, how).map_err(|refusal| match refusal {
        Refusal::NotAbsolute => Answer::NO_ROUTE,
        Refusal::ZeroByte => Answer::MALFORMED,
    })?;
    let stays = matches!(path, std::borrow::Cow::Borrowed(_)) && absolute.is_none();
    Ok((!stays).then(|| match query {
        None => path.as_bytes().to_vec(),
        Some(query) => [path.as_bytes(), b"?", query].concat(),
    }))
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
    use super::*;

    /// The target and the authority that are left of a request.
    fn made(target: &[u8], host: Option<&str>, of_http2: Option<&str>) -> Result<(String, String), u16> {
        let mut head = RequestHeader::build("GET", target, None).unwrap();
        if let Some(host) = host {
            head.insert_header("host", host).unwrap();
        }
        if let Some(uri) = of_http2 {
            head.set_uri(uri.parse().unwrap());
        }
        make_canonical(&mut head, Normalization::Base).map_err(|answer| answer.status)?;
        let target = String::from_utf8_lossy(head.raw_path()).into_owned();
        Ok((target, super::super::view::authority(&head).to_owned()))
    }

    #[test]
    fn every_form_of_a_target_becomes_a_path() {
        for (target, host, left) in [
            (&b"/a"[..], Some("shop.test"), Ok(("/a", "shop.test"))),
            (b"/a/../b?\xff", Some("shop.test"), Ok(("/b?\u{fffd}", "shop.test"))),
            (b"/\xff", Some("shop.test"), Ok(("/%FF", "shop.test"))),
            (b"http://shop.test/./a?q", Some("shop.test"), Ok(("/a?q", "shop.test"))),
            (b"http://shop.test:81?q", None, Ok(("/?q", "shop.test:81"))),
            (b"http://shop.test", Some("shop.test"), Ok(("/", "shop.test"))),
            (b"*", Some("shop.test"), Err(404)),
            (b"shop.test:443", Some("shop.test"), Err(404)),
            (b"/%00", Some("shop.test"), Err(400)),
            (b"/a", Some(""), Err(400)),
            (b"/a", None, Err(400)),
        ] {
            let left = left.map(|(target, host)| (target.to_owned(), host.to_owned()));
            assert_eq!(made(target, host, None), left, "{:?}", String::from_utf8_lossy(target));
        }
        let of_http2 = made(b"/", None, Some("https://shop.test:81/a/../b?q"));
        assert_eq!(of_http2, Ok(("/b?q".to_owned(), "shop.test:81".to_owned())));
    }
}
