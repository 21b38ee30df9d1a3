//! An upstream's answer before a client reads it: one meaning, and nothing that was said between the two of us only.

use http::{HeaderMap, StatusCode, Version, header};

use super::items;

/// What there is to be taken off an answer that may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `Connection` is there, and may name fields: see [`nominated`].
    pub connection: bool,
    /// Other fields of the connection are: [`OF_A_CONNECTION`].
    pub others: bool,
    /// A length or a coding, where there can be no body.
    pub framing: bool,
}

/// Fields that say something of one connection, besides `Connection` and `Transfer-Encoding`. Trailers of HTTP/1 are not
/// passed on, so they are not announced.
pub const OF_A_CONNECTION: [&str; 5] = ["keep-alive", "proxy-connection", "te", "trailer", "upgrade"];

/// Fields that no trailer may bring: what frames, routes, or says who someone is (RFC 9110 6.5.1).
pub const NO_TRAILER: [&str; 20] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// Judges an answer's head; `upgrade` where the request asked for another protocol. An error is what is wrong with it.
pub fn read(
    status: StatusCode,
    version: Version,
    fields: &HeaderMap,
    upgrade: bool,
) -> Result<Found, &'static str> {
    let (mut found, mut length, mut coding) = (Found::default(), None, None);
    for (name, value) in fields {
        let text = name.as_str();
        match text.len() {
            10 if name == header::CONNECTION => found.connection = true,
            2 | 7 | 10 | 16 if OF_A_CONNECTION.contains(&text) => found.others = true,
            14 if name == header::CONTENT_LENGTH && length.replace(value).is_some() => {
                return Err("more than one content-length");
            }
            17 if name == header::TRANSFER_ENCODING && coding.replace(value).is_some() => {
                return Err("more than one transfer-encoding");
            }
            _ => {}
        }
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let to = fields.get(header::UPGRADE).map(http::HeaderValue::as_bytes);
        // Nothing else is asked for here. One that does not say so has always been taken at its word.
        if !upgrade || to.is_some_and(|to| !to.eq_ignore_ascii_case(b"websocket")) {
            return Err("a switch of protocols that was not asked for");
        }
    }
    if let Some(coding) = coding {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("a transfer-encoding other than chunked");
        }
        if version == Version::HTTP_10 {
            return Err("a transfer-encoding in HTTP/1.0");
        }
    }
    if let Some(length) = length
        && !(!length.is_empty() && length.len() <= 19 && length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return Err("a content-length that is no number");
    }
    // RFC 9110 8.6, RFC 9112 6.1: not in 1xx, nor in 204.
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
    found.framing = bodiless && (length.is_some() || coding.is_some());
    Ok(found)
}

/// The fields that `Connection` names, but for what frames the answer.
pub fn nominated(fields: &HeaderMap) -> Vec<String> {
    let values = fields.get_all(header::CONNECTION).iter();
    let named =
        values.flat_map(|value| items(value.as_bytes()).filter_map(|item| std::str::from_utf8(item).ok()));
    named.map(str::to_ascii_lowercase).filter(|name| !FRAMING.contains(&name.as_str())).take(32).collect()
}

const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn map(fields: &str) -> HeaderMap {
        let pairs = fields.split('|').filter_map(|field| field.split_once(": "));
        let pair = |(name, value): (&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.map(pair).collect()
    }

    #[test]
    fn an_answer_means_one_thing() {
        for (status, fields, upgrade, comes_to) in [
            (200, "content-length: 5", false, ""),
            (200, "transfer-encoding: Chunked", false, ""),
            (200, "connection: close|keep-alive: 5", false, "connection others"),
            (200, "upgrade: h2c", false, "others"),
            (204, "content-length: 0", false, "framing"),
            (304, "content-length: 5", false, ""),
            (103, "transfer-encoding: chunked", false, "framing"),
            (200, "content-length: 5|content-length: 5", false, "more than one content-length"),
            (200, "content-length: 5, 5", false, "a content-length that is no number"),
            (200, "content-length: +5", false, "a content-length that is no number"),
            (200, "transfer-encoding: gzip, chunked", false, "a transfer-encoding other than chunked"),
            (200, "transfer-encoding: x", false, "a transfer-encoding other than chunked"),
            (
                200,
                "transfer-encoding: chunked|transfer-encoding: chunked",
                false,
                "more than one transfer-encoding",
            ),
            (101, "upgrade: websocket", true, "others"),
            (101, "", true, ""),
            (101, "upgrade: websocket", false, "a switch of protocols that was not asked for"),
            (101, "upgrade: h2c", true, "a switch of protocols that was not asked for"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let is = match read(status, Version::HTTP_11, &map(fields), upgrade) {
                Err(wrong) => wrong.to_owned(),
                Ok(found) => {
                    [(found.connection, "connection"), (found.others, "others"), (found.framing, "framing")]
                        .into_iter()
                        .filter_map(|(is, name)| is.then_some(name))
                        .collect::<Vec<_>>()
                        .join(" ")
                }
            };
            assert_eq!(is, comes_to, "{status} {fields}");
        }
        let old = read(StatusCode::OK, Version::HTTP_10, &map("transfer-encoding: chunked"), false);
        assert_eq!(old, Err("a transfer-encoding in HTTP/1.0"));
    }

    #[test]
    fn what_is_nominated_does_not_frame() {
        let named = nominated(&map("connection: close, X-Inner,content-length|connection: ,x-b"));
        assert_eq!(named, ["close", "x-inner", "x-b"]);
    }
}
