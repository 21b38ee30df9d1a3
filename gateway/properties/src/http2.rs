//! Fields of HTTP/2 that pass can be said in HTTP/1, and mean the same there.
//!
//! An input is a target in its first line, then fields. What HTTP/1 would be told is put together and judged as a head.

use http::{HeaderValue, Uri, header};
use trysail_edge::fields::{UNWANTED, joined, read};
use trysail_edge::{Reason, head};

pub(crate) fn hold(bytes: &[u8]) {
    let mut lines = crate::lines(bytes);
    let Some(target) = lines.next().and_then(|line| Uri::try_from(line).ok()) else { return };
    let mut map = crate::fields(lines);
    let Ok(found) = read(&target, &map) else { return };
    if found.crumbs {
        let cookies = HeaderValue::from_bytes(&joined(&map)).expect("crumbs are values");
        map.insert(header::COOKIE, cookies);
    }
    if found.unwanted {
        UNWANTED.iter().for_each(|name| drop(map.remove(*name)));
    }
    let again = read(&target, &map).expect("what passed passes again");
    assert!(!again.crumbs && !again.unwanted, "{map:?}");
    // The h2 crate refuses these before anyone is asked; and who speaks HTTP/1 says its own host.
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "te", "host"]
    {
        map.remove(name);
    }
    let host = target.authority().map_or("shop.test", |authority| authority.as_str());
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in &map {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    match head::read(&text) {
        Ok(Some(head)) => {
            assert!(head.rewritten.is_none() && head.length == text.len(), "{}", text.escape_ascii());
        }
        // A length that is no number is h2's to refuse, and a host that is said twice was compared by Pingora.
        Err(Reason::ContentLength) => {}
        other => panic!("{other:?}: {}", text.escape_ascii()),
    }
}
