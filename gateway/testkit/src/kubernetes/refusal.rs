//! What a request is refused with: a `Status` object, in the words of the real server.

use serde_json::{Value, json};

use super::kinds::Kind;

/// A refusal. As an answer it is a `Status`; as an event of a watch, the object of an ERROR.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// Empty where the real server tells none.
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Value,
    /// `metadata` of the `Status`.
    pub(super) metadata: Value,
    /// Seconds.
    pub(super) retry_after: Option<u32>,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) field: String,
    pub(super) message: String,
}

// === impl Cause ===

impl Cause {
    pub(super) fn new(reason: &'static str, field: &str, message: impl Into<String>) -> Cause {
        Cause { reason, field: field.to_owned(), message: message.into() }
    }

    pub(super) fn required(field: &str) -> Cause {
        Cause::new("FieldValueRequired", field, "Required value")
    }

    /// `value` as messages show it: a string with its quotes.
    pub(super) fn invalid(field: &str, value: &str, says: &str) -> Cause {
        Cause::new("FieldValueInvalid", field, format!("Invalid value: {value}: {says}"))
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        let (details, metadata) = (Value::Null, json!({}));
        Refusal { code, reason, message: message.into(), details, metadata, retry_after: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message)
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Refusal {
        Refusal::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).of(kind, name)
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Refusal {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Refusal::new(409, "AlreadyExists", message).of(kind, name)
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Refusal::new(409, "Conflict", message).of(kind, name)
    }

    pub(super) fn modified(kind: &Kind, name: &str) -> Refusal {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(kind, name, why)
    }

    pub(super) fn method_not_allowed() -> Refusal {
        let message = "the server does not allow this method on the requested resource";
        Refusal::new(405, "MethodNotAllowed", message)
    }

    /// An object that does not fit its kind.
    pub(super) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Refusal {
        let told: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let told = if told.len() == 1 { told.concat() } else { format!("[{}]", told.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {told}", kind.qualified_kind());
        let mut refusal = Refusal::new(422, "Invalid", message).of(kind, name);
        refusal.details["kind"] = kind.kind.as_str().into();
        refusal.details["causes"] = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        refusal
    }

    pub(super) fn too_old(asked: u64, oldest: u64) -> Refusal {
        Refusal::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// Names the object in `details`; an empty name is left out.
    pub(super) fn of(mut self, kind: &Kind, name: &str) -> Refusal {
        let mut details = json!({"kind": kind.plural});
        for (field, value) in [("group", kind.group.as_str()), ("name", name)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        self.details = details;
        self
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = seconds.into();
        }
        status
    }
}
