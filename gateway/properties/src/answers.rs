//! An upstream's answer that passes has one length, and passes again once cleaned.
//!
//! An input is a status line, then fields; `!` in front is an answer to who asked for a WebSocket.

use http::{StatusCode, Version, header};
use trysail_edge::response::{OF_A_CONNECTION, nominated, read};

pub(crate) fn hold(bytes: &[u8]) {
    let (upgrade, bytes) = bytes.strip_prefix(b"!").map_or((false, bytes), |rest| (true, rest));
    let mut lines = crate::lines(bytes);
    let line = lines.next().unwrap_or_default();
    let version = if line.starts_with(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = line.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
    let Some(status) = status else { return };
    let mut map = crate::fields(lines);
    let Ok(found) = read(status, version, &map, upgrade) else { return };
    if found.framing {
        map.remove(header::CONTENT_LENGTH);
        map.remove(header::TRANSFER_ENCODING);
    }
    let count = |name: &str| map.get_all(name).iter().count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths <= 1 && codings <= 1, "{map:?}");
    let number = |length: &http::HeaderValue| length.to_str().is_ok_and(|text| text.parse::<u64>().is_ok());
    assert!(map.get(header::CONTENT_LENGTH).is_none_or(number), "{map:?}");
    assert!(
        !status.is_informational() && status != StatusCode::NO_CONTENT || lengths + codings == 0,
        "{map:?}"
    );
    if status == StatusCode::SWITCHING_PROTOCOLS {
        assert!(upgrade, "a switch that nobody asked for");
        return;
    }
    let named = nominated(&map);
    assert!(!named.iter().any(|name| name == "content-length" || name == "transfer-encoding"));
    for name in named.iter().map(String::as_str).chain(OF_A_CONNECTION).chain(["connection"]) {
        map.remove(name);
    }
    let again = read(status, version, &map, upgrade).expect("what passed passes again");
    assert!(!again.connection && !again.others && !again.framing, "{map:?}");
}
