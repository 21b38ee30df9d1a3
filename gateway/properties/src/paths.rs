//! A canonical path stays as it is, and holds nothing that two readers take differently.

use trysail_routing::path::{Form, Forms, Normalization, PathRules, Refusal, canonical};

pub(crate) fn hold(bytes: &[u8]) {
    for normalization in [
        Normalization::None,
        Normalization::Base,
        Normalization::MergeSlashes,
        Normalization::DecodeAndMergeSlashes,
    ] {
        for refused in [Forms::NONE, Forms::NONE.with(Form::EscapedSlash), Forms::ALL] {
            let rules = PathRules { normalization, refused };
            let once = match canonical(bytes, rules) {
                Ok(once) => once,
                Err(Refusal::NotAbsolute) => {
                    assert!(!bytes.starts_with(b"/"));
                    continue;
                }
                Err(_) => continue,
            };
            let path = &*once.path;
            let told = || format!("{rules:?}: {} became {path:?}", bytes.escape_ascii());
            assert!(
                path.starts_with('/') && !path.contains(['?', '#', ' '])
                    || normalization == Normalization::None,
                "{}",
                told()
            );
            let again = canonical(path.as_bytes(), rules).map(|target| target.path.into_owned());
            assert_eq!(again.as_deref(), Ok(path), "{}", told());
            if refused == Forms::ALL {
                let lower = path.to_ascii_lowercase();
                let none = ["%2f", "%5c", "\\", ";", "%3b", "%00", "%25"];
                // `%25` alone is a percent sign; in front of two digits it is a second escape.
                let escapes = lower.match_indices("%25").any(|(at, _)| {
                    lower.get(at + 3..at + 5).is_some_and(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))
                });
                assert!(!none[..6].iter().any(|form| lower.contains(form)) && !escapes, "{}", told());
            }
            if normalization == Normalization::None {
                continue;
            }
            assert!(
                path.is_ascii() && !path.contains('\\') && !path.bytes().any(|b| b.is_ascii_control()),
                "{}",
                told()
            );
            assert!(!path.to_ascii_lowercase().contains("%2e") && !path.contains("%00"), "{}", told());
            assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{}", told());
            assert!(normalization == Normalization::Base || !path.contains("//"), "{}", told());
            // It is a target to http too, whatever is asked of it.
            let mut target = path.to_owned().into_bytes();
            if let Some(query) = once.query {
                target.push(b'?');
                target.extend_from_slice(query);
            }
            assert_eq!(
                canonical(&target, rules).as_ref().map(|same| (&*same.path, same.query)),
                Ok((path, once.query))
            );
            assert!(path.len() > 65_000 || path.parse::<http::uri::PathAndQuery>().is_ok(), "{}", told());
        }
    }
}
