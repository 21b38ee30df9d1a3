//! The README's support table against the case folders: what is said to work is in a case, so that it is tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The kinds' headings in the README.
const KINDS: [&str; 9] = [
    "Gateway",
    "VirtualService",
    "DestinationRule",
    "ServiceEntry",
    "WorkloadEntry",
    "WorkloadGroup",
    "Service",
    "EndpointSlice",
    "Pod",
];

/// Names in the table's remarks that are no fields of objects.
const SETTINGS: [&str; 4] = ["certificates", "mirrorBody", "mirrorHostSuffix", "otherServer"];

#[test]
fn what_works_is_tried_in_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let mut words = BTreeSet::new();
    for folder in fs::read_dir(root.join("gateway/testdata/cases")).expect("the cases").flatten() {
        let text = fs::read_to_string(folder.path().join("config.yaml")).expect("a case's configuration");
        words.extend(names(&text).map(str::to_owned));
    }
    let fields = works(&readme);
    assert!(fields.len() > 150, "the table is not where it was: {} fields", fields.len());
    let missing: Vec<String> = fields
        .iter()
        .filter(|(_, name)| !words.contains(name) && !SETTINGS.contains(&name.as_str()))
        .map(|(kind, name)| format!("{kind}: {name}"))
        .collect();
    assert!(missing.is_empty(), "said to work, and in no case:\n{}", missing.join("\n"));
}

/// Each field in the rows that say `works`, with its kind: the last part of its path.
fn works(readme: &str) -> BTreeSet<(String, String)> {
    let mut fields = BTreeSet::new();
    let mut kind = "";
    for line in readme.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            kind = heading;
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let [first, second, rest @ ..] = cells.as_slice() else { continue };
        if KINDS.contains(&kind) && line.starts_with("| `") && second.starts_with("works") {
            let quoted = [&[*first], rest].concat().join(" ");
            let quoted = quoted.split('`').skip(1).step_by(2);
            // The remarks quote values and texts too; a name of one word is a field, or a word that objects have.
            let leaf = |path: &str| names(path).last().map(str::to_owned);
            let is_name =
                |path: &&str| path.chars().all(|letter| letter.is_alphanumeric() || "._[]".contains(letter));
            fields.extend(quoted.filter(is_name).filter_map(leaf).map(|name| (kind.to_owned(), name)));
        }
    }
    fields
}

/// The words of a text that may be names of fields.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.filter(|word| word.len() > 1 && word.starts_with(|letter: char| letter.is_alphabetic()))
}
