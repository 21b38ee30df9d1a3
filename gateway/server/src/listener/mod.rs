//! Ports opened and closed while the process runs: each its own accept loop, all the same data plane.
//!
//! Pingora's `Server` fixes its ports at start, so its listening `Service` is started here, one for each socket,
//! with the socket bound beforehand: a port that cannot be bound is then an answer and not a panic, the real
//! port behind 0 is known, and descriptors can come from elsewhere. Each service gets a table of descriptors of
//! its own, which goes with it, so that no later listener can take up a number that was closed.

mod accept;
mod bounds;
mod conn;
mod frames;
mod guard;
mod head;
mod hello;
mod http;
mod idle;
mod inherited;
mod own;
mod passage;
mod proxy_protocol;
mod refusal;
mod relay;
mod room;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig, Listeners};
use pingora_core::server::Fds;
use pingora_core::services::Service;
use pingora_core::services::listening;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trysail_routing::snapshot::ListenerKey;

use crate::upgrade::{Handed, Label};

pub(crate) use bounds::{Bounds, Clients};
pub(crate) use conn::Conn;
pub(crate) use head::HeadLimits;
pub(crate) use inherited::Inherited;
pub(crate) use own::Own;
pub(crate) use relay::Relay;
pub(crate) use room::{Connections, DataPlane, Room};

/// Connections that may wait to be accepted; the kernel takes the smaller of this and `somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long a client may leave what it was sent without a word: short enough to forget those that are gone, long enough
/// for one that reads through a tiny window.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// Bytes that wait in the kernel for a client before more are taken for it.
const UNSENT: u32 = 128 * 1024;

/// A socket that listens, and is not yet accepted from.
pub(crate) struct Bound {
    /// Its real address, also where port 0 was asked for.
    pub(crate) address: SocketAddr,
    socket: TcpListener,
}

/// Binds a socket and lets connections queue up on it.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    prepare(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from(socket);
    Ok(Bound { address: socket.local_addr()?, socket })
}

/// The socket for an address: one that was handed over, where there is one, else a new one. `what` is what it is for.
pub(crate) fn inherit_or_bind(address: SocketAddr, what: &str, inherited: &Inherited) -> io::Result<Bound> {
    inherited.find(address, what).unwrap_or_else(|| bind(address))
}

/// What every socket of ours has, whoever opened it.
fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Both are every connection's that is accepted. What a client never acknowledges is else kept by the kernel for a
    // quarter of an hour, also after the connection has been cut; and a client that reads slowly is seen to read at
    // all only where little is in the kernel's hands.
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// What the system says, without the number that it appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// An accept loop that runs until it is stopped.
pub(crate) struct Open {
    address: SocketAddr,
    /// To be handed to the process after this one; `None` where there was no descriptor for it.
    copy: Option<TcpListener>,
    stop: watch::Sender<bool>,
    loops: JoinHandle<()>,
}

/// Starts to accept from a socket, with `tasks` loops.
pub(crate) fn open<A>(bound: Bound, app: A, tasks: usize, runtime: &Handle) -> Open
where
    A: ServerApp + Send + Sync + 'static,
{
    let Bound { address, socket } = bound;
    let copy = socket.try_clone().ok();
    let name = address.to_string();
    let mut fds = Fds::new();
    fds.add(name.clone(), socket.into_raw_fd());
    let mut listeners = Listeners::new();
    // A connection's buffers are its own, and there only while there is something in them.
    let buffers = L4BufferSettings::new(0, 0);
    listeners.add_listener(ListenerConfig::tcp(&name).l4_buffer(buffers));
    let mut service = listening::Service::with_listeners(name, listeners, app);
    let (stop, stopped) = watch::channel(false);
    let fds = Arc::new(parking_lot::Mutex::new(fds));
    let loops = runtime.spawn(async move { service.start_service(Some(fds), stopped, tasks).await });
    Open { address, copy, stop, loops }
}

impl Open {
    /// A copy of its socket, for the process after this one.
    pub(crate) fn hand_out(&self, what: &str) -> io::Result<Handed> {
        let copy =
            self.copy.as_ref().ok_or_else(|| io::Error::other("there was no descriptor left to copy it"))?;
        let label = Label { what: what.to_owned(), kept: false };
        Ok(Handed { label, socket: copy.try_clone()?.into() })
    }

    /// Its real address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port. Its connections are told so with their next answer.
    ///
    /// The sender has to live as long as they do (its end would count as a change), so it is kept by a task.
    fn close(self, runtime: &Handle) {
        let _ = self.stop.send(true);
        runtime.spawn(async move { self.stop.closed().await });
    }

    /// Stops to accept, and waits until the accept loops have ended.
    pub(crate) async fn stop(self) -> watch::Sender<bool> {
        let _ = self.stop.send(true);
        let _ = self.loops.await;
        self.stop
    }
}

/// The gateway's own ports.
pub(crate) struct Ports {
    plane: DataPlane,
    inherited: Arc<Inherited>,
    tasks: usize,
    runtime: Handle,
    open: BTreeMap<ListenerKey, Open>,
    /// Nothing is accepted before this is true.
    gate: watch::Receiver<bool>,
}

/// Ports that were opened for a revision which is not yet in force.
#[derive(Default)]
pub(crate) struct Prepared {
    new: Vec<(ListenerKey, Bound)>,
}

impl Ports {
    /// No ports yet; all will be served by one data plane. What is `inherited` is taken before it is bound. Connections
    /// queue up until the `gate` is open.
    pub(crate) fn new(
        plane: DataPlane,
        inherited: Arc<Inherited>,
        tasks: usize,
        runtime: Handle,
        gate: watch::Receiver<bool>,
    ) -> Self {
        Ports { plane, inherited, tasks, runtime, open: BTreeMap::new(), gate }
    }

    /// Copies of all sockets, for the process after this one: the service manager's, and those that are open.
    pub(crate) fn hand_out(&self) -> io::Result<Vec<Handed>> {
        let mut handed = self.inherited.copies()?;
        for (key, open) in &self.open {
            if !self.inherited.holds(open.address) {
                handed.push(open.hand_out(&key.to_string())?);
            }
        }
        Ok(handed)
    }

    /// The address at which a listener is open already.
    pub(crate) fn address(&self, key: &ListenerKey) -> Option<SocketAddr> {
        self.open.get(key).map(|open| open.address)
    }

    /// Binds a new port, so that connections queue up on it, and gives its real address.
    pub(crate) fn prepare(
        &self,
        key: ListenerKey,
        address: SocketAddr,
        prepared: &mut Prepared,
    ) -> io::Result<SocketAddr> {
        let bound = inherit_or_bind(address, &key.to_string(), &self.inherited)?;
        let address = bound.address;
        prepared.new.push((key, bound));
        Ok(address)
    }

    /// Accepts from the new ports and closes those that are not in `keep`.
    pub(crate) fn commit(&mut self, prepared: Prepared, keep: &[ListenerKey]) {
        for (key, bound) in prepared.new {
            let room = Room::new(key, self.plane.clone());
            self.open.insert(key, accept::open(bound, room, self.tasks, &self.runtime, self.gate.clone()));
        }
        let gone: Vec<ListenerKey> = self.open.keys().filter(|key| !keep.contains(key)).copied().collect();
        for key in gone {
            if let Some(open) = self.open.remove(&key) {
                open.close(&self.runtime);
            }
        }
        let numbers: Vec<u16> = self.open.keys().map(|key| key.port).collect();
        self.plane.sockets.listening(self.open.len(), &numbers);
    }

    /// Closes every port, and waits until what is running has ended, at most for `grace`. To be called once
    /// [`Connections::drain`] was.
    pub(crate) async fn drain(self, connections: &Connections, grace: Duration) {
        let mut senders = Vec::new();
        for (_, open) in self.open {
            senders.push(open.stop().await);
        }
        connections.wait_for_none(grace).await;
    }
}
