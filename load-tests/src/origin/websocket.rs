//! The upstream of WebSockets: takes every upgrade, and sends each message back.
//!
//! Messages are of the length that the scenario says, and masked with zeros, so that they are passed on as they came.

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::find;

/// A client's key, and what belongs to it: those of RFC 6455, 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// As above.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Bytes before the payload of a client's frame: two, and a mask.
pub(crate) const MASKED_HEAD: usize = 6;
/// Bytes before the payload of a server's frame.
pub(crate) const BARE_HEAD: usize = 2;
/// A whole message of bytes, in one frame.
const BINARY: u8 = 0x82;
/// Set in the second byte of a frame that is masked.
const MASKED: u8 = 0x80;
/// The longest payload whose length is in the second byte.
const LONGEST: usize = 125;

/// A client's frame with a payload of so many bytes, 125 at most.
pub(crate) fn masked(length: usize) -> Vec<u8> {
    let length = length.min(LONGEST);
    let mut frame = vec![BINARY, MASKED | length as u8, 0, 0, 0, 0];
    frame.resize(MASKED_HEAD + length, b'x');
    frame
}

/// Accepts for ever, each connection in a task of its own.
pub async fn serve(listener: TcpListener, version: String, body: usize) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let version = version.clone();
        // A connection that breaks is the proxy's to report; here it just ends.
        tokio::spawn(async move { converse(stream, &version, body.min(LONGEST)).await });
    }
}

async fn converse(mut stream: TcpStream, version: &str, body: usize) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let mut filled = 0;
    let end = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        ensure!(read > 0, "no upgrade");
        filled += read;
        if let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
            break end;
        }
    };
    ensure!(find(&buffer[..end], KEY.as_bytes()).is_some(), "no upgrade of ours");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\nx-version: {version}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    buffer.copy_within(end..filled, 0);
    filled -= end;
    let whole = MASKED_HEAD + body;
    // In place: what is sent back is the payload behind the last bytes of the client's head.
    const GAP: usize = MASKED_HEAD - BARE_HEAD;
    loop {
        while filled < whole {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        }
        // A ping, a close or a message of another kind is none of the harness's.
        ensure!(buffer[..2] == [BINARY, MASKED | body as u8], "another frame than was agreed on");
        buffer[GAP..MASKED_HEAD].copy_from_slice(&[BINARY, body as u8]);
        stream.write_all(buffer.get(GAP..whole).context("a frame")?).await?;
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}
