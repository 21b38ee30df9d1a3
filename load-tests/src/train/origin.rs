//! Origins for training: they read what is sent, also bodies, and answer with 100 bytes, or 64 KiB below `/cart/big`.

use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::origin::{answer, find};

/// The longest head that is read.
const HEAD: usize = 16 * 1024;

/// Accepts for ever, each connection in a task of its own.
pub(super) async fn serve(listener: TcpListener, version: &'static str) -> std::io::Result<()> {
    let answers: Arc<[Vec<u8>; 2]> = Arc::new([answer(version, 100), answer(version, 64 * 1024)]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        // A connection that breaks is the proxy's to report; here it just ends.
        tokio::spawn(async move { converse(stream, &answers).await });
    }
}

async fn converse(mut stream: TcpStream, [small, big]: &[Vec<u8>; 2]) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(HEAD);
    loop {
        let end = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end;
            }
            ensure!(buffer.len() < HEAD && stream.read_buf(&mut buffer).await? > 0, "no more requests");
        };
        let head = std::str::from_utf8(&buffer[..end]).context("a head is text")?;
        let asked_big = head.starts_with("GET /cart/big");
        let length = body_length(head)?;
        while buffer.len() < end + length {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "a body that ends early");
        }
        buffer.drain(..end + length);
        stream.write_all(if asked_big { big } else { small }).await?;
    }
}

/// What `content-length` says, 0 where there is none.
pub(super) fn body_length(head: &str) -> anyhow::Result<usize> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(Ok(0), |(_, value)| value.trim().parse().context("a length is a number"))
}
