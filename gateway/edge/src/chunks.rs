//! A body's chunks as they arrive, byte for byte: sizes in hexadecimal, CR and LF, extensions and trailers within bounds.
//!
//! Pingora takes an empty size for the end, and lines that end otherwise. Here nothing is changed: what goes through is what
//! came, or nothing more does. Trailers are looked at although Pingora drops them, since where they end is where the next
//! request begins.

use super::{Reason, TOKEN};

/// The longest extension of one chunk, and of a body's chunks together.
const EXTENSION: u32 = 4 * 1024;
const EXTENSIONS: u32 = 64 * 1024;
/// How many trailers there may be, and how long they may be together.
const TRAILERS: u32 = 100;
const TRAILER_BYTES: u32 = 16 * 1024;
/// Digits of a size. More overflow somewhere.
const DIGITS: u32 = 15;

/// What has been seen of a body.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// The chunk's size while it is read, then what is left of it.
    left: u64,
    /// Digits of this size; bytes of this extension.
    count: u32,
    extensions: u32,
    trailers: u32,
    trailer_bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    End,
    Done,
}

impl Chunks {
    /// Takes what came next; whether the body has ended. Bytes behind its end are not looked at.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Reason> {
        self.pass(bytes, |_| ())?;
        Ok(self.state == State::Done)
    }

    /// The same, and hands on what the chunks hold; gives what stands behind the body's end, `None` where it has not
    /// ended.
    pub fn pass<'b>(
        &mut self,
        mut bytes: &'b [u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<Option<&'b [u8]>, Reason> {
        while let [byte, rest @ ..] = bytes {
            if self.state == State::Done {
                break;
            }
            if self.state == State::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= here as u64;
                let (held, after) = bytes.split_at(here);
                data(held);
                bytes = after;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(*byte).ok_or(Reason::Chunk)?;
            bytes = rest;
        }
        Ok((self.state == State::Done).then_some(bytes))
    }

    fn step(&mut self, byte: u8) -> Option<State> {
        use State::{
            Data, DataCr, DataLf, Done, End, Extension, Size, SizeEnd, Trailer, TrailerEnd, TrailerName,
            TrailerValue,
        };
        match (self.state, byte) {
            (Size, b'\r') if self.count > 0 => Some(SizeEnd),
            (Size, b';') if self.count > 0 => {
                self.count = 0;
                Some(Extension)
            }
            (Size, digit) => {
                let value = char::from(digit).to_digit(16)?;
                self.left = self.left << 4 | u64::from(value);
                self.count += 1;
                (self.count <= DIGITS).then_some(Size)
            }
            (Extension, b'\r') => Some(SizeEnd),
            (Extension, byte) => {
                self.count += 1;
                self.extensions += 1;
                (is_text(byte) && self.count <= EXTENSION && self.extensions <= EXTENSIONS)
                    .then_some(Extension)
            }
            (SizeEnd, b'\n') => {
                self.count = 0;
                Some(if self.left == 0 { Trailer } else { Data })
            }
            (DataCr, b'\r') => Some(DataLf),
            (DataLf, b'\n') => Some(Size),
            (Trailer, b'\r') => Some(End),
            (Trailer, byte) => {
                self.trailers += 1;
                (self.counts() && self.trailers <= TRAILERS && TOKEN[usize::from(byte)])
                    .then_some(TrailerName)
            }
            (TrailerName, b':') => self.counts().then_some(TrailerValue),
            (TrailerName, byte) => (self.counts() && TOKEN[usize::from(byte)]).then_some(TrailerName),
            (TrailerValue, b'\r') => Some(TrailerEnd),
            (TrailerValue, byte) => (self.counts() && is_text(byte)).then_some(TrailerValue),
            (TrailerEnd, b'\n') => Some(Trailer),
            (End, b'\n') => Some(Done),
            (SizeEnd | DataCr | DataLf | TrailerEnd | End | Data | Done, _) => None,
        }
    }

    fn counts(&mut self) -> bool {
        self.trailer_bytes += 1;
        self.trailer_bytes <= TRAILER_BYTES
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chunks_hold_is_handed_on_however_they_are_cut() {
        let text = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0;e\r\nx: 1\r\n\r\nGET";
        for size in 1..=text.len() {
            let (mut chunks, mut held, mut behind) = (Chunks::default(), Vec::new(), Vec::new());
            let mut ended = false;
            for piece in text.chunks(size) {
                match chunks.pass(piece, |data| held.extend_from_slice(data)).unwrap() {
                    Some(rest) => (ended, behind) = (true, [&behind, rest].concat()),
                    None => assert!(!ended),
                }
            }
            assert_eq!((held.as_slice(), behind.as_slice()), (&b"abc0123456789"[..], &b"GET"[..]), "{size}");
        }
    }

    #[test]
    fn chunks_are_as_the_grammar_has_them() {
        let many = |text: &str, times: usize| text.repeat(times);
        let rows: Vec<(String, Result<bool, Reason>)> = [
            ("3\r\nabc\r\n0\r\n\r\n", Ok(true)),
            ("00a\r\n0123456789\r\n0\r\n\r\nGET", Ok(true)),
            ("A;x=y;z=\"q r\"\r\n0123456789\r\n0;e\r\nx: 1\r\ny:\r\n\r\n", Ok(true)),
            ("3\r\nab", Ok(false)),
            ("", Ok(false)),
            ("0\r\n", Ok(false)),
            ("\r\n\r\n", Err(Reason::Chunk)),
            ("3\nabc\r\n0\r\n\r\n", Err(Reason::Chunk)),
            ("3\r\nabc\n0\r\n\r\n", Err(Reason::Chunk)),
            ("3\r\nabcd\r\n0\r\n\r\n", Err(Reason::Chunk)),
            ("3\r\nabc\r\n\r\n0\r\n\r\n", Err(Reason::Chunk)),
            ("3\rXabc\r\n", Err(Reason::Chunk)),
            ("+3\r\nabc\r\n0\r\n\r\n", Err(Reason::Chunk)),
            ("-1\r\n", Err(Reason::Chunk)),
            ("0x3\r\nabc\r\n", Err(Reason::Chunk)),
            (" 3\r\nabc\r\n", Err(Reason::Chunk)),
            ("3 \r\nabc\r\n", Err(Reason::Chunk)),
            ("3;a\nbc\r\n", Err(Reason::Chunk)),
            ("3;a\0\r\nabc\r\n", Err(Reason::Chunk)),
            ("g\r\n", Err(Reason::Chunk)),
            ("1000000000000000\r\n", Err(Reason::Chunk)),
            ("fffffffffffffff\r\n", Ok(false)),
            ("0\r\n\n", Err(Reason::Chunk)),
            ("0\r\nx\r\n\r\n", Err(Reason::Chunk)),
            ("0\r\nx : 1\r\n\r\n", Err(Reason::Chunk)),
            ("0\r\nx: 1\n\r\n", Err(Reason::Chunk)),
            ("0\r\nx: 1\r\n y\r\n\r\n", Err(Reason::Chunk)),
            ("0\r\nx: \x01\r\n\r\n", Err(Reason::Chunk)),
        ]
        .map(|(text, comes)| (text.to_owned(), comes))
        .into_iter()
        .chain([
            (format!("1;{}\r\na\r\n0\r\n\r\n", many("x", 4096)), Ok(true)),
            (format!("1;{}\r\na\r\n0\r\n\r\n", many("x", 4097)), Err(Reason::Chunk)),
            (format!("{}0\r\n\r\n", many(&format!("1;{}\r\na\r\n", many("x", 4096)), 16)), Ok(true)),
            (many(&format!("1;{}\r\na\r\n", many("x", 4096)), 17), Err(Reason::Chunk)),
            (format!("0\r\n{}\r\n", many("a: b\r\n", 100)), Ok(true)),
            (format!("0\r\n{}\r\n", many("a: b\r\n", 101)), Err(Reason::Chunk)),
            (format!("0\r\na:{}\r\n\r\n", many("x", 16 * 1024)), Err(Reason::Chunk)),
        ])
        .collect();
        for (text, comes) in rows {
            assert_eq!(Chunks::default().take(text.as_bytes()), comes, "{text:?}");
            let mut passed = 0;
            let behind = Chunks::default().pass(text.as_bytes(), |data| passed += data.len());
            assert_eq!(behind.map(|behind| behind.is_some()), comes, "{text:?}");
            assert!(passed < text.len().max(1), "{text:?}");
            let mut by_bytes = Chunks::default();
            let last = text.bytes().try_fold(false, |_, byte| by_bytes.take(&[byte]));
            assert_eq!(last, comes, "{text:?} byte by byte");
        }
    }
}
