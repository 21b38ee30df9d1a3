//! What clients may take in time and have in number, as all listeners share it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::head::HeadLimits;
use crate::metrics::{Edge, Refused};

/// Limits of every connection.
pub(crate) struct Bounds {
    /// To begin its first request.
    pub(crate) first: Duration,
    /// To begin each further one; for bytes that are passed on, to move at all.
    pub(crate) idle: Duration,
    /// For the handshake of TLS.
    pub(crate) handshake: Duration,
    /// The head of a request.
    pub(crate) head: HeadLimits,
    /// Within this, a client that is sent something takes `send_minimum` of it.
    pub(crate) send: Duration,
    pub(crate) send_minimum: usize,
    /// Frames of HTTP/2 that do no good.
    pub(crate) frames: u32,
    /// Requests of HTTP/2 that begin at a time without a window for their answers, and bytes of answers that one
    /// connection may leave with us.
    pub(crate) unfunded: usize,
    pub(crate) buffered: usize,
    /// Connections to the process, to one port, and from one address.
    pub(crate) connections: usize,
    pub(crate) per_listener: usize,
    pub(crate) per_client: Option<usize>,
    /// Connections by address, where that is limited.
    pub(crate) clients: Arc<Clients>,
    /// Where those that are turned away or cut are counted.
    pub(crate) edge: Arc<Edge>,
}

/// One port's connections.
#[derive(Debug, Default)]
pub(super) struct Door(Arc<AtomicUsize>);

/// How many connections there are from each address.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// A connection that a port let in; dropping it lets another in.
pub(super) struct Inside(Arc<AtomicUsize>);

/// A connection that counts for its client's address, where that is limited, until it is dropped.
pub(super) struct Guest(Option<(Arc<Clients>, IpAddr)>);

impl Door {
    /// Lets a connection in, if it may.
    pub(super) fn enter(&self, bounds: &Bounds) -> Result<Inside, Refused> {
        let open = self.0.fetch_add(1, Ordering::Relaxed);
        let inside = Inside(self.0.clone());
        if open < bounds.per_listener { Ok(inside) } else { Err(Refused::Listener) }
    }
}

impl Bounds {
    /// Lets a client's connection in, if there may be another from its address: the one that a PROXY header tells, as
    /// all clients behind a load balancer come from the balancer's.
    pub(super) fn welcome(&self, client: Option<IpAddr>) -> Result<Guest, Refused> {
        let (Some(most), Some(client)) = (self.per_client, client) else { return Ok(Guest(None)) };
        let client = client.to_canonical();
        let mut clients = self.clients.0.lock();
        let count = clients.entry(client).or_default();
        if *count >= most {
            return Err(Refused::Client);
        }
        *count += 1;
        Ok(Guest(Some((self.clients.clone(), client))))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some((clients, client)) = self.0.take()
            && let Entry::Occupied(mut count) = clients.0.lock().entry(client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
