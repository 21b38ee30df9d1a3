//! What can be asked of an API server: which one, where, and what may be wrong with the answer. How it gets there is
//! `api`'s.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::Kind;

/// Where it stands how to reach the API server.
#[derive(Clone, Debug)]
pub enum Whence {
    /// In the pod that the process runs in: its service account.
    Pod,
    /// In a kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Which of its contexts; else its current one.
        context: Option<String>,
    },
}

/// Why there is no way to the API server.
#[derive(Debug)]
pub struct NotConnected {
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub hint: &'static str,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.hint)
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// There is no such kind, or no such object: 404.
    Absent,
    /// It may not be asked: 401, 403.
    Forbidden(String),
    /// What is asked about is too long ago: 410.
    Expired,
    /// Another was quicker: 409.
    Conflict,
    /// Not now, and perhaps so long: 429.
    Busy(Option<Duration>),
    /// Nobody answers, or not in time.
    Unreachable(String),
    /// Whatever else.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Absent => f.write_str("the API server does not have it (404)"),
            Fault::Forbidden(said) => write!(f, "the API server does not allow it: {said}"),
            Fault::Expired => f.write_str("what is asked about is too long ago (410)"),
            Fault::Conflict => f.write_str("somebody else was quicker (409)"),
            Fault::Busy(_) => f.write_str("the API server is too busy (429)"),
            Fault::Unreachable(said) => write!(f, "the API server can't be reached: {said}"),
            Fault::Other(said) => write!(f, "the API server answers {said}"),
        }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// An object came, or is another.
    Put(Value),
    /// An object is gone.
    Gone(Value),
    /// All is known up to this version.
    Mark(String),
}

impl Fault {
    /// What the API server says in place of an answer: a code, in words, and when to ask again.
    pub(crate) fn of(code: u16, message: &str, after: Option<u64>) -> Fault {
        match code {
            404 => Fault::Absent,
            401 | 403 => Fault::Forbidden(format!("{code} {}", message.trim())),
            409 => Fault::Conflict,
            410 => Fault::Expired,
            429 => Fault::Busy(after.filter(|seconds| *seconds > 0).map(Duration::from_secs)),
            code => Fault::Other(format!("{code} {}", message.trim())),
        }
    }
}

/// A place in the API: a kind, in one namespace or in all.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) plural: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn of(kind: Kind, version: &'a str, namespace: Option<&'a str>) -> Self {
        Place { group: kind.group(), version, namespace, plural: kind.plural() }
    }

    pub(crate) fn path(&self) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match self.namespace {
            None => format!("{root}/{}", self.plural),
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
        }
    }
}

/// A value in a query.
pub(crate) fn escaped(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    value.bytes().fold(String::new(), |mut text, byte| {
        match plain(&byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_values_as_the_api_server_knows_them() {
        for (kind, version, namespace, path) in [
            (Kind::Pod, "v1", None, "/api/v1/pods"),
            (Kind::Secret, "v1", Some("shop"), "/api/v1/namespaces/shop/secrets"),
            (Kind::EndpointSlice, "v1", None, "/apis/discovery.k8s.io/v1/endpointslices"),
            (Kind::Gateway, "v1beta1", Some("a"), "/apis/networking.istio.io/v1beta1/namespaces/a/gateways"),
        ] {
            assert_eq!(Place::of(kind, version, namespace).path(), path);
        }
        assert_eq!(escaped("type=kubernetes.io/tls é"), "type%3Dkubernetes.io%2Ftls%20%C3%A9");
    }

    #[test]
    fn answers_that_are_none() {
        for (code, fault) in [
            (404, Fault::Absent),
            (403, Fault::Forbidden("403 no".to_owned())),
            (401, Fault::Forbidden("401 no".to_owned())),
            (410, Fault::Expired),
            (409, Fault::Conflict),
            (429, Fault::Busy(None)),
            (500, Fault::Other("500 no".to_owned())),
        ] {
            assert_eq!(Fault::of(code, " no", None), fault);
        }
        assert_eq!(Fault::of(429, "", Some(3)), Fault::Busy(Some(Duration::from_secs(3))));
    }
}
