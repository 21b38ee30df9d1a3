//! The first revision of a process where the files are broken: the last good one, or none; and settings that wait for a
//! start.

use std::path::Path;

use trysail_testkit::folder::Folder;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, weighted};

const BROKEN: &str =
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: broken}\nspec: {servres: []}\n";

fn state(folder: &Folder) -> String {
    format!("state: {}\n", folder.path().display())
}

/// Starts one, and waits until it serves.
fn start(config: &Path, settings: &str) -> Gateway {
    let gateway = Gateway::spawn(config, settings);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    gateway
}

fn stop(gateway: &Gateway) {
    gateway.process.signal_term().expect("a signal");
    assert_eq!(gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
}

/// The code it exits with, and what it said.
fn fails(config: &Path, settings: &str) -> (Option<i32>, String) {
    let gateway = Gateway::spawn(config, settings);
    let status = gateway.process.wait(PATIENCE);
    (status.and_then(|status| status.code()), gateway.process.lines().join("\n"))
}

#[test]
fn the_last_good_revision_serves_where_the_files_are_broken() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let (folder, kept) = (reviews.folder(), Folder::new());
    let first = start(folder.path(), &state(&kept));
    // What an edit brought is kept, not only what was there at the start.
    first.after(|| folder.write("seed-reviews.yaml", &weighted(100, 0)), "in force after");
    stop(&first);

    folder.write("broken.yaml", BROKEN);
    let second = start(folder.path(), &state(&kept));
    let said = second.process.lines().join("\n");
    assert!(said.contains("the files are refused, and the last good revision"), "{said}");
    assert!(said.contains("did you mean \"servers\"?") && said.contains("broken.yaml:4:"), "{said}");
    assert_eq!(said.matches("did you mean").count(), 1, "the findings are said once:\n{said}");
    assert_eq!(second.sum("trysail_config_last_reload_successful", &[]), 0.0);
    for _ in 0..10 {
        assert_eq!(second.client().get("a", "/reviews/0", &[]).expect("an answer").version(), Some("v1"));
    }
    // The files are followed as ever: another error, then none.
    let other = BROKEN.replace("servres", "serverz");
    second.after(|| folder.write("broken.yaml", &other), "revision refused");
    second.after(|| folder.remove("broken.yaml"), "and in force");
    assert_eq!(second.sum("trysail_config_last_reload_successful", &[]), 1.0);
    second.after(|| folder.write("seed-reviews.yaml", &weighted(0, 100)), "in force after");
    stop(&second);

    // One that is empty, as where a mount is late, is no better than a broken one; and one that is gone no worse.
    folder.remove("seed-reviews.yaml");
    folder.remove("endpoints.yaml");
    let third = start(folder.path(), &state(&kept));
    assert!(third.process.lines().iter().any(|line| line.contains("error[TRY0011]")));
    assert_eq!(third.client().get("a", "/reviews/0", &[]).expect("an answer").version(), Some("v2"));
    stop(&third);
    std::fs::remove_dir_all(folder.path()).expect("removed");
    let fourth = start(folder.path(), &state(&kept));
    assert_eq!(fourth.client().get("a", "/reviews/0", &[]).expect("an answer").version(), Some("v2"));
}

#[test]
fn without_a_last_good_revision_broken_files_end_the_start() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let (folder, kept) = (reviews.folder(), Folder::new());
    folder.write("broken.yaml", BROKEN);
    let (code, said) = fails(folder.path(), "");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("did you mean \"servers\"?") && said.contains("not started"), "{said}");
    // Nothing is there yet, and then something that was not written by it, or not whole.
    for (page, words) in [
        (None, "not started"),
        (Some("{\"format\":1,\"rev"), "the last good revision is damaged"),
        (Some(r#"{"format":1,"revision":"ab","pieces":[]}"#), "is not what was written"),
    ] {
        if let Some(page) = page {
            kept.write("last-good.json", page);
        }
        let (code, said) = fails(folder.path(), &state(&kept));
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
    // What is kept can't be written, which is said, and no more.
    folder.remove("broken.yaml");
    let nowhere = format!("state: {}/nowhere\n", kept.path().display());
    let gateway = start(folder.path(), &nowhere);
    let said = gateway.process.lines().join("\n");
    assert!(said.contains("the revision in force is not kept in"), "{said}");
}

#[test]
fn a_service_managers_state_directory_is_taken() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let (folder, kept) = (reviews.folder(), Folder::new());
    let given = format!("STATE_DIRECTORY={}:/elsewhere", kept.path().display());
    let gateway = Gateway::spawn_by(&["env", &given], folder.path(), "");
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "{}", gateway.process.lines().join("\n"));
    assert!(kept.path().join("last-good.json").is_file());
}

#[test]
fn settings_that_changed_are_said_to_need_a_restart() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = start(folder.path(), "dangling: serve\n");
    let path = gateway.settings.path().join("settings.yaml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    // The first reading after the start may be the one that finds it.
    let set = |text: &str| {
        gateway.settings.write("settings.yaml", text);
        gateway.process.signal_hup().expect("a signal");
    };
    let changed = text.replace("drain: 5s", "drain: 6s");
    gateway
        .after(|| set(&changed), "warning[TRY0019]: drain changed, and the process still goes by what was");
    // Said once, and not with every edit.
    let seen = gateway.process.lines().len();
    gateway.after(|| folder.write("seed-reviews.yaml", &SEED.replace("50", "5")), "in force after");
    assert!(!gateway.process.lines()[seen..].iter().any(|line| line.contains("TRY0019")));
    gateway.after(
        || set("drian: 5s\n"),
        "the settings would be refused at the next start: unknown field `drian`",
    );
}
