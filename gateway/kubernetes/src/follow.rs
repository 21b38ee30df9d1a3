//! One kind, followed for as long as the process runs: listed, then watched; and from where it was when a watch ends.
//!
//! Why not kube's own watcher: what to do in each kind of trouble is the point here (which kind is forbidden, what is
//! absent and for how long, who hangs), and it is the part that one would have to take apart.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::Timing;
use crate::api::Api;
use crate::held::{Held, Listed, Teller};
use crate::pace::Pace;
use crate::question::{Fault, Place, Told};
use crate::standing::{Seat, Standing};

/// Follows one kind in one scope.
pub(crate) struct Follow {
    pub(crate) api: Api,
    pub(crate) held: Arc<Held>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) teller: Teller,
    /// A field selector, or empty.
    pub(crate) selector: String,
    pub(crate) timing: Timing,
}

/// Up to where it was heard.
struct Mark {
    api: &'static str,
    version: String,
}

/// A watch that ends sooner did not work; it is not asked for again at once.
const SHORT: Duration = Duration::from_secs(1);

/// So many watches in a row that failed though the server answers: what they begin at may be what it does not know, as
/// after a restored backup.
const STRIKES: u32 = 5;

impl Follow {
    /// Follows until the task is dropped.
    pub(crate) async fn run(self) {
        let mut pace = Pace::new(self.timing.first_wait, self.timing.longest_wait);
        let mut mark: Option<Mark> = None;
        let mut absent_since: Option<Instant> = None;
        let mut strikes = 0;
        loop {
            let began = Instant::now();
            let outcome = self.once(&mut mark, &mut pace).await;
            self.standing.ended(&self.seat);
            let lasted = began.elapsed() >= SHORT;
            let fault = match outcome {
                Ok(()) if lasted => {
                    pace.reset();
                    (absent_since, strikes) = (None, 0);
                    continue;
                }
                Ok(()) => {
                    sleep(pace.next(fastrand::f64())).await;
                    continue;
                }
                Err(fault) => fault,
            };
            let wait = match &fault {
                // Everyone is told so at the same moment.
                Fault::Expired => self.timing.spread.mul_f64(fastrand::f64()),
                Fault::Forbidden(_) => self.timing.rare().next(fastrand::f64()),
                Fault::Absent if self.is_gone(&mut absent_since) => self.timing.rare().next(fastrand::f64()),
                Fault::Busy(Some(after)) => {
                    pace.next(fastrand::f64()).max(after.mul_f64(1.0 + fastrand::f64()))
                }
                _ => pace.next(fastrand::f64()),
            };
            match fault {
                Fault::Expired | Fault::Absent => mark = None,
                Fault::Unreachable(_) => {}
                _ => {
                    strikes += 1;
                    if strikes % STRIKES == 0 {
                        mark = None;
                    }
                }
            }
            if fault != Fault::Absent {
                absent_since = None;
            }
            self.standing.failed(&self.seat, &fault, wait);
            sleep(wait).await;
        }
    }

    /// Whether a kind that the server does not have is gone: it may only be slow to find its own, as after a restart,
    /// when it answers 404 for a while. What is known stays until then.
    fn is_gone(&self, since: &mut Option<Instant>) -> bool {
        let gone = since.get_or_insert_with(Instant::now).elapsed() >= self.timing.gone_after;
        if gone {
            self.held.forget(&self.teller);
            self.standing.gone(&self.seat);
        }
        gone
    }

    /// A list where there is no mark yet, and then one watch to its end.
    async fn once(&self, mark: &mut Option<Mark>, pace: &mut Pace) -> Result<(), Fault> {
        let at = match mark {
            Some(at) => at,
            None => {
                let (api, version) = self.list().await?;
                self.standing.listed(&self.seat);
                pace.reset();
                mark.insert(Mark { api, version })
            }
        };
        let lasts = self.timing.watch.mul_f64(0.8 + 0.4 * fastrand::f64());
        let place = Place::of(self.teller.kind, at.api, self.teller.namespace.as_deref());
        let mut events = pin!(self.api.watch(&place, &self.selector, &at.version, lasts).await?);
        self.standing.connected(&self.seat);
        loop {
            // Who says nothing, not even that nothing happened, may be gone; asking anew costs little.
            let Ok(next) = timeout(self.timing.silence.min(lasts + SHORT), events.next()).await else {
                return Ok(());
            };
            let Some(event) = next else { return Ok(()) };
            let (object, happened) = match event? {
                Told::Put(object) => {
                    self.held.put(&self.teller, at.api, &object);
                    (object, true)
                }
                Told::Gone(object) => {
                    self.held.remove(&self.teller, &object);
                    (object, true)
                }
                Told::Mark(version) => {
                    at.version = version;
                    (Value::Null, false)
                }
            };
            if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
                version.clone_into(&mut at.version);
            }
            pace.reset();
            self.standing.heard(&self.seat, happened);
        }
    }

    /// The list, by the first version of the API that the server has; and the moment that it is of.
    async fn list(&self) -> Result<(&'static str, String), Fault> {
        for api in self.teller.kind.versions() {
            match self.list_by(api).await {
                Err(Fault::Absent) => {}
                answer => return Ok((api, answer?)),
            }
        }
        Err(Fault::Absent)
    }

    async fn list_by(&self, api: &'static str) -> Result<String, Fault> {
        let place = Place::of(self.teller.kind, api, self.teller.namespace.as_deref());
        let mut listed = Listed::default();
        // An end to it, whatever the server says: 10,000 pages are five million objects.
        for _ in 0..10_000 {
            let text = self.api.page(&place, &self.selector, &listed.next).await?;
            let (held, teller) = (self.held.clone(), self.teller.clone());
            // Megabytes of JSON; whoever is served by this thread would wait for them.
            let read =
                spawn_blocking(move || held.read_page(&teller, api, &text, &mut listed).then_some(listed));
            listed = match read.await {
                Ok(Some(listed)) => listed,
                Ok(None) => return Err(Fault::Other("a list that is not understood".to_owned())),
                Err(_) => return Err(Fault::Other("a list that could not be read".to_owned())),
            };
            if listed.next.is_empty() {
                self.held.replace(&self.teller, &listed);
                return Ok(listed.version);
            }
        }
        Err(Fault::Other("a list without an end".to_owned()))
    }
}
