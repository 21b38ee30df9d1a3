//! One question to the API server, and what may be wrong with its answer.

use std::fmt;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;

use crate::Kind;

/// No answer but a watch may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Objects that are asked for at once.
const PAGE: usize = 500;

/// Asks the API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
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

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => of_status(&status),
            kube::Error::SerdeError(error) => Fault::Other(format!("what is not understood: {error}")),
            kube::Error::Auth(error) => Fault::Forbidden(format!("there are no credentials for it: {error}")),
            other => Fault::Unreachable(root(&other)),
        }
    }
}

/// The cause below all the causes, which is what a person can do something about.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

pub(crate) fn of_status(status: &kube::core::Status) -> Fault {
    let after = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
    match status.code {
        404 => Fault::Absent,
        401 | 403 => Fault::Forbidden(format!("{} {}", status.code, status.message.trim())),
        409 => Fault::Conflict,
        410 => Fault::Expired,
        429 => Fault::Busy(after.filter(|seconds| *seconds > 0).map(Duration::from_secs)),
        code => Fault::Other(format!("{code} {}", status.message.trim())),
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

impl Api {
    pub(crate) fn new(client: Client) -> Self {
        Api { client }
    }

    /// A page of everything there, as text: it may be megabytes, which are to be read on a thread that serves nobody.
    /// `selector` is a field selector, or empty; `next` is where the page before ended, empty for the first.
    pub(crate) async fn page(&self, place: &Place<'_>, selector: &str, next: &str) -> Result<String, Fault> {
        let mut path = format!("{}?limit={PAGE}", place.path());
        for (key, value) in [("fieldSelector", selector), ("continue", next)] {
            if !value.is_empty() {
                path.push_str(&format!("&{key}={}", escaped(value)));
            }
        }
        self.text(Request::get(path), None).await
    }

    /// What happens there from a moment on; the API server ends it after `lasts`.
    pub(crate) async fn watch(
        &self,
        place: &Place<'_>,
        selector: &str,
        from: &str,
        lasts: Duration,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, Fault>> + use<>, Fault> {
        let mut path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            place.path(),
            lasts.as_secs().max(1),
            escaped(from)
        );
        if !selector.is_empty() {
            path.push_str(&format!("&fieldSelector={}", escaped(selector)));
        }
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|error| Fault::Other(error.to_string()))?;
        let asked = self.client.request_events::<Value>(request);
        Ok(in_time(asked).await?.map(|event| event.map_err(Fault::from)))
    }

    /// One question, with an answer in JSON.
    pub(crate) async fn ask(
        &self,
        request: http::request::Builder,
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let text = self.text(request, body).await?;
        serde_json::from_str(&text).map_err(|error| Fault::Other(format!("what is not JSON: {error}")))
    }

    /// As text: an answer that is not understood may hold a Secret, and kube would write it to the log.
    async fn text(&self, request: http::request::Builder, body: Option<&Value>) -> Result<String, Fault> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(body).map_err(|error| Fault::Other(error.to_string()))?;
        in_time(self.client.request_text(request)).await
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Fault> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// A value in a query.
fn escaped(value: &str) -> String {
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
        let status = |code, message: &str| kube::core::Status {
            message: message.to_owned(),
            code,
            ..kube::core::Status::default()
        };
        for (code, fault) in [
            (404, Fault::Absent),
            (403, Fault::Forbidden("403 no".to_owned())),
            (401, Fault::Forbidden("401 no".to_owned())),
            (410, Fault::Expired),
            (409, Fault::Conflict),
            (429, Fault::Busy(None)),
            (500, Fault::Other("500 no".to_owned())),
        ] {
            assert_eq!(of_status(&status(code, "no")), fault);
        }
    }
}
