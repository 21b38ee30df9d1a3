//! How each kind is heard: who is connected, what stands in the way, when something last came. Told once to the log, and
//! kept for `status` and the metrics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Kind;
use crate::question::Fault;

/// Everyone who follows a kind.
pub struct Standing {
    seats: Mutex<Vec<Arc<Seat>>>,
    /// Whether it was said that nobody answers, and not yet that somebody does.
    silent: AtomicBool,
    /// Grows whenever a kind is known for the first time.
    settled: watch::Sender<u64>,
}

/// One follower's: of a kind, in all namespaces or in one.
pub(crate) struct Seat {
    kind: Kind,
    scope: String,
    line: Mutex<Line>,
}

/// How one kind is heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Whether what it says is known, or known not to be had.
    pub settled: bool,
    /// Whether changes are heard as they happen.
    pub connected: bool,
    /// What stands in the way.
    pub fault: Option<String>,
    /// Whether that is no more than that the API server has no such kind.
    pub absent: bool,
    /// Whether it has had none for so long that there are no objects of it.
    pub gone: bool,
    /// When the API server last said anything of it.
    pub heard: Option<SystemTime>,
    /// Counts since the start.
    pub totals: Totals,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Objects that came, changed or went, as watches told.
    pub events: u64,
    /// Lists, the first among them.
    pub lists: u64,
    /// Questions that had no answer.
    pub faults: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Standing { seats: Mutex::default(), silent: AtomicBool::new(false), settled: watch::Sender::new(0) }
    }
}

impl Standing {
    pub(crate) fn open(&self, kind: Kind, scope: String) -> Arc<Seat> {
        let seat = Arc::new(Seat { kind, scope, line: Mutex::default() });
        self.seats.lock().push(seat.clone());
        seat
    }

    pub(crate) fn close(&self, seat: &Arc<Seat>) {
        self.seats.lock().retain(|other| !Arc::ptr_eq(other, seat));
    }

    /// How every kind is heard; of a kind that is followed in several namespaces what is worst.
    pub fn lines(&self) -> Vec<(Kind, Line)> {
        let mut lines: Vec<(Kind, Line)> = Vec::new();
        for seat in self.seats.lock().iter() {
            let line = seat.line.lock().clone();
            match lines.iter_mut().find(|(kind, _)| *kind == seat.kind) {
                None => lines.push((seat.kind, line)),
                Some((_, sum)) => {
                    sum.settled &= line.settled;
                    sum.connected &= line.connected;
                    sum.gone &= line.gone;
                    sum.absent = if sum.fault.is_some() { sum.absent } else { line.absent };
                    sum.fault = sum.fault.take().or(line.fault);
                    sum.heard = sum.heard.max(line.heard);
                    sum.totals.events += line.totals.events;
                    sum.totals.lists += line.totals.lists;
                    sum.totals.faults += line.totals.faults;
                }
            }
        }
        lines
    }

    /// Waits until every kind is known, or is known not to be had.
    pub async fn all_settled(&self) {
        let mut settled = self.settled.subscribe();
        loop {
            settled.borrow_and_update();
            if self.is_settled() || settled.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether every kind is known, or is known not to be had.
    pub fn is_settled(&self) -> bool {
        self.seats.lock().iter().all(|seat| seat.line.lock().settled)
    }

    /// The kinds of which the API server has not told what there is: it may not be asked, or does not find them yet.
    pub fn untold(&self) -> BTreeSet<Kind> {
        let is_told = |line: &Line| line.totals.lists > 0 || line.gone;
        let seats = self.seats.lock();
        seats.iter().filter(|seat| !is_told(&seat.line.lock())).map(|seat| seat.kind).collect()
    }

    /// Tells whenever a kind is known that was not.
    pub(crate) fn settles(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Notes a list, with what came of it.
    pub(crate) fn listed(&self, seat: &Seat) {
        let first = {
            let mut line = seat.line.lock();
            line.heard = Some(SystemTime::now());
            line.totals.lists += 1;
            line.gone = false;
            line.settled = true;
            line.totals.lists == 1
        };
        if first {
            self.settled.send_modify(|count| *count += 1);
        }
        self.answered(seat);
    }

    /// Notes that changes are heard from now on.
    pub(crate) fn connected(&self, seat: &Seat) {
        {
            let mut line = seat.line.lock();
            (line.connected, line.heard) = (true, Some(SystemTime::now()));
        }
        self.answered(seat);
    }

    /// Notes that a watch said something; `event` where an object came, changed or went.
    pub(crate) fn heard(&self, seat: &Seat, event: bool) {
        let mut line = seat.line.lock();
        line.heard = Some(SystemTime::now());
        line.totals.events += u64::from(event);
    }

    /// Notes that a watch has ended.
    pub(crate) fn ended(&self, seat: &Seat) {
        seat.line.lock().connected = false;
    }

    /// Notes that there are no objects of it, as there is no such kind.
    pub(crate) fn gone(&self, seat: &Seat) {
        let was = std::mem::replace(&mut seat.line.lock().gone, true);
        if !was {
            self.settled.send_modify(|count| *count += 1);
        }
    }

    /// Notes what stands in the way, and says it unless it was said.
    pub(crate) fn failed(&self, seat: &Seat, fault: &Fault, again: Duration) {
        let said = fault.to_string();
        let (is_new, first) = {
            let mut line = seat.line.lock();
            line.connected = false;
            line.totals.faults += 1;
            let is_new = line.fault.as_ref() != Some(&said);
            line.fault = Some(said.clone());
            line.absent = *fault == Fault::Absent;
            // Nobody waits for what can't be had.
            let known = matches!(fault, Fault::Absent | Fault::Forbidden(_));
            let was = line.settled;
            line.settled |= known;
            (is_new, known && !was)
        };
        if first {
            self.settled.send_modify(|count| *count += 1);
        }
        if !is_new {
            return;
        }
        let (kind, scope, resource) = (seat.kind, &seat.scope, seat.kind.resource());
        let again = again.as_secs_f64();
        match fault {
            Fault::Absent => {
                info!("the cluster has no {resource}: {kind}{scope} is looked for again from time to time")
            }
            Fault::Forbidden(said) => warn!(
                "{kind}{scope} is not followed: the API server does not allow it: {said}; what is known of it stays, \
                 the other kinds go on; give the service account get, list and watch on {resource}"
            ),
            Fault::Unreachable(said) => {
                if !self.silent.swap(true, Ordering::Relaxed) {
                    warn!(
                        "the API server can't be reached: {said}; traffic goes on by what is known of the cluster, and \
                         it is asked again"
                    );
                }
            }
            Fault::Expired => {
                info!("{kind}{scope} is listed anew: the API server has forgotten what was heard last")
            }
            fault => warn!("{kind}{scope} is not heard: {fault}; asked again after {again:.1} s"),
        }
    }

    /// An answer: whatever stood in the way does not any more.
    fn answered(&self, seat: &Seat) {
        let before = {
            let mut line = seat.line.lock();
            line.absent = false;
            line.fault.take()
        };
        if before.is_none() {
            return;
        }
        let still = self.seats.lock().iter().any(|seat| {
            seat.line
                .lock()
                .fault
                .as_ref()
                .is_some_and(|fault| fault.starts_with("the API server can't be reached"))
        });
        if !still && self.silent.swap(false, Ordering::Relaxed) {
            info!("the API server answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_had_is_not_waited_for() {
        let standing = Standing::default();
        let seats = [Kind::Gateway, Kind::Pod, Kind::Secret].map(|kind| standing.open(kind, String::new()));
        let settled = |standing: &Standing| standing.lines().iter().filter(|(_, line)| line.settled).count();
        let wait = Duration::from_secs(1);
        standing.failed(&seats[0], &Fault::Unreachable("refused".into()), wait);
        assert_eq!(settled(&standing), 0);
        standing.failed(&seats[0], &Fault::Absent, wait);
        standing.failed(&seats[1], &Fault::Forbidden("no".into()), wait);
        assert_eq!(settled(&standing), 2);
        assert_eq!(standing.untold().len(), 3, "none has told what there is");
        standing.gone(&seats[0]);
        standing.listed(&seats[2]);
        assert_eq!(settled(&standing), 3);
        standing.failed(&seats[2], &Fault::Busy(None), wait);
        assert_eq!(settled(&standing), 3, "what was known is known");
        assert_eq!(standing.untold().into_iter().collect::<Vec<_>>(), [Kind::Pod]);
        standing.connected(&seats[1]);
        let lines = standing.lines();
        assert_eq!((lines[1].1.connected, &lines[1].1.fault), (true, &None));
        assert_eq!(lines[0].1.totals.faults, 2);
    }

    #[test]
    fn of_several_namespaces_the_worst_is_told() {
        let standing = Standing::default();
        let seats = ["a", "b"].map(|scope| standing.open(Kind::Pod, scope.to_owned()));
        seats.iter().for_each(|seat| {
            standing.listed(seat);
            standing.connected(seat);
        });
        standing.failed(&seats[1], &Fault::Busy(None), Duration::ZERO);
        let [(_, line)] = &standing.lines()[..] else { panic!("one kind") };
        assert!(line.settled && !line.connected && line.fault.is_some());
        assert_eq!(line.totals.lists, 2);
    }
}
