//! The upstream of gRPC: HTTP/2 by prior knowledge, a message and status 0 to every call.

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// So wide that no update of it is sent for small messages.
const WINDOW: u32 = 16 << 20;

/// A message of so many bytes as it goes over the wire: not compressed, and how long it is.
pub(crate) fn message(length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_bytes(b'x', length);
    bytes.freeze()
}

/// Accepts for ever, each connection in a task of its own.
pub async fn serve(listener: TcpListener, version: String, body: usize) -> std::io::Result<()> {
    let message = message(body);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (version, message) = (version.clone(), message.clone());
        // A connection that breaks is the proxy's to report; here it just ends.
        tokio::spawn(async move { converse(stream, &version, &message).await });
    }
}

async fn converse(stream: TcpStream, version: &str, message: &Bytes) -> anyhow::Result<()> {
    let mut server = h2::server::Builder::new();
    server.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = server.handshake(stream).await?;
    let answer = Response::builder().header("content-type", "application/grpc").header("x-version", version);
    let answer = answer.body(())?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let (answer, message) = (answer.clone(), message.clone());
        // Answered beside others that are not whole yet.
        tokio::spawn(async move { reply(request, respond, answer, message).await });
    }
    Ok(())
}

async fn reply(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    answer: Response<()>,
    message: Bytes,
) -> anyhow::Result<()> {
    let mut body = request.into_body();
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    let mut sending = respond.send_response(answer, false).context("an answer")?;
    sending.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    sending.send_trailers(trailers)?;
    Ok(())
}
