//! Clients for training: HTTP/1.1 in the clear and inside TLS, and HTTP/2. Each asks until its time is over.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Kind;
use super::origin::body_length;
use crate::origin::find;

/// The fields that a browser sends, roughly.
const FIELDS: &str = "Host: shop.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n\
                      Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en\r\n\
                      Accept-Encoding: gzip, deflate, br\r\nCookie: session=8f14e45fceea167a5a36dedd4bea2543\r\n";
/// Requests on a connection of TLS.
const HANDSHAKE_EVERY: usize = 64;
/// Streams at a time on a connection of HTTP/2.
const STREAMS: usize = 8;

/// Writes a certificate and its key for shop.test into `folder`; the answer trusts it.
pub(super) fn certificate(folder: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()])?;
    std::fs::write(folder.join("tls.crt"), made.cert.pem())?;
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Asks in the clear.
pub(super) async fn plain(kind: Kind, address: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let request = match kind {
        Kind::Post => {
            format!("POST /cart/0 HTTP/1.1\r\n{FIELDS}Content-Length: 1024\r\n\r\n{}", "x".repeat(1024))
        }
        Kind::Big => format!("GET /cart/big HTTP/1.1\r\n{FIELDS}\r\n"),
        Kind::Close => format!("GET /cart/0 HTTP/1.1\r\n{FIELDS}Connection: close\r\n\r\n"),
        Kind::Small | Kind::H2c | Kind::Tls => format!("GET /cart/0 HTTP/1.1\r\n{FIELDS}\r\n"),
    };
    let requests_each = if kind == Kind::Close { 1 } else { usize::MAX };
    let mut answers = 0;
    while Instant::now() < until {
        let mut stream = connect(address).await?;
        answers += ask(&mut stream, &request, requests_each, until).await?;
    }
    Ok(answers)
}

/// Asks inside TLS.
pub(super) async fn encrypted(
    address: SocketAddr,
    trusted: Arc<ClientConfig>,
    until: Instant,
) -> anyhow::Result<u64> {
    let connector = TlsConnector::from(trusted);
    let request = format!("GET /cart/0 HTTP/1.1\r\n{FIELDS}\r\n");
    let mut answers = 0;
    while Instant::now() < until {
        let name = "shop.test".try_into().context("a name")?;
        let mut stream = connector.connect(name, connect(address).await?).await.context("a handshake")?;
        answers += ask(&mut stream, &request, HANDSHAKE_EVERY, until).await?;
    }
    Ok(answers)
}

/// Asks over HTTP/2, with prior knowledge.
pub(super) async fn streams(address: SocketAddr, until: Instant) -> anyhow::Result<u64> {
    let (sender, connection) = h2::client::handshake(connect(address).await?).await?;
    let driven = tokio::spawn(connection);
    let mut asking = JoinSet::new();
    for _ in 0..STREAMS {
        let mut sender = sender.clone();
        asking.spawn(async move {
            let mut answers = 0;
            while Instant::now() < until {
                let request = http::Request::get("http://shop.test/cart/0").header("user-agent", "train");
                sender = sender.ready().await?;
                let (answer, _) = sender.send_request(request.body(())?, true)?;
                let answer = answer.await?;
                ensure!(answer.status() == 200, "answered {}", answer.status());
                let mut body = answer.into_body();
                while let Some(bytes) = body.data().await {
                    body.flow_control().release_capacity(bytes?.len())?;
                }
                answers += 1;
            }
            Ok(answers)
        });
    }
    drop(sender);
    let mut answers = 0;
    while let Some(ended) = asking.join_next().await {
        answers += ended.context("a stream ended")??;
    }
    driven.abort();
    Ok(answers)
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// At most `requests` on one connection, in turn; each answer has to be a 200 and whole.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
    requests: usize,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut answers = 0;
    let mut buffer = Vec::with_capacity(72 * 1024);
    for _ in 0..requests {
        if Instant::now() >= until {
            break;
        }
        stream.write_all(request.as_bytes()).await?;
        buffer.clear();
        let end = loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "closed without an answer");
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end;
            }
        };
        let head = std::str::from_utf8(&buffer[..end]).context("a head is text")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "answered {}", head.lines().next().unwrap_or_default());
        let whole = end + body_length(head)?;
        while buffer.len() < whole {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "closed within an answer");
        }
        answers += 1;
    }
    Ok(answers)
}
