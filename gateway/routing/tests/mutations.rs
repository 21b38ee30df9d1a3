//! Sound and unsound objects, mutated at random places: whatever comes of it is read, compiled and judged without a
//! panic, and every finding lies within the text.

#![expect(clippy::disallowed_methods, reason = "the objects lie in files")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};
use trysail_routing::compile::{Compiler, Surroundings, judge_alone};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::wire::{Limits, Reader};

/// The documents of every case and of Istio's own validation cases, by file.
static SEEDS: LazyLock<Vec<Vec<Value>>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let read = |file: &PathBuf| -> Vec<Value> {
        let text = std::fs::read_to_string(file).expect("a file");
        let documents =
            text.split("\n---").filter_map(|text| serde_saphyr::from_str::<Value>(text.trim()).ok());
        documents.flat_map(objects).collect()
    };
    let seeds: Vec<Vec<Value>> = files.iter().map(read).filter(|documents| !documents.is_empty()).collect();
    assert!(seeds.len() > 60, "only {} files", seeds.len());
    seeds
});

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

/// A document, or the objects of a list of cases.
fn objects(document: Value) -> Vec<Value> {
    match document.get("cases").and_then(Value::as_array) {
        Some(cases) => cases.iter().filter_map(|case| case.get("object")).cloned().collect(),
        None => Some(document).filter(Value::is_object).into_iter().collect(),
    }
}

/// Values that mean something somewhere, or nothing anywhere.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(65536),
        json!(9_223_372_036_854_775_807_i64),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("*"),
        json!("a"),
        json!("é%"),
        json!("%A(%"),
        json!("/"),
        json!("."),
        json!("*.a"),
        json!("a/b/c"),
        json!("0s"),
        json!("1us"),
        json!("99999999h"),
        json!("("),
        json!("unix://"),
        json!("0.0.0.0/0"),
        json!("x".repeat(2000)),
        json!([]),
        json!([[]]),
        json!([{}]),
        json!({}),
        json!({"": ""}),
        json!({"exact": "a", "prefix": "b"}),
        json!({"regex": "*"}),
        json!({"value": -1}),
    ]
}

/// A node of a tree, counted in reading order.
fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth(field, left)),
        _ => None,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes one node: another value, one entry less, one twice, one under another's name, or what stands elsewhere.
fn mutate(tree: &mut Value, place: usize, how: usize, other: usize) {
    let nodes = count(tree);
    let elsewhere = nth(&mut tree.clone(), &mut (other % nodes)).map(|value| value.clone());
    let Some(node) = nth(tree, &mut (place % nodes)) else { return };
    match (how % 6, node) {
        (0, Value::Array(items)) if !items.is_empty() => {
            items.remove(other % items.len());
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let item = items[other % items.len()].clone();
            items.push(item);
        }
        (0, Value::Object(fields)) if !fields.is_empty() => {
            let key = fields.keys().nth(other % fields.len()).expect("there is one").clone();
            fields.remove(&key);
        }
        (1, Value::Object(fields)) if !fields.is_empty() => {
            let key = fields.keys().nth(other % fields.len()).expect("there is one").clone();
            let value = fields.remove(&key).expect("there is one");
            let names =
                ["match", "route", "hosts", "tls", "http", "delegate", "port", "é", "regex", "headers"];
            fields.insert(names[other % names.len()].to_owned(), value);
        }
        (2, node) => *node = elsewhere.unwrap_or_default(),
        (_, node) => {
            let values = values();
            *node = values[other % values.len()].clone();
        }
    }
}

fn survives(documents: &[Value]) -> Result<(), TestCaseError> {
    let text: Vec<String> = documents.iter().map(ToString::to_string).collect();
    let lines = u32::try_from(text.len()).expect("few") * 2 + 1;
    let (file, text): (Arc<str>, Arc<str>) = ("a.yaml".into(), text.join("\n---\n").into());
    let set = Reader::new("default", Limits::default()).read([(&file, &text)], Diagnostics::default());
    let together = Compiler::new(1).compile(&set, &Surroundings::default()).findings;
    let alone = judge_alone(&set, &Surroundings::default());
    for finding in together.iter().chain(alone.iter()) {
        prop_assert!(!finding.message.is_empty());
        if let Some(origin) = &finding.origin {
            prop_assert!(origin.line() <= lines, "{finding:?} in {lines} lines");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_mutated_survives() {
    for documents in SEEDS.iter() {
        survives(documents).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mutated_objects_survive(
        seed in any::<usize>(),
        changes in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 1..6),
    ) {
        let mut documents = Value::Array(SEEDS[seed % SEEDS.len()].clone());
        for (place, how, other) in changes {
            mutate(&mut documents, place, how, other);
        }
        let documents = match documents {
            Value::Array(documents) => documents,
            other => vec![other],
        };
        survives(&documents)?;
    }
}
