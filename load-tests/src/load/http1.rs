//! HTTP/1.1 as the client speaks it, in the clear or inside TLS: one request at a time, every answer checked.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::origin::find;
use crate::scenario::Scenario;

/// Room for a head and a small body; a larger body is read through it in pieces.
pub(super) const BUFFER: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Opens one; inside TLS with its handshake done.
    pub(super) async fn open(
        scenario: &Scenario,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        let name = scenario.host.try_into().context("a name for TLS")?;
        let stream =
            TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.context("a handshake of TLS")?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer).await,
            Stream::Tls(stream) => stream.read(buffer).await,
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

/// A connection that asks.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: Stream,
    buffer: Box<[u8]>,
}

impl Line {
    pub(super) fn new(stream: Stream) -> Self {
        Line { stream, buffer: vec![0; BUFFER].into() }
    }

    /// One request; gives the index of the version that answered.
    pub(super) async fn ask(&mut self, scenario: &Scenario, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "closed after {filled} bytes of an answer");
            filled += read;
            if let Some(end) = find(&self.buffer[..filled], b"\r\n\r\n") {
                break Head::read(&self.buffer[..end], end)?;
            }
        };
        ensure!(head.status == *b"200", "status {}", String::from_utf8_lossy(&head.status));
        let body = head.body.context("no content-length")?;
        ensure!(body == scenario.body, "a body of {body} bytes instead of {}", scenario.body);
        let version = scenario.version(head.version)?;
        let mut left = (head.end + body).checked_sub(filled).context("more bytes than announced")?;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).await?;
            ensure!(read > 0, "closed {left} bytes before the end of an answer");
            left = left.checked_sub(read).context("more bytes than announced")?;
        }
        Ok(version)
    }
}

/// What the client looks at in the head of an answer.
pub(crate) struct Head<'a> {
    pub(crate) status: [u8; 3],
    pub(crate) body: Option<usize>,
    pub(super) version: &'a [u8],
    /// Offset of the body.
    end: usize,
}

impl<'a> Head<'a> {
    pub(crate) fn read(head: &'a [u8], end: usize) -> anyhow::Result<Self> {
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
        let status = lines.next().and_then(|line| line.strip_prefix(b"HTTP/1.1 ")?.first_chunk());
        let status = *status.context("no HTTP/1.1 status line")?;
        let (mut body, mut version): (Option<usize>, &[u8]) = (None, b"");
        for line in lines {
            if let Some(value) = field(line, b"x-version:") {
                version = value;
            } else if let Some(value) = field(line, b"content-length:") {
                body = std::str::from_utf8(value)?.parse().ok();
            }
        }
        Ok(Head { status, body, version, end })
    }
}

/// The value of the line if it is that field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
