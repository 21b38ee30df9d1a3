//! Which API server, and as whom.

use std::collections::BTreeMap;

use http::Request;
use log::warn;
use serde_json::Value;

use crate::api::Api;
use crate::pace::Pace;
use crate::question::{Fault, NotConnected, Place, Whence};
use crate::{Kind, Timing};

/// A way to the API server; nothing was asked yet.
#[derive(Clone)]
pub struct Connection {
    pub(crate) api: Api,
    /// Its address.
    pub server: String,
    /// The namespace of the service account, or of the context.
    pub namespace: String,
}

impl Connection {
    /// Reads how to reach it. To be called inside of a Tokio runtime.
    pub async fn open(whence: &Whence) -> Result<Self, NotConnected> {
        let (api, server, namespace) = Api::open(whence).await?;
        Ok(Connection { api, server, namespace })
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
