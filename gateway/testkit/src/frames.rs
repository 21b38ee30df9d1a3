//! HTTP/2 frame by frame: what a client of tests sends that a library would not, and what comes back.

use std::io::{self, Read};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub const DATA: u8 = 0;
/// A list of fields begins.
pub const HEADERS: u8 = 1;
/// A stream ends.
pub const RESET: u8 = 3;
/// What one side wants of the other.
pub const SETTINGS: u8 = 4;
/// The connection ends.
pub const GOAWAY: u8 = 7;
/// A list of fields goes on.
pub const CONTINUATION: u8 = 9;

/// Flags: the stream's last frame.
pub const END_STREAM: u8 = 1;
/// The list of fields ends.
pub const END_HEADERS: u8 = 4;

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A frame's bytes.
///
/// # Panics
///
/// When the payload is longer than a frame can be.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A list of fields in HPACK: literals, without Huffman's code and without the table.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let field = |(name, value): &(&str, &str)| [&[0][..], &text(name), &text(value)].concat();
    fields.iter().flat_map(field).collect()
}

/// The fields of a request for host `shop.test`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    fields(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "shop.test")])
}

/// The preface, and settings: pairs of number and value.
pub fn begin(settings: &[(u16, u32)]) -> Vec<u8> {
    let setting = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings: Vec<u8> = settings.iter().flat_map(setting).collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// Reads a frame.
pub fn read(stream: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, number @ ..] = head;
    let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
    stream.read_exact(&mut payload)?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(number) & 0x7fff_ffff, payload })
}

/// A text of HPACK.
fn text(text: &str) -> Vec<u8> {
    let mut length = text.len();
    let mut bytes = Vec::new();
    if length < 0x7f {
        bytes.extend(u8::try_from(length));
    } else {
        bytes.push(0x7f);
        length -= 0x7f;
        while length >= 0x80 {
            bytes.extend(u8::try_from(length % 0x80 + 0x80));
            length /= 0x80;
        }
        bytes.extend(u8::try_from(length));
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let bytes = frame(HEADERS, END_HEADERS, 5, &request("GET", "/"));
        let read = read(&mut bytes.as_slice()).unwrap();
        let expected = Frame { kind: HEADERS, flags: END_HEADERS, stream: 5, payload: request("GET", "/") };
        assert_eq!(read, expected);
        assert_eq!(text("ab"), [2, b'a', b'b']);
        assert_eq!(text(&"x".repeat(400))[..3], [0x7f, 0x91, 0x02], "RFC 7541 section 5.1");
        assert_eq!(begin(&[(4, 1)])[PREFACE.len()..], [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
    }
}
