//! What is said in place of a request: answers to clients whose head never became one, and to those that are too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::conn::Conn;
use super::head::Fault;
use crate::metrics::{Cut, Edge};

/// Says why there is no request, and ends the connection.
pub(super) async fn head(conn: Box<Conn>, fault: Fault, edge: &Edge) {
    let (cut, status) = match fault {
        Fault::Gone => return,
        Fault::Refused(reason) => return say(conn, &reason.answer()).await,
        Fault::Late => (Cut::HeadTime, "408 Request Timeout"),
        Fault::TooLarge => (Cut::HeadSize, "431 Request Header Fields Too Large"),
        Fault::TargetTooLong => (Cut::Target, "414 URI Too Long"),
    };
    edge.cut(cut);
    say(conn, &empty(status)).await;
}

/// Says that there are too many connections.
pub(super) async fn busy(conn: Box<Conn>) {
    say(conn, &empty("503 Service Unavailable")).await;
}

fn empty(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

/// Says one thing and ends the connection, once the client has heard it: what it sends meanwhile would else end the
/// connection at once (a reset), and take the answer with it.
async fn say(mut conn: Box<Conn>, answer: &str) {
    let said = async {
        conn.write_all(answer.as_bytes()).await?;
        conn.flush().await?;
        conn.shutdown().await?;
        let mut left = MOST;
        let mut space = [0; 512];
        while left > 0 {
            match conn.read(&mut space).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(MOMENT, said).await;
}

/// How long and how much is listened to after an answer.
const MOMENT: Duration = Duration::from_secs(1);
const MOST: usize = 256 * 1024;
