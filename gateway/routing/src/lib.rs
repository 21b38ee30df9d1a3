//! Which destination? Istio's objects, compiled into a snapshot, and the decision for a request.
//!
//! ```text
//! text ──wire──▶ ConfigSet ──compile──▶ Snapshot ──decide──▶ route
//!                    └───────────┴──▶ Diagnostics
//! ```
//! Pure: no clock, file, socket, thread, environment, log or chance. Whatever it needs comes in as an
//! argument. Floors, arrows pointing down only: `compile`, `decide` and `import` over `wire` and `snapshot` over the
//! words (`host`, `origin`, `path`, `diagnostic`, `nearest`); `decide` does not know `wire`, and only `compile`
//! knows both (`import` asks `snapshot` whether a pattern is one).

pub mod compile;
pub mod decide;
pub mod diagnostic;
mod host;
pub mod import;
mod nearest;
pub mod origin;
pub mod path;
pub mod snapshot;
pub mod wire;

pub use host::HostPattern;
pub use nearest::nearest;
