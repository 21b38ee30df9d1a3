//! A head of HTTP/1 that passes says one thing, and says it again to whoever judges it again.

use trysail_edge::head::{Head, read};

pub(crate) fn hold(bytes: &[u8]) {
    let Ok(Some(head)) = read(bytes) else {
        // What is refused stays refused, and what lacks its end has none: more bytes decide nothing that has been decided.
        if let Err(reason) = read(bytes) {
            assert!(read(&[bytes, b"\r\n\r\n"].concat()).is_err(), "{reason}, and then not");
        }
        return;
    };
    let came = bytes.get(..head.length).expect("a head is no longer than what came");
    assert_eq!(read(came).as_ref(), Ok(&Some(clone(&head))), "what stands behind a head changes it");
    let made = head.rewritten.as_deref().unwrap_or(came);
    let again = Head { length: made.len(), rewritten: None, chunked: head.chunked, plain: head.plain };
    assert_eq!(read(made), Ok(Some(again)), "judged again it is another");
    means_one_thing(made, head.chunked);
}

fn clone(head: &Head) -> Head {
    Head { length: head.length, rewritten: head.rewritten.clone(), chunked: head.chunked, plain: head.plain }
}

/// Whether a head says one thing to any reader, looked at in the plainest way there is; `chunked`: whether its body is.
pub fn means_one_thing(head: &[u8], chunked: bool) {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let Some((lines, "")) = text.split_once("\r\n\r\n") else { panic!("not one head: {text:?}") };
    assert!(!text.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t'), "{text:?}");
    let mut lines = lines.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = first[..] else { panic!("{text:?}") };
    assert!(!method.is_empty() && method != "CONNECT" && method != "PRI", "{text:?}");
    assert!(target.starts_with('/') || target == "*", "{text:?}");
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line:?} in {text:?}")))
        .map(|(name, value)| (name.to_lowercase(), value.trim_matches([' ', '\t'])))
        .collect();
    for (name, _) in &fields {
        assert!(!name.is_empty() && name.chars().all(is_token), "{name:?} in {text:?}");
    }
    let all = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let (hosts, lengths, codings) = (all("host"), all("content-length"), all("transfer-encoding"));
    assert!(hosts.len() == 1 || hosts.is_empty() && version == "HTTP/1.0", "{text:?}");
    assert!(hosts.iter().all(|host| trysail_edge::authority::is_valid(host.as_bytes())), "{text:?}");
    assert!(lengths.len() + codings.len() <= 1, "{text:?}");
    assert!(lengths.iter().all(|length| length.parse::<i64>().is_ok_and(|l| l >= 0)), "{text:?}");
    assert!(lengths.iter().all(|length| length.bytes().all(|b| b.is_ascii_digit())), "{text:?}");
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case("chunked")), "{text:?}");
    assert_eq!(chunked, !codings.is_empty(), "{text:?}");
    assert!(!chunked || version == "HTTP/1.1", "{text:?}");
    assert!(
        all("cookie").len() <= 1 && all("proxy").is_empty() && all("http2-settings").is_empty(),
        "{text:?}"
    );
    assert!(all("upgrade").iter().all(|to| to.eq_ignore_ascii_case("websocket")), "{text:?}");
    // What is named as the connection's is not there any more, and only what we know is named.
    const KNOWN: [&str; 4] = ["close", "keep-alive", "te", "upgrade"];
    let named = all("connection");
    let named = named.iter().flat_map(|list| list.split(',')).map(|item| item.trim().to_lowercase());
    assert!(named.filter(|item| !item.is_empty()).all(|item| KNOWN.contains(&&*item)), "{text:?}");
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}
