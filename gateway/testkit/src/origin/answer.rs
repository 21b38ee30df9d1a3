//! What a fake origin answers, and how it is put on the wire.

use std::time::Duration;

/// What an origin answers to every request.
#[derive(Clone, Debug)]
pub struct Answer {
    version: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    ending: Ending,
    cut_after: Option<usize>,
}

/// How an answer's body ends, and the connection with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Length,
    LengthThenClose,
    Chunked,
    UntilClose,
}

impl Answer {
    /// 200 with header `x-version: NAME` and the name as body.
    pub fn version(name: &str) -> Answer {
        Answer {
            version: name.to_owned(),
            status: 200,
            headers: Vec::new(),
            body: name.as_bytes().to_vec(),
            delay: Duration::ZERO,
            ending: Ending::Length,
            cut_after: None,
        }
    }

    /// Another status. 204 and 304 go without a body.
    pub fn status(mut self, status: u16) -> Answer {
        self.status = status;
        self
    }

    /// One header more.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    /// A pause between the request's last byte and the answer's first.
    pub fn delay(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    /// Announces `Connection: close` and closes after each answer.
    pub fn closing(mut self) -> Answer {
        self.ending = Ending::LengthThenClose;
        self
    }

    /// Sends the body in chunks of at most 1 KiB, without a length.
    pub fn chunked(mut self) -> Answer {
        self.ending = Ending::Chunked;
        self
    }

    /// Sends the body with neither length nor chunks: the end of the connection ends it.
    pub fn until_close(mut self) -> Answer {
        self.ending = Ending::UntilClose;
        self
    }

    /// Closes after this many bytes of the answer, head included, unannounced; 0 answers nothing at all.
    pub fn cut_after(mut self, bytes: usize) -> Answer {
        self.cut_after = Some(bytes);
        self
    }

    pub(super) fn pause(&self) -> Duration {
        self.delay
    }

    /// Whether it ends its connection, by announcement.
    pub(super) fn closes(&self) -> bool {
        matches!(self.ending, Ending::LengthThenClose | Ending::UntilClose)
    }

    /// Whether it ends its connection, unannounced.
    pub(super) fn is_cut(&self) -> bool {
        self.cut_after.is_some()
    }

    /// The answer as sent; `bare` to a HEAD, `last` if the connection's end is to be announced.
    pub(super) fn to_bytes(&self, bare: bool, last: bool) -> Vec<u8> {
        let mut bytes = self.to_whole_bytes(bare, last);
        bytes.truncate(self.cut_after.unwrap_or(usize::MAX));
        bytes
    }

    fn to_whole_bytes(&self, bare: bool, last: bool) -> Vec<u8> {
        let bodiless = self.status == 204 || self.status == 304;
        let mut head =
            format!("HTTP/1.1 {} {}\r\nx-version: {}\r\n", self.status, reason(self.status), self.version);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.ending {
            _ if bodiless => {}
            Ending::Length | Ending::LengthThenClose => {
                head.push_str(&format!("content-length: {}\r\n", self.body.len()));
            }
            Ending::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Ending::UntilClose => {}
        }
        head.push_str(if last { "connection: close\r\n\r\n" } else { "\r\n" });
        let mut bytes = head.into_bytes();
        if bare || bodiless {
            return bytes;
        }
        if self.ending == Ending::Chunked {
            for chunk in self.body.chunks(1024) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "As Told",
    }
}
