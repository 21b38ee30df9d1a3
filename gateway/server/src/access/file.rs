//! Where lines end up: a file that may be renamed, removed or full, or the process's own output.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file by its name. It is opened when it is written to, and again when its name means another or none.
pub(super) struct Target {
    place: Place,
    open: Option<Open>,
    /// What was written last did not end with a line.
    torn: bool,
}

enum Place {
    Output,
    Error,
    File(PathBuf),
}

struct Open {
    file: File,
    /// Which file it is; `None` for what has no name to look at.
    id: Option<(u64, u64)>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Output => f.write_str("/dev/stdout"),
            Place::Error => f.write_str("/dev/stderr"),
            Place::File(path) => path.display().fmt(f),
        }
    }
}

impl Target {
    /// A file of this name. `/dev/stdout` can't be opened by name where it is a socket, as under journald.
    pub(super) fn new(path: &Path) -> Self {
        let place = match path.to_str() {
            Some("/dev/stdout") => Place::Output,
            Some("/dev/stderr") => Place::Error,
            _ => Place::File(path.to_owned()),
        };
        Target { place, open: None, torn: false }
    }

    /// The next writing opens it anew.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Writes, and tells how many bytes of it are written. What is left is not tried again.
    pub(super) fn write(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        if let Err(error) = self.open() {
            return (0, Err(error));
        }
        let Some(Open { file, .. }) = &self.open else { return (0, Ok(())) };
        let end_of_torn: &[u8] = if self.torn { b"\n" } else { b"" };
        let mut written = 0;
        let result = put(file, end_of_torn, &mut 0).and_then(|()| put(file, bytes, &mut written));
        if let Some(last) = written.checked_sub(1).and_then(|last| bytes.get(last)) {
            self.torn = *last != b'\n';
        } else if result.is_ok() {
            self.torn = false;
        }
        if result.is_err() {
            // Whatever is wrong with it may be gone once it is opened again.
            self.open = None;
        }
        (written, result)
    }

    /// Opens the file that the name means now, where that is not open.
    fn open(&mut self) -> io::Result<()> {
        if let (Place::File(path), Some(open)) = (&self.place, &self.open)
            && path.metadata().ok().map(|facts| (facts.dev(), facts.ino())) != open.id
        {
            self.open = None;
        }
        if self.open.is_none() {
            let (opened, begun) = open(&self.place)?;
            // Another file begins with a line of its own.
            self.torn &= begun;
            self.open = Some(opened);
        }
        Ok(())
    }
}

/// Opens a place, and tells whether it had something in it.
fn open(place: &Place) -> io::Result<(Open, bool)> {
    let path = match place {
        Place::Output => return Ok((Open { file: duplicate(io::stdout().as_fd())?, id: None }, true)),
        Place::Error => return Ok((Open { file: duplicate(io::stderr().as_fd())?, id: None }, true)),
        Place::File(path) => path,
    };
    // To open a pipe for writing alone waits for somebody who reads.
    let pipe = path.metadata().is_ok_and(|facts| facts.file_type().is_fifo());
    let file = OpenOptions::new().read(pipe).append(true).create(true).mode(0o640).open(path)?;
    let facts = file.metadata()?;
    Ok((Open { id: Some((facts.dev(), facts.ino())), file }, facts.len() > 0))
}

fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(fd.try_clone_to_owned()?))
}

/// Writes all of it, or as much as can be.
fn put(mut file: &File, mut bytes: &[u8], written: &mut usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => {
                *written += taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
