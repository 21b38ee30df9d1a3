//! Asking a running process by its admin port: the client of every command that does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::settings::Token;

/// Where a process's admin port is, unless its settings say otherwise.
pub(super) const ADMIN: &str = "127.0.0.1:15000";

/// How to find it.
const SAYS: &str = "the log of trysail run says \"admin on …\"";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that has to be waited for: a large configuration is read and compiled.
const LONG: Duration = Duration::from_secs(120);

/// An answer is at most so long.
const LONGEST: u64 = 256 << 20;

/// Whom to ask, as commands take it.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    /// The admin port of the process.
    #[arg(value_name = "ADDRESS", default_value = ADMIN)]
    address: String,
    /// The file with the token of the admin port, where it has one (setting `adminToken`).
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
}

impl Whom {
    /// The process's admin port; the error says what is wrong with the token.
    pub(super) fn admin(&self) -> Result<Admin, String> {
        let token = self.token.as_deref().map(Token::read).transpose()?;
        Ok(Admin { address: self.address.clone(), token })
    }
}

/// What is in every answer, by which a program that is another one is known: the fields of answers have defaults.
#[derive(Deserialize)]
struct Ours {
    #[serde(rename = "revision")]
    _revision: IgnoredAny,
}

/// A process's admin port.
pub(super) struct Admin {
    address: String,
    token: Option<Token>,
}

impl Admin {
    pub(super) fn new(address: &str, token: Option<Token>) -> Self {
        Admin { address: address.to_owned(), token }
    }

    /// What it tells under a path. The error says what to do.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.read(self.send("GET", path, "", PATIENCE))
    }

    /// What it answers to a form.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, form: &str) -> Result<T, String> {
        self.read(self.send("POST", path, form, LONG))
    }

    fn read<T: DeserializeOwned>(&self, answer: std::io::Result<(u16, Vec<u8>)>) -> Result<T, String> {
        let address = &self.address;
        match answer {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                Err(format!("{address:?} is not an address: {error}; write {ADMIN}"))
            }
            Err(error) => Err(format!("nobody answers on {address}: {error}; {SAYS}")),
            Ok((200, body)) => serde_json::from_slice::<Ours>(&body)
                .and_then(|_| serde_json::from_slice(&body))
                .map_err(|error| format!("{address} is another program or version: {error}; {SAYS}")),
            Ok((401, _)) => Err(match &self.token {
                None => format!(
                    "{address} answers 401: it wants a token; --token FILE, the one of its setting adminToken"
                ),
                Some(_) => format!(
                    "{address} answers 401: it wants another token than this: the one that its setting adminToken \
                     held when it was started"
                ),
            }),
            Ok((status, body)) => match String::from_utf8_lossy(&body).trim() {
                "" => Err(format!("{address} answers {status}, so it is no admin port; {SAYS}")),
                said => Err(format!("{address} answers {status}: {said}")),
            },
        }
    }

    /// Status and body.
    fn send(
        &self,
        method: &str,
        path: &str,
        form: &str,
        patience: Duration,
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let address: SocketAddr = (self.address.to_socket_addrs()?)
            .next()
            .ok_or_else(|| std::io::Error::other("the name has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(patience))?;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n").into_bytes();
        if method == "POST" {
            let length = form.len();
            head.extend(b"content-type: application/x-www-form-urlencoded\r\n");
            head.extend(format!("content-length: {length}\r\n").as_bytes());
        }
        if let Some(token) = &self.token {
            head.extend([b"authorization: Bearer ", token.bytes(), b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        stream.write_all(&head)?;
        stream.write_all(form.as_bytes())?;
        let mut reply = Vec::new();
        stream.take(LONGEST).read_to_end(&mut reply)?;
        let odd = || std::io::Error::other("the answer is not HTTP");
        let end = reply.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(odd)?;
        let status = reply.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok((status.ok_or_else(odd)?, reply.get(end + 4..).unwrap_or_default().to_vec()))
    }
}

/// A value of a form or query.
pub(super) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, UNRESERVED).to_string()
}

/// All that need not be left as it is.
const UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
