//! The PROXY protocol: a header before a connection's first byte, by which a load balancer says whose connection it is.
//!
//! Who is believed is a setting, and the server's to ask. By hand, since all of it that is wanted is an address: what
//! follows addresses (TLV) is passed over, as are sockets of other families and connections of the balancer's own
//! (`LOCAL`, `UNKNOWN`), which keep the address that the kernel knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Not enough to tell.
    Partial,
    /// Something else.
    Absent,
    /// It is there.
    Whole {
        /// Its bytes.
        length: usize,
        /// Whose connection it is; `None` where it is the sender's own.
        client: Option<SocketAddr>,
    },
    /// It begins as one, and is none.
    Broken,
}

/// The second version begins with these bytes, with which no other protocol begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The first version is a line of at most so many bytes, with its end.
const LONGEST_LINE: usize = 107;

/// A header of the second version is taken up to this length; addresses are 36 bytes of it, the rest is passed over.
const LONGEST: usize = 8 * 1024;

/// Reads a header from what has come of a connection so far.
pub fn read(bytes: &[u8]) -> Header {
    const WORD: &[u8] = b"PROXY ";
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        if bytes.len() < SIGNATURE.len() { Header::Partial } else { second(bytes) }
    } else if begins(WORD) {
        if bytes.len() < WORD.len() { Header::Partial } else { first(bytes) }
    } else {
        Header::Absent
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n`.
fn first(bytes: &[u8]) -> Header {
    let head = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return if head.len() < LONGEST_LINE { Header::Partial } else { Header::Broken };
    };
    let line = head.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(|line| std::str::from_utf8(line).ok()).and_then(told) {
        Some(client) => Header::Whole { length: end + 1, client },
        None => Header::Broken,
    }
}

/// What a line tells; `None` where it is none.
fn told(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        // "The receiver must ignore anything presented before the CRLF."
        return Some(None);
    }
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        let wanted = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        (family == wanted).then_some(address)
    };
    let (client, _) = (address()?, address()?);
    let mut port =
        || words.next().filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?.parse::<u16>().ok();
    let (port, _) = (port()?, port()?);
    words.next().is_none().then_some(Some(SocketAddr::new(client, port)))
}

/// The binary header. Its signature is there.
fn second(bytes: &[u8]) -> Header {
    let Some(&[command, family, high, low]) =
        bytes.get(SIGNATURE.len()..).and_then(|rest| rest.first_chunk())
    else {
        // Wrong from its first byte on is not worth waiting for.
        let wrong = bytes.get(SIGNATURE.len()).is_some_and(|command| !matches!(command, 0x20 | 0x21));
        return if wrong { Header::Broken } else { Header::Partial };
    };
    let said = usize::from(u16::from_be_bytes([high, low]));
    let length = SIGNATURE.len() + 4 + said;
    // The addresses of each family have a length of their own, from TCP's over UDP's to those of Unix.
    let least = match (command, family) {
        (0x20, _) => 0,
        (0x21, 0x00) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x21, 0x31) => 216,
        _ => return Header::Broken,
    };
    if said < least || length > LONGEST {
        return Header::Broken;
    }
    let Some(told) = bytes.get(SIGNATURE.len() + 4..length) else { return Header::Partial };
    let port =
        |at: usize| told.get(at..).and_then(|rest| rest.first_chunk()).map(|port| u16::from_be_bytes(*port));
    let client = match (command, family) {
        (0x21, 0x11) => told.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()).zip(port(8)),
        (0x21, 0x21) => told.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into()).zip(port(32)),
        _ => None,
    };
    Header::Whole {
        length,
        client: client.map(|(address, port): (IpAddr, u16)| SocketAddr::new(address, port)),
    }
}

#[cfg(test)]
mod tests;
