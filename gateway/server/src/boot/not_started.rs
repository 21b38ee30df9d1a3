//! Why a gateway was not started: by whose fault, so that a service manager knows whether to try again.

use trysail_routing::diagnostic::{Code, Diagnostics, Severity};

/// Why a gateway was not started.
pub(crate) enum NotStarted {
    /// The files are at fault, and will be until somebody mends them.
    Files(Diagnostics),
    /// Something else is, which may pass: a port that is taken, a thread that can't be had.
    Process(Diagnostics),
    /// Nothing is: it was told to end before it was ready.
    Stopped(Diagnostics),
}

impl NotStarted {
    /// What stands in the way.
    pub(crate) fn findings(&self) -> &Diagnostics {
        match self {
            NotStarted::Files(findings) | NotStarted::Process(findings) | NotStarted::Stopped(findings) => {
                findings
            }
        }
    }

    /// Of what a first revision was refused for.
    pub(super) fn of(findings: Diagnostics) -> Self {
        let mut errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        match errors.all(|error| error.code == Code::PORT) {
            true => NotStarted::Process(findings),
            false => NotStarted::Files(findings),
        }
    }
}

impl From<Diagnostics> for NotStarted {
    fn from(findings: Diagnostics) -> Self {
        NotStarted::Process(findings)
    }
}
