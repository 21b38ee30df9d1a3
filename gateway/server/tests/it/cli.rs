//! The command line: answers on standard output, the rest on standard error, and exit codes that mean something.

use std::process::{Command, Output, Stdio};

use trysail_testkit::folder::Folder;

use crate::gateway::SEED;

fn trysail(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trysail"));
    command.args(arguments).stdin(Stdio::null()).output().expect("trysail runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_answers_by_exit_code_and_in_words() {
    let folder = Folder::new();
    folder.write("seed.yaml", SEED);
    let path = folder.path().to_str().expect("UTF-8");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/examples/reviews");
    let broken = folder.path().join("seed.yaml");
    let broken = broken.to_str().expect("UTF-8");
    for (arguments, code, out, err) in [
        (vec!["check", example], 0, "2 files, 4 objects, 1 route on 1 port. It would be applied.", ""),
        (
            vec!["check", broken],
            1,
            "error[IST0101]: there is no host \"reviews.default.svc.cluster.local\"",
            "",
        ),
        (vec!["check", path, "-o", "json"], 1, "\"code\": \"IST0101\"", ""),
        (vec!["check", "/nowhere/at/all"], 2, "", "there is no /nowhere/at/all"),
        (vec!["check"], 2, "", "required"),
        (vec!["chekc", path], 2, "", "'check'"),
        (vec!["run", "--config", path, "-t"], 1, "It would not be applied.", ""),
        (vec!["run", "--config", path, "--port", "80"], 2, "", "write 80=8080"),
        (vec!["run", "--config", path, "--port", "80=1", "--port", "80=2"], 2, "", "a port is opened once"),
        (vec!["run", "--config", path, "--settings", "/nowhere"], 2, "", "settings can't be read"),
        (
            vec!["explain", example, "GET", "http://a.test/reviews/0"],
            0,
            "default/reviews http[0]: path starts with",
            "",
        ),
        (vec!["explain", example, "GET", "http://a.test/x"], 1, "404, flag NR", ""),
        (vec!["explain", example, "GET", "/x"], 2, "", "lacks scheme or host"),
        (vec!["completions", "bash"], 0, "complete -F _trysail", ""),
        (vec!["completions", "zsh"], 0, "#compdef trysail", ""),
        (vec!["completions", "fish"], 0, "complete -c trysail", ""),
        (vec!["completions", "csh"], 2, "", "[possible values: bash"),
        (vec!["man"], 0, ".TH trysail 1", ""),
        (vec!["man", "reload"], 0, "Have a running process read its files", ""),
        (vec!["man", "relaod"], 2, "", "there is no command \"relaod\""),
        (vec!["version"], 0, "trysail 0.", ""),
        (vec!["--help"], 0, "trysail run --config", ""),
    ] {
        let output = trysail(&arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains(out), "{arguments:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(err), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn check_reads_standard_input() {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_trysail"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("trysail runs");
    child.stdin.take().expect("piped").write_all(b"kind: Gateway\n").expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("--> -:1:1"), "{}", text(&output.stdout));
}

#[test]
fn a_broken_configuration_does_not_start() {
    let folder = Folder::new();
    folder.write("seed.yaml", SEED);
    let path = folder.path().to_str().expect("UTF-8");
    let output = trysail(&["run", "--config", path]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("error[IST0101]"), "{}", text(&output.stderr));
    let output = trysail(&["run", "--config", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere/at/all"), "{}", text(&output.stderr));
}

#[test]
fn the_demo_accounts_for_its_requests() {
    for requests in ["1", "999"] {
        let output = trysail(&["demo", "--requests", requests]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
        assert!(said.contains(&format!("{requests} requests, exact")), "{said}");
        assert!(said.contains("curl http://127.0.0.1:"), "{said}");
    }
}
