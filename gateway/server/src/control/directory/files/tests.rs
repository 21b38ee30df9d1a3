//! What lies in a directory, kind by kind, and what is read of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SMALL: Limits = Limits { max_file_bytes: 2 * MIB, max_files: 20, max_total_bytes: 3 * MIB };

/// Every text and finding, a line each, with the directory's own path cut out.
fn shown(directory: &Path, listing: &Listing) -> Vec<String> {
    let texts = listing
        .texts
        .iter()
        .map(|t| format!("{} = {}", t.name, t.text.as_deref().unwrap_or("as before").trim_end()));
    let findings = listing.findings.iter().map(|d| {
        assert_eq!(d.code, Code::UNREADABLE);
        assert!(!d.hints.is_empty(), "no hint: {}", d.message);
        let origin = d.origin.as_ref().expect("a place");
        format!("{origin}: {}: {}", d.severity.word(), d.message)
    });
    let base = format!("{}/", directory.display());
    texts.chain(findings).map(|line| line.replace(&base, "")).collect()
}

/// Makes a directory, reads `conf` in it, and compares.
fn check(case: &str, make: impl Fn(&Path), readable: bool, expected: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path());
    let listing = read(&[directory.path().join("conf")], &SMALL, &Known::new());
    assert_eq!(shown(directory.path(), &listing), expected, "{case}");
    assert_eq!(listing.readable, readable, "{case}");
}

fn put(at: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = at.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn sparse(at: &Path, name: &str, bytes: u64) {
    put(at, name, "");
    fs::OpenOptions::new().write(true).open(at.join(name)).unwrap().set_len(bytes).unwrap();
}

#[test]
fn what_is_read() {
    check(
        "names, endings, depth, order",
        |at| {
            put(at, "conf/b.yaml", "b");
            put(at, "conf/a.YML", "a");
            put(at, "conf/deep/er/c.Json", "c");
            put(at, "conf/empty.yaml", "");
            put(at, "conf/readme.md", "no");
            put(at, "conf/yaml", "no");
            put(at, "conf/b.yaml~", "no");
        },
        true,
        &["conf/a.YML = a", "conf/b.yaml = b", "conf/deep/er/c.Json = c", "conf/empty.yaml = "],
    );
    check(
        "hidden names at any level",
        |at| {
            put(at, "conf/.b.yaml", "no");
            put(at, "conf/.git/b.yaml", "no");
            put(at, "conf/sub/.old/b.yaml", "no");
            put(at, "conf/sub/a.yaml", "a");
            symlink("nowhere", at.join("conf/.#a.yaml")).unwrap();
        },
        true,
        &["conf/sub/a.yaml = a"],
    );
    check(
        "a directory named like a file",
        |at| put(at, "conf/x.yaml/a.yaml", "a"),
        true,
        &["conf/x.yaml/a.yaml = a"],
    );
    check("nothing", |at| fs::create_dir(at.join("conf")).unwrap(), true, &[]);
    check(
        "a byte order mark",
        |at| put(at, "conf/a.yaml", b"\xEF\xBB\xBFa: \xC3\xA4"),
        true,
        &["conf/a.yaml = a: ä"],
    );
    check("one file of any name", |at| put(at, "conf", "a"), true, &["conf = a"]);
    check(
        "a name that would upset a terminal",
        |at| put(at, "conf/a\n\x1b[2J.yaml", "a"),
        true,
        &["conf/a\u{fffd}\u{fffd}[2J.yaml = a"],
    );
}

#[test]
fn links() {
    check(
        "a ConfigMap's mount is read once",
        |at| {
            put(at, "conf/..2024_06_01/a.yaml", "a");
            put(at, "conf/..2024_06_01/sub/b.yaml", "b");
            symlink("..2024_06_01", at.join("conf/..data")).unwrap();
            symlink("..data/a.yaml", at.join("conf/a.yaml")).unwrap();
            symlink("..data/sub", at.join("conf/sub")).unwrap();
        },
        true,
        &["conf/a.yaml = a", "conf/sub/b.yaml = b"],
    );
    check(
        "loops end, and a real name wins over a link's",
        |at| {
            put(at, "conf/one/a.yaml", "a");
            symlink(".", at.join("conf/loop")).unwrap();
            symlink("..", at.join("conf/one/up")).unwrap();
            symlink("one", at.join("conf/alias")).unwrap();
        },
        true,
        &["conf/one/a.yaml = a"],
    );
    check(
        "a file and a link to it are read once, two hard links twice",
        |at| {
            put(at, "conf/b.yaml", "b");
            symlink("b.yaml", at.join("conf/a.yaml")).unwrap();
            put(at, "conf/c.yaml", "c");
            fs::hard_link(at.join("conf/c.yaml"), at.join("conf/d.yaml")).unwrap();
        },
        true,
        &["conf/a.yaml = b", "conf/c.yaml = c", "conf/d.yaml = c"],
    );
    check(
        "a link to itself",
        |at| {
            fs::create_dir(at.join("conf")).unwrap();
            symlink("a.yaml", at.join("conf/a.yaml")).unwrap();
        },
        true,
        &["conf/a.yaml: error: conf/a.yaml cannot be read: Too many levels of symbolic links (os error 40)"],
    );
    check(
        "dangling: an error where configuration is meant, else a warning",
        |at| {
            fs::create_dir(at.join("conf")).unwrap();
            symlink("gone.yaml", at.join("conf/a.yaml")).unwrap();
            symlink("/gone/directory", at.join("conf/sub")).unwrap();
        },
        true,
        &[
            "conf/a.yaml: error: conf/a.yaml is a link to gone.yaml, which is not there",
            "conf/sub: warning: conf/sub is a link to /gone/directory, which is not there",
        ],
    );
    check(
        "the configured path dangles",
        |at| symlink("gone", at.join("conf")).unwrap(),
        false,
        &["conf: error: conf is a link to gone, which is not there"],
    );
}

#[test]
fn what_is_refused() {
    let fifo = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    check(
        "what is no file",
        |at| {
            put(at, "conf/a.yaml", "a");
            fifo(&at.join("conf/pipe.yaml"));
            fifo(&at.join("conf/pipe.txt"));
            UnixListener::bind(at.join("conf/s.yaml")).unwrap();
            symlink("/dev/zero", at.join("conf/zero.yaml")).unwrap();
        },
        true,
        &[
            "conf/a.yaml = a",
            "conf/pipe.yaml: error: conf/pipe.yaml is a FIFO, not a file",
            "conf/s.yaml: error: conf/s.yaml is a socket, not a file",
            "conf/zero.yaml: error: conf/zero.yaml is a device, not a file",
        ],
    );
    check(
        "not UTF-8",
        |at| {
            put(at, "conf/a.yaml", b"ok: 1\n\xC3\xA4\xC3\xB6: \xE9t\xE9\n");
            put(at, "conf/b.yaml", b"\xEF\xBB\xBF\xFF");
            put(at, "conf/c.yaml", b"\xFF\xFEa\0");
            put(at, "conf/d.yaml", b"cut: \xE2\x82");
        },
        true,
        &[
            "conf/a.yaml:2:5: error: byte 0xe9 is not UTF-8",
            "conf/b.yaml:1:1: error: byte 0xff is not UTF-8",
            "conf/c.yaml:1:1: error: byte 0xff is not UTF-8",
            "conf/d.yaml:1:6: error: byte 0xe2 is not UTF-8",
        ],
    );
    check(
        "over the limit by one byte, and at it",
        |at| {
            sparse(at, "conf/over.yaml", 2 * MIB + 1);
            sparse(at, "conf/vast.yaml", 1 << 40);
            put(at, "conf/at.yaml", " ".repeat(2 * MIB as usize));
        },
        true,
        &[
            "conf/at.yaml = ",
            "conf/over.yaml: error: conf/over.yaml has 2.1 MiB, over the limit of 2 MiB for a file",
            "conf/vast.yaml: error: conf/vast.yaml has 1048576 MiB, over the limit of 2 MiB for a file",
        ],
    );
    check(
        "over the limit together",
        |at| {
            put(at, "conf/a.yaml", " ".repeat(2 * MIB as usize));
            put(at, "conf/b.yaml", " ".repeat(2 * MIB as usize));
            put(at, "conf/c.yaml", "c");
        },
        true,
        &["conf/a.yaml = ", "conf/b.yaml: error: all files together are over the limit of 3 MiB"],
    );
    check(
        "missing",
        |_| {},
        false,
        &["conf: error: conf cannot be read: No such file or directory (os error 2)"],
    );
    check(
        "a FIFO is configured",
        |at| fifo(&at.join("conf")),
        true,
        &["conf: error: conf is a FIFO, not a file"],
    );
}

#[test]
fn a_file_where_the_directory_was_is_read_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let roots = [directory.path().join("conf/sub")];
    put(directory.path(), "conf/sub/a.yaml", "a");
    assert_eq!(shown(directory.path(), &read(&roots, &SMALL, &Known::new())), ["conf/sub/a.yaml = a"]);
    fs::remove_dir_all(directory.path().join("conf")).unwrap();
    put(directory.path(), "conf", "not a directory");
    let listing = read(&roots, &SMALL, &Known::new());
    let expected = "conf/sub: error: conf/sub cannot be read: Not a directory (os error 20)";
    assert_eq!(shown(directory.path(), &listing), [expected]);
    assert!(!listing.readable);
}

/// While a ConfigMap's mount is swapped under the reader, at most twice in one reading.
#[test]
fn a_swap_gives_the_old_or_the_new_never_some_of_each() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let files: Vec<_> = (0..20).map(|n| format!("{n}.yaml")).collect();
    for revision in 0..=READINGS {
        files.iter().for_each(|file| put(at, &format!("conf/..{revision}/{file}"), revision.to_string()));
    }
    let swap = |revision: u32| {
        symlink(format!("..{revision}"), at.join("conf/..new")).unwrap();
        fs::rename(at.join("conf/..new"), at.join("conf/..data")).unwrap();
    };
    swap(0);
    files.iter().for_each(|file| symlink(format!("..data/{file}"), at.join("conf").join(file)).unwrap());
    let readings = AtomicU32::new(0);
    let mut listings = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut swapped = 0;
            while swapped < READINGS {
                let begun = readings.load(Ordering::SeqCst);
                if begun > swapped {
                    swapped = begun;
                    swap(swapped);
                }
            }
        });
        for reading in 1..=READINGS {
            readings.store(reading, Ordering::SeqCst);
            listings.push(read(&[at.join("conf")], &Limits::default(), &Known::new()));
        }
    });
    for listing in listings {
        let mut texts: Vec<_> =
            listing.texts.iter().map(|text| text.text.as_deref().unwrap().to_owned()).collect();
        assert_eq!((texts.len(), listing.findings.is_empty()), (files.len(), true));
        texts.dedup();
        assert_eq!(texts.len(), 1, "of several revisions: {texts:?}");
    }
}

const READINGS: u32 = 100;

#[test]
fn more_files_than_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    // The directory counts as well.
    for n in 1..SMALL.max_files {
        put(directory.path(), &format!("{n}.yaml"), "");
    }
    let roots = [directory.path().to_path_buf()];
    assert!(read(&roots, &SMALL, &Known::new()).findings.is_empty());
    put(directory.path(), "one-more.yaml", "");
    let listing = read(&roots, &SMALL, &Known::new());
    let said: Vec<_> = listing.findings.iter().map(|d| &d.message).collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("holds more than 20 files and directories"), "{said:?}");
}

#[test]
fn overlapping_roots_are_read_once() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), "conf/sub/a.yaml", "a");
    put(directory.path(), "conf/b", "b");
    let at = |path: &str| directory.path().join(path);
    let roots = [at("conf"), at("conf/sub"), at("conf/sub/a.yaml"), at("conf/b"), at("conf/../conf/b")];
    let listing = read(&roots, &SMALL, &Known::new());
    assert_eq!(shown(directory.path(), &listing), ["conf/../conf/b = b", "conf/sub/a.yaml = a"]);
}

#[test]
fn relative_paths_are_named_as_written() {
    let listing = read(&["no-such/conf".into()], &SMALL, &Known::new());
    let finding = listing.findings.iter().next().unwrap();
    assert!(finding.message.starts_with("no-such/conf cannot be read"), "{}", finding.message);
    assert!(finding.hints[0].starts_with("the path is taken from the working directory, /"));
}

#[test]
fn sizes_are_rounded_up() {
    let rows =
        [(0, "0 MiB"), (1, "0.1 MiB"), (MIB, "1 MiB"), (64 * MIB + 1, "64.1 MiB"), (MIB * 3 / 2, "1.5 MiB")];
    for (bytes, shown) in rows {
        assert_eq!(mib(bytes), shown);
    }
}

#[test]
fn a_file_that_looks_as_it_did_is_not_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let read = |known: &Known| read(&[directory.path().to_owned()], &SMALL, known);
    fs::write(path("a.yaml"), "a").unwrap();
    fs::write(path("b.yaml"), "b").unwrap();
    let mut known = Known::new();
    trysail_testkit::wait::eventually(std::time::Duration::from_secs(10), "both have aged", || {
        let aged = read(&Known::new()).texts.into_iter().filter_map(|text| Some((text.name, text.stamp?)));
        known = aged.collect();
        known.len() == 2
    });
    fs::write(path("new"), "c").unwrap();
    fs::rename(path("new"), path("b.yaml")).unwrap();
    let listing = read(&known);
    let texts: Vec<Option<&str>> = listing.texts.iter().map(|text| text.text.as_deref()).collect();
    assert_eq!(texts, [None, Some("c")]);
    assert!(listing.texts[1].stamp.is_none(), "what is so young may change without a trace");
}
