//! `permanent-redirect`, `temporal-redirect` and `app-root` → redirects.

use http::HeaderValue;

use super::super::yaml::{Value, number, text};
use super::asked::Asked;
use crate::origin::At;

/// Reads where all requests are sent. ingress-nginx looks at the temporal redirect first.
pub(super) fn read(asked: &mut Asked<'_, '_>) -> Option<Value> {
    let (temporal, permanent) = (asked.text("temporal-redirect"), asked.text("permanent-redirect"));
    let code = (asked.number("temporal-redirect-code"), asked.number("permanent-redirect-code"));
    let (target, code, default) = match (temporal, permanent) {
        (Some(target), _) => (target, code.0, 302),
        (None, target) => (target?, code.1, 301),
    };
    let code = match code {
        Some(code) if ![301, 302, 303, 307, 308].contains(&code.value) => {
            asked.differs(
                code.pos,
                format!("{} is not a status to redirect with: {default} is written", code.value),
            );
            default
        }
        code => code.map_or(default, |code| code.value),
    };
    match fields(target) {
        Some(mut fields) => {
            fields.push(("redirectCode".to_owned(), number(code)));
            Some(Value::Map(fields))
        }
        None => {
            let message = format!("a redirect to {:?} is not carried over", target.value);
            asked.lost(target.pos, message).hints.push(
                "a redirect names a URL, and of nginx's variables $scheme, $host and $request_uri at its end"
                    .into(),
            );
            None
        }
    }
}

/// The parts of a URL that are not the request's own; `None` where they are not to be known.
fn fields(target: &str) -> Option<Vec<(String, Value)>> {
    let mut fields = Vec::new();
    let mut put = |name: &str, value: &str| fields.push((name.to_owned(), text(value)));
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let rest = match target.split_once("://") {
        None => target,
        Some((scheme, rest)) => {
            match scheme {
                "http" | "https" => put("scheme", scheme),
                "$scheme" => {}
                _ => return None,
            }
            let own = ["$host", "$http_host"].into_iter().find_map(|own| rest.strip_prefix(own));
            match own {
                Some(rest) => rest,
                None => {
                    let (authority, rest) =
                        rest.split_at(rest.find(['/', '?', '$', '#']).unwrap_or(rest.len()));
                    let sound = !authority.is_empty() && HeaderValue::from_str(authority).is_ok();
                    put("authority", Some(authority).filter(|_| sound)?);
                    rest
                }
            }
        }
    };
    match rest {
        "$request_uri" if fields.is_empty() => return None,
        "$request_uri" => {}
        "" => fields.push(("uri".to_owned(), text("/"))),
        rest if rest.contains('$') || !rest.starts_with('/') => return None,
        rest => fields.push(("uri".to_owned(), text(rest))),
    }
    Some(fields)
}

/// Where requests for `/` are sent.
pub(super) fn app_root(asked: &mut Asked<'_, '_>) -> Option<At<String>> {
    let root = asked.text("app-root")?;
    let sound =
        root.starts_with('/') && !root.contains('$') && root.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound {
        asked.lost(root.pos, format!("{:?} is no path to send clients to", root.value));
    }
    sound.then(|| root.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_parts() {
        for (target, parts) in [
            ("https://new.test", Some("scheme=https authority=new.test uri=/")),
            ("https://new.test/a?b=c", Some("scheme=https authority=new.test uri=/a?b=c")),
            ("https://new.test:8443$request_uri", Some("scheme=https authority=new.test:8443")),
            ("$scheme://new.test$request_uri", Some("authority=new.test")),
            ("https://$host$request_uri", Some("scheme=https")),
            ("/login", Some("uri=/login")),
            ("$scheme://$host$request_uri", None),
            ("https://new.test/$1", None),
            ("ftp://new.test", None),
            ("https:///x", None),
            ("new.test", None),
            ("https://a b", None),
        ] {
            let told = fields(target).map(|fields| {
                let told = |(name, value): &(String, Value)| match value {
                    Value::Text(text) => format!("{name}={text}"),
                    value => format!("{name}={value:?}"),
                };
                fields.iter().map(told).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(told.as_deref(), parts, "{target}");
        }
    }
}
