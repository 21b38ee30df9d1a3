//! Which API server, and as whom.

use std::fmt;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::api::Api;

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
}
