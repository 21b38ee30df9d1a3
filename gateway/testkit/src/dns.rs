//! A fake DNS server: UDP on loopback, answers from a table that a test may change at any time.
//!
//! It knows A and AAAA of class IN, and one question in a message, as resolvers send them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

/// What is said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// These addresses, for so many seconds.
    At(Vec<IpAddr>, u32),
    /// SERVFAIL.
    Failure,
    /// Nothing at all.
    Silence,
}

/// A running server; of a name that it was not told of it says NXDOMAIN. It stops when dropped.
#[derive(Debug)]
pub struct Dns {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, Says>,
    asked: BTreeMap<String, usize>,
    stopping: bool,
}

impl Dns {
    /// Listens on a loopback port that the kernel picks.
    ///
    /// # Panics
    ///
    /// When none can be bound.
    pub fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let addr = socket.local_addr().expect("a bound socket has an address");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let thread = thread::spawn(move || serve(&socket, &shared));
        Dns { addr, state, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on says this of a name in lower case.
    pub fn says(&self, name: &str, what: Says) {
        lock(&self.state).names.insert(name.to_owned(), what);
    }

    /// From now on says that these are a name's addresses, for a second.
    ///
    /// # Panics
    ///
    /// On a text that is no address.
    pub fn at(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.says(name, Says::At(addresses, 1));
    }

    /// From now on knows nothing of a name.
    pub fn forget(&self, name: &str) {
        lock(&self.state).names.remove(name);
    }

    /// How many questions there were for a name, each family by itself.
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.state).asked.get(name).copied().unwrap_or_default()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        lock(&self.state).stopping = true;
        // `recv_from` has no time-out of its own: a datagram wakes it.
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.addr));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics with it")
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let mut state = lock(state);
        if state.stopping {
            return;
        }
        if let Some(answer) = answer(&buffer[..length], &mut state) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a message (RFC 1035, section 4); `None` where nothing is said, or the message is not understood.
fn answer(message: &[u8], state: &mut State) -> Option<Vec<u8>> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    let question = message.get(12..at + 4)?;
    let name = labels.join(".");
    *state.asked.entry(name.clone()).or_default() += 1;
    let (code, addresses, ttl) = match state.names.get(&name) {
        Some(Says::Silence) => return None,
        Some(Says::Failure) => (2, Vec::new(), 0),
        None => (3, Vec::new(), 0),
        Some(Says::At(addresses, ttl)) => {
            let of_kind = |address: &&IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
            (0, addresses.iter().filter(of_kind).copied().collect(), *ttl)
        }
    };
    let mut answer = message.get(..2)?.to_vec();
    // A response; recursion desired and available.
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // Its name is that of the question, at byte 12.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        answer.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
        answer.extend(bytes);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &Dns, name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("a short label"));
            message.extend(label.bytes());
        }
        message.extend([0, 0, u8::try_from(kind).expect("a small kind"), 0, 1]);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a time-out");
        socket.send_to(&message, server.addr()).expect("sent");
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("an answer");
        assert_eq!(buffer[..2], [7, 9]);
        buffer[..length].to_vec()
    }

    #[test]
    fn answers_are_as_the_table_says() {
        let server = Dns::start();
        server.at("a.test", &["127.0.0.1", "127.0.0.2", "::1"]);
        server.says("b.test", Says::Failure);
        let answer = ask(&server, "A.test", A);
        assert_eq!((answer[3] & 15, answer[7]), (0, 2));
        assert!(answer.ends_with(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 2]));
        assert_eq!(ask(&server, "a.test", AAAA)[7], 1);
        assert_eq!(ask(&server, "b.test", A)[3] & 15, 2);
        assert_eq!(ask(&server, "c.test", A)[3] & 15, 3);
        server.forget("a.test");
        assert_eq!(ask(&server, "a.test", A)[3] & 15, 3);
        assert_eq!(server.asked("a.test"), 3);
    }
}
