//! Files that get their names when they are whole.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::failure::Failure;

/// A file that is removed again unless it is finished.
#[derive(Debug)]
pub(super) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// For what is to be `to`.
    pub(super) fn beside(to: &Path) -> Result<Self, Failure> {
        let Some(name) = to.file_name() else {
            return Err(Failure::WrongUse(format!("`{}` names no file", to.display())));
        };
        let mut name = name.to_owned();
        name.push(".unfinished");
        Ok(Self(Some(to.with_file_name(name))))
    }

    /// Its file, which only its owner may read. What an earlier attempt left is removed.
    pub(super) fn create(&self) -> Result<fs::File, Failure> {
        let path = self.0.as_deref().unwrap_or_else(|| Path::new(""));
        let mut options = fs::OpenOptions::new();
        // One that is there may be somebody else's, or a link.
        options.write(true).create_new(true);
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(cannot_write(path, &error));
            }
            Ok(()) | Err(_) => {}
        }
        // It names people, and what they did.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|error| cannot_write(path, &error))
    }

    /// Gives it its name.
    pub(super) fn finish(mut self, to: &Path) -> Result<(), Failure> {
        let Some(path) = self.0.take() else { return Ok(()) };
        fs::rename(&path, to).map_err(|error| cannot_write(to, &error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _may_not_be_there = fs::remove_file(path);
        }
    }
}

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(&format!("`{}` cannot be written", path.display()), error)
}
