//! The API server of a build without the feature `client`: there is none, and so nobody who could be asked.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{Stream, stream};
use serde_json::Value;

use crate::question::{Fault, NotConnected, Place, Told, Whence};

/// Nobody.
#[derive(Clone)]
pub(crate) struct Api {
    nobody: Infallible,
}

#[expect(clippy::unused_async, reason = "whoever asks does not know that nobody is there")]
impl Api {
    /// Says that there is none.
    pub(crate) async fn open(_: &Whence) -> Result<(Self, String, String), NotConnected> {
        Err(NotConnected {
            message: "this trysail was built without Kubernetes".to_owned(),
            hint: "build it with the cargo feature kubernetes, which is on unless --no-default-features says otherwise",
        })
    }

    pub(crate) async fn page(&self, _: &Place<'_>, _: &str, _: &str) -> Result<String, Fault> {
        match self.nobody {}
    }

    pub(crate) async fn watch(
        &self,
        _: &Place<'_>,
        _: &str,
        _: &str,
        _: Duration,
    ) -> Result<impl Stream<Item = Result<Told, Fault>> + use<>, Fault> {
        let nobody = self.nobody;
        Ok(stream::once(async move { match nobody {} }))
    }

    pub(crate) async fn ask(&self, _: http::request::Builder, _: Option<&Value>) -> Result<Value, Fault> {
        match self.nobody {}
    }
}
