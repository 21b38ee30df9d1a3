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

/// A connection that was let in; dropping it lets another in.
pub(super) struct Inside {
    listener: Arc<AtomicUsize>,
    client: Option<(Arc<Clients>, IpAddr)>,
}

impl Door {
    /// Lets a connection in, if it may.
    pub(super) fn enter(&self, client: IpAddr, bounds: &Bounds) -> Result<Inside, Refused> {
        let open = self.0.fetch_add(1, Ordering::Relaxed);
        let mut inside = Inside { listener: self.0.clone(), client: None };
        if open >= bounds.per_listener {
            return Err(Refused::Listener);
        }
        if let Some(most) = bounds.per_client {
            let client = client.to_canonical();
            let mut clients = bounds.clients.0.lock();
            let count = clients.entry(client).or_default();
            if *count >= most {
                return Err(Refused::Client);
            }
            *count += 1;
            inside.client = Some((bounds.clients.clone(), client));
        }
        Ok(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.listener.fetch_sub(1, Ordering::Relaxed);
        if let Some((clients, client)) = self.client.take()
            && let Entry::Occupied(mut count) = clients.0.lock().entry(client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
