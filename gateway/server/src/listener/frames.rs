//! The frames of HTTP/2 that a client sends, counted as they pass: whether a head is being waited for, and whether they
//! do any good.
//!
//! The h2 crate bounds some kinds of floods (resets, CONTINUATION, empty DATA) and serves others for ever: SETTINGS,
//! PING, PRIORITY, WINDOW_UPDATE, unknown types. Here all of them add to one score, which what is sent to the client
//! takes from: whoever receives much may say much. Resets weigh more, as each costs an upstream a request; requests
//! weigh less than nothing, but less so than a reset. Nothing but frames' heads is looked at.

use crate::proxy::flow::Flow;

/// The length of HTTP/2's preface, after which frames begin.
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A request makes up for ten frames; its reset takes that back twice.
const REQUEST: u32 = 10;
const RESET: u32 = 20;

/// So many bytes that were sent to the client make up for one frame: two updates of windows for each of the shortest
/// messages, and yet less than one for the answer to a PING.
const BYTES: usize = 32;

/// Whoever is told of a client's windows.
pub(super) trait Windows {
    /// The connection's takes more.
    fn widened(&self, bytes: u32);
    /// Each stream's begins so.
    fn streams_begin_with(&self, bytes: u32);
}

impl Windows for Flow {
    fn widened(&self, bytes: u32) {
        Flow::widened(self, bytes);
    }

    fn streams_begin_with(&self, bytes: u32) {
        Flow::streams_begin_with(self, bytes);
    }
}

/// What has passed.
#[derive(Debug)]
pub(super) struct Frames {
    /// What is still to come of the preface.
    preface: usize,
    /// The head of the frame that is coming.
    head: [u8; 9],
    /// How much of it has come.
    had: usize,
    /// How much of its payload is still to come.
    left: usize,
    /// What has come of a setting, or of a window's update: up to six bytes.
    part: [u8; 6],
    parted: usize,
    /// Whether a list of fields has begun and not ended.
    block: bool,
    /// The newest request's stream.
    newest: u32,
    score: u32,
    /// What was sent to the client and has made up for nothing yet.
    sent: usize,
}

impl Frames {
    /// A connection's, from its preface on.
    pub(super) fn new() -> Self {
        Frames {
            preface: PREFACE,
            head: [0; 9],
            had: 0,
            left: 0,
            part: [0; 6],
            parted: 0,
            block: false,
            newest: 0,
            score: 0,
            sent: 0,
        }
    }

    /// Takes note of bytes from the client, and tells `windows` what they say of its windows.
    pub(super) fn take(&mut self, mut bytes: &[u8], windows: &impl Windows) {
        while !bytes.is_empty() {
            let passed = if self.preface > 0 { self.preface } else { self.left };
            if passed > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(passed));
                bytes = later;
                if self.preface > 0 {
                    self.preface -= now.len();
                } else {
                    self.left -= now.len();
                    self.payload(now, windows);
                }
                continue;
            }
            let taken = bytes.len().min(self.head.len() - self.had);
            let (now, later) = bytes.split_at(taken);
            if let Some(place) = self.head.get_mut(self.had..self.had + taken) {
                place.copy_from_slice(now);
            }
            (self.had, bytes) = (self.had + taken, later);
            if self.had == self.head.len() {
                self.begin();
            }
        }
    }

    /// A frame begins whose head is there.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.had, self.parted) = (0, 0);
        match kind {
            DATA if self.left > 0 || flags & END_STREAM != 0 => {}
            HEADERS => {
                self.block = flags & END_HEADERS == 0;
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                // A second list on a stream is its trailers.
                if stream > self.newest {
                    self.newest = stream;
                    self.score = self.score.saturating_sub(REQUEST);
                }
            }
            CONTINUATION => {
                self.block &= flags & END_HEADERS == 0;
                self.score = self.score.saturating_add(1);
            }
            RST_STREAM => self.score = self.score.saturating_add(RESET),
            _ => self.score = self.score.saturating_add(1),
        }
    }

    /// Reads what is said of windows.
    fn payload(&mut self, bytes: &[u8], windows: &impl Windows) {
        let whole = match self.head {
            [_, _, _, SETTINGS, ..] => 6,
            [_, _, _, WINDOW_UPDATE, _, 0, 0, 0, 0] => 4,
            _ => return,
        };
        for byte in bytes {
            if let Some(place) = self.part.get_mut(self.parted) {
                *place = *byte;
            }
            self.parted += 1;
            if self.parted < whole {
                continue;
            }
            self.parted = 0;
            match (whole, self.part) {
                (6, [0, 4, a, b, c, d]) => windows.streams_begin_with(u32::from_be_bytes([a, b, c, d])),
                (4, [a, b, c, d, ..]) => windows.widened(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff),
                _ => {}
            }
        }
    }

    /// Takes note of bytes to the client.
    pub(super) fn gave(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= BYTES {
            self.score = self.score.saturating_sub(u32::try_from(self.sent / BYTES).unwrap_or(u32::MAX));
            self.sent %= BYTES;
        }
    }

    /// How many frames did no good, beyond those that did.
    pub(super) fn score(&self) -> u32 {
        self.score
    }

    /// What was until now is forgotten.
    pub(super) fn forgive(&mut self) {
        self.score = 0;
    }

    /// Whether something has begun that a request waits for: the preface, a list of fields, or a frame that is no body.
    pub(super) fn is_open(&self) -> bool {
        let [.., kind, _, _, _, _, _] = self.head;
        (1..PREFACE).contains(&self.preface) || self.block || self.had > 0 || (self.left > 0 && kind != DATA)
    }

    /// The stream of the newest request; 0 where there has been none.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// The frame that says that no more is taken: GOAWAY, with ENHANCE_YOUR_CALM.
    pub(super) fn go_away(&self) -> [u8; 17] {
        let [a, b, c, d] = self.newest.to_be_bytes();
        [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 11]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What is said of windows.
    #[derive(Default)]
    struct Said(RefCell<Vec<(&'static str, u32)>>);

    impl Windows for Said {
        fn widened(&self, bytes: u32) {
            self.0.borrow_mut().push(("widened", bytes));
        }

        fn streams_begin_with(&self, bytes: u32) {
            self.0.borrow_mut().push(("streams", bytes));
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        [&size[1..], &[kind, flags], &stream.to_be_bytes(), &vec![7; length]].concat()
    }

    fn after(frames: &[Vec<u8>]) -> Frames {
        let mut seen = Frames::new();
        for byte in [vec![b'P'; PREFACE], frames.concat()].concat() {
            seen.take(&[byte], &Said::default());
        }
        let mut whole = Frames::new();
        whole.take(&[vec![b'P'; PREFACE], frames.concat()].concat(), &Said::default());
        assert_eq!(format!("{seen:?}"), format!("{whole:?}"), "cut differently");
        seen
    }

    #[test]
    fn frames_that_do_nothing_are_counted() {
        let headers = |stream| frame(HEADERS, END_HEADERS, stream, 5);
        for (frames, score) in [
            (vec![frame(4, 0, 0, 6)], 1),
            (vec![frame(6, 0, 0, 8), frame(2, 0, 1, 5), frame(8, 0, 0, 4), frame(99, 0, 0, 0)], 4),
            (vec![frame(DATA, 0, 1, 0)], 1),
            (vec![frame(DATA, 0, 1, 5), frame(DATA, END_STREAM, 1, 0)], 0),
            (vec![headers(1), frame(6, 0, 0, 8)], 1),
            (vec![headers(1), frame(RST_STREAM, 0, 1, 4), headers(3), frame(RST_STREAM, 0, 3, 4)], 30),
            (vec![frame(6, 0, 0, 8), headers(1)], 0),
            // Trailers are no request.
            (vec![headers(1), frame(6, 0, 0, 8), headers(1)], 1),
        ] {
            assert_eq!(after(&frames).score(), score, "{frames:?}");
        }
        let mut pings = after(&vec![frame(6, 0, 0, 8); 100]);
        pings.gave(100 * 17);
        assert_eq!(pings.score(), 47, "answers to pings do not make up for them");
        pings.gave(usize::MAX / 2);
        assert_eq!(pings.score(), 0);
    }

    #[test]
    fn what_is_incomplete_is_seen() {
        for (bytes, open) in [
            (vec![], false),
            (frame(HEADERS, END_HEADERS, 1, 5), false),
            (frame(HEADERS, 0, 1, 5), true),
            ([frame(HEADERS, 0, 1, 5), frame(CONTINUATION, 0, 1, 5)].concat(), true),
            ([frame(HEADERS, 0, 1, 5), frame(CONTINUATION, END_HEADERS, 1, 5)].concat(), false),
            (frame(HEADERS, END_HEADERS, 1, 5)[..12].to_vec(), true),
            (frame(HEADERS, END_HEADERS, 1, 5)[..3].to_vec(), true),
            // A body is waited for elsewhere.
            (frame(DATA, 0, 1, 50)[..12].to_vec(), false),
        ] {
            assert_eq!(after(std::slice::from_ref(&bytes)).is_open(), open, "{bytes:?}");
        }
        let mut preface = Frames::new();
        assert!(!preface.is_open());
        preface.take(b"PRI", &Said::default());
        assert!(preface.is_open());
        assert_eq!(after(&[frame(HEADERS, END_HEADERS, 7, 5)]).go_away()[9..13], [0, 0, 0, 7]);
    }

    #[test]
    fn windows_are_told() {
        let raw = |kind, stream: u32, payload: &[u8]| {
            let mut bytes = frame(kind, 0, stream, payload.len());
            bytes[9..].copy_from_slice(payload);
            bytes
        };
        let frames = [
            raw(SETTINGS, 0, &[0, 3, 0, 0, 0, 9, 0, 4, 0, 0, 1, 0]),
            raw(WINDOW_UPDATE, 0, &[0, 0, 0, 5]),
            raw(WINDOW_UPDATE, 7, &[0, 0, 0, 6]),
            raw(SETTINGS, 0, &[0, 4, 0, 0, 0, 0]),
        ];
        let said = Said::default();
        let mut seen = Frames::new();
        for byte in [vec![b'P'; PREFACE], frames.concat()].concat() {
            seen.take(&[byte], &said);
        }
        assert_eq!(said.0.into_inner(), [("streams", 256), ("widened", 5), ("streams", 0)]);
    }
}
