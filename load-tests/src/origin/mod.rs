//! The upstream: answers every request head at once with the same bytes, as cheaply as one thread can.
//!
//! It takes its CPU from the core that the client is on, so it parses next to nothing: a blank line ends a head, and of a
//! head only a POST's length is read. Bodies in chunks would be misread; no scenario sends one.

pub mod grpc;
pub mod websocket;

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// The bytes of an answer of `version` with `body` bytes.
#[must_use]
pub fn answer(version: &str, body: usize) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2029 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {body}\r\nx-version: {version}\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

/// Accepts for ever, each connection in a task of its own.
pub async fn serve(listener: TcpListener, answer: Vec<u8>) -> std::io::Result<()> {
    let answer: Arc<[u8]> = answer.into();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = Arc::clone(&answer);
        // A connection that breaks is the proxy's to report; here it just ends.
        tokio::spawn(async move { converse(stream, &answer).await });
    }
}

async fn converse(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut start = 0;
        while let Some(end) = find(&buffer[start..filled], BLANK_LINE) {
            let mut left = length(&buffer[start..start + end]);
            start += end;
            let here = left.min(filled - start);
            (start, left) = (start + here, left - here);
            while left > 0 {
                // Nothing is behind a body that is not there yet.
                let room = left.min(buffer.len());
                let read = stream.read(&mut buffer[..room]).await?;
                if read == 0 {
                    return Ok(());
                }
                (start, filled, left) = (0, 0, left - read);
            }
            stream.write_all(answer).await?;
        }
        // What is left is the beginning of a head; a head that fills the buffer reads 0 bytes next and ends.
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// The length of the body behind a head: of a POST as it says, else none.
fn length(head: &[u8]) -> usize {
    const FIELD: &[u8] = b"content-length:";
    if !head.starts_with(b"POST ") {
        return 0;
    }
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..FIELD.len()).is_some_and(|name| name.eq_ignore_ascii_case(FIELD)));
    let value = line.and_then(|line| std::str::from_utf8(line.get(FIELD.len()..)?).ok());
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Where the first `needle` in `haystack` ends.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle).map(|at| at + needle.len())
}
