//! What is found wrong with an object, written to its status, and told as an Event: by the one gateway that leads, and only
//! where it is another than what stands there.
//!
//! A weight that a rollout moves every ten seconds is written down each time, so writes are few and slow: one object after
//! the other, some time after the change, and never again for what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use log::warn;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Key;
use crate::api::Api;
use crate::held::{Facts, Held};
use crate::question::{Fault, Place};

/// Our condition among an object's.
pub(crate) const CONDITION: &str = "trysail.dev/Applied";

/// Findings that stand in a condition's message; more are counted.
const TOLD: usize = 10;

/// Changes are written when they are so old: a rollout's next step may be on its way.
const LATER: Duration = Duration::from_millis(500);

/// Between two writes.
const BETWEEN: Duration = Duration::from_millis(50);

/// All is looked over again after this, for what others have overwritten or could not be written.
const AGAIN: Duration = Duration::from_secs(60);

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in force.
    Applied,
    /// It has errors, and the version before it is in force.
    Kept,
    /// It has errors, and is not in force at all.
    LeftOut,
}

/// One finding about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `IST0101`.
    pub code: &'static str,
    /// `ReferencedResourceNotFound`.
    pub name: &'static str,
    /// Whether it is an error; else a warning.
    pub is_error: bool,
    /// The field, and what is wrong.
    pub text: String,
    /// Where it is explained; may be empty.
    pub url: String,
}

/// What is to be said of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which version of its spec was judged.
    pub generation: i64,
    /// What became of it.
    pub verdict: Verdict,
    /// What was found.
    pub messages: Vec<Message>,
}

/// What is to be said of all objects.
pub(crate) type Judgements = Arc<BTreeMap<Key, Judgement>>;

impl Judgement {
    fn reason(&self) -> &'static str {
        match (self.verdict, self.messages.is_empty()) {
            (Verdict::Applied, true) => "Applied",
            (Verdict::Applied, false) => "AppliedWithWarnings",
            (Verdict::Kept, _) => "LastGoodVersionKept",
            (Verdict::LeftOut, _) => "LeftOut",
        }
    }

    fn message(&self) -> String {
        let begin = match self.verdict {
            Verdict::Applied => "in force",
            Verdict::Kept => "refused; the version before it stays in force",
            Verdict::LeftOut => "refused; it is not in force",
        };
        let told = self.messages.iter().take(TOLD);
        let mut text = told.fold(begin.to_owned(), |text, message| {
            format!(
                "{text}\n{} {}: {}",
                if message.is_error { "error" } else { "warning" },
                message.code,
                message.text
            )
        });
        if self.messages.len() > TOLD {
            text.push_str(&format!(
                "\nand {} more; trysail check --kubernetes shows them",
                self.messages.len() - TOLD
            ));
        }
        text
    }

    /// The status that an object should have, where that is another than it has; and whether our verdict is new in it.
    fn status(&self, now: &str, before: &Value) -> Option<(Value, bool)> {
        let none = Vec::new();
        let conditions = before["conditions"].as_array().unwrap_or(&none);
        let ours = conditions.iter().find(|condition| condition["type"] == CONDITION);
        let status = if self.verdict == Verdict::Applied { "True" } else { "False" };
        let (reason, message) = (self.reason(), self.message());
        let is_same = |condition: &Value| {
            condition["status"] == status
                && condition["reason"] == reason
                && condition["message"] == *message
                && number(&condition["observedGeneration"]) == Some(self.generation)
        };
        if ours.is_some_and(is_same) {
            return None;
        }
        let turned = ours.is_none_or(|ours| ours["status"] != status);
        let since =
            ours.filter(|_| !turned).and_then(|ours| ours["lastTransitionTime"].as_str()).unwrap_or(now);
        let mut all: Vec<Value> =
            conditions.iter().filter(|condition| condition["type"] != CONDITION).cloned().collect();
        all.push(json!({
            "type": CONDITION, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": self.generation,
        }));
        let messages: Vec<Value> = self.messages.iter().map(message_of).collect();
        let mut status = json!({"conditions": all, "observedGeneration": self.generation});
        // Another's messages are left alone where there is nothing to say.
        if !messages.is_empty() || ours.is_some() {
            status["validationMessages"] = messages.into();
        }
        Some((status, turned || ours.is_some_and(|ours| ours["message"] != *message)))
    }
}

fn message_of(message: &Message) -> Value {
    let mut value = json!({
        "type": {"code": message.code, "name": message.name},
        "level": if message.is_error { "ERROR" } else { "WARNING" },
    });
    if !message.url.is_empty() {
        value["documentationUrl"] = message.url.as_str().into();
    }
    value
}

/// A number, or one in a text, as Istio writes it.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Writes what is found.
pub(crate) struct Reporter {
    pub(crate) api: Api,
    pub(crate) held: Arc<Held>,
    pub(crate) judged: watch::Receiver<Judgements>,
    pub(crate) leads: watch::Receiver<bool>,
    pub(crate) identity: String,
}

impl Reporter {
    /// Writes until the task is dropped.
    pub(crate) async fn run(mut self) {
        let mut forbidden = false;
        loop {
            tokio::select! {
                changed = self.judged.changed() => if changed.is_err() { return },
                changed = self.leads.changed() => if changed.is_err() { return },
                () = sleep(AGAIN) => {}
            }
            sleep(LATER).await;
            let judgements = self.judged.borrow_and_update().clone();
            for (key, judgement) in judgements.iter() {
                if !*self.leads.borrow_and_update() || self.judged.has_changed().unwrap_or(true) {
                    break;
                }
                match self.tell(key, judgement).await {
                    Ok(false) => {}
                    Ok(true) => {
                        forbidden = false;
                        sleep(BETWEEN).await;
                    }
                    Err(Fault::Forbidden(said)) => {
                        if !std::mem::replace(&mut forbidden, true) {
                            warn!(
                                "findings are not written to the objects' status: {said}; give the service account patch on \
                                 {}/status, or switch it off: kubernetes.status: false",
                                key.kind.resource()
                            );
                        }
                        break;
                    }
                    // The object is gone, or it is tried again soon.
                    Err(_) => sleep(BETWEEN).await,
                }
            }
        }
    }

    /// Writes an object's status, where it is another; whether it did.
    async fn tell(&self, key: &Key, judgement: &Judgement) -> Result<bool, Fault> {
        let mut facts = self.held.facts(key);
        // Somebody else may write too: what is written is what stands there then, with ours in it.
        for _ in 0..3 {
            let Some(known) = &facts else { return Ok(false) };
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            // What was judged is not what is there any more: the next judgement is on its way.
            if known.generation != judgement.generation {
                return Ok(false);
            }
            let Some((status, is_news)) = judgement.status(&now, &known.status) else { return Ok(false) };
            let place = Place::of(key.kind, &known.api, Some(&key.namespace)).path();
            let body = json!({"metadata": {"resourceVersion": known.resource_version}, "status": status});
            let request = Request::patch(format!("{place}/{}/status", key.name))
                .header("content-type", "application/merge-patch+json");
            match self.api.ask(request, Some(&body)).await {
                Ok(_) => {
                    if is_news {
                        self.announce(key, known, judgement, &now).await;
                    }
                    return Ok(true);
                }
                Err(Fault::Conflict) => {
                    let item = self.api.ask(Request::get(format!("{place}/{}", key.name)), None).await?;
                    facts = Some(Arc::new(crate::held::facts(key.kind, &known.api, &item)));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(false)
    }

    /// Tells it as an Event, which `kubectl describe` shows. That it can't be is no matter: the status says the same.
    async fn announce(&self, key: &Key, facts: &Facts, judgement: &Judgement, now: &str) {
        let (kind, reason) = match judgement.verdict {
            Verdict::Applied => ("Normal", judgement.reason()),
            Verdict::Kept | Verdict::LeftOut => ("Warning", judgement.reason()),
        };
        // Nobody waits for the news that all is well.
        if judgement.verdict == Verdict::Applied && !has_condition(&facts.status) {
            return;
        }
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{}.{:016x}", key.name, fastrand::u64(..)), "namespace": &*key.namespace},
            "involvedObject": {
                "apiVersion": format!("{}/{}", key.kind.group(), facts.api), "kind": key.kind.name(),
                "namespace": &*key.namespace, "name": &*key.name, "uid": facts.uid,
                "resourceVersion": facts.resource_version,
            },
            "type": kind, "reason": reason, "message": judgement.message().chars().take(1000).collect::<String>(),
            "source": {"component": "trysail"}, "reportingComponent": "trysail.dev/gateway",
            "reportingInstance": self.identity, "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let place =
            Place { group: "", version: "v1", namespace: Some(&key.namespace), plural: "events" }.path();
        let request = Request::post(place).header("content-type", "application/json");
        let _ = self.api.ask(request, Some(&event)).await;
    }
}

fn has_condition(status: &Value) -> bool {
    status["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|condition| condition["type"] == CONDITION))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(verdict: Verdict, generation: i64, messages: &[&str]) -> Judgement {
        let message = |text: &&str| Message {
            code: "IST0106",
            name: "SchemaValidationError",
            is_error: verdict != Verdict::Applied,
            text: (*text).to_owned(),
            url: String::new(),
        };
        Judgement { generation, verdict, messages: messages.iter().map(message).collect() }
    }

    #[test]
    fn a_status_is_written_where_it_is_another() {
        let mut status = json!({"conditions": [{"type": "Reconciled", "status": "True"}], "extra": 1});
        for (judgement, written, news, condition, messages) in [
            (judgement(Verdict::Applied, 1, &[]), true, true, "True", None),
            (judgement(Verdict::Applied, 1, &[]), false, false, "True", None),
            (judgement(Verdict::Applied, 2, &[]), true, false, "True", Some(0)),
            (judgement(Verdict::Kept, 3, &["x"]), true, true, "False", Some(1)),
            (judgement(Verdict::Kept, 3, &["x"]), false, false, "False", Some(1)),
            (judgement(Verdict::Kept, 4, &["y"]), true, true, "False", Some(1)),
            (judgement(Verdict::Applied, 5, &["w"]), true, true, "True", Some(1)),
            (judgement(Verdict::Applied, 6, &[]), true, true, "True", Some(0)),
        ] {
            let found = judgement.status("2026-01-01T00:00:00Z", &status);
            assert_eq!(found.is_some(), written, "{judgement:?}");
            if let Some((after, is_news)) = found {
                assert_eq!(is_news, news, "{judgement:?}");
                for (key, value) in after.as_object().expect("a map") {
                    status[key] = value.clone();
                }
            }
            let conditions = status["conditions"].as_array().expect("a list");
            assert_eq!(conditions.len(), 2, "others' conditions stay");
            assert_eq!(conditions[1]["status"], condition);
            assert_eq!(status["validationMessages"].as_array().map(Vec::len), messages);
        }
    }

    #[test]
    fn a_message_has_an_end() {
        let texts: Vec<String> = (0..40).map(|index| index.to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let message = judgement(Verdict::LeftOut, 1, &texts).message();
        assert_eq!(message.lines().count(), TOLD + 2);
        assert!(message.ends_with("and 30 more; trysail check --kubernetes shows them"));
    }
}
