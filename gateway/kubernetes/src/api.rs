//! The API server, asked by kube: its connection, its credentials, its TLS.

use std::fmt;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use serde_json::Value;

use crate::question::{Fault, NotConnected, Place, Told, Whence, escaped};

/// No answer but a watch may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Objects that are asked for at once.
const PAGE: usize = 500;

/// Asks the API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl Api {
    /// Reads how to reach an API server; with its address, and the namespace that is meant there.
    pub(crate) async fn open(whence: &Whence) -> Result<(Self, String, String), NotConnected> {
        // Two providers in one process would each want to be the default; whoever was first is.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = match whence {
            Whence::Pod => Config::incluster().map_err(|error| NotConnected {
                message: format!("this is no pod with a service account: {error}"),
                hint: "outside of a cluster, --kubeconfig FILE says which one is meant",
            })?,
            Whence::Kubeconfig { path, context } => {
                let refuse = |error: &dyn fmt::Display| NotConnected {
                    message: format!("{} can't be used: {error}", path.display()),
                    hint: "kubectl config view shows what it says",
                };
                let file = Kubeconfig::read_from(path).map_err(|error| refuse(&error))?;
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let read = Config::from_custom_kubeconfig(file, &options).await;
                read.map_err(|error| refuse(&error))?
            }
        };
        // Waits and repeats are ours: each kind has its own.
        config.default_retry = false;
        let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| NotConnected {
            message: format!("no connection to {server} can be set up: {error}"),
            hint: "see its certificates and credentials",
        })?;
        Ok((Api { client }, server, namespace))
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
    ) -> Result<impl Stream<Item = Result<Told, Fault>> + use<>, Fault> {
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
        Ok(in_time(asked).await?.map(|event| told(event?)))
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

fn told(event: WatchEvent<Value>) -> Result<Told, Fault> {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Ok(Told::Put(object)),
        WatchEvent::Deleted(object) => Ok(Told::Gone(object)),
        WatchEvent::Bookmark(bookmark) => Ok(Told::Mark(bookmark.metadata.resource_version)),
        WatchEvent::Error(status) => Err(refusal(&status)),
    }
}

fn refusal(status: &kube::core::Status) -> Fault {
    let after = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
    Fault::of(status.code, &status.message, after)
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => refusal(&status),
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
