//! A folder of configuration to be watched, changed in each of the ways in which people change one.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

/// A temporary folder, gone when dropped. All acts panic with the path when the disk refuses them.
#[derive(Debug)]
pub struct Folder {
    /// Holds `config`, which is watched, and `staging`, which is not.
    root: TempDir,
    config: PathBuf,
    writes: AtomicU64,
}

impl Folder {
    /// An empty one.
    #[track_caller]
    pub fn new() -> Folder {
        let root = TempDir::new().expect("a temporary folder can be made");
        let config = root.path().join("config");
        did(&config, fs::create_dir(&config));
        did(root.path(), fs::create_dir(root.path().join("staging")));
        Folder { root, config, writes: AtomicU64::new(0) }
    }

    /// The folder to watch.
    pub fn path(&self) -> &Path {
        &self.config
    }

    /// As one should: written elsewhere on the same file system, then renamed over `name`.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) {
        let staged = self.root.path().join("staging").join(self.next().to_string());
        did(&staged, fs::write(&staged, text));
        let path = self.make_room_for(&self.config, name);
        did(&path, fs::rename(&staged, &path));
    }

    /// As an editor or `cat >` may: the file is truncated and written where it is.
    #[track_caller]
    pub fn write_in_place(&self, name: &str, text: &str) {
        let path = self.make_room_for(&self.config, name);
        did(&path, fs::write(&path, text));
    }

    /// Deletes a file.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        let path = self.config.join(name);
        did(&path, fs::remove_file(&path));
    }

    /// As the kubelet updates a mounted ConfigMap, in its order: a new folder `..2026_…` with all files, a
    /// symlink `..data_tmp` to it renamed over `..data`, top-level symlinks `name → ..data/name` for new
    /// names, those of vanished names removed, and the previous folder removed.
    #[track_caller]
    pub fn publish(&self, files: &[(&str, &str)]) {
        let stamp = format!("..2026_01_02_03_04_05.{:09}", self.next());
        let fresh = self.config.join(&stamp);
        did(&fresh, fs::create_dir(&fresh));
        for (name, text) in files {
            let path = self.make_room_for(&fresh, name);
            did(&path, fs::write(&path, text));
        }
        let (data, data_tmp) = (self.config.join("..data"), self.config.join("..data_tmp"));
        let previous = fs::read_link(&data).ok();
        did(&data_tmp, symlink(&stamp, &data_tmp));
        did(&data, fs::rename(&data_tmp, &data));

        let wanted: BTreeSet<&str> = files.iter().filter_map(|(name, _)| name.split('/').next()).collect();
        for name in &wanted {
            let visible = self.config.join(name);
            if fs::symlink_metadata(&visible).is_err() {
                did(&visible, symlink(Path::new("..data").join(name), &visible));
            }
        }
        for visible in self.published() {
            if !visible.file_name().and_then(|name| name.to_str()).is_some_and(|name| wanted.contains(name)) {
                did(&visible, fs::remove_file(&visible));
            }
        }
        if let Some(previous) = previous {
            let previous = self.config.join(previous);
            did(&previous, fs::remove_dir_all(&previous));
        }
    }

    /// The top-level symlinks that `publish` made.
    fn published(&self) -> Vec<PathBuf> {
        let entries = did(&self.config, fs::read_dir(&self.config));
        let paths = entries.map(|entry| did(&self.config, entry).path());
        paths.filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with("..data"))).collect()
    }

    #[track_caller]
    fn make_room_for(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        let parent = path.parent().expect("a path below a folder has a parent");
        did(parent, fs::create_dir_all(parent));
        path
    }

    fn next(&self) -> u64 {
        self.writes.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

#[track_caller]
fn did<T>(path: &Path, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(folder: &Folder) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(folder: &Folder, name: &str) -> String {
        fs::read_to_string(folder.path().join(name)).unwrap()
    }

    #[test]
    fn writing_renames_and_writing_in_place_does_not() {
        let folder = Folder::new();
        let inode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().ino();
        folder.write("a.yaml", "one");
        let first = inode("a.yaml");
        folder.write_in_place("a.yaml", "two");
        assert_eq!((inode("a.yaml"), read(&folder, "a.yaml").as_str()), (first, "two"));
        folder.write("a.yaml", "three");
        assert_ne!(inode("a.yaml"), first);
        folder.write("deep/er/b.yaml", "four");
        assert_eq!(read(&folder, "deep/er/b.yaml"), "four");
        folder.remove("a.yaml");
        assert_eq!(names(&folder), ["deep"]);
    }

    #[test]
    fn publishing_swaps_one_symlink() {
        let folder = Folder::new();
        folder.publish(&[("a.yaml", "a1"), ("b.yaml", "b1")]);
        let first = fs::read_link(folder.path().join("..data")).unwrap();
        assert_eq!(fs::read_link(folder.path().join("a.yaml")).unwrap(), Path::new("..data/a.yaml"));
        assert_eq!((read(&folder, "a.yaml").as_str(), read(&folder, "b.yaml").as_str()), ("a1", "b1"));
        let link = fs::symlink_metadata(folder.path().join("a.yaml")).unwrap().ino();

        folder.publish(&[("a.yaml", "a2"), ("sub/c.yaml", "c2")]);
        let second = fs::read_link(folder.path().join("..data")).unwrap();
        assert_ne!(first, second);
        assert_eq!((read(&folder, "a.yaml").as_str(), read(&folder, "sub/c.yaml").as_str()), ("a2", "c2"));
        assert_eq!(fs::symlink_metadata(folder.path().join("a.yaml")).unwrap().ino(), link, "left as it was");
        assert_eq!(names(&folder), [second.to_str().unwrap(), "..data", "a.yaml", "sub"]);
    }
}
