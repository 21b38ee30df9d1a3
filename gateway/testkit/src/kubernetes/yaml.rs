//! YAML as people and kubectl write it: files of several documents.

use serde_json::Value;

/// One document.
pub(super) fn read(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Every document of a text; those that hold nothing are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let is_said = |document: &&String| {
        document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    };
    documents.iter().filter(is_said).map(|document| read(document)).collect()
}
