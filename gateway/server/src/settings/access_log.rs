//! Settings of the access log: where to, in which form, and which requests.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ranges;
use super::template::Template;
use super::units::{Bytes, Share, Span};

/// The access log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct AccessLog {
    /// The file; `/dev/stdout` and `/dev/stderr` are the process's own. None switches it off.
    #[serde(deserialize_with = "ranges::file")]
    pub(crate) path: Option<PathBuf>,
    /// The form of a line.
    pub(crate) format: Format,
    /// Another text than Istio's.
    pub(crate) template: Option<Template>,
    /// Whether lines in JSON say where the rule is written.
    pub(crate) origin: bool,
    /// The share of the lines that is written, of those that the filters leave.
    pub(crate) sample: Share,
    /// Which requests have a line.
    pub(crate) only: Only,
    /// Requests that took less have none.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) min_duration: Span,
    /// Lines that wait for the file; more are dropped.
    pub(crate) buffer: Bytes,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Format {
    /// Istio's text, or the template's.
    #[default]
    Text,
    /// One object of JSON, with Istio's keys and ours.
    Json,
}

/// Which requests have a line.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Only {
    /// All of them.
    #[default]
    All,
    /// Those without an answer, with a status of 500 and over, or with a flag.
    Errors,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            path: None,
            format: Format::Text,
            template: None,
            origin: false,
            sample: Share::ALL,
            only: Only::All,
            min_duration: Span(Duration::ZERO),
            buffer: Bytes(1 << 20),
        }
    }
}

impl AccessLog {
    /// Which is wrong, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.format == Format::Json && self.template.is_some() {
            return Err((
                "template",
                "accessLog.template is for the format text, and the format is json".to_owned(),
            ));
        }
        let (least, most) = (Bytes(4 << 10), Bytes(1 << 30));
        if !(least.0..=most.0).contains(&self.buffer.0) {
            return Err((
                "buffer",
                format!("accessLog.buffer is {} bytes; it takes 4KiB to 1GiB", self.buffer.0),
            ));
        }
        Ok(())
    }
}
