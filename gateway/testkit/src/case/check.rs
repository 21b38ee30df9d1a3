//! Text compared with a file that people read and `UPDATE_EXPECT=1` rewrites.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Compares `actual` with the file, line ends at the very end aside. With `UPDATE_EXPECT=1` in the environment
/// the file is rewritten instead; read the diff then. A missing file is as good as an empty one.
///
/// # Panics
///
/// Where they differ, with the lines that do (`-` expected, `+` actual).
#[track_caller]
pub fn check_file(path: &Path, actual: &str) {
    let update = env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    if let Err(difference) = compare(path, actual, update) {
        panic!("{difference}(UPDATE_EXPECT=1 rewrites the file)");
    }
}

fn compare(path: &Path, actual: &str, update: bool) -> Result<(), String> {
    let expected = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let (old, new) = (expected.trim_end_matches('\n'), actual.trim_end_matches('\n'));
    if old == new {
        return Ok(());
    }
    if update {
        let text = if new.is_empty() { String::new() } else { format!("{new}\n") };
        return fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    Err(format!("{} is not what came out:\n{}", path.display(), diff(old, new)))
}

/// The lines that differ, each with its number, and two lines around them.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);

    let mut text = String::new();
    let mut show = |first: usize, mark: char, lines: &[&str]| {
        for (index, line) in lines.iter().enumerate() {
            text.push_str(format!("{:>5} {mark} {line}", first + index + 1).trim_end());
            text.push('\n');
        }
    };
    let before = head.saturating_sub(CONTEXT);
    show(before, ' ', &old[before..head]);
    let (mut at_old, mut at_new) = (0, 0);
    for (common_old, common_new) in common(old_middle, new_middle) {
        show(head + at_old, '-', &old_middle[at_old..common_old]);
        show(head + at_new, '+', &new_middle[at_new..common_new]);
        show(head + common_old, ' ', old_middle.get(common_old..=common_old).unwrap_or_default());
        (at_old, at_new) = (common_old + 1, common_new + 1);
    }
    let after = old.len() - tail;
    show(after, ' ', &old[after..after + tail.min(CONTEXT)]);
    text
}

/// Pairs of indices of a longest common subsequence, and at last the pair of both lengths.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    // The table grows with the product; texts that differ that much are shown one after the other.
    if old.len() * new.len() <= MAX_TABLE {
        let width = new.len() + 1;
        let mut longest = vec![0_u32; (old.len() + 1) * width];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                longest[i * width + j] = if old[i] == new[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() && j < new.len() {
            if old[i] == new[j] {
                pairs.push((i, j));
                (i, j) = (i + 1, j + 1);
            } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    pairs.push((old.len(), new.len()));
    pairs
}

const CONTEXT: usize = 2;
const MAX_TABLE: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn differing_lines_are_shown_with_their_surroundings() {
        let old = "a\nb\nc\nold\nd\nsame\n\ne\nf\ng\nh";
        let new = "a\nb\nc\nnew\nd\nsame\n\nf\nmore\ng\nh";
        let expected = "    2   b\n    3   c\n    4 - old\n    4 + new\n    5   d\n    6   same\n    7\n    8 - e\n    \
                        9   f\n    9 + more\n   10   g\n   11   h\n";
        assert_eq!(diff(old, new), expected);
        assert_eq!(diff("", "a"), "    1 + a\n");
        assert_eq!(diff("a\nb", "b"), "    1 - a\n    2   b\n");
    }

    #[test]
    fn a_file_is_compared_or_rewritten() {
        let folder = Folder::new();
        folder.write("expected.txt", "one\n");
        let path = folder.path().join("expected.txt");
        assert_eq!(compare(&path, "one", false), Ok(()));
        assert!(compare(&path, "two", false).unwrap_err().contains("    1 - one\n    1 + two"));
        assert_eq!(compare(&path, "two", true), Ok(()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(compare(&folder.path().join("missing.txt"), "", false), Ok(()));
        assert!(compare(&folder.path().join("missing.txt"), "x", false).is_err());
        assert_eq!(compare(&path, "", true), Ok(()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
