//! An Ingress's annotations, asked for one by one; what nobody asked for is found at the end, so that none is dropped in
//! silence.

use std::collections::BTreeSet;

use super::super::read::Source;
use super::super::refused::{self, Loss};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::nearest::nearest;
use crate::origin::{At, Pos};
use crate::wire::sink::Sink;

/// What the names begin with.
const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// The annotations of one Ingress, and which of them were asked for.
pub(super) struct Asked<'s, 'a> {
    source: &'s Source,
    taken: BTreeSet<&'static str>,
    pub(super) sink: Sink<'a>,
}

/// An annotation that keeps people out: its name and what it did.
pub(in super::super) type Protection = (String, &'static str);

/// What becomes of rules whose protection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unprotected {
    /// They answer 403.
    Closed,
    /// They let everybody in.
    Open,
    /// They send clients elsewhere, which nginx did before it looked who asks.
    Redirected,
}

impl Unprotected {
    fn told(self) -> &'static str {
        match self {
            Unprotected::Closed => ": its rules answer 403 until you have seen to it",
            Unprotected::Open => ": its rules let everybody in",
            Unprotected::Redirected => "; it sends everybody elsewhere, as in ingress-nginx",
        }
    }
}

impl<'s, 'a> Asked<'s, 'a> {
    pub(super) fn new(source: &'s Source, sink: Sink<'a>) -> Self {
        Asked { source, taken: BTreeSet::new(), sink }
    }

    /// An annotation's value; one that is empty is as good as absent.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'s At<String>> {
        self.taken.insert(name);
        let named = |key: &At<String>| key.strip_prefix(PREFIX) == Some(name);
        let (_, value) = self.source.annotations.iter().find(|(key, _)| named(key))?;
        (!value.trim().is_empty()).then_some(value)
    }

    /// A boolean, as Go reads it.
    pub(super) fn truth(&mut self, name: &'static str) -> Option<bool> {
        let value = self.text(name)?;
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                self.unreadable(value, name, "true or false");
                None
            }
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(&mut self, name: &'static str) -> Option<At<u32>> {
        let value = self.text(name)?;
        match value.parse::<u32>() {
            Ok(number) if number <= i32::MAX.unsigned_abs() => Some(At { value: number, pos: value.pos }),
            _ => {
                self.unreadable(value, name, "a whole number from 0");
                None
            }
        }
    }

    /// What ingress-nginx can't read it does not do, and says so in its log.
    fn unreadable(&mut self, value: &At<String>, name: &str, wanted: &str) {
        let message =
            format!("{:?} is not {wanted}, so {name:?} does nothing, in ingress-nginx too", value.value);
        self.sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, value.pos, message);
    }

    /// Something is not done here.
    pub(super) fn lost(&mut self, pos: Pos, message: String) -> &mut Diagnostic {
        self.sink.add(Severity::Error, Code::NOT_CARRIED_OVER, pos, message)
    }

    /// Something is done in another way here.
    pub(super) fn differs(&mut self, pos: Pos, message: String) -> &mut Diagnostic {
        self.sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, pos, message)
    }

    /// Says what is not carried over of all that nobody asked for; gives what kept people out.
    pub(super) fn rest(&mut self, then: Unprotected) -> Vec<Protection> {
        let mut protections = Vec::new();
        for (key, value) in &self.source.annotations {
            if key.starts_with("cert-manager.io/") || key.value == "kubernetes.io/tls-acme" {
                let message = format!("{:?} had a certificate made, which nobody does here", key.value);
                self.sink
                    .add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, key.pos, message)
                    .hints
                    .push("keep the object that asks for it (a Certificate), and copy what it renews".into());
            }
            let Some(name) = key.strip_prefix(PREFIX).filter(|name| !self.taken.contains(name)) else {
                continue;
            };
            if value.trim().is_empty() {
                continue;
            }
            if name.ends_with("-snippet") && !name.starts_with("modsecurity") {
                let protects = name == "auth-snippet" || refused::protects(value);
                self.snippet(key, name, protects, then);
                if protects {
                    protections.push((name.to_owned(), "has directives that keep somebody out"));
                }
                continue;
            }
            let Some(known) = refused::find(name) else {
                self.unknown(key, name);
                continue;
            };
            if is_off(name, value) {
                continue;
            }
            let then = if known.loss == Loss::Protection { then.told() } else { "" };
            let message = format!("{name:?} {}, and is not carried over{then}", known.did);
            let (severity, code) = match known.loss {
                Loss::Protection | Loss::ProtectionPart => {
                    (Severity::Error, Code::PROTECTION_NOT_CARRIED_OVER)
                }
                Loss::Lost => (Severity::Error, Code::NOT_CARRIED_OVER),
                Loss::Harmless => (Severity::Note, Code::CARRIED_OVER_DIFFERENTLY),
            };
            self.sink.add(severity, code, key.pos, message).hints.push(known.hint.to_owned());
            if known.loss == Loss::Protection {
                protections.push((name.to_owned(), known.did));
            }
        }
        protections
    }

    fn snippet(&mut self, key: &At<String>, name: &str, protects: bool, then: Unprotected) {
        let (code, then) = match protects {
            true => (
                Code::PROTECTION_NOT_CARRIED_OVER,
                format!("; it has directives that keep somebody out{}", then.told()),
            ),
            false => (Code::NOT_CARRIED_OVER, String::new()),
        };
        let message = format!("{name:?} is configuration of nginx's own, and is not carried over{then}");
        self.sink.add(Severity::Error, code, key.pos, message).hints.push(
            "write what it did as header operations, a redirect or a match of the VirtualService".into(),
        );
    }

    fn unknown(&mut self, key: &At<String>, name: &str) {
        let known = self.taken.iter().copied().chain(refused::names());
        let meant = nearest(name, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        let message = format!("{name:?} is not an annotation of ingress-nginx that is known here{meant}");
        self.lost(key.pos, message).hints.push("ingress-nginx passes over what it does not know".into());
    }
}

/// Whether a value says that it does nothing.
fn is_off(name: &str, value: &str) -> bool {
    const SWITCHES: [&str; 6] = [
        "enable-modsecurity",
        "enable-owasp-core-rules",
        "ssl-passthrough",
        "from-to-www-redirect",
        "enable-opentelemetry",
        "enable-opentracing",
    ];
    const WORDS: [&str; 4] =
        ["proxy-cookie-domain", "proxy-cookie-path", "proxy-redirect-from", "proxy-redirect-to"];
    SWITCHES.contains(&name) && value == "false"
        || WORDS.contains(&name) && matches!(value, "off" | "default")
}
