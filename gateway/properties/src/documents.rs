//! Any text is read, compiled and judged, and every finding says something about a place within it.

use std::sync::Arc;

use trysail_routing::compile::{Compiled, Compiler, Surroundings, judge_alone};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::wire::{Limits, Reader};

pub(crate) fn hold(bytes: &[u8]) {
    // Files that are not UTF-8 are refused before they are read (`control/directory/files`).
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    compile(text);
}

/// Compiles a text, and looks at what is said of it.
pub(crate) fn compile(text: &str) -> Compiled {
    let (file, whole): (Arc<str>, Arc<str>) = ("a.yaml".into(), text.into());
    let read = || Reader::new("default", Limits::default()).read([(&file, &whole)], Diagnostics::default());
    let set = read();
    let compiled = Compiler::new(1).compile(&set, &Surroundings::default());
    let alone = judge_alone(&set, &Surroundings::default());
    // YAML ends lines with CR too.
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    for finding in compiled.findings.iter().chain(alone.iter()) {
        assert!(!finding.message.is_empty());
        if let Some(origin) = &finding.origin {
            assert!(origin.line() as usize <= lines, "{finding:?} in {lines} lines");
        }
    }
    assert_eq!(read().revision, set.revision, "read again it is another");
    compiled
}
