//! W3C Trace Context: which trace a request belongs to, as `traceparent` says.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// `traceparent`.
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `tracestate`, which goes on as it is, and means nothing without the other.
pub(crate) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One side's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The trace's id; never 0.
    pub(crate) trace: u128,
    /// The span's id; never 0.
    pub(crate) span: u64,
    /// Whether the trace is recorded.
    pub(crate) sampled: bool,
}

impl Context {
    /// The context that a request came with; `None` where it has none, several, or one that is broken. "The vendor … creates
    /// a new traceparent" then.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(&TRACEPARENT).iter();
        let (field, None) = (fields.next()?, fields.next()) else { return None };
        Context::parse(field.as_bytes())
    }

    /// `00-<trace>-<span>-<flags>`, all of them hexadecimal in lower case. A version to come may have more behind it.
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        let [version, trace, span, flags] =
            [(0, 2), (3, 35), (36, 52), (53, 55)].map(|(from, to)| known.get(from..to).and_then(hexadecimal));
        let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        let ends = match version? {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let (trace, span) = (trace?, u64::try_from(span?).ok()?);
        (dashes && ends && trace != 0 && span != 0).then_some(Context {
            trace,
            span,
            sampled: flags? & 1 == 1,
        })
    }

    /// A trace of its own.
    pub(crate) fn new(sampled: bool) -> Self {
        Context { trace: fastrand::u128(1..), span: span_id(), sampled }
    }

    /// As a field.
    pub(crate) fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("digits and dashes are a field's value")
    }
}

/// An id for a span.
pub(crate) fn span_id() -> u64 {
    fastrand::u64(1..)
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

fn hexadecimal(text: &[u8]) -> Option<u128> {
    let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if !text.iter().all(lower) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_as_the_standard_writes_them() {
        let whole = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, read) in [
            (whole, Some((0xb7ad_6b71_6920_3331, true))),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some((0xb7ad_6b71_6920_3331, false))),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some((0xb7ad_6b71_6920_3331, true))),
            (
                "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
                Some((0xb7ad_6b71_6920_3331, true)),
            ),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what", None),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what", None),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01", None),
            ("00-0af7651916cd43dd8448eb211c80319+-b7ad6b7169203331-01", None),
            ("", None),
        ] {
            let context = Context::parse(text.as_bytes());
            assert_eq!(context.map(|context| (context.span, context.sampled)), read, "{text}");
            assert!(context.is_none_or(|context| context.trace == 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c));
        }
        assert_eq!(
            Context::parse(whole.as_bytes()).map(|context| context.to_string()).as_deref(),
            Some(whole)
        );
        let mut headers = HeaderMap::new();
        assert_eq!(Context::read(&headers), None);
        headers.append(&TRACEPARENT, HeaderValue::from_static(whole));
        assert!(Context::read(&headers).is_some());
        headers.append(&TRACEPARENT, HeaderValue::from_static(whole));
        assert_eq!(Context::read(&headers), None, "two are none");
    }
}
