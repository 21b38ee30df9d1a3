//! A blocking HTTP/1.1 client that keeps its connection, and sends exactly what it is told.

use std::io::{self, BufReader, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::message::{self, Framing, Head};

/// What came back for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The final status; interim ones (100, 103) are skipped.
    pub status: u16,
    /// In the order received, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decoded from its framing.
    pub body: Vec<u8>,
}

/// One connection. After an error, or once [`Client::is_open`] is false, connect anew.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    open: bool,
}

/// One GET on a connection of its own.
pub fn fetch(addr: SocketAddr, host: &str, path: &str) -> io::Result<Reply> {
    Client::connect(addr)?.get(host, path, &[])
}

// === impl Reply ===

impl Reply {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, for assertions.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The origin that answered, as its `x-version` tells.
    pub fn version(&self) -> Option<&str> {
        self.header("x-version")
    }
}

// === impl Client ===

impl Client {
    /// Connects, with ten seconds for that and for each later read and write.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream), open: true })
    }

    /// How long a read may pause before it fails (`WouldBlock` or `TimedOut`).
    pub fn set_read_timeout(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// This end's address, to tell one connection from another.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Whether the last reply left the connection open for another request.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A GET with `host` as the authority and these headers beside it.
    pub fn get(&mut self, host: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<Reply> {
        self.request("GET", host, path, headers, None)
    }

    /// Any request; a body is sent with its Content-Length.
    pub fn request(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Reply> {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = body {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body.unwrap_or_default());
        self.send_raw(&bytes)
    }

    /// Sends the bytes as they are and reads one reply. Several requests in `bytes` are several replies: read
    /// the others with [`Client::read_reply`].
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<Reply> {
        self.open = false;
        let sent = self.stream.get_mut().write_all(bytes);
        // A server may refuse and close before it has read all: its reply says more than our broken pipe.
        match (self.read_reply(bytes.starts_with(b"HEAD ")), sent) {
            (Err(_), Err(error)) => Err(error),
            (reply, _) => reply,
        }
    }

    /// Sends bytes and reads nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write)
    }

    /// Reads one reply; `bare` if the request was a HEAD.
    pub fn read_reply(&mut self, bare: bool) -> io::Result<Reply> {
        self.open = false;
        loop {
            let closed = || Error::new(ErrorKind::UnexpectedEof, "the peer closed before a reply");
            let head = Head::read(&mut self.stream)?.ok_or_else(closed)?;
            let status = read_status(&head.start)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let framing = head.reply_framing(status, bare)?;
            let body = message::read_body(&mut self.stream, framing)?;
            let kept = if head.start.starts_with("HTTP/1.0") {
                head.lists("connection", "keep-alive")
            } else {
                !head.lists("connection", "close")
            };
            self.open = kept && framing != Framing::UntilClose && status != 101;
            return Ok(Reply { status, headers: head.headers, body });
        }
    }
}

fn read_status(line: &str) -> io::Result<u16> {
    let status =
        line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    status.filter(|status| (100..600).contains(status)).ok_or_else(|| message::odd("status line", line))
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What the client makes of `reply`, sent to a GET by a server that closes after it.
    fn check(reply: &'static str, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(reply.replace('\n', "\r\n").as_bytes()).unwrap();
        });
        let mut client = Client::connect(addr).unwrap();
        let actual = match client.get("shop.test", "/", &[]) {
            Ok(reply) => {
                let end = if client.is_open() { "open" } else { "closed" };
                format!("{} {:?} {end}", reply.status, reply.text())
            }
            Err(error) => error.to_string(),
        };
        server.join().unwrap();
        assert_eq!(actual, expected, "{reply:?}");
    }

    #[test]
    fn replies() {
        check("HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", r#"200 "hi" open"#);
        check("HTTP/1.1 200 OK\nConnection: Close\ncontent-length: 2\n\nhi", r#"200 "hi" closed"#);
        check("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\nh\n1\ni\n0\n\n", r#"200 "hi" open"#);
        check("HTTP/1.1 200 OK\n\nuntil the end", r#"200 "until the end" closed"#);
        check("HTTP/1.0 200 OK\ncontent-length: 2\n\nhi", r#"200 "hi" closed"#);
        check("HTTP/1.0 200 OK\nconnection: keep-alive\ncontent-length: 2\n\nhi", r#"200 "hi" open"#);
        check("HTTP/1.1 204 No Content\n\n", r#"204 "" open"#);
        check("HTTP/1.1 304 Not Modified\ncontent-length: 9\n\n", r#"304 "" open"#);
        check("HTTP/1.1 100 Continue\n\nHTTP/1.1 404\ncontent-length: 0\n\n", r#"404 "" open"#);
        check("HTTP/1.1 200 OK\ncontent-length: 3\n\nhi", "the peer closed after 2 of 3 bytes");
        check("", "the peer closed before a reply");
        check("SSH-2.0-x\n\n", r#"status line: "SSH-2.0-x""#);
    }
}
