//! What holds for any text: reading never panics, findings point into the text, and order is of no importance.

use std::sync::Arc;

use proptest::prelude::*;
use trysail_routing::compile::{Compiled, Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::path::{Normalization, canonical};
use trysail_routing::snapshot::Cluster;
use trysail_routing::wire::{ConfigSet, Limits, Reader};

const SEED: &str = include_str!("../../../conf/examples/reviews/seed-reviews.yaml");
/// Every field of a traffic policy, with values of every kind.
const POLICIES: &str = include_str!("../../testdata/cases/policies_that_are_wrong/config.yaml");
const ENDPOINTS: &str = include_str!("../../../conf/examples/reviews/endpoints.yaml");

fn read(texts: &[(&str, &str)]) -> ConfigSet {
    let texts: Vec<(Arc<str>, Arc<str>)> =
        texts.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    Reader::new("default", Limits::default())
        .read(texts.iter().map(|(name, text)| (name, text)), Diagnostics::default())
}

fn compile(set: &ConfigSet) -> Compiled {
    Compiler::new(1).compile(set, &Surroundings::default())
}

/// Reads and compiles a text, and asserts that every finding lies within it.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let Compiled { findings, .. } = compile(&read(&[("a.yaml", text)]));
    let lines = u32::try_from(text.lines().count()).expect("short") + 1;
    for finding in findings.iter() {
        prop_assert!(!finding.message.is_empty());
        if let Some(origin) = &finding.origin {
            prop_assert!(origin.line() <= lines, "{finding:?} in {lines} lines");
        }
    }
    Ok(())
}

/// Words and signs that matter to the reader.
fn soup() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "apiVersion: networking.istio.io/v1\n",
        "kind: VirtualService\n",
        "kind: Gateway\n",
        "kind: List\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  hosts: [\"*\"]\n",
        "  http:\n",
        "  - ",
        "    ",
        "match: ",
        "uri: ",
        "{prefix: /a}",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "\n",
        "---\n",
        "--- ",
        "&a ",
        "*a ",
        "!!str ",
        "| \n",
        "> \n",
        "'",
        "\"",
        "#",
        "\t",
        "\u{0}",
        "é",
        "1.0",
        "true",
        "null",
        "route: ",
        "weight: ",
        "items: ",
        "0x",
        "%YAML 1.2\n",
    ];
    prop::collection::vec(prop::sample::select(WORDS).prop_map(str::to_owned), 0..40)
        .prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn reading_survives_soup(text in soup()) {
        survives(&text)?;
    }

    #[test]
    fn reading_survives_any_text(text in "\\PC{0,200}") {
        survives(&text)?;
    }

    #[test]
    fn reading_survives_a_seed_with_something_cut_out_or_put_in(
        from in 0..SEED.len(), length in 0..40_usize, put in soup(),
    ) {
        let (from, to) = (from, (from + length).min(SEED.len()));
        prop_assume!(SEED.is_char_boundary(from) && SEED.is_char_boundary(to));
        survives(&format!("{}{put}{}", &SEED[..from], &SEED[to..]))?;
    }

    #[test]
    fn policies_survive_any_value(word in 0..400_usize, put in odd_value()) {
        let words: Vec<&str> = POLICIES.split_inclusive([' ', ',', '}', ']']).collect();
        let word = word % words.len();
        let text = words.iter().enumerate().map(|(index, text)| match index == word {
            true => format!("{put}{}", text.get(text.len() - 1..).unwrap_or_default()),
            false => (*text).to_owned(),
        });
        survives(&text.collect::<String>())?;
    }
}

/// Values that are near what some field takes, or far from what any does.
fn odd_value() -> impl Strategy<Value = String> {
    const VALUES: &[&str] = &[
        "0",
        "1",
        "-1",
        "2",
        "99999999999",
        ".nan",
        ".inf",
        "-.inf",
        "1e308",
        "0.1",
        "true",
        "null",
        "''",
        "'*'",
        "'/'",
        "us/",
        "us/a/*",
        "*-a",
        "10s",
        "0s",
        "1ns",
        "99999999h",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "{a: b}",
        "é",
        "'\n'",
        "\"\\u0000\"",
        "SIMPLE",
        "MUTUAL",
        "ISTIO_MUTUAL",
        "PASSTHROUGH",
        "RANDOM",
        "simple",
        "maglev: {tableSize: 5}",
        "~",
        ".",
        "*",
    ];
    prop::sample::select(VALUES).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_documents_and_files_is_of_no_importance(order in Just(vec![0, 1, 2, 3]).prop_shuffle(), cut in 0..5_usize) {
        let documents: Vec<&str> = SEED.split("---\n").chain([ENDPOINTS]).collect();
        let shuffled: Vec<&str> = order.iter().map(|index| documents[*index]).collect();
        let (first, second) = shuffled.split_at(cut.min(4));
        let (first, second) = (first.join("\n---\n"), second.join("\n---\n"));
        let (one, other) = (read(&[("a", SEED), ("b", ENDPOINTS)]), read(&[("x", &first), ("y", &second)]));
        prop_assert_eq!(&one.revision, &other.revision);
        let (one, other) = (compile(&one).snapshot, compile(&other).snapshot);
        let told = |snapshot: &trysail_routing::snapshot::Snapshot| {
            let splits: Vec<_> = snapshot.splits.iter().map(|split| (split.key, split.name.clone(), split.schedule.clone())).collect();
            let cluster = |cluster: &Arc<Cluster>| format!("{} {:?} {:?}", cluster.key, cluster.service, cluster.endpoints);
            let clusters: Vec<String> = snapshot.clusters.iter().map(cluster).collect();
            format!("{splits:?} {clusters:?}")
        };
        prop_assert_eq!(told(&one), told(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_canonical_path_stays_as_it_is(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let target = [b"/", parts.concat().as_bytes(), &bytes].concat();
        for how in [
            Normalization::None,
            Normalization::Base,
            Normalization::MergeSlashes,
            Normalization::DecodeAndMergeSlashes,
        ] {
            let Ok(once) = canonical(&target, how) else { continue };
            prop_assert!(once.path.starts_with('/') && !once.path.contains(['?', '#']), "{:?}", once);
            let twice = canonical(once.path.as_bytes(), how).map(|target| target.path);
            prop_assert_eq!(twice.as_ref(), Ok(&once.path), "{:?}", how);
            if how != Normalization::None {
                let segments = || once.path.split('/').skip(1);
                prop_assert!(segments().all(|segment| segment != "." && segment != ".."), "{:?}", once);
                prop_assert!(once.path.is_ascii() && !once.path.contains('\\'), "{:?}", once);
            }
        }
    }
}

/// What paths are made of, where it matters.
const PARTS: &[&str] = &[
    "/", "\\", ".", "..", "%", "%2e", "%2E", "%2f", "%5C", "%25", "2", "f", "e", "%30", "%32", "%46", "a",
    "%00", "é",
];
