//! Which API server, and as whom.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use http::Request;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use log::warn;
use serde_json::Value;

use crate::api::{Api, Fault, Place};
use crate::pace::Pace;
use crate::{Kind, Timing};

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

/// A way to the API server; nothing was asked yet.
#[derive(Clone)]
pub struct Connection {
    pub(crate) api: Api,
    /// Its address.
    pub server: String,
    /// The namespace of the service account, or of the context.
    pub namespace: String,
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

impl Connection {
    /// Reads how to reach it. To be called inside of a Tokio runtime.
    pub async fn open(whence: &Whence) -> Result<Self, NotConnected> {
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
        Ok(Connection { api: Api::new(client), server, namespace })
    }

    /// The labels of a pod. Asked again until there is an answer; the error is one that will be the same again.
    pub async fn labels_of(
        &self,
        namespace: &str,
        pod: &str,
        timing: Timing,
    ) -> Result<BTreeMap<String, String>, String> {
        let place = Place::of(Kind::Pod, "v1", Some(namespace));
        let mut pace = Pace::new(timing.first_wait, timing.longest_wait);
        loop {
            match self.api.ask(Request::get(format!("{}/{pod}", place.path())), None).await {
                Ok(pod) => {
                    let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
                    let text =
                        |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
                    return Ok(labels.filter_map(text).collect());
                }
                Err(fault @ (Fault::Absent | Fault::Forbidden(_))) => return Err(fault.to_string()),
                Err(fault) => {
                    warn!("the labels of pod {namespace}/{pod} are not known yet: {fault}; asked again");
                    tokio::time::sleep(pace.next(fastrand::f64())).await;
                }
            }
        }
    }
}
