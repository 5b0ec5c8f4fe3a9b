//! Where the files of a log come from. What is read is proved afterwards, so that a source need not be
//! trusted, only bounded.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    segment,
    tiles::{Shelf, TileName, WIDTH},
};

/// The most bytes of a checkpoint: a few lines and signatures.
const MOST_CHECKPOINT: usize = 64 * 1024;

/// The files of one log, by their C2SP names: `checkpoint`, `tile/…`.
pub trait Files {
    /// A file that is no longer than `most` bytes; `None` if there is none. A longer one is an error.
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>>;

    /// The names of the files in a folder; none if there is no such folder, or if the source lists
    /// nothing. Then what lies there unasked for is not looked at.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
}

/// A folder of this machine.
#[derive(Debug)]
pub(super) struct Directory<'a>(pub(super) &'a Path);

impl Files for Directory<'_> {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let path: PathBuf = self.0.join(name);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.sealed(name, most);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most { Err(too_long(most)) } else { Ok(Some(bytes)) }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let listed = match fs::read_dir(self.0.join(folder)) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        listed.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect()
    }
}

impl Directory<'_> {
    /// A bundle out of the sealed segment that took its place.
    fn sealed(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        match TileName::parse(name) {
            Some(TileName { shelf: Shelf::Entries, index, width: WIDTH }) => {
                segment::read_bundle(self.0, index, most)
            }
            _ => Ok(None),
        }
    }
}

/// A file that is no file of a log.
fn too_long(most: usize) -> io::Error {
    io::Error::other(format!("it is longer than the {most} bytes that such a file can have"))
}

/// The checkpoint, if there is one.
pub(super) fn checkpoint(files: &dyn Files) -> io::Result<Option<Vec<u8>>> {
    files.read("checkpoint", MOST_CHECKPOINT)
}
