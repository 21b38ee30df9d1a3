//! Sockets that are there before us, so that a port is taken over and not bound.
//!
//! - The service manager's (`LISTEN_FDS`). They are known by their addresses alone, so that nobody has to name them. They
//!   stay ours for the life of the process, and each use gets a copy: the service manager keeps them open whatever we do,
//!   so a port that comes back after an edit could not be bound.
//! - Those of the process whose place we take (`upgrade`), the service manager's among them. The others are ours alone once
//!   that has ended: each is used once, and what the configuration does not want is closed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

use listenfd::ListenFd;
use log::{info, warn};
use parking_lot::Mutex;
use socket2::SockRef;

use super::{Bound, prepare};
use crate::upgrade::{Handed, Label};

/// The sockets that were handed over.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<One>,
    /// The former process's own, until they are used.
    passed: Mutex<Vec<Passed>>,
}

#[derive(Debug)]
struct Passed {
    what: String,
    address: SocketAddr,
    socket: TcpListener,
}

#[derive(Debug)]
struct One {
    address: SocketAddr,
    socket: TcpListener,
    used: AtomicBool,
}

impl Inherited {
    /// Takes those of this process; what is no TCP socket that listens is said, and left alone.
    pub(crate) fn take() -> Self {
        let mut fds = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..fds.len() {
            match fds.take_tcp_listener(index) {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => {}
                Err(error) => warn!("socket {index} of the service manager is not used: {error}"),
            }
        }
        Inherited::new(sockets)
    }

    /// Takes those of the process before.
    pub(crate) fn handed(handed: Vec<Handed>) -> Self {
        let (kept, passed): (Vec<Handed>, Vec<Handed>) = handed.into_iter().partition(|one| one.label.kept);
        let inherited = Inherited::new(kept.into_iter().map(|one| one.socket.into()).collect());
        for Handed { label, socket } in passed {
            let socket = TcpListener::from(socket);
            match socket.local_addr() {
                Ok(address) => inherited.passed.lock().push(Passed { what: label.what, address, socket }),
                Err(error) => warn!("the former process's socket for {} is not used: {error}", label.what),
            }
        }
        inherited
    }

    /// Copies of the service manager's, for the process after this one.
    pub(crate) fn copies(&self) -> io::Result<Vec<Handed>> {
        let copy = |one: &One| {
            let label = Label { what: one.address.to_string(), kept: true };
            Ok(Handed { label, socket: one.socket.try_clone()?.into() })
        };
        self.sockets.iter().map(copy).collect()
    }

    /// Whether this address is one of the service manager's.
    pub(super) fn holds(&self, address: SocketAddr) -> bool {
        self.sockets.iter().any(|one| one.address == address)
    }

    fn new(sockets: Vec<TcpListener>) -> Self {
        let known = |socket: TcpListener| {
            let address = socket.local_addr();
            match address.and_then(|address| Ok((address, SockRef::from(&socket).is_listener()?))) {
                Ok((address, true)) => Some(One { address, socket, used: AtomicBool::new(false) }),
                Ok((address, false)) => {
                    warn!("the service manager's socket on {address} is not used: it does not listen");
                    None
                }
                Err(error) => {
                    warn!("a socket of the service manager is not used: {error}");
                    None
                }
            }
        };
        Inherited { sockets: sockets.into_iter().filter_map(known).collect(), passed: Mutex::default() }
    }

    /// The socket for this address, where one was handed over. `what` it is for tells those apart whose port is the
    /// kernel's choice.
    pub(super) fn find(&self, wanted: SocketAddr, what: &str) -> Option<io::Result<Bound>> {
        if let Some(Passed { address, socket, .. }) = self.passed(wanted, what) {
            return Some(prepare(&SockRef::from(&socket)).map(|()| Bound { address, socket }));
        }
        let exact = self.sockets.iter().find(|one| one.address == wanted);
        let one = exact.or_else(|| self.sockets.iter().find(|one| one.covers(wanted)))?;
        if !one.used.swap(true, Ordering::Relaxed) {
            info!("{wanted} is the service manager's socket on {}", one.address);
        }
        let copy = || {
            let socket = one.socket.try_clone()?;
            prepare(&SockRef::from(&socket))?;
            Ok(Bound { address: one.address, socket })
        };
        Some(copy())
    }

    fn passed(&self, wanted: SocketAddr, what: &str) -> Option<Passed> {
        let mut passed = self.passed.lock();
        let at = passed.iter().position(|one| match wanted.port() {
            0 => one.address.ip() == wanted.ip() && one.what == what,
            _ => one.address == wanted,
        });
        at.map(|at| passed.swap_remove(at))
    }

    /// Says which are used for nothing, once all that is wanted has been found; the former process's are closed.
    pub(crate) fn settle(&self) {
        for Passed { what, address, .. } in self.passed.lock().drain(..) {
            info!("{what} ({address}) of the former process is not wanted any more, and closed");
        }
        for one in self.sockets.iter().filter(|one| !one.used.load(Ordering::Relaxed)) {
            warn!(
                "the service manager's socket on {} is for no port of a Gateway and none of trysail's own, so \
                 connections to it wait for nothing; take it out of the .socket unit, or open a port on it",
                one.address
            );
        }
    }
}

impl One {
    /// Whether it takes every connection that a socket on this address would, and no other: `ListenStream=80` is
    /// `[::]:80`, which takes IPv4 too.
    fn covers(&self, wanted: SocketAddr) -> bool {
        self.address.port() == wanted.port()
            && self.address.ip().is_unspecified()
            && wanted.ip().is_unspecified()
            && (self.address.is_ipv4() == wanted.is_ipv4()
                || self.address.is_ipv6() && SockRef::from(&self.socket).only_v6().is_ok_and(|only| !only))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bind;
    use super::*;

    fn handed_over(addresses: &[&str]) -> Inherited {
        let open = |address: &&str| bind(address.parse().expect("an address")).expect("bound").socket;
        Inherited::new(addresses.iter().map(open).collect())
    }

    #[test]
    fn sockets_are_known_by_their_addresses() {
        for (held, wanted, found) in [
            ("127.0.0.1:0", "127.0.0.1", true),
            ("127.0.0.1:0", "127.0.0.2", false),
            // One address of the machine's does not stand for all of them, nor all for one.
            ("127.0.0.1:0", "0.0.0.0", false),
            ("[::]:0", "127.0.0.1", false),
            ("0.0.0.0:0", "0.0.0.0", true),
            ("[::]:0", "0.0.0.0", true),
            ("[::]:0", "::", true),
            ("0.0.0.0:0", "::", false),
        ] {
            let inherited = handed_over(&[held]);
            let address = inherited.sockets[0].address;
            let wanted = SocketAddr::new(wanted.parse().unwrap(), address.port());
            let bound = inherited.find(wanted, "80");
            assert_eq!(bound.is_some(), found, "{held} for {wanted}");
            assert!(bound.is_none_or(|bound| bound.is_ok_and(|bound| bound.address == address)));
            assert!(inherited.find(SocketAddr::new(wanted.ip(), 1), "80").is_none());
        }
    }

    #[test]
    fn an_exact_address_goes_before_all_addresses_and_may_be_asked_for_again() {
        let inherited = handed_over(&["[::]:0"]);
        let port = inherited.sockets[0].address.port();
        let wanted: SocketAddr = ([0, 0, 0, 0], port).into();
        for _ in 0..2 {
            // What was copied before has been closed by now.
            let bound = inherited.find(wanted, "80").expect("it is there").expect("it can be copied");
            assert_eq!(bound.address.port(), port);
        }
        assert!(inherited.sockets[0].used.load(Ordering::Relaxed));
    }

    #[test]
    fn a_socket_that_does_not_listen_is_left_alone() {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&address.into()).expect("bound");
        assert!(Inherited::new(vec![socket.into()]).sockets.is_empty());
    }

    #[test]
    fn a_former_process_gives_each_socket_once_by_address_or_by_what_it_is_for() {
        let handed = |what: &str| {
            let Bound { socket, .. } = bind("127.0.0.1:0".parse().unwrap()).expect("bound");
            Handed { label: Label { what: what.to_owned(), kept: false }, socket: socket.into() }
        };
        let inherited = Inherited::handed(vec![handed("80"), handed("81"), handed("metrics"), handed("82")]);
        let address = |what: &str| {
            let passed = inherited.passed.lock();
            passed.iter().find(|one| one.what == what).map(|one| one.address).expect("it is there")
        };
        let (first, second) = (address("80"), address("81"));
        let any = "127.0.0.1:0".parse().unwrap();
        for (wanted, what, found) in [
            // By the address, whatever it was for.
            (first, "8080", Some(first)),
            (first, "80", None),
            (any, "80", None),
            (any, "81", Some(second)),
            (any, "81", None),
            ("0.0.0.0:0".parse().unwrap(), "82", None),
        ] {
            let bound = inherited.find(wanted, what).map(|bound| bound.expect("it is sound").address);
            assert_eq!(bound, found, "{wanted} for {what}");
        }
        inherited.settle();
        assert!(inherited.find(any, "metrics").is_none());
    }
}
