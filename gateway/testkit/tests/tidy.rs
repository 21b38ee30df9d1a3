//! House rules as tests over the whole repository. Each failure names the rule, the file and the reason.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust source file, by its path from the repository's root.
struct Source {
    path: String,
    text: String,
}

/// What a rule has against a file.
type Rule = fn(&Source) -> Option<String>;

#[test]
fn rooms_are_short() {
    check(short);
}

#[test]
fn rooms_say_what_they_are_for() {
    check(introduced);
}

#[test]
fn pingora_is_named_in_few_rooms() {
    check(pingora_in_its_rooms);
}

#[test]
fn routing_keeps_its_floors() {
    check(on_its_floor);
}

#[test]
fn files_are_named_for_what_they_hold() {
    check(well_named);
}

#[test]
fn ignored_tests_say_why() {
    check(ignored_with_reason);
}

#[test]
fn pure_crates_depend_on_little() {
    let allowed = [
        ("routing", &["base64", "http", "regex", "serde", "serde-saphyr", "sha2"][..]),
        ("upstream", &["trysail-routing"][..]),
        ("edge", &["http", "memchr"][..]),
    ];
    let mut faults = Vec::new();
    for (name, allowed) in allowed {
        let path = format!("gateway/{name}/Cargo.toml");
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for dependency in foreign_dependencies(&text, allowed) {
            faults.push(format!(
                "{path}: depends on {dependency}; allowed are {}. The core builds in seconds, runs under a \
                 fuzzer and does no IO because of what it cannot import; a new one needs a decision note",
                allowed.join(", ")
            ));
        }
    }
    report(&faults);
}

#[test]
fn cases_and_examples_are_whole() {
    let mut faults = Vec::new();
    for folder in folders(&root().join("gateway/testdata/cases")) {
        let has = |name: &str| folder.join(name).is_file();
        if !has("config.yaml") || !(has("requests.txt") || has("diagnostics.txt")) {
            faults.push(format!(
                "{}: needs config.yaml, and requests.txt or diagnostics.txt: a case that expects nothing cannot fail",
                folder.display()
            ));
        }
    }
    for folder in folders(&root().join("conf/examples")) {
        let mut files = Vec::new();
        walk(&folder, &mut files);
        if !files.iter().any(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml")) {
            faults.push(format!("{}: has no YAML: every example is also a test case", folder.display()));
        }
    }
    report(&faults);
}

#[test]
fn each_rule_can_fail() {
    let rows: &[(Rule, &str, &str, bool)] = &[
        (short, "gateway/routing/src/a.rs", &"x\n".repeat(501), false),
        (short, "gateway/routing/src/a.rs", &"x\n".repeat(500), true),
        (short, "gateway/routing/src/a/tests.rs", &"x\n".repeat(501), true),
        (short, "gateway/routing/tests/a.rs", &"x\n".repeat(501), true),
        (introduced, "gateway/routing/src/a.rs", "use std::fs;", false),
        (introduced, "gateway/routing/src/a.rs", "//!\nuse std::fs;", false),
        (introduced, "gateway/routing/src/a.rs", "//! What for.", true),
        (pingora_in_its_rooms, "gateway/server/src/metrics/mod.rs", "use pingora_core::X;", false),
        (pingora_in_its_rooms, "gateway/server/src/cli/run.rs", "use pingora_core::X;", false),
        (pingora_in_its_rooms, "gateway/server/src/cli/demo.rs", "use pingora_core::X;", true),
        (pingora_in_its_rooms, "gateway/server/src/cli/demo/page.rs", "use pingora_core::X;", true),
        (pingora_in_its_rooms, "gateway/server/src/proxy/mod.rs", "use pingora_core::X;", true),
        (pingora_in_its_rooms, "gateway/server/src/boot.rs", "use pingora_core::X;", true),
        (pingora_in_its_rooms, "gateway/upstream/benches/a.rs", "use pingora_core::X;", false),
        (
            pingora_in_its_rooms,
            "gateway/upstream/src/a.rs",
            "// as pingora_core does\nx(); // pingora_core",
            true,
        ),
        (on_its_floor, "gateway/routing/src/decide/mod.rs", "use crate::wire::X;", false),
        (on_its_floor, "gateway/routing/src/decide.rs", "use crate::{\n    snapshot::X, compile,\n};", false),
        (on_its_floor, "gateway/routing/src/decide/a.rs", "use super::super::wire::X;", false),
        (on_its_floor, "gateway/routing/src/decide/a.rs", "use crate::{snapshot::{wire, X}, wires};", true),
        (
            on_its_floor,
            "gateway/routing/src/decide/a.rs",
            "/// See [`crate::compile`].\nuse crate::snapshot;",
            true,
        ),
        (on_its_floor, "gateway/routing/src/snapshot/a.rs", "use crate::decide::X;", false),
        (on_its_floor, "gateway/routing/src/snapshot/a.rs", "#[derive(serde::Serialize)]", false),
        (on_its_floor, "gateway/routing/src/snapshot/a.rs", "let reserved = 1;", true),
        (on_its_floor, "gateway/routing/src/wire/a.rs", "use crate::snapshot::X;", false),
        (on_its_floor, "gateway/server/src/board/a.rs", "use crate::proxy::Active;", false),
        (on_its_floor, "gateway/server/src/status/a.rs", "use crate::{admin, proxy};", false),
        (on_its_floor, "gateway/server/src/status/a.rs", "use crate::proxy::Active;", true),
        (on_its_floor, "gateway/routing/src/compile/a.rs", "use crate::{snapshot::X, wire::Y};", true),
        (well_named, "gateway/server/src/util.rs", "", false),
        (well_named, "gateway/server/tests/it/common/mod.rs", "", false),
        (well_named, "gateway/server/src/information.rs", "", true),
        (ignored_with_reason, "gateway/server/src/a.rs", "    #[ignore]", false),
        (ignored_with_reason, "gateway/server/src/a.rs", "#[ignore = \"\"]", false),
        (ignored_with_reason, "gateway/server/src/a.rs", "#[cfg_attr(miri, ignore)]", false),
        (ignored_with_reason, "gateway/server/src/a.rs", "#[ignore = \"needs a cluster\"]", true),
    ];
    for (rule, path, text, passes) in rows {
        let fault = rule(&Source { path: (*path).to_owned(), text: (*text).to_owned() });
        assert_eq!(fault.is_none(), *passes, "{path}: {text}: {fault:?}");
    }
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nhttp.workspace = true\ntokio = { version = \"1\" }\n\
                    [dependencies.log]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\n\"nix\" = \"1\"\n\
                    regex = { package = \"fancy-regex\" }\n[dev-dependencies]\nproptest = \"1\"\n";
    assert_eq!(foreign_dependencies(manifest, &["http", "regex"]), ["tokio", "log", "nix", "regex renamed"]);
}

// === The rules ===

fn short(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let counts = source.room().is_some() && !source.path.ends_with("/tests.rs");
    (counts && lines > MAX_LINES).then(|| {
        format!("{lines} lines, over {MAX_LINES}: a room is read at one sitting; which two things is it?")
    })
}

fn introduced(source: &Source) -> Option<String> {
    let first = source.text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//!").is_some_and(|rest| !rest.trim().is_empty());
    (source.room().is_some() && !says).then(|| {
        "does not begin with `//! …`: a reader decides by its first line whether to read on".to_owned()
    })
}

fn pingora_in_its_rooms(source: &Source) -> Option<String> {
    let pure = ["gateway/routing/", "gateway/upstream/", "gateway/edge/", "gateway/kubernetes/"];
    let free = match source.room() {
        _ if pure.iter().any(|folder| source.path.starts_with(folder)) => false,
        Some(("server", room, rest)) => {
            PINGORA_ROOMS.contains(&room) || room == "cli" && (rest == "demo.rs" || rest.starts_with("demo/"))
        }
        _ => true,
    };
    (!free && source.code().contains("pingora_")).then(|| {
        format!(
            "names Pingora, which only {} of the server may: what is not tied to it can be tested, and served by \
             the express lane, without it",
            PINGORA_ROOMS.join(", ")
        )
    })
}

fn on_its_floor(source: &Source) -> Option<String> {
    let (floors, room) = match source.room()? {
        ("routing", room, _) => (FLOORS, room),
        ("server", room, _) => (SERVER_FLOORS, room),
        _ => return None,
    };
    let (_, forbidden) = floors.iter().find(|(name, _)| *name == room)?;
    let code = source.code();
    let named = forbidden.iter().find(|name| match **name {
        "serde" => has_word(&code, "serde"),
        name => names_room(&code, name),
    })?;
    Some(format!(
        "`{room}` names `{named}`, which it must not know: arrows go down only, and only `compile` sees both what \
         was written and what runs, so that each floor can be tested alone"
    ))
}

fn well_named(source: &Source) -> Option<String> {
    let bad =
        source.path.split('/').map(|part| part.trim_end_matches(".rs")).find(|part| ATTICS.contains(part))?;
    Some(format!(
        "is named `{bad}`: that says nothing of what it holds, so it gathers everything; a room is missing"
    ))
}

fn ignored_with_reason(source: &Source) -> Option<String> {
    let bare = |line: &&str| {
        let line = line.trim();
        line.starts_with("#[ignore]")
            || line.starts_with("#[ignore = \"\"]")
            || line.starts_with("#[cfg_attr(") && line.contains(", ignore)")
    };
    let line = source.text.lines().position(|line| bare(&line))? + 1;
    Some(format!("line {line}: `#[ignore]` without a reason: nobody knows when it may run again"))
}

/// The dependencies, of any target and of the build, that are not among `allowed`.
fn foreign_dependencies(manifest: &str, allowed: &[&str]) -> Vec<String> {
    let mut foreign = Vec::new();
    let mut listed = false;
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let mut name = None;
        if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            // `[dependencies]` lists names; `[dependencies.log]` is one.
            let (kind, one) = match table.rsplit_once('.') {
                Some((before, last)) if !is_dependencies(last) => {
                    (before.rsplit('.').next().unwrap_or(before), last)
                }
                Some((_, last)) => (last, ""),
                None => (table, ""),
            };
            listed = is_dependencies(kind) && one.is_empty();
            name = Some(one).filter(|one| is_dependencies(kind) && !one.is_empty());
        } else if let Some((key, _)) = line.split_once('=').filter(|_| listed) {
            name = key.split('.').next();
        }
        let Some(name) = name.map(|name| name.trim().trim_matches('"')) else { continue };
        if !allowed.contains(&name) {
            foreign.push(name.to_owned());
        } else if line.contains("package =") || line.contains("package=") {
            foreign.push(format!("{name} renamed"));
        }
    }
    foreign
}

fn is_dependencies(table: &str) -> bool {
    table == "dependencies" || table == "build-dependencies"
}

// === Reading the repository ===

impl Source {
    /// For a file below `gateway/CRATE/src`: the crate, the room (first folder or file), and the rest.
    fn room(&self) -> Option<(&str, &str, &str)> {
        let (name, rest) = self.path.strip_prefix("gateway/")?.split_once('/')?;
        let rest = rest.strip_prefix("src/")?;
        let (room, rest) = rest.split_once('/').unwrap_or((rest, ""));
        Some((name, room.trim_end_matches(".rs"), rest))
    }

    /// The text without comments: they may speak of what the code must not know. (`//` in a string cuts it,
    /// but for URLs.)
    fn code(&self) -> String {
        let code = |line: &str| {
            let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with([':', '/']));
            line[..comment.map_or(line.len(), |(at, _)| at)].to_owned() + "\n"
        };
        self.text.lines().map(code).collect()
    }
}

/// Whether a path in the code leads to this room of the crate, alone or in a group.
fn names_room(code: &str, room: &str) -> bool {
    let leads =
        |path: &str| path.trim_start().strip_prefix(room).is_some_and(|rest| !rest.starts_with(is_ident));
    ["crate::", "super::"].iter().flat_map(|base| code.split(base).skip(1)).any(|after| {
        let Some(group) = after.strip_prefix('{') else { return leads(after) };
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, letter) in group.char_indices() {
            let ends = depth == 0 && (letter == ',' || letter == '}');
            if ends && leads(&group[start..at]) {
                return true;
            }
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => return false,
                '}' => depth -= 1,
                ',' if depth == 0 => start = at + 1,
                _ => {}
            }
        }
        false
    })
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_ident) && !code[at + word.len()..].starts_with(is_ident))
}

fn is_ident(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[track_caller]
fn check(rule: Rule) {
    let fault = |source: Source| rule(&source).map(|fault| format!("{}: {fault}", source.path));
    report(&sources().into_iter().filter_map(fault).collect::<Vec<_>>());
}

#[track_caller]
fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

/// Every Rust file below `gateway` and `load-tests`.
fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    walk(&root.join("gateway"), &mut files);
    walk(&root.join("load-tests"), &mut files);
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let path = file.strip_prefix(&root).expect("walked from the root").to_string_lossy().into_owned();
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"));
        sources.push(Source { path, text });
    }
    // A walk that finds nothing would let every rule pass.
    for name in ["routing", "upstream", "edge", "server", "testkit"] {
        assert!(
            sources.iter().any(|source| source.room().is_some_and(|room| room.0 == name)),
            "no file of {name}"
        );
    }
    assert!(sources.len() >= 15, "only {} files found", sources.len());
    sources
}

/// All files below `folder`, none if it is missing; build output and hidden folders aside.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
}

/// The folders directly below one, none if it is missing.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

const MAX_LINES: usize = 500;
const PINGORA_ROOMS: &[&str] =
    &["boot", "settings", "listener", "proxy", "tls", "health", "otlp", "admin", "demo"];
const ATTICS: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "info"];
const SERVER_FLOORS: &[(&str, &[&str])] = &[
    ("board", &["proxy", "listener", "status", "control", "admin", "boot", "cli", "demo"]),
    ("status", &["control", "admin", "boot", "cli", "demo"]),
    ("supervisor", &["proxy", "listener", "status", "control", "admin", "boot", "cli", "demo"]),
    ("upgrade", &["proxy", "listener", "supervisor", "status", "control", "admin", "boot", "cli", "demo"]),
];
const FLOORS: &[(&str, &[&str])] = &[
    ("decide", &["wire", "compile", "import"]),
    ("import", &["compile", "decide"]),
    ("compile", &["import"]),
    ("snapshot", &["wire", "compile", "decide", "import", "serde"]),
    ("wire", &["snapshot", "compile", "decide", "import"]),
];
