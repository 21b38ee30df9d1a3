//! What one workload of one service was asked: counters that requests and connections add to.
//!
//! A request adds to three histograms; that there was one is what they tell. Which three is known from its status. They
//! are made when a status is first met, so that of most statuses there is nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use trysail_routing::snapshot::Workload;

use super::histogram::{BUCKETS, BYTES, Histogram, MICROSECONDS, cumulated};
use crate::metrics::{Ended, Flags, Grpc};
use crate::shards::Shards;

/// Statuses that have a place of their own. Others, and whatever has a flag, are rare and share a lock.
const COMMON: [u16; 17] =
    [200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 422, 429, 500, 503];

/// Where a status stands in [`COMMON`]; `COMMON.len()` for those that do not.
const SLOTS: [u8; 600] = {
    let mut slots = [COMMON.len() as u8; 600];
    let mut slot = 0;
    while slot < COMMON.len() {
        slots[COMMON[slot] as usize] = slot as u8;
        slot += 1;
    }
    slots
};

/// gRPC's statuses.
const GRPC: usize = 17;

/// Whom it is for. What is not known is written out, so that two keys are never exported as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The service's host and namespace.
    pub(super) host: Arc<str>,
    pub(super) namespace: Arc<str>,
    /// Who answered.
    pub(super) workload: Arc<Workload>,
}

/// How requests ended that are counted as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) grpc: Grpc,
}

/// Requests that ended alike.
#[derive(Debug, Default)]
pub(super) struct Requests(Shards<Spreads>);

/// How long they took, and how much they moved.
#[derive(Debug, Default)]
pub(super) struct Spreads {
    /// In microseconds.
    pub(super) duration: Histogram,
    /// In bytes.
    pub(super) received: Histogram,
    pub(super) sent: Histogram,
}

impl Requests {
    fn add(&self, ended: &Ended) {
        let micros = u64::try_from(ended.duration.as_micros()).unwrap_or(u64::MAX);
        let spreads = self.0.mine();
        spreads.duration.add(&MICROSECONDS, micros);
        spreads.received.add(&BYTES, ended.heads.0 + ended.received);
        spreads.sent.add(&BYTES, ended.heads.1 + ended.sent);
    }

    /// One of the histograms: how many values were up to each bound, the last of which has them all; and their sum.
    pub(super) fn cumulated(&self, of: fn(&Spreads) -> &Histogram) -> ([u64; BUCKETS], u64) {
        cumulated(self.0.all().map(of))
    }
}

/// Connections that were passed on, and ended alike.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    opened: AtomicU64,
    closed: AtomicU64,
    /// Bytes from clients.
    received: AtomicU64,
    /// Bytes to clients.
    sent: AtomicU64,
}

impl Streams {
    /// Counts one from here until what is given back is dropped.
    pub(crate) fn open(self: Arc<Self>) -> OpenStream {
        self.opened.fetch_add(1, Ordering::Relaxed);
        OpenStream(self)
    }

    /// Opened, closed, received, sent. What closed is read first, so that it is never more than what opened.
    pub(super) fn counts(&self) -> [u64; 4] {
        let closed = self.closed.load(Ordering::Acquire);
        let [opened, received, sent] =
            [&self.opened, &self.received, &self.sent].map(|count| count.load(Ordering::Relaxed));
        [opened, closed, received, sent]
    }
}

/// A connection that is passed on.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Streams>);

impl OpenStream {
    /// Bytes came from the client.
    pub(crate) fn received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes went to the client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Release);
    }
}

type Slot<T> = OnceLock<Arc<T>>;

/// The counters of one workload of one service.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) key: Key,
    http: [Slot<Requests>; COMMON.len()],
    /// Those of gRPC that were answered with 200, by gRPC's status.
    grpc: OnceLock<Box<[Slot<Requests>; GRPC]>>,
    rare: Mutex<BTreeMap<Outcome, Arc<Requests>>>,
    /// Messages of gRPC, from clients and to them.
    messages: [AtomicU64; 2],
    /// Connections on which nothing went wrong.
    streams: Slot<Streams>,
    failed: Mutex<BTreeMap<Flags, Arc<Streams>>>,
}

impl Account {
    pub(super) fn new(key: Key) -> Self {
        Account {
            key,
            http: [const { OnceLock::new() }; COMMON.len()],
            grpc: OnceLock::new(),
            rare: Mutex::default(),
            messages: [const { AtomicU64::new(0) }; 2],
            streams: OnceLock::new(),
            failed: Mutex::default(),
        }
    }

    /// Counts one request.
    pub(crate) fn count(&self, ended: &Ended) {
        let Ended { status, flags, grpc, .. } = *ended;
        let slot = if flags == Flags::default() { self.slot(status, grpc) } else { None };
        match slot {
            Some(slot) => slot.get_or_init(Arc::default).add(ended),
            None => self.rare.lock().entry(Outcome { status, flags, grpc }).or_default().add(ended),
        }
    }

    fn slot(&self, status: u16, grpc: Grpc) -> Option<&Slot<Requests>> {
        match grpc {
            Grpc::No => self.http.get(usize::from(*SLOTS.get(usize::from(status))?)),
            Grpc::Status(number) if status == 200 => {
                let slots = self.grpc.get_or_init(|| Box::new([const { OnceLock::new() }; GRPC]));
                slots.get(usize::from(number))
            }
            Grpc::Status(_) | Grpc::Unknown => None,
        }
    }

    /// Messages of gRPC passed: so many from the client, and so many to it.
    pub(crate) fn messages(&self, received: u64, sent: u64) {
        for (count, more) in self.messages.iter().zip([received, sent]) {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// Where connections are counted that are passed on, or that could not be for this reason.
    pub(crate) fn streams(&self, flags: impl Into<Flags>) -> Arc<Streams> {
        let flags = flags.into();
        match flags == Flags::default() {
            true => self.streams.get_or_init(Arc::default).clone(),
            false => self.failed.lock().entry(flags).or_default().clone(),
        }
    }

    /// Everything that requests were counted by.
    pub(super) fn requests(&self) -> Vec<(Outcome, Arc<Requests>)> {
        let http = COMMON.iter().zip(&self.http).map(|(status, slot)| (*status, Grpc::No, slot));
        let grpc = self.grpc.get().into_iter().flat_map(|slots| (0..).zip(slots.iter()));
        let grpc = grpc.map(|(number, slot)| (200, Grpc::Status(number), slot));
        let outcome = |(status, grpc, slot): (u16, Grpc, &Slot<Requests>)| {
            Some((Outcome { status, grpc, flags: Flags::default() }, slot.get()?.clone()))
        };
        let mut all: Vec<_> = http.chain(grpc).filter_map(outcome).collect();
        all.extend(self.rare.lock().iter().map(|(outcome, requests)| (*outcome, requests.clone())));
        all
    }

    /// Messages of gRPC so far, from clients and to them.
    pub(super) fn messages_so_far(&self) -> [u64; 2] {
        self.messages.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Everything that connections were counted by.
    pub(super) fn all_streams(&self) -> Vec<(Flags, Arc<Streams>)> {
        let plain = self.streams.get().map(|streams| (Flags::default(), streams.clone()));
        let mut all: Vec<_> = plain.into_iter().collect();
        all.extend(self.failed.lock().iter().map(|(flags, streams)| (*flags, streams.clone())));
        all
    }
}
