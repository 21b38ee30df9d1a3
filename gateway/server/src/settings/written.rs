//! The settings as they are written, for as long as the process runs: what has changed in the file needs a restart, and
//! whoever edits it is told so.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_yaml::Value;
use trysail_routing::diagnostic::{Code, Diagnostic, Severity};
use trysail_routing::origin::Origin;

use super::Settings;

/// The file that the settings are from, and what it said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// The file that was named; else one may lie in a directory of the configuration.
    named: Option<PathBuf>,
    roots: Vec<PathBuf>,
    text: String,
}

impl Written {
    pub(super) fn new(named: Option<&Path>, roots: &[PathBuf], text: String) -> Self {
        Written { named: named.map(Path::to_owned), roots: roots.to_owned(), text }
    }

    /// Whether the file set this key of the top.
    pub(crate) fn sets(&self, key: &str) -> bool {
        matches!(serde_yaml::from_str(&self.text), Ok(Value::Mapping(map)) if map.contains_key(key))
    }

    /// What the file says now and the process does not go by; `None` where that is the same.
    pub(crate) fn changed(&self) -> Option<Diagnostic> {
        let path = self.named.clone().or_else(|| Settings::beside(&self.roots));
        // A process without a file to begin with was started with nothing.
        let now = match path.as_ref().map(std::fs::read_to_string) {
            None => String::new(),
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(Err(_)) => return None,
        };
        if now == self.text {
            return None;
        }
        let name = path.map_or_else(|| super::FILE_NAME.to_owned(), |path| path.display().to_string());
        if let Err(refused) = Settings::parse(&name, &now) {
            let message = format!("the settings would be refused at the next start: {}", refused.message);
            let finding = Diagnostic::new(Code::NEEDS_RESTART, Severity::Warning, refused.origin, message);
            return Some(refused.hints.into_iter().fold(finding, Diagnostic::hint));
        }
        let (before, after) = (values(&self.text), values(&now));
        let differs = |key: &&String| before.get(*key) != after.get(*key);
        let mut keys: Vec<&str> =
            before.keys().chain(after.keys()).filter(differs).map(|key| &**key).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return None;
        }
        let message = format!("{} changed, and the process still goes by what was", keys.join(", "));
        let finding =
            Diagnostic::new(Code::NEEDS_RESTART, Severity::Warning, Some(Origin::file(&name)), message);
        Some(finding.hint("settings are read once: restart the process to have them"))
    }
}

/// What a file sets, by the path of each key.
fn values(text: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    if let Ok(value) = serde_yaml::from_str(text) {
        gather(String::new(), value, &mut values);
    }
    values
}

fn gather(path: String, value: Value, values: &mut BTreeMap<String, Value>) {
    let Value::Mapping(map) = value else {
        // A file of nothing but comments is null, and so is a group without keys.
        if value != Value::Null {
            values.insert(path, value);
        }
        return;
    };
    for (key, value) in map {
        let key = match key {
            Value::String(key) => key,
            Value::Number(key) => key.to_string(),
            _ => continue,
        };
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        gather(path, value, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_said_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.yaml");
        let before = "drain: 5s\nlimits:\n  file: 1MiB\nports: {80: 8080}\n";
        for (after, said) in [
            (before, None),
            ("# a word\nports: {80: 8080}\nlimits: {file: 1MiB}\ndrain: 5s\n", None),
            ("drain: 6s\nlimits:\n  file: 1MiB\nports: {80: 8081}\n", Some("drain, ports.80 changed")),
            ("drain: 5s\nports: {80: 8080}\n", Some("limits.file changed")),
            ("", Some("drain, limits.file, ports.80 changed")),
            ("drian: 5s\n", Some("would be refused at the next start: unknown field `drian`")),
        ] {
            std::fs::write(&path, after).unwrap();
            let found = Written::new(Some(&path), &[], before.to_owned()).changed();
            match (found, said) {
                (None, None) => {}
                (Some(found), Some(said)) => assert!(found.message.contains(said), "{}", found.message),
                (found, said) => panic!("{after}: {found:?} and not {said:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_came_or_went_counts() {
        let folder = tempfile::tempdir().unwrap();
        let roots = [folder.path().to_owned()];
        assert!(Written::new(None, &roots, String::new()).changed().is_none());
        std::fs::write(folder.path().join("trysail.yaml"), "drain: 5s\n").unwrap();
        let found = Written::new(None, &roots, String::new()).changed().expect("a finding");
        assert!(found.message.starts_with("drain changed"), "{}", found.message);
        std::fs::remove_file(folder.path().join("trysail.yaml")).unwrap();
        assert!(Written::new(None, &roots, "drain: 5s\n".to_owned()).changed().is_some());
    }
}
