//! The demo's files, carried in the binary and written to a folder at start.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::Addresses;

macro_rules! carried {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../demo/", $path)))),+]
    };
}

/// Path and text.
pub(super) const FILES: &[(&str, &str)] = carried![
    "portcullis.yaml",
    "services/payments.yaml",
    "services/ledger.yaml",
    "services/logs.yaml",
    "policies/payments/access.cedar",
    "policies/payments/access.test.yaml",
    "policies/ledger/access.cedar",
    "policies/logs/access.cedar",
    "policies/ticker.cedar",
    "policies/audit.cedar",
    "apis/payments.yaml",
    "apis/ledger.proto",
    "tour.sh",
];

/// Where the demo lives; a temporary one goes with it.
#[derive(Debug)]
pub(crate) enum Folder {
    /// Given; stays.
    Kept(PathBuf),
    /// Removed at the end.
    Temporary(tempfile::TempDir),
}

impl Folder {
    /// The given folder, or a new temporary one.
    pub(super) fn open(given: Option<&Path>) -> Result<Self> {
        let Some(path) = given else {
            let folder = tempfile::Builder::new().prefix("portcullis-demo-").tempdir();
            return Ok(Self::Temporary(folder.context("no temporary folder can be made")?));
        };
        fs::create_dir_all(path)
            .with_context(|| format!("{} cannot be made; choose another --dir", path.display()))?;
        let path = path.canonicalize();
        Ok(Self::Kept(path.context("the folder has no path")?))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// The configuration file in it.
    pub(super) fn config(&self) -> PathBuf {
        self.path().join("portcullis.yaml")
    }

    /// Writes all files, with `addresses` in them.
    pub(super) fn write(&self, addresses: Addresses) -> Result<()> {
        for (path, text) in FILES {
            let path = self.path().join(path);
            let parent = path.parent().context("every file is in a folder")?;
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
            fs::write(&path, addresses.put_into(text))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let state = self.path().join("state");
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))
    }
}
