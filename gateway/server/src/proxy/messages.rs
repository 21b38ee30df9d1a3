//! Messages of gRPC counted as they pass: each begins with a byte and its length in four more.

use bytes::Bytes;
use http::HeaderMap;

use super::retry;
use crate::metrics::Grpc;

/// What is kept of a request that speaks gRPC.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// gRPC's status, once it was told.
    status: Option<u8>,
    asked: Frames,
    answered: Frames,
    /// Messages of the request that were counted: another try sends them once more.
    counted: u64,
    seen: u64,
}

impl Messages {
    /// It is sent once more, from the beginning.
    pub(super) fn rewind(&mut self) {
        (self.asked, self.seen) = (Frames::default(), 0);
    }

    /// A piece of the request: how many messages began in it that have not begun before.
    pub(super) fn request(&mut self, piece: &Bytes) -> u64 {
        self.seen += self.asked.pass(piece);
        let new = self.seen.saturating_sub(self.counted);
        self.counted += new;
        new
    }

    /// A piece of the answer: how many messages began in it.
    pub(super) fn response(&mut self, piece: &Bytes) -> u64 {
        self.answered.pass(piece)
    }

    /// The fields behind an answer.
    pub(super) fn hear(&mut self, fields: &HeaderMap) {
        self.status = retry::grpc_status(fields).or(self.status);
    }

    /// The answer's own fields, as the client got them, where nothing came behind it.
    pub(super) fn hear_head(&mut self, fields: &HeaderMap) {
        self.status = self.status.or_else(|| retry::grpc_status(fields));
    }

    /// What it comes to, where the client got this status of HTTP. Without gRPC's own that one speaks for it, as in Envoy.
    /// Numbers that gRPC does not know are its 2, `UNKNOWN`, so that no upstream can make up labels.
    pub(super) fn outcome(&self, http: u16) -> Grpc {
        const UNKNOWN: u8 = 2;
        match self.status {
            Some(status @ 0..=16) => Grpc::Status(status),
            Some(_) => Grpc::Status(UNKNOWN),
            None if http == 0 => Grpc::Unknown,
            None => Grpc::Status(super::grpc::status(http)),
        }
    }
}

/// Where in a stream of messages one is.
#[derive(Debug, Default)]
struct Frames {
    /// The last four bytes of a message's beginning, and how many of the five have come.
    length: u32,
    begun: u8,
    /// What is left of the message.
    left: u64,
}

impl Frames {
    /// How many messages begin in a piece.
    fn pass(&mut self, mut piece: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            let skipped = usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len()));
            self.left -= skipped as u64;
            piece = piece.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = piece.split_first() else { return messages };
            piece = rest;
            self.length = self.length << 8 | u32::from(*byte);
            self.begun += 1;
            if self.begun == 5 {
                (self.begun, self.left) = (0, u64::from(self.length));
                messages += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let one = b"\0\0\0\0\x05hello".as_slice();
        let empty = b"\0\0\0\0\0".as_slice();
        for (bytes, expected) in [
            (one.to_vec(), 1),
            ([one, empty, one].concat(), 3),
            (empty.repeat(7), 7),
            (b"\0\0\0\0".to_vec(), 0),
            (Vec::new(), 0),
            (b"\x01\xff\xff\xff\xffabc".to_vec(), 1),
        ] {
            for size in 1..=bytes.len().max(1) {
                let mut frames = Frames::default();
                let counted: u64 = bytes.chunks(size).map(|piece| frames.pass(piece)).sum();
                assert_eq!(counted, expected, "{bytes:?} by {size}");
            }
        }
    }

    #[test]
    fn a_message_that_is_sent_again_is_one() {
        let mut messages = Messages::default();
        let two = Bytes::from_static(b"\0\0\0\0\x01a\0\0\0\0\x01b");
        assert_eq!(messages.request(&two.slice(..6)), 1);
        messages.rewind();
        assert_eq!(messages.request(&two), 1);
        assert_eq!(messages.request(&two.slice(..6)), 1);
    }

    #[test]
    fn a_status_is_one_that_grpc_knows() {
        for (told, http, expected) in [
            (Some("0"), 200, Grpc::Status(0)),
            (Some("16"), 200, Grpc::Status(16)),
            (Some("17"), 200, Grpc::Status(2)),
            (None, 503, Grpc::Status(14)),
            (None, 200, Grpc::Status(2)),
            (None, 0, Grpc::Unknown),
        ] {
            let mut messages = Messages::default();
            let mut fields = HeaderMap::new();
            if let Some(told) = told {
                fields.insert("grpc-status", told.parse().unwrap());
            }
            messages.hear(&fields);
            assert_eq!(messages.outcome(http), expected, "{told:?} {http}");
        }
    }
}
