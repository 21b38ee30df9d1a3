//! Tables of rows, each `what is sent => what happens`.
//!
//! What bytes a text stands for, `trysail_properties::seeds::bytes` says, since the rows are fuzzers' seeds too. Behind ` # ` stands what the row is about, or `falls short: …`, what it should be.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(crate) use trysail_properties::seeds::bytes;

use crate::gateway::{EXPRESS, PINGORA};
use crate::lane::Bench;

/// What separates what is sent from what happens.
const ARROW: &str = "  => ";
const NOTE: &str = "  # ";
pub(crate) const LANES: usize = 8;

/// Settings of the two lanes: what a table says holds for both.
pub(crate) const POSITIONS: [&str; 2] = [PINGORA, EXPRESS];

/// Behind this stands in a note what happens on the express lane, where that is not the same.
const BY_EXPRESS: &str = "express: ";

/// A row as its table has it.
pub(crate) struct Row<'t> {
    pub(crate) sent: &'t str,
    /// Empty for one that has never been run.
    pub(crate) happens: &'t str,
}

/// Runs the rows of a table that are wanted, and compares. There are at least so many, and of all so many fall short. `run` is asked with a lane's number and a row.
pub(crate) fn check(
    name: &str,
    least: usize,
    falls_short: usize,
    wanted: impl Fn(&Row<'_>) -> bool,
    run: impl Fn(&Bench, usize, &Row<'_>) -> String + Sync,
) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name);
    let text = std::fs::read_to_string(&path).expect("the table can be read");
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &str| !line.is_empty() && !line.starts_with("# ");
    let row = |at: &usize| {
        let (sent, happens, _) = parts(lines[*at]);
        is_row(lines[*at]) && wanted(&Row { sent, happens })
    };
    let rows: Vec<usize> = (0..lines.len()).filter(row).collect();
    assert!(rows.len() >= least, "{name} has only {} rows", rows.len());
    for settings in POSITIONS {
        let bench = Bench::with(LANES, settings);
        let done = ask(&bench, &rows, &lines, &run);
        bench.end_of_requests();
        let was: Vec<String> = lines.iter().map(|line| told(line, settings)).collect();
        let now: Vec<String> =
            was.iter().zip(done).map(|(was, now)| now.unwrap_or_else(|| was.clone())).collect();
        let short = now.iter().filter(|line| line.contains("falls short:")).count();
        assert_eq!(short, falls_short, "rows of {name} that say that they fall short");
        judge(&path, &was, &now, settings);
    }
}

/// A row as it is to be with these settings.
fn told(line: &str, settings: &str) -> String {
    let (sent, _, note) = parts(line);
    match note.split_once(BY_EXPRESS) {
        Some((_, happens)) if settings == EXPRESS => format!("{sent}{ARROW}{happens}{note}"),
        _ => line.to_owned(),
    }
}

/// What happened with each row.
fn ask(
    bench: &Bench,
    rows: &[usize],
    lines: &[&str],
    run: &(impl Fn(&Bench, usize, &Row<'_>) -> String + Sync),
) -> Vec<Option<String>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![None; lines.len()]));
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (next, done) = (&next, &done);
            scope.spawn(move || {
                while let Some(at) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (sent, happens, note) = parts(lines[*at]);
                    let happened = run(bench, lane, &Row { sent, happens });
                    done.lock().expect("no row panics")[*at] = Some(format!("{sent}{ARROW}{happened}{note}"));
                }
            });
        }
    });
    done.into_inner().expect("no row panics")
}

fn judge(path: &PathBuf, was: &[String], is: &[String], settings: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() && settings != EXPRESS {
        std::fs::write(path, is.join("\n") + "\n").expect("the table can be written");
        return;
    }
    let differ: Vec<String> = was
        .iter()
        .zip(is)
        .enumerate()
        .filter(|(_, (was, is))| was != is)
        .map(|(at, (was, is))| format!("line {}\n  - {was}\n  + {is}", at + 1))
        .collect();
    assert!(
        differ.is_empty(),
        "{} {settings}: {} rows differ\n{}",
        path.display(),
        differ.len(),
        differ.join("\n")
    );
}

/// What is sent, what happens, and the note with its mark.
fn parts(line: &str) -> (&str, &str, String) {
    let (row, note) =
        line.split_once(NOTE).map_or((line, String::new()), |(row, note)| (row, format!("{NOTE}{note}")));
    let (sent, happens) = row.split_once(ARROW.trim_end()).unwrap_or((row, ""));
    (sent.trim_end(), happens.trim(), note)
}

/// Bytes as a text that stands for them; long ones are cut.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunk_by(|before, _| *before != b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                out.push_str(&(line.strip_suffix(b"\r").unwrap_or(line).escape_ascii().to_string() + "|"))
            }
            None => out.push_str(&line.escape_ascii().to_string()),
        }
    }
    let out = out.replace("\\'", "'").replace("\\\"", "\"");
    match out.char_indices().nth(300) {
        Some((cut, _)) => format!("{}… {} bytes", &out[..cut], bytes.len()),
        None => out,
    }
}
