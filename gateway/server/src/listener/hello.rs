//! The first message of TLS: read, and left where it is, so that it can still be passed on unopened.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::io::AsyncWriteExt;

use super::conn::Conn;

/// A ClientHello takes at most this; rustls itself refuses longer messages.
const LONGEST: usize = 64 * 1024;

/// Reads ahead until the client has said hello, and gives what it said with the number of bytes that it took.
/// Whoever speaks no TLS is told so and gets an error.
pub(super) async fn read(conn: &mut Conn) -> io::Result<(Accepted, usize)> {
    let mut acceptor = Acceptor::default();
    let mut read = 0;
    loop {
        while let Some(mut bytes) = conn.pending().get(read..).filter(|bytes| !bytes.is_empty()) {
            let before = bytes.len();
            acceptor.read_tls(&mut bytes)?;
            read += before - bytes.len();
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok((accepted, read)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut told = Vec::new();
                    alert.write_all(&mut told)?;
                    conn.write_all(&told).await?;
                    conn.flush().await?;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        if read > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if conn.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
