//! Directories of YAML as a source: what is in them, and when it has changed.

pub(crate) mod files;
mod tree;
pub(crate) mod watch;
