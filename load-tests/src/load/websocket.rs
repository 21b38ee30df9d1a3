//! WebSockets as the client speaks them: begun by an upgrade, then a message after the other, each sent back whole.

use anyhow::{Context, bail, ensure};

use super::http1::{Head, Stream};
use crate::origin::find;
use crate::origin::websocket::{ACCEPT, BARE_HEAD, KEY, MASKED_HEAD, masked};
use crate::scenario::Scenario;

/// An open one.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    /// Index of the version that it leads to.
    version: usize,
    /// A frame; its first bytes of payload count the messages.
    frame: Vec<u8>,
    sent: u64,
    buffer: Box<[u8]>,
}

impl Socket {
    /// Has the connection upgraded.
    pub(super) async fn new(scenario: &Scenario, mut stream: Stream) -> anyhow::Result<Self> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: load\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            scenario.path, scenario.host
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 4096].into_boxed_slice();
        let mut filled = 0;
        let end = loop {
            let read = stream.read(&mut buffer[filled..]).await?;
            ensure!(read > 0, "closed after {filled} bytes of an answer");
            filled += read;
            if let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
                break end;
            }
        };
        ensure!(filled == end, "{} bytes behind the answer to an upgrade", filled - end);
        let head = Head::read(&buffer[..end], end)?;
        ensure!(head.status == *b"101", "status {} to an upgrade", String::from_utf8_lossy(&head.status));
        ensure!(
            find(&buffer[..end], ACCEPT.as_bytes()).is_some(),
            "an upgrade without our Sec-WebSocket-Accept"
        );
        let version = scenario.version(head.version)?;
        Ok(Socket { stream, version, frame: masked(scenario.body), sent: 0, buffer })
    }

    /// A message and its echo; gives the index of the version that the connection leads to.
    pub(super) async fn ask(&mut self) -> anyhow::Result<usize> {
        self.sent += 1;
        let payload = self.frame.get_mut(MASKED_HEAD..).context("a frame with a payload")?;
        payload.get_mut(..8).context("a payload of eight bytes")?.copy_from_slice(&self.sent.to_be_bytes());
        self.stream.write_all(&self.frame).await?;
        let expected = self.frame.len() - MASKED_HEAD + BARE_HEAD;
        let mut filled = 0;
        while filled < expected {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "closed after {filled} bytes of a message");
            filled += read;
        }
        if filled != expected || self.buffer[BARE_HEAD..expected] != self.frame[MASKED_HEAD..] {
            bail!("another message than was sent");
        }
        Ok(self.version)
    }
}
