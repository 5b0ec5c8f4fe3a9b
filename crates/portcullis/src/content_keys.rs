//! The file of the keys that what is kept of requests is sealed under: made at the first start, for its owner
//! alone, and never in the folder of the store.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use portcullis_control::ContentKeys;
use portcullis_model::Entropy;

/// The keys at `path`; a file with a new one if there is none.
pub(crate) fn open(path: &Path, entropy: &dyn Entropy) -> Result<ContentKeys> {
    match fs::read_to_string(path) {
        Ok(text) => read(path, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let keys = ContentKeys::default().with_another(entropy);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| cannot_make(path))?;
            }
            write(path, &keys).with_context(|| cannot_make(path))?;
            Ok(keys)
        }
        Err(error) => Err(error).with_context(|| cannot_read(path)),
    }
}

/// Adds a key to those at `path`, which must be there.
pub(crate) fn rotate(path: &Path, entropy: &dyn Entropy) -> Result<ContentKeys> {
    let text = fs::read_to_string(path).with_context(|| cannot_read(path))?;
    let keys = read(path, &text)?.with_another(entropy);
    write(path, &keys).with_context(|| cannot_make(path))?;
    Ok(keys)
}

fn read(path: &Path, text: &str) -> Result<ContentKeys> {
    ContentKeys::parse(text).with_context(|| {
        format!(
            "{} is not a file of keys; restore it from a backup: without its keys, what was kept under them \
             cannot be read",
            path.display()
        )
    })
}

/// Writes `keys` beside `path`, and then calls it that: there is never half a file of that name.
fn write(path: &Path, keys: &ContentKeys) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What was broken off here before was never in force.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(keys.text().expose().as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn cannot_make(path: &Path) -> String {
    format!("the file of keys {} cannot be made", path.display())
}

fn cannot_read(path: &Path) -> String {
    format!("the file of keys {} cannot be read", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ambient::SystemEntropy;

    #[test]
    fn a_first_start_that_broke_off_stops_no_later_one() {
        let home = tempfile::tempdir().unwrap();
        let (path, beside) =
            (home.path().join("contents.keys"), home.path().join("contents.keys.new"));
        fs::write(&beside, "k-1 AA").unwrap();
        let first = open(&path, &SystemEntropy).unwrap();
        assert_eq!(open(&path, &SystemEntropy).unwrap().names(), first.names());
        assert!(!beside.exists());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_are_made_once_and_added_to() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("audit/contents.keys");
        assert!(rotate(&path, &SystemEntropy).is_err(), "there is nothing to add to");
        let first = open(&path, &SystemEntropy).unwrap();
        assert_eq!(open(&path, &SystemEntropy).unwrap().names(), first.names());
        fs::write(path.with_extension("keys.new"), "half a file").unwrap();
        let both = rotate(&path, &SystemEntropy).unwrap();
        assert_eq!(both.names()[..1], first.names()[..]);
        assert_eq!(open(&path, &SystemEntropy).unwrap().names(), both.names());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "k-1 AAAA\n").unwrap();
        assert!(open(&path, &SystemEntropy).is_err(), "a file that is damaged is not made anew");
    }
}
