//! One HTTP/1 request's head: gathered whole, judged, and refused where it has to be, before Pingora gets the connection.

use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;

use super::conn::Conn;
use super::http::wait;
use crate::sanitise::chunks::Chunks;
use crate::sanitise::{Reason, head};

/// The longest head; Pingora's own bound.
const MAX: usize = 1 << 20;

/// How much of what a refused client still sends is read, and how long: what is left unread when a socket closes makes a
/// reset of it, which takes the answer along.
const LEFT_BYTES: usize = 256 * 1024;
const LEFT_TIME: Duration = Duration::from_secs(1);

/// Why there is no request.
pub(super) enum No {
    /// The client went away, or took too long.
    Gone,
    /// It is not to be served.
    Refused(Reason),
}

/// Gathers and judges a head that has begun. Afterwards the connection begins with one that Pingora may have.
pub(super) async fn gather(conn: &mut Conn, limit: Duration, shutdown: &mut ShutdownWatch) -> Result<(), No> {
    if conn.is_within_body() {
        return Err(No::Gone);
    }
    let mut seen = 0;
    // What has come in one piece, as nearly all have, is read once. Of others the first line is looked at when it has
    // ended, as one of HTTP/0.9 is all there is, and the rest when all has.
    let (mut looked, mut line) = (false, false);
    loop {
        let bytes = conn.pending();
        let line_ended = !line && bytes.get(seen..).is_some_and(|new| memchr::memchr(b'\n', new).is_some());
        if !looked || line_ended || head::ends(bytes, seen) {
            (looked, line) = (true, line || line_ended);
            if let Some(head) = head::read(bytes).map_err(No::Refused)? {
                return begin(conn, head).map_err(No::Refused);
            }
        }
        seen = bytes.len();
        if seen > MAX {
            return Err(No::Refused(Reason::HeadSize));
        }
        if !wait(conn, limit, shutdown).await {
            return Err(No::Gone);
        }
    }
}

/// Puts the head in order, and follows the chunks behind it.
fn begin(conn: &mut Conn, head: head::Head) -> Result<(), Reason> {
    if head.chunked {
        let mut chunks = Chunks::default();
        if !chunks.take(conn.pending().get(head.length..).unwrap_or_default())? {
            conn.follow(chunks);
        }
    }
    if let Some(new) = head.rewritten {
        conn.replace(head.length, &new);
    }
    Ok(())
}

/// Answers a request that is not to be served, and lets go of its connection.
pub(super) async fn refuse(mut conn: Box<Conn>, reason: Reason) {
    let said = async {
        conn.write_all(reason.answer().as_bytes()).await?;
        conn.flush().await?;
        AsyncWriteExt::shutdown(&mut conn).await?;
        let mut left = LEFT_BYTES;
        while left > 0 {
            conn.skip(usize::MAX);
            match conn.fill().await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(LEFT_TIME, said).await;
}
