//! `grpc.health.v1.Health/Check`, the one message of gRPC that is spoken here.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;

use super::ask::{Fault, no_connection};

/// Asks whether a service serves; the empty name is the server as a whole.
pub(super) async fn ask(address: SocketAddr, service: &str) -> Result<(), Fault> {
    let stream = TcpStream::connect(address).await.map_err(|error| no_connection(&error))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = h2::client::handshake(stream).await?;
    let check = check(sender, address, service);
    tokio::pin!(check, connection);
    tokio::select! {
        biased;
        answer = &mut check => answer,
        // What came before the end is there to be read.
        _ = &mut connection => check.await,
    }
}

async fn check(
    sender: h2::client::SendRequest<Bytes>,
    address: SocketAddr,
    service: &str,
) -> Result<(), Fault> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("trysail/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| Fault::Broken(error.to_string()))?;
    let mut sender = sender.ready().await?;
    let (answer, mut body) = sender.send_request(request, false)?;
    body.send_data(message(service), true)?;
    let (head, mut body) = answer.await?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Fault::Status(head.status.as_u16()));
    }
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        let _ = body.flow_control().release_capacity(piece.len());
        message.extend_from_slice(&piece);
        if message.len() > LONGEST {
            return Err(Fault::Broken("it is too long".to_owned()));
        }
    }
    // An answer without a message has its status in the head.
    let trailers = body.trailers().await?.unwrap_or_default();
    match status(&trailers).or_else(|| status(&head.headers)) {
        Some("0") if serves(&message) => Ok(()),
        Some("0") => Err(Fault::NotServing),
        Some(status) => Err(Fault::Grpc(status.to_owned())),
        None => Err(Fault::Broken("it has no grpc-status".to_owned())),
    }
}

/// An answer has six bytes or so.
const LONGEST: usize = 4096;

fn status(fields: &HeaderMap) -> Option<&str> {
    fields.get("grpc-status")?.to_str().ok()
}

impl From<h2::Error> for Fault {
    fn from(error: h2::Error) -> Self {
        Fault::Broken(error.to_string())
    }
}

/// A `HealthCheckRequest` in gRPC's frame: field 1, the service's name.
fn message(service: &str) -> Bytes {
    let mut request = BytesMut::new();
    if !service.is_empty() {
        request.put_u8(1 << 3 | 2);
        put_varint(&mut request, service.len() as u64);
        request.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(request.len() as u32);
    frame.put_slice(&request);
    frame.freeze()
}

/// Whether a `HealthCheckResponse` in gRPC's frame says SERVING: 1 in field 1.
fn serves(frame: &[u8]) -> bool {
    // Neither compressed, as nobody said that it may be, nor without its length.
    let Some((&[0, _, _, _, _], mut rest)) = frame.split_first_chunk::<5>() else { return false };
    let mut status = 0;
    while !rest.is_empty() {
        let Some(key) = take_varint(&mut rest) else { return false };
        let skipped = match key & 7 {
            0 => take_varint(&mut rest).map(|value| {
                if key >> 3 == 1 {
                    status = value;
                }
            }),
            1 => skip(&mut rest, 8),
            2 => take_varint(&mut rest).and_then(|length| skip(&mut rest, length)),
            5 => skip(&mut rest, 4),
            _ => None,
        };
        if skipped.is_none() {
            return false;
        }
    }
    status == 1
}

fn skip(rest: &mut &[u8], length: u64) -> Option<()> {
    *rest = rest.get(usize::try_from(length).ok()?..)?;
    Some(())
}

fn put_varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_field_in_a_frame() {
        assert_eq!(&message("")[..], b"\0\0\0\0\0");
        assert_eq!(&message("shop")[..], b"\0\0\0\0\x06\x0a\x04shop");
        let long = "x".repeat(300);
        assert_eq!(&message(&long)[..9], b"\0\0\0\x01\x2f\x0a\xac\x02x");
    }

    #[test]
    fn only_serving_is_good() {
        for (frame, good) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], true),
            // UNKNOWN, NOT_SERVING, SERVICE_UNKNOWN.
            (b"\0\0\0\0\x02\x08\x00", false),
            (b"\0\0\0\0\x00", false),
            (b"\0\0\0\0\x02\x08\x02", false),
            (b"\0\0\0\0\x02\x08\x03", false),
            // Fields that are not known are passed over.
            (b"\0\0\0\0\x06\x12\x02ab\x08\x01", true),
            (b"\0\0\0\0\x0b\x11abcdefgh\x08\x01", true),
            (b"\0\0\0\0\x07\x15abcd\x08\x01", true),
            // Cut off, compressed, or nothing.
            (b"\0\0\0\0\x02\x08", false),
            (b"\0\0\0\0\x02\x12\x7f", false),
            (b"\x01\0\0\0\x02\x08\x01", false),
            (b"\0\0\0", false),
            (b"", false),
            (b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false),
        ] {
            assert_eq!(serves(frame), good, "{frame:?}");
        }
    }
}
