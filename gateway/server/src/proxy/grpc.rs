//! What gRPC says in HTTP's fields: who speaks it, how long it waits, and how it is told of failures.

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a request speaks gRPC; gRPC-Web does not count, as in Envoy.
pub(super) fn speaks(headers: &HeaderMap) -> bool {
    let rest = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// `grpc-timeout` of a request that speaks gRPC: at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let sound = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| sound)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// gRPC's status for one of HTTP's, as gRPC's own page maps them.
pub(super) fn status(http: u16) -> u8 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// `grpc-message`: bytes beyond printable ASCII, and the percent sign, in their percent form.
pub(super) fn message(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(char::from(*byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_grpc_writes_them() {
        for (kind, timeout_text, speaking, millis) in [
            ("application/grpc", "100m", true, Some(100)),
            ("application/grpc+proto", "2S", true, Some(2000)),
            ("application/grpc", "1H", true, Some(3_600_000)),
            ("application/grpc-web", "1S", false, None),
            ("text/plain", "1S", false, None),
            ("application/grpc", "123456789m", true, None),
            ("application/grpc", "m", true, None),
            ("application/grpc", "", true, None),
            ("application/grpc", "+1S", true, None),
            ("application/grpc", "1x", true, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", kind.parse().unwrap());
            headers.insert("grpc-timeout", timeout_text.parse().unwrap());
            assert_eq!(speaks(&headers), speaking, "{kind}");
            let asked = speaks(&headers).then(|| timeout(&headers)).flatten();
            assert_eq!(asked.map(|time| time.as_millis()), millis, "{kind} {timeout_text}");
        }
        assert_eq!(message("100 % é\n".as_bytes()), "100 %25 %C3%A9%0A");
    }
}
