//! A test case as a folder: `config.yaml`, the requests it is asked, and the findings it brings.
//!
//! Only the text is read here. What an expectation means is for the test that compares it.

use std::fs;
use std::path::{Path, PathBuf};

mod check;
mod row;

pub use check::check_file;
pub use row::Row;

/// One folder of `gateway/testdata/cases` or `conf/examples`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's own name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// Its `config.yaml`, or the folder itself where there is none (examples name their files by what they hold).
    pub config: PathBuf,
    /// The rows of `requests.txt`, none if there is no such file.
    pub rows: Vec<Row>,
    /// The text of `diagnostics.txt`.
    pub diagnostics: Option<String>,
    /// The text of `requests.txt`, to rewrite its expectations.
    requests: String,
}

/// The folder `gateway/testdata/cases` of this repository.
pub fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cases")
}

/// The folder `conf/examples` of this repository.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/examples")
}

impl Case {
    /// Every case below `root` ([`cases`] or [`examples`]), sorted by name. None if there is no such folder:
    /// a test that must not pass for want of cases asserts how many there are.
    ///
    /// # Panics
    ///
    /// On a row that cannot be read, naming file and line, and on a file that cannot.
    #[track_caller]
    pub fn all(root: &Path) -> Vec<Case> {
        if !root.exists() {
            return Vec::new();
        }
        let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        let mut folders: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", root.display())).path())
            .filter(|path| path.is_dir() && !file_name(path).starts_with('.'))
            .collect();
        folders.sort();
        folders.iter().map(|folder| Case::read(folder)).collect()
    }

    /// One case.
    ///
    /// # Panics
    ///
    /// As [`Case::all`].
    #[track_caller]
    pub fn read(folder: &Path) -> Case {
        let file = folder.join("requests.txt");
        let requests = read_if_there(&file).unwrap_or_default();
        let mut rows = Vec::new();
        for (index, text) in requests.lines().enumerate() {
            match Row::read(index + 1, text) {
                Ok(row) => rows.extend(row),
                Err(why) => panic!("{}:{}: {why}: {text}", file.display(), index + 1),
            }
        }
        let config = Some(folder.join("config.yaml")).filter(|file| file.exists());
        Case {
            name: file_name(folder),
            folder: folder.to_owned(),
            config: config.unwrap_or_else(|| folder.to_owned()),
            rows,
            diagnostics: read_if_there(&folder.join("diagnostics.txt")),
            requests,
        }
    }

    /// Compares what each row's request really brought, in the order of `rows`, with what it expects, as
    /// [`check_file`] does: with `UPDATE_EXPECT=1` the file gets the new expectations, and keeps its comments.
    ///
    /// # Panics
    ///
    /// Where they differ, with a diff of `requests.txt`.
    #[track_caller]
    pub fn check_answers(&self, answers: &[String]) {
        check_file(&self.folder.join("requests.txt"), &self.requests_with(answers));
    }

    /// The text of `requests.txt`, had each row expected its answer.
    fn requests_with(&self, answers: &[String]) -> String {
        assert_eq!(answers.len(), self.rows.len(), "one answer for each row of {}", self.name);
        let mut lines: Vec<String> = self.requests.lines().map(str::to_owned).collect();
        for (row, answer) in self.rows.iter().zip(answers).filter(|(row, answer)| row.expected != **answer) {
            lines[row.line - 1] = row::with_expected(&lines[row.line - 1], answer);
        }
        lines.join("\n")
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read_if_there(file: &Path) -> Option<String> {
    let read = || fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file.exists().then(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn cases_are_read_sorted() {
        let folder = Folder::new();
        folder.write("b/config.yaml", "kind: Gateway");
        folder.write("b/requests.txt", "# why\n\nGET http://shop.test/   => v1\n");
        folder.write("a/gateway.yaml", "kind: Gateway");
        folder.write("a/diagnostics.txt", "error: no\n");
        folder.write("README.md", "no case");
        let cases = Case::all(folder.path());
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((&cases[0].config, &cases[0].rows), (&cases[0].folder, &Vec::new()));
        assert_eq!(cases[0].diagnostics.as_deref(), Some("error: no\n"));
        assert_eq!(cases[1].config, folder.path().join("b/config.yaml"));
        assert_eq!((cases[1].rows.len(), cases[1].rows[0].line), (1, 3));
        cases[1].check_answers(&["v1".to_owned()]);
        assert!(Case::all(&folder.path().join("nowhere")).is_empty());
    }

    #[test]
    #[should_panic(expected = "b/requests.txt:2: no `=>` after the request: GET http://shop.test/")]
    fn a_bad_row_is_named_by_file_and_line() {
        let folder = Folder::new();
        folder.write("b/requests.txt", "# why\nGET http://shop.test/\n");
        Case::all(folder.path());
    }

    #[test]
    fn answers_take_the_place_of_expectations() {
        let folder = Folder::new();
        folder.write("b/requests.txt", "# why\nGET http://a/  => v1  # one\n\nGET http://b/  =>   v1\n");
        let case = &Case::all(folder.path())[0];
        let text = case.requests_with(&["v2".to_owned(), "v1".to_owned()]);
        assert_eq!(text, "# why\nGET http://a/  => v2  # one\n\nGET http://b/  =>   v1");
    }
}
