//! An upstream that misbehaves by a script: bytes on a socket, in whatever order and with whatever end.
//!
//! Its requests carry `x-id`, so that a test can ask which of them were executed, and how often.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::message::{self, Head};

/// What happens on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Requests are answered 200 with [`BODY`], as long as the peer likes.
    Good,
    /// All is read, nothing is said.
    Stall,
    /// A request is read, then the connection is reset.
    ResetBeforeHead,
    /// It is reset within the answer's head.
    ResetWithinHead,
    /// It is reset within the answer's body.
    ResetWithinBody,
    /// It is closed within a body whose length was told.
    Truncate,
    /// It is closed within a body in chunks.
    TruncateChunks,
    /// What comes is no HTTP.
    Garbage,
    /// The head never ends.
    EndlessHead,
    /// The good answer, byte by byte.
    Drip,
    /// 102 without an end.
    EndlessInterim,
    /// After the request nothing more is sent, and all is read.
    HalfClose,
    /// The good answer, before the request's body has been read, and no end to the connection.
    Early,
    /// The first request of a connection is answered; the second, once it has arrived, finds the connection closed.
    CloseAsRequestArrives,
    /// The first request of a connection is answered; the second is executed, and the connection reset.
    ResetAfterExecuting,
    /// The first request of a connection is answered, and the connection closed at some moment soon after.
    CloseSoon,
}

/// What good answers say.
pub const BODY: &str = "raw and good";

/// A running upstream. It stops when dropped.
#[derive(Debug)]
pub struct Raw {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    script: Mutex<Script>,
    stopping: AtomicBool,
    open: AtomicUsize,
    executed: Mutex<BTreeMap<String, u32>>,
}

/// An address that refuses connections.
///
/// # Panics
///
/// When no loopback port can be bound.
pub fn refused() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
    listener.local_addr().expect("a bound socket has an address")
}

impl Raw {
    /// Listens on a loopback port that the kernel picks.
    ///
    /// # Panics
    ///
    /// When none can be bound.
    pub fn start(script: Script) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State {
            script: Mutex::new(script),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            executed: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let state = shared.clone();
                state.open.fetch_add(1, Ordering::SeqCst);
                let script = *state.script.lock().expect(UNPOISONED);
                thread::spawn(move || {
                    // Whoever is on the other side sees what went wrong, and tells.
                    let _ = state.play(script, stream);
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Raw { addr, state }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Plays so from the next connection on, and from the next request of one that is good so far.
    pub fn set(&self, script: Script) {
        *self.state.script.lock().expect(UNPOISONED) = script;
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Requests that were executed, by their `x-id`, and how often each was.
    pub fn executed(&self) -> BTreeMap<String, u32> {
        self.state.executed.lock().expect(UNPOISONED).clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
    }
}

impl State {
    fn play(&self, script: Script, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        // Whatever a peer does, no thread outlives a test by long.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        if script == Script::Stall {
            return drain(&mut reader);
        }
        if script == Script::Early {
            let Some(_) = Head::read(&mut reader)? else { return Ok(()) };
            stream.write_all(good().as_bytes())?;
            return drain(&mut reader);
        }
        if self.execute(&mut reader)?.is_none() {
            return Ok(());
        }
        let mut script = script;
        while script == Script::Good {
            stream.write_all(good().as_bytes())?;
            if self.execute(&mut reader)?.is_none() {
                return Ok(());
            }
            script = *self.script.lock().expect(UNPOISONED);
        }
        match script {
            Script::Stall => drain(&mut reader),
            Script::Good | Script::Early => {
                stream.write_all(good().as_bytes())?;
                drain(&mut reader)
            }
            Script::ResetBeforeHead => reset(&stream),
            Script::ResetWithinHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                pause_for_peer(&stream);
                reset(&stream)
            }
            Script::ResetWithinBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")?;
                pause_for_peer(&stream);
                reset(&stream)
            }
            Script::Truncate => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"),
            Script::TruncateChunks => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n")
            }
            Script::Garbage => stream.write_all(b"\0\x01\x02 this is not what was asked for\r\n\r\n"),
            Script::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                self.repeat(&mut stream, &[b"x-more: ", &[b'x'; 4096][..], b"\r\n"].concat())
            }
            Script::EndlessInterim => self.repeat(&mut stream, b"HTTP/1.1 102 Processing\r\n\r\n"),
            Script::Drip => good().bytes().try_for_each(|byte| {
                thread::sleep(Duration::from_millis(1));
                stream.write_all(&[byte])
            }),
            Script::HalfClose => {
                stream.shutdown(Shutdown::Write)?;
                drain(&mut reader)
            }
            Script::CloseAsRequestArrives => {
                stream.write_all(good().as_bytes())?;
                // What is not read when a socket closes makes a reset of it.
                stream.peek(&mut [0]).map(drop)
            }
            Script::ResetAfterExecuting => {
                stream.write_all(good().as_bytes())?;
                self.execute(&mut reader)?;
                reset(&stream)
            }
            Script::CloseSoon => {
                stream.write_all(good().as_bytes())?;
                let began = Instant::now();
                // Any number will do that differs from connection to connection.
                let port = u64::from(stream.peer_addr()?.port());
                let wait = Duration::from_micros(port.wrapping_mul(7919) % 600);
                while began.elapsed() < wait {
                    thread::yield_now();
                }
                Ok(())
            }
        }
    }

    /// Reads a request whole, and notes it.
    fn execute(&self, reader: &mut BufReader<TcpStream>) -> io::Result<Option<()>> {
        let Some(head) = Head::read(reader)? else { return Ok(None) };
        message::read_body(reader, head.request_framing()?)?;
        if let Some((_, id)) = head.headers.iter().find(|(name, _)| name == "x-id") {
            *self.executed.lock().expect(UNPOISONED).entry(id.clone()).or_default() += 1;
        }
        Ok(Some(()))
    }

    /// Says the same until the peer has had enough.
    fn repeat(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.stopping.load(Ordering::SeqCst) {
            stream.write_all(bytes)?;
        }
        Ok(())
    }
}

fn good() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())
}

/// Reads until the peer has closed.
fn drain(reader: &mut impl Read) -> io::Result<()> {
    io::copy(reader, &mut io::sink()).map(drop)
}

/// A reset takes with it what the peer has not read yet, so it gets a moment.
fn pause_for_peer(stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = stream.peek(&mut [0]);
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

const PATIENCE: Duration = Duration::from_secs(20);
const UNPOISONED: &str = "no thread panics while it holds the lock";
