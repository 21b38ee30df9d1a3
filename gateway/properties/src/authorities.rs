//! An authority that is valid is one host with perhaps a port to every reader.

use trysail_edge::authority::is_valid;

pub(crate) fn hold(bytes: &[u8]) {
    if !is_valid(bytes) {
        return;
    }
    let text = std::str::from_utf8(bytes).expect("a host is ASCII");
    assert!(!text.contains(|c: char| !c.is_ascii_graphic() || "@/\\?#%,;*\"<>".contains(c)), "{text:?}");
    let read: http::uri::Authority = text.parse().expect("what is valid here is an authority to http");
    assert_eq!(read.as_str(), text);
    assert!(!read.host().is_empty());
    // Who has it with its port in front of them, and who has them apart, mean the same.
    let port = read.port().map(|port| format!(":{}", port.as_str())).unwrap_or_default();
    assert_eq!(format!("{}{port}", read.host()), text);
    assert!(
        read.port().is_none_or(|port| port.as_str().parse::<u16>().is_ok_and(|port| port > 0)),
        "{text:?}"
    );
    // In a URL it is the host, and nothing of it is anything else.
    let url: http::Uri = format!("http://{text}/").parse().expect("a URL");
    assert_eq!((url.host(), url.path()), (Some(read.host()), "/"));
    for more in ["@a", ",a", "/", "?", "#", " ", "\r\n", "\0", "\\"] {
        assert!(!is_valid(format!("{text}{more}").as_bytes()), "{text}{more:?}");
        assert!(!is_valid(format!("{more}{text}").as_bytes()), "{more:?}{text}");
    }
}
