//! How long a message is: a plain number, or exactly one `chunked`. Anything else is refused, not understood.

use super::{Reason, items, trim};

/// How a message's fields say that its body ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framing {
    length: bool,
    /// Whether the body comes in chunks.
    pub(crate) chunked: bool,
    /// Whether there is a body, of whatever length.
    pub(crate) body: bool,
    /// The length that is said; 0 where none is.
    pub(crate) number: u64,
}

impl Framing {
    /// Takes a `Content-Length`; equal ones are refused too, as there is no reason to send them.
    pub(crate) fn length(&mut self, value: &[u8]) -> Result<(), Reason> {
        // 19 digits: what is above 2^63 - 1 is refused by nginx, and by Pingora's counters.
        let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<i64>().ok());
        if self.length || !plain || number.is_none() {
            return Err(Reason::ContentLength);
        }
        self.length = true;
        self.body |= number != Some(0);
        self.number = number.map_or(0, i64::unsigned_abs);
        if self.chunked { Err(Reason::BothLengths) } else { Ok(()) }
    }

    /// Takes a `Transfer-Encoding`.
    pub(crate) fn coding(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.chunked {
            return Err(Reason::TransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(unknown(value));
        }
        (self.chunked, self.body) = (true, true);
        if self.length { Err(Reason::BothLengths) } else { Ok(()) }
    }
}

/// RFC 9112 6.1: codings that are not understood are 501; 6.3: without `chunked` at their end they are 400.
fn unknown(value: &[u8]) -> Reason {
    let chunked = |item: &&[u8]| item.eq_ignore_ascii_case(b"chunked");
    let last = value.rsplit(|byte| *byte == b',').next().map(trim).unwrap_or_default();
    let known_end = chunked(&last) && items(value).filter(chunked).count() == 1;
    let tokens = items(value).all(super::is_token);
    let identity = items(value).any(|item| item.eq_ignore_ascii_case(b"identity"));
    if known_end && tokens && !identity && items(value).count() > 1 {
        Reason::TransferCoding
    } else {
        Reason::TransferEncoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rows of `CL value` and `TE value` come to.
    fn of(fields: &str) -> String {
        let mut framing = Framing::default();
        let taken =
            fields.split('\n').filter(|line| !line.is_empty()).try_for_each(|line| match line.split_at(3) {
                ("CL ", value) => framing.length(value.as_bytes()),
                (_, value) => framing.coding(value.as_bytes()),
            });
        match taken {
            Ok(()) if framing.chunked => "chunked".to_owned(),
            Ok(()) => format!("body {}", framing.body),
            Err(reason) => reason.as_str().to_owned(),
        }
    }

    #[test]
    fn one_length_or_one_coding() {
        for (fields, comes_to) in [
            ("", "body false"),
            ("CL 0", "body false"),
            ("CL 7", "body true"),
            ("CL 007", "body true"),
            ("CL 9223372036854775807", "body true"),
            ("CL 9223372036854775808", "content_length"),
            ("CL 18446744073709551616", "content_length"),
            ("CL ", "content_length"),
            ("CL +7", "content_length"),
            ("CL -7", "content_length"),
            ("CL 0x7", "content_length"),
            ("CL 7,7", "content_length"),
            ("CL 7 7", "content_length"),
            ("CL 7.0", "content_length"),
            ("CL 7\nCL 7", "content_length"),
            ("CL 7\nCL 8", "content_length"),
            ("TE chunked", "chunked"),
            ("TE Chunked", "chunked"),
            ("TE chunked\nTE chunked", "transfer_encoding"),
            ("TE chunked, chunked", "transfer_encoding"),
            ("TE chunked,", "transfer_encoding"),
            ("TE ,chunked", "transfer_encoding"),
            ("TE identity", "transfer_encoding"),
            ("TE identity, chunked", "transfer_encoding"),
            ("TE chunked, identity", "transfer_encoding"),
            ("TE gzip", "transfer_encoding"),
            ("TE gzip, chunked", "transfer_coding"),
            ("TE gzip;q=1, chunked", "transfer_encoding"),
            ("TE xchunked", "transfer_encoding"),
            ("TE \"chunked\"", "transfer_encoding"),
            ("TE chunked;x=1", "transfer_encoding"),
            ("TE ", "transfer_encoding"),
            ("CL 7\nTE chunked", "content_length_and_transfer_encoding"),
            ("TE chunked\nCL 7", "content_length_and_transfer_encoding"),
        ] {
            assert_eq!(of(fields), comes_to, "{fields}");
        }
    }
}
