//! Which edits are noticed, how soon, and how often.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use tempfile::TempDir;

use super::super::files::{self, Limits};
use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// What was read: names below the temporary directory, and texts.
type Texts = BTreeMap<String, String>;

/// A watched directory `conf`, read at every call.
struct Probe {
    directory: TempDir,
    calls: Receiver<(Instant, Texts)>,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Events,
    Clock,
}

impl Probe {
    fn new(by: By, prepare: impl Fn(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let base = directory.path().to_path_buf();
        let (send, calls) = mpsc::channel();
        let changed = move || _ = send.send((Instant::now(), texts(&base)));
        let roots = vec![directory.path().join("conf")];
        let watch = match by {
            By::Events => Watch::start(roots, changed),
            By::Clock => {
                let none = Err(notify::Error::generic("refused by the test"));
                Watch::start_with(none, Arc::default(), roots, changed)
            }
        };
        Probe { directory, calls, watch: watch.unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Waits for a call that sees the tree as it is now; when it came, and how many came.
    fn wait(&self, what: &str) -> (Instant, usize) {
        let (expected, deadline) = (texts(self.path()), Instant::now() + DEADLINE);
        for count in 1.. {
            match self.calls.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, seen)) if seen == expected => return (at, count),
                Ok(_) => {}
                Err(error) => panic!("{what}: no call saw {expected:?}: {error}"),
            }
        }
        unreachable!("more calls than numbers")
    }
}

fn texts(base: &Path) -> Texts {
    let listing = files::read(&[base.join("conf")], &Limits::default(), &files::Known::new());
    let below = |name: &str| name.strip_prefix(&format!("{}/", base.display())).unwrap().to_owned();
    listing.texts.iter().map(|text| (below(&text.name), text.text.as_deref().unwrap().to_owned())).collect()
}

fn put(at: &Path, name: &str, text: &str) {
    let path = at.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes elsewhere and renames, as editors and the README do.
fn swap_in(at: &Path, name: &str, text: &str) {
    put(at, &format!("{name}.new"), text);
    fs::rename(at.join(format!("{name}.new")), at.join(name)).unwrap();
}

fn relink(at: &Path, name: &str, target: &str) {
    symlink(target, at.join("link.new")).unwrap();
    fs::rename(at.join("link.new"), at.join(name)).unwrap();
}

struct Row {
    what: &'static str,
    prepare: fn(&Path),
    edit: fn(&Path),
}

fn one_file(at: &Path) {
    put(at, "conf/a.yaml", "a");
}

fn mount(at: &Path) {
    put(at, "conf/..1/a.yaml", "a");
    put(at, "conf/..1/sub/b.yaml", "b");
    put(at, "conf/..2/a.yaml", "A");
    put(at, "conf/..2/sub/b.yaml", "B");
    symlink("..1", at.join("conf/..data")).unwrap();
    symlink("..data/a.yaml", at.join("conf/a.yaml")).unwrap();
    symlink("..data/sub", at.join("conf/sub")).unwrap();
}

fn releases(at: &Path) {
    put(at, "releases/1/a.yaml", "a");
    put(at, "releases/2/a.yaml", "A");
}

const EDITS: &[Row] = &[
    Row { what: "renamed over", prepare: one_file, edit: |at| swap_in(at, "conf/a.yaml", "b") },
    Row { what: "written in place", prepare: one_file, edit: |at| put(at, "conf/a.yaml", "b") },
    Row {
        what: "same size and time put back",
        prepare: one_file,
        edit: |at| {
            let modified = fs::metadata(at.join("conf/a.yaml")).unwrap().modified().unwrap();
            put(at, "conf/a.yaml", "b");
            File::options().write(true).open(at.join("conf/a.yaml")).unwrap().set_modified(modified).unwrap();
        },
    },
    Row {
        what: "made readable",
        prepare: |at| {
            put(at, "conf/a.yaml", "a");
            fs::set_permissions(at.join("conf/a.yaml"), Permissions::from_mode(0o000)).unwrap();
        },
        edit: |at| fs::set_permissions(at.join("conf/a.yaml"), Permissions::from_mode(0o600)).unwrap(),
    },
    Row { what: "file added", prepare: one_file, edit: |at| put(at, "conf/b.yaml", "b") },
    Row { what: "first file added", prepare: |at| fs::create_dir(at.join("conf")).unwrap(), edit: one_file },
    Row {
        what: "file removed",
        prepare: |at| {
            put(at, "conf/a.yaml", "a");
            put(at, "conf/b.yaml", "b");
        },
        edit: |at| fs::remove_file(at.join("conf/b.yaml")).unwrap(),
    },
    Row {
        what: "subdirectory with a file",
        prepare: one_file,
        edit: |at| put(at, "conf/sub/deep/b.yaml", "b"),
    },
    Row {
        what: "subdirectory moved in",
        prepare: |at| {
            put(at, "conf/a.yaml", "a");
            put(at, "aside/b.yaml", "b");
        },
        edit: |at| fs::rename(at.join("aside"), at.join("conf/sub")).unwrap(),
    },
    Row {
        what: "subdirectory renamed",
        prepare: |at| put(at, "conf/sub/b.yaml", "b"),
        edit: |at| fs::rename(at.join("conf/sub"), at.join("conf/bus")).unwrap(),
    },
    Row {
        what: "subdirectory removed",
        prepare: |at| {
            put(at, "conf/a.yaml", "a");
            put(at, "conf/sub/b.yaml", "b");
        },
        edit: |at| fs::remove_dir_all(at.join("conf/sub")).unwrap(),
    },
    Row { what: "ConfigMap swapped", prepare: mount, edit: |at| relink(at, "conf/..data", "..2") },
    Row {
        what: "linked file's target written elsewhere",
        prepare: |at| {
            put(at, "elsewhere/a.yaml", "a");
            fs::create_dir(at.join("conf")).unwrap();
            symlink("../elsewhere/a.yaml", at.join("conf/a.yaml")).unwrap();
        },
        edit: |at| put(at, "elsewhere/a.yaml", "b"),
    },
    Row {
        what: "configured link swapped",
        prepare: |at| {
            releases(at);
            symlink("releases/1", at.join("conf")).unwrap();
        },
        edit: |at| relink(at, "conf", "releases/2"),
    },
    Row {
        what: "link above the configured path's target swapped",
        prepare: |at| {
            releases(at);
            symlink("1", at.join("releases/current")).unwrap();
            symlink("releases/current", at.join("conf")).unwrap();
        },
        edit: |at| relink(at, "releases/current", "2"),
    },
    Row {
        what: "configured directory made again",
        prepare: one_file,
        edit: |at| {
            fs::remove_dir_all(at.join("conf")).unwrap();
            put(at, "conf/a.yaml", "b");
        },
    },
    Row { what: "configured directory came later", prepare: |_| {}, edit: one_file },
    Row {
        what: "configured file renamed over",
        prepare: |at| put(at, "conf", "a"),
        edit: |at| swap_in(at, "conf", "b"),
    },
    Row {
        what: "configured link's file written",
        prepare: |at| {
            put(at, "elsewhere/a.txt", "a");
            symlink("elsewhere/a.txt", at.join("conf")).unwrap();
        },
        edit: |at| put(at, "elsewhere/a.txt", "b"),
    },
    Row {
        what: "directory became a file",
        prepare: one_file,
        edit: |at| {
            fs::remove_dir_all(at.join("conf")).unwrap();
            put(at, "conf", "b");
        },
    },
];

/// Every edit is seen, a second one in the same place too, and once it was seen there is no further call,
/// though every call reads all files.
fn check_edits(by: By) {
    let probes: Vec<_> = EDITS.iter().map(|row| (row, Probe::new(by, row.prepare))).collect();
    let edited: Vec<_> =
        probes.iter().map(|(row, probe)| ((row.edit)(probe.path()), Instant::now()).1).collect();
    for ((row, probe), edited) in probes.iter().zip(edited) {
        let (at, calls) = probe.wait(row.what);
        let took = at.saturating_duration_since(edited).as_millis();
        println!("{by:?}: {}: call {calls} after {took} ms", row.what);
    }
    let end = Instant::now() + Duration::from_secs(3);
    for (row, probe) in &probes {
        let mut further = 0;
        loop {
            match probe.calls.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(_) => further += 1,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("{}: the thread ended", row.what),
            }
        }
        // An edit of several steps may be called for twice, where a look fell between them.
        assert!(further <= 1, "{by:?}: {}: {further} calls after the last edit", row.what);
    }
    for (_, probe) in &probes {
        let conf = probe.path().join("conf");
        let file = if conf.is_dir() { "conf/again.yaml" } else { "conf" };
        swap_in(probe.path(), file, "again");
    }
    for (row, probe) in &probes {
        probe.wait(row.what);
    }
}

#[test]
fn edits_are_seen_by_events() {
    check_edits(By::Events);
}

#[test]
fn edits_are_seen_by_the_clock() {
    check_edits(By::Clock);
}

#[test]
fn one_edit_is_one_call() {
    let probe = Probe::new(By::Events, |at| {
        for n in 0..50 {
            put(at, &format!("conf/{n}.yaml"), "a");
        }
    });
    swap_in(probe.path(), "conf/7.yaml", "b");
    probe.wait("one edit");
    // What was so young that another change would not have shown is read once more when it has aged.
    if let Ok((_, again)) = probe.calls.recv_timeout(Duration::from_secs(2)) {
        assert_eq!(again.get("conf/7.yaml").map(String::as_str), Some("b"));
    }
    assert_eq!(probe.calls.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout));
}

#[test]
fn what_changes_nothing_is_no_edit() {
    let probe = Probe::new(By::Events, one_file);
    put(probe.path(), "conf/.a.yaml.swp", "x");
    put(probe.path(), "conf/notes.txt", "x");
    put(probe.path(), "beside", "x");
    fs::remove_file(probe.path().join("conf/notes.txt")).unwrap();
    fs::read(probe.path().join("conf/a.yaml")).unwrap();
    fs::File::options().write(true).open(probe.path().join("conf/a.yaml")).unwrap();
    assert_eq!(probe.calls.recv_timeout(Duration::from_secs(1)), Err(RecvTimeoutError::Timeout));
}

#[test]
fn half_a_file_waits_for_its_close_or_stillness() {
    for by in [By::Events, By::Clock] {
        let probe = Probe::new(by, one_file);
        let mut file = File::create(probe.path().join("conf/a.yaml")).unwrap();
        // Written to for longer than any other wait.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1_000) {
            file.write_all(b"half\n").unwrap();
            let call = probe.calls.recv_timeout(Duration::from_millis(20));
            assert_eq!(call, Err(RecvTimeoutError::Timeout), "{by:?}: read while it was written");
        }
        file.write_all(b"half").unwrap();
        let written = Instant::now();
        let (at, _) = probe.wait("still");
        let least = if by == By::Events { events::STILL } else { INTERVAL };
        assert!(at - written >= least - Duration::from_millis(5), "{by:?}: {:?}", at - written);
        file.write_all(b"whole").unwrap();
        drop(file);
        probe.wait("closed");
    }
}

#[test]
fn rapid_edits_are_fewer_calls() {
    let probe = Probe::new(By::Events, one_file);
    for n in 1..=100 {
        swap_in(probe.path(), "conf/a.yaml", &format!("edit {n}"));
    }
    let (_, calls) = probe.wait("the last of 100");
    assert!(calls <= 10, "{calls} calls");
}

#[test]
fn what_was_read_and_undone_before_a_look_is_another_call() {
    let probe = Probe::new(By::Events, one_file);
    let mark = probe.watch.mark(&[probe.path().join("conf")]).unwrap();
    let file = probe.path().join("conf/passing.yaml");
    fs::write(&file, "read, and gone").unwrap();
    mark.note();
    fs::remove_file(&file).unwrap();
    probe.wait("the removal");
}

#[test]
fn dropped_it_calls_no_more() {
    let probe = Probe::new(By::Events, one_file);
    let Probe { directory, calls, watch } = probe;
    put(directory.path(), "conf/a.yaml", "b");
    drop(watch);
    // The sender went with the thread.
    while calls.recv_timeout(DEADLINE).is_ok() {}
    assert_eq!(calls.recv_timeout(DEADLINE), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_change_during_the_call_is_another_call() {
    let directory = tempfile::tempdir().unwrap();
    one_file(directory.path());
    let base = directory.path().to_path_buf();
    let (send, calls) = mpsc::channel();
    let first = std::sync::Once::new();
    let changed = move || {
        _ = send.send(texts(&base));
        first.call_once(|| swap_in(&base, "conf/a.yaml", "during"));
    };
    let _watch = Watch::start(vec![directory.path().join("conf")], changed).unwrap();
    swap_in(directory.path(), "conf/a.yaml", "before");
    let seen = |text: &str| Texts::from([("conf/a.yaml".to_owned(), text.to_owned())]);
    assert_eq!(calls.recv_timeout(DEADLINE), Ok(seen("before")));
    assert_eq!(calls.recv_timeout(DEADLINE), Ok(seen("during")));
}
