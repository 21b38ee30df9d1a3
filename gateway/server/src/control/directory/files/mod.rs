//! What is in the configured paths: every file's text, or a finding that says why not. Nothing is parsed here.

use std::collections::{HashMap, HashSet};
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::SystemTime;

use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::{Origin, Piece, Pos};

use super::tree::{self, Fault, File, Id, Stamp, Tree};

/// How much is read. What is over is a finding, never a part of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest file.
    pub(crate) max_file_bytes: u64,
    /// The most directories and files together.
    pub(crate) max_files: usize,
    /// The most text of all files together.
    pub(crate) max_total_bytes: u64,
}

/// One file's text.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// The file as a person would name it: the configured path joined with the names below it. What cannot
    /// be printed is replaced.
    pub(crate) name: Arc<str>,
    /// All of it, without a byte order mark; `None` where it is what it was when it was last read.
    pub(crate) text: Option<Arc<str>>,
    /// What the file looks like for as long as this is its text; `None` where it was changed so lately that the next change
    /// might not show.
    pub(crate) stamp: Option<Stamp>,
}

/// Files that were read, by their names, as they looked then.
pub(crate) type Known = HashMap<Arc<str>, Stamp>;

/// What the configured paths hold.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The files that could be read, by name; one that has several names, under the first of them.
    pub(crate) texts: Vec<Text>,
    /// Why others could not.
    pub(crate) findings: Diagnostics,
    /// False when a configured path itself is missing or cannot be read.
    pub(crate) readable: bool,
}

/// Reads every configuration file of `roots`: a file of any name, or a directory with all below it
/// (`*.yaml`, `*.yml`, `*.json`, no hidden names, links followed).
///
/// What is there is listed again afterwards, and all is read anew when it is not the same: so a mount that is
/// swapped meanwhile gives the old or the new, not some of each. A tree that is written to for ever is given
/// as the last attempt saw it.
///
/// A file that looks as it does in `known` is not opened: its text is `None`.
pub(crate) fn read(roots: &[PathBuf], limits: &Limits, known: &Known) -> Listing {
    let mut tree = tree::walk(roots, limits.max_files);
    for _ in 1..ATTEMPTS {
        let listing = read_tree(roots, &tree, limits, known);
        let after = tree::walk(roots, limits.max_files);
        if after == tree {
            return listing;
        }
        tree = after;
    }
    read_tree(roots, &tree, limits, known)
}

const ATTEMPTS: usize = 3;

const MIB: u64 = 1024 * 1024;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Limits { max_file_bytes: 64 * MIB, max_files: 100_000, max_total_bytes: 1024 * MIB }
    }
}

// === impl Listing ===

fn read_tree(roots: &[PathBuf], tree: &Tree, limits: &Limits, known: &Known) -> Listing {
    let mut listing = Listing { texts: Vec::new(), findings: Diagnostics::default(), readable: true };
    for fault in &tree.faults {
        listing.readable &= !fault.is_root;
        listing.findings.push(describe(fault));
    }
    if tree.cut_short {
        let hint = "point at a directory that holds configuration alone";
        let all = roots.iter().map(|root| printable(root)).collect::<Vec<_>>().join(", ");
        let message = format!("{all} holds more than {} files and directories", limits.max_files);
        listing.findings.push(finding(&all, message).hint(hint));
    }
    let mut bytes_left = limits.max_total_bytes;
    for file in without_aliases(&tree.files) {
        let name = printable(&file.path);
        if let Some((name, _)) = known.get_key_value(&*name).filter(|(_, stamp)| **stamp == file.stamp)
            && file.stamp.size <= bytes_left
        {
            bytes_left -= file.stamp.size;
            listing.texts.push(Text { name: name.clone(), text: None, stamp: Some(file.stamp) });
            continue;
        }
        let stamp = Some(file.stamp).filter(|stamp| stamp.age(SystemTime::now()) >= tree::YOUTH);
        let refusal = match read_file(file, limits, bytes_left) {
            Ok(text) => {
                bytes_left -= text.len() as u64;
                listing.texts.push(Text { name: name.into(), text: Some(text.into()), stamp });
                continue;
            }
            Err(refusal) => refusal,
        };
        let found = match refusal {
            Refusal::NotAFile(what) => not_a_file(&name, what),
            Refusal::TooLong(bytes) => too_long(&name, bytes, limits.max_file_bytes),
            Refusal::NotUtf8(error) => not_utf8(&name, &error),
            Refusal::Failed(error) => {
                let fault = Fault::new(&file.path, &error, file.is_root);
                if fault.is_vanished() {
                    // A swap is under way: whoever watches reads again.
                    continue;
                }
                listing.readable &= !fault.is_root;
                describe(&fault)
            }
            Refusal::NoRoom => {
                listing.findings.push(no_room(&name, limits.max_total_bytes));
                break;
            }
        };
        listing.findings.push(found);
    }
    listing.texts.sort_by(|a, b| a.name.cmp(&b.name));
    listing
}

/// Files without those that are another one of them by a link, or because roots overlap. Only real paths
/// tell: hard links are files of their own, and some network file systems use an inode's number twice.
fn without_aliases(files: &[File]) -> impl Iterator<Item = &File> {
    let mut names: HashMap<Id, u32> = HashMap::new();
    for file in files {
        *names.entry(file.stamp.id).or_default() += 1;
    }
    let mut seen = HashSet::new();
    files.iter().filter(move |file| {
        let alone = names.get(&file.stamp.id).is_none_or(|names| *names == 1);
        alone || fs::canonicalize(&file.path).map_or(true, |real| seen.insert(real))
    })
}

/// Why there is no text.
enum Refusal {
    NotAFile(&'static str),
    TooLong(u64),
    /// All files together are.
    NoRoom,
    NotUtf8(FromUtf8Error),
    Failed(io::Error),
}

fn read_file(file: &File, limits: &Limits, bytes_left: u64) -> Result<String, Refusal> {
    let regular = |kind| what(kind).map_or(Ok(()), |what| Err(Refusal::NotAFile(what)));
    let fits = |bytes| match bytes {
        bytes if bytes > limits.max_file_bytes => Err(Refusal::TooLong(bytes)),
        bytes if bytes > bytes_left => Err(Refusal::NoRoom),
        _ => Ok(()),
    };
    // Looked at before it is opened, since opening a device may do something, and once more after, since the
    // name may lead elsewhere by now; without blocking, since a FIFO would wait for its writer.
    regular(file.kind)?;
    let mut options = OpenOptions::new();
    let handle = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(&file.path);
    let handle = handle.map_err(Refusal::Failed)?;
    let opened = handle.metadata().map_err(Refusal::Failed)?;
    regular(opened.file_type())?;
    fits(opened.len())?;
    // It may grow while it is read.
    let most = limits.max_file_bytes.min(bytes_left).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(opened.len()).unwrap_or(0) + 1);
    handle.take(most).read_to_end(&mut bytes).map_err(Refusal::Failed)?;
    fits(bytes.len() as u64)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(Refusal::NotUtf8)
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What stands where a file should; `None` for a file.
fn what(kind: FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_fifo(), "a FIFO"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (kind.is_dir(), "a directory"),
        (!kind.is_file(), "something else"),
    ];
    kinds.iter().find(|(is, _)| *is).map(|(_, name)| *name)
}

// === findings ===

fn describe(fault: &Fault) -> Diagnostic {
    let Fault { path, kind: _, error, is_dangling, is_root } = fault;
    let name = printable(path);
    if *is_dangling {
        let target = fs::read_link(path).unwrap_or_default();
        let message = format!("{name} is a link to {}, which is not there", printable(&target));
        let hint = "remove the link or make what it leads to";
        // It may have been meant for a directory, so it is told whatever its name; but an error would keep
        // all configuration out for what may be a link to a picture.
        let meant = *is_root || path.file_name().is_some_and(tree::is_configuration);
        let severity = if meant { Severity::Error } else { Severity::Warning };
        return Diagnostic { severity, ..finding(&name, message).hint(hint) };
    }
    let found = finding(&name, format!("{name} cannot be read: {error}"));
    match std::env::current_dir() {
        Ok(here) if *is_root && path.is_relative() => {
            found.hint(format!("the path is taken from the working directory, {}", printable(&here)))
        }
        _ => found.hint("the process needs to read it, and to list and enter every directory above it"),
    }
}

fn not_a_file(name: &str, what: &str) -> Diagnostic {
    let hint = "only files are read; move it out of the configuration or give it another ending";
    finding(name, format!("{name} is {what}, not a file")).hint(hint)
}

fn too_long(name: &str, bytes: u64, limit: u64) -> Diagnostic {
    let message = format!("{name} has {}, over the limit of {} for a file", mib(bytes), mib(limit));
    finding(name, message).hint("split it into several files, or raise the setting limits.file")
}

fn no_room(name: &str, limit: u64) -> Diagnostic {
    let message = format!("all files together are over the limit of {}", mib(limit));
    finding(name, message).hint("name only the directories that are needed")
}

fn not_utf8(name: &str, error: &FromUtf8Error) -> Diagnostic {
    let (bytes, good) = (error.as_bytes(), error.utf8_error().valid_up_to());
    let before = String::from_utf8_lossy(&bytes[..good]);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    let pos = Pos::new(number(line), number(column), 0);
    let origin = Origin { piece: Piece::whole(name), pos };
    let byte = bytes.get(good).copied().unwrap_or_default();
    let message = format!("byte 0x{byte:02x} is not UTF-8");
    let hint = match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "the file is in UTF-16; save it as UTF-8",
        _ => "save the file as UTF-8",
    };
    Diagnostic::new(Code::UNREADABLE, Severity::Error, Some(origin), message).hint(hint)
}

fn finding(name: &str, message: String) -> Diagnostic {
    Diagnostic::new(Code::UNREADABLE, Severity::Error, Some(Origin::file(name)), message)
}

/// A path as text that leaves a terminal and a log line whole.
fn printable(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Rounded up to tenths, so that what is over a limit never reads like the limit.
fn mib(bytes: u64) -> String {
    let tenths = u128::from(bytes).saturating_mul(10).div_ceil(u128::from(MIB));
    match tenths % 10 {
        0 => format!("{} MiB", tenths / 10),
        tenth => format!("{}.{tenth} MiB", tenths / 10),
    }
}

#[cfg(test)]
mod tests;
