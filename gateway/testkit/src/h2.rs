//! HTTP/2 by hand: frames written as bytes, also those that no library would write, and read back.

use std::io::{self, Read};

/// A frame's type.
pub const DATA: u8 = 0;
/// A frame's type.
pub const HEADERS: u8 = 1;
/// A frame's type.
pub const RESET: u8 = 3;
/// A frame's type.
pub const SETTINGS: u8 = 4;
/// A frame's type.
pub const GOAWAY: u8 = 7;
/// A frame's type.
pub const CONTINUATION: u8 = 9;
/// A flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// A flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads the next.
    ///
    /// # Errors
    ///
    /// When the connection ends, or nothing comes in time.
    pub fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The status that a block of an answer's fields begins with.
    pub fn status(&self) -> Option<u16> {
        const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match self.payload.as_slice() {
            [index @ 0x88..=0x8e, ..] => STATIC.get(usize::from(index - 0x88)).copied(),
            // A literal of `:status`, by any of its names in the static table.
            [0x48..=0x4e | 0x08..=0x0e, length, text @ ..] => {
                let text = text.get(..usize::from(length & 0x7f))?;
                let digits = if length & 0x80 == 0 { text.to_vec() } else { digits(text)? };
                String::from_utf8(digits).ok()?.parse().ok()
            }
            _ => None,
        }
    }

    /// The error that a RESET or GOAWAY tells, by its name.
    pub fn error(&self) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        let at = if self.kind == GOAWAY { 7 } else { 3 };
        let code = self.payload.get(at).copied().map_or(usize::MAX, usize::from);
        NAMES.get(code).copied().unwrap_or("?")
    }
}

/// A frame as bytes.
///
/// # Panics
///
/// When the payload is longer than any frame may be.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length fits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as HPACK's literal without indexing and without Huffman's code, so that nothing of it is made right.
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0], &*text(name), &*text(value)].concat()
}

/// A text of HPACK: its length, in 7 bits and as many more as are needed, and itself.
pub fn text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => out.push(length),
        _ => {
            out.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).expect("7 bits") | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).expect("7 bits"));
        }
    }
    out.extend_from_slice(text);
    out
}

/// Digits in HPACK's Huffman code: `0` to `2` have five bits, the others six.
fn digits(code: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> = code.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut digits, mut rest) = (Vec::new(), bits.as_slice());
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    while digits.len() < 3 {
        match value(rest.get(..5)?) {
            short @ 0..=2 => {
                digits.push(b'0' + short);
                rest = &rest[5..];
            }
            _ => {
                let long: u8 = value(rest.get(..6)?);
                digits.push(b'3' + long.checked_sub(0b01_1001)?);
                rest = &rest[6..];
            }
        }
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_texts() {
        let bytes = frame(HEADERS, END_HEADERS, 3, &[0x88]);
        assert_eq!(bytes, [0, 0, 1, 1, 4, 0, 0, 0, 3, 0x88]);
        let read = Frame::read(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.stream, read.status()), (3, Some(200)));
        assert_eq!(text(b"ab"), [2, b'a', b'b']);
        assert_eq!(text(&[b'x'; 300])[..3], [127, 173, 1]);
        for (payload, status) in [
            (&[0x8c][..], Some(400)),
            (&[0x48, 0x03, b'4', b'0', b'5'], Some(405)),
            // RFC 7541 C.6: 302, and 307 that shares its name.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
            (&[0x10], None),
        ] {
            let frame = Frame { kind: HEADERS, flags: 0, stream: 1, payload: payload.to_vec() };
            assert_eq!(frame.status(), status, "{payload:x?}");
        }
        let away = Frame { kind: GOAWAY, flags: 0, stream: 0, payload: vec![0, 0, 0, 1, 0, 0, 0, 11] };
        assert_eq!(away.error(), "ENHANCE_YOUR_CALM");
    }
}
