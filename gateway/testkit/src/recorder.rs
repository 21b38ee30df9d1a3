//! An upstream that writes down what it is sent, request by request, and answers with bytes that a test gives it.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::message::{self, Head};

/// What each request is answered with.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exactly these bytes; to a HEAD only the head.
    pub bytes: Vec<u8>,
    /// Whether the connection is closed behind them.
    pub close: bool,
}

/// A running upstream. It stops when dropped.
#[derive(Debug)]
pub struct Recorder {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    said: Mutex<Said>,
    stopping: AtomicBool,
    seen: Mutex<Seen>,
    /// Notified when a request has been read, or has failed to be.
    read: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<String>,
    /// How many are being read.
    under_way: usize,
}

impl Recorder {
    /// Listens on a loopback port that the kernel picks.
    ///
    /// # Panics
    ///
    /// When none can be bound.
    pub fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let said = Said { bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(), close: false };
        let state = Arc::new(State {
            said: Mutex::new(said),
            stopping: AtomicBool::new(false),
            seen: Mutex::default(),
            read: Condvar::new(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let state = shared.clone();
                // Whoever is on the other side sees what went wrong, and tells.
                thread::spawn(move || drop(state.serve(&stream)));
            }
        });
        Recorder { addr, state }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers so from the next request on.
    pub fn say(&self, said: Said) {
        *self.state.said.lock().expect(UNPOISONED) = said;
    }

    /// The requests since it was asked last, each its head, an empty line and its body; one that ends too early, or is
    /// none, says so at its end.
    pub fn take(&self) -> Vec<String> {
        let seen = self.state.seen.lock().expect(UNPOISONED);
        let busy = |seen: &mut Seen| seen.under_way > 0;
        let (mut seen, _) = self.state.read.wait_timeout_while(seen, PATIENCE, busy).expect(UNPOISONED);
        std::mem::take(&mut seen.requests)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            // Until a request comes it may take as long as it likes; the gateway's end closes the connection.
            stream.set_read_timeout(None)?;
            if io::BufRead::fill_buf(&mut reader)?.is_empty() {
                return Ok(());
            }
            stream.set_read_timeout(Some(PATIENCE))?;
            self.seen.lock().expect(UNPOISONED).under_way += 1;
            let request = read(&mut reader);
            let mut seen = self.seen.lock().expect(UNPOISONED);
            seen.under_way -= 1;
            let (text, head) = match request {
                Ok(text) => {
                    let head = text.starts_with("HEAD ");
                    (text, Some(head))
                }
                Err(text) => (text, None),
            };
            seen.requests.push(text);
            drop(seen);
            self.read.notify_all();
            let Some(bare) = head else { return Ok(()) };
            let said = self.said.lock().expect(UNPOISONED).clone();
            let end = said.bytes.windows(4).position(|end| end == b"\r\n\r\n").filter(|_| bare);
            let length = end.map_or(said.bytes.len(), |end| end + 4);
            (&*stream).write_all(&said.bytes[..length])?;
            if said.close {
                return stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<String, String> {
    let head = match Head::read(reader) {
        Ok(Some(head)) => head,
        Ok(None) => return Err("nothing".to_owned()),
        Err(error) => return Err(format!("no request: {error}")),
    };
    let framing = head.request_framing().map_err(|error| format!("{}\nmisframed: {error}", head.text))?;
    match message::read_body(reader, framing) {
        Ok(body) => Ok(format!("{}\n{}", head.text, String::from_utf8_lossy(&body))),
        Err(error) => Err(format!("{}\ncut: {error}", head.text)),
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const UNPOISONED: &str = "no thread panics while it holds the lock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn requests_are_written_down_and_answered() {
        let recorder = Recorder::start();
        let mut client = Client::connect(recorder.addr()).unwrap();
        assert_eq!(client.send_raw(b"POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi").unwrap().text(), "ok");
        assert_eq!(client.send_raw(b"HEAD /b HTTP/1.1\r\n\r\n").unwrap().status, 200);
        let bytes = b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec();
        recorder.say(Said { bytes, close: true });
        assert_eq!(client.send_raw(b"GET /c HTTP/1.1\r\n\r\n").unwrap().status, 404);
        assert_eq!(
            recorder.take(),
            ["POST /a HTTP/1.1\ncontent-length: 2\n\nhi", "HEAD /b HTTP/1.1\n\n", "GET /c HTTP/1.1\n\n"]
        );
        let mut client = Client::connect(recorder.addr()).unwrap();
        assert!(client.send_raw(b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n").is_err());
        assert_eq!(
            recorder.take(),
            ["GET / HTTP/1.1\ncontent-length: +1\n\nmisframed: content-length: \"+1\""]
        );
    }
}
