//! Profiles: one server and one sign-in each, in a file that only its owner can read.

use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use portcullis_model::Secret;
use serde::{Deserialize, Serialize, Serializer};
use url::{Host, Url};

use super::failure::Failure;

const DEFAULT: &str = "default";

/// What a profile remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The control server.
    pub(crate) url: Url,
    /// Where the gate is, if its hosts are not in DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gate: Option<Url>,
    /// The sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub(crate) token: Option<Secret>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// Where a profile is kept.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    path: PathBuf,
}

impl Place {
    /// Of the profile that was named, or of `default`.
    pub(crate) fn of(name: Option<&str>) -> Result<Self, Failure> {
        let name = name.unwrap_or(DEFAULT);
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(fine) {
            let message =
                format!("`{name}` cannot name a profile; use letters, digits and hyphens");
            return Err(Failure::WrongUse(message));
        }
        let path = home()?.join("profiles").join(format!("{name}.json"));
        Ok(Self { name: name.to_owned(), path })
    }

    /// Of what is kept nowhere.
    pub(crate) fn nowhere() -> Self {
        Self { name: DEFAULT.to_owned(), path: PathBuf::new() }
    }

    /// What is kept there, if anything.
    pub(crate) fn read(&self) -> Result<Option<Profile>, Failure> {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.broken(&error)),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            let path = self.path.display();
            return Err(Failure::WrongUse(format!(
                "others can read the sign-in in {path}; run `chmod 600 {path}` and then `portcullis login`"
            )));
        }
        let text = fs::read(&self.path).map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| self.broken(&error))
    }

    /// Keeps `profile`: whole or not at all, and never readable by others, not even for a moment.
    pub(crate) fn write(&self, profile: &Profile) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(profile).map_err(|error| self.broken(&error))?;
        replace(&self.path, &text).map_err(|error| self.broken(&error))
    }

    /// Where the requests rest that were refused under this profile.
    pub(crate) fn refused(&self) -> PathBuf {
        let home = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        home.join("refused").join(&self.name)
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::local(&format!("the profile {}", self.path.display()), error)
    }
}

/// Writes a file whole or not at all, and never readable by others, not even for a moment.
pub(super) fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    // A leftover of a process with the same number must not lend its mode to the new file.
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Reads a server's URL. A sign-in is worth stealing, so it travels in clear on this machine only.
pub(crate) fn server(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write it like https://host"))?;
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err("http would send the sign-in in clear over a network; use https".to_owned()),
        _ => Err("write it like https://host".to_owned()),
    }
}

fn home() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("PORTCULLIS_HOME")
        .or_else(|| set("XDG_CONFIG_HOME").map(|path| path.join("portcullis")))
        .or_else(|| set("HOME").map(|path| path.join(".config/portcullis")))
        .ok_or_else(|| Failure::WrongUse("set HOME, XDG_CONFIG_HOME or PORTCULLIS_HOME".to_owned()))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn expose<S: Serializer>(token: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(Secret::expose).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place { name: "ana".to_owned(), path: directory.join("profiles/ana.json") }
    }

    fn profile() -> Profile {
        Profile {
            url: Url::parse("https://portcullis.example.com").unwrap(),
            gate: None,
            token: Some(Secret::new("pc_sign_canary")),
            expires_at: None,
        }
    }

    #[test]
    fn j07_a_profile_is_its_owners_alone_and_prints_no_token() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        place.write(&profile()).unwrap();
        place.write(&profile()).unwrap();
        let mode = fs::metadata(&place.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let kept = place.read().unwrap().unwrap();
        assert_eq!(kept.token.as_ref().unwrap().expose(), "pc_sign_canary");
        assert!(!format!("{kept:?}").contains("canary"));
        assert_eq!(fs::read_dir(place.path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_profile_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        place.write(&profile()).unwrap();
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(place.read().unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_profiles_name_is_no_path() {
        for name in ["", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(Place::of(Some(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_sign_in_never_travels_in_clear_over_a_network() {
        assert!(server("http://portcullis.example.com").is_err());
        assert!(server("http://127.0.0.1.example.com").is_err());
        assert!(server("ftp://127.0.0.1").is_err());
        for fine in ["https://portcullis.example.com", "http://127.0.0.1:8600", "http://[::1]:1"] {
            assert!(server(fine).is_ok(), "{fine}");
        }
    }
}
