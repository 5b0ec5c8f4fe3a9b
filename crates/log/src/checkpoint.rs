//! The log's key, and signed statements of size and root: C2SP tlog-checkpoint in a C2SP
//! signed-note.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use portcullis_model::Entropy;
use signed_note::{Note, StandardSigner};
use tlog_tiles::{Checkpoint, Hash};
use zeroize::Zeroizing;

use crate::{Keys, LogError, keys, layout};

/// The algorithm byte of Ed25519 in encoded keys.
const ED25519: u8 = 1;

/// Signs checkpoints. Prints as its name only.
pub struct Signer {
    name: String,
    key: StandardSigner,
    verifier_key: String,
    /// This key's, and those of the keys before.
    keys: Keys,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the key at `path`; makes one for the log called `name` if there is none. The key is one
    /// line, a signed-note key, that only its owner may read; `public` gets what auditors need.
    pub fn load_or_create(
        path: &Path,
        public: &Path,
        name: &str,
        entropy: &dyn Entropy,
    ) -> Result<Self, LogError> {
        if !signed_note::is_key_name_valid(name) {
            return Err(LogError::Key(format!("`{name}` is no name: no spaces, no `+`")));
        }
        let signer = match fs::read_to_string(path) {
            Ok(text) => Self::decode(name, &Zeroizing::new(text), path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::create(name, path, entropy)?
            }
            Err(error) => return Err(LogError::io("read", path, error)),
        };
        signer.publish(public)
    }

    /// Reads the key at `path`.
    pub(crate) fn read(path: &Path, name: &str) -> Result<Self, LogError> {
        let text = fs::read_to_string(path).map_err(|source| LogError::io("read", path, source))?;
        Self::decode(name, &Zeroizing::new(text), path)
    }

    /// Writes down what auditors need, if it is not there yet; reads which key was good for what, if it is.
    fn publish(mut self, public: &Path) -> Result<Self, LogError> {
        let text = match fs::read_to_string(public) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(LogError::io("read", public, error)),
        };
        let place = public.display();
        if text.trim().is_empty() {
            let text = self.keys.to_string();
            layout::replace_durably(public, &beside(public), text.as_bytes())?;
            return Ok(self);
        }
        self.keys =
            Keys::parse(&text).map_err(|what| LogError::Key(format!("`{place}`: {what}")))?;
        if self.keys.newest() != self.verifier_key {
            return Err(LogError::Key(format!(
                "`{place}` names another key than the one that would sign: bring the right key back; \
                 `portcullis audit rotate-key` is how a log gets another one"
            )));
        }
        Ok(self)
    }

    /// Another key for the same log, in the file at `path`.
    pub(crate) fn next(&self, path: &Path, entropy: &dyn Entropy) -> Result<Self, LogError> {
        Self::create(&self.name, path, entropy)
    }

    /// Signs over to `next`, from checkpoints of `size` on.
    pub(crate) fn hand_over(&self, next: &Self, size: u64) -> Result<String, LogError> {
        self.sign(keys::handover(&self.name, size, &next.verifier_key).as_bytes())
    }

    /// The keys of the log, when `next` has followed from `size` on.
    pub(crate) fn followed_by(&self, next: &str, size: u64) -> Keys {
        self.keys.followed_by(next, size)
    }

    /// What checkpoints of this log verify with, older ones too.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What auditors verify with: `name+hash+base64`.
    pub fn verifier_key(&self) -> &str {
        &self.verifier_key
    }

    /// A checkpoint of `size` leaves with `root`.
    pub(crate) fn checkpoint(&self, size: u64, root: Hash) -> Result<String, LogError> {
        let trouble = |what: &dyn fmt::Debug| LogError::Key(format!("cannot sign: {what:?}"));
        let body = Checkpoint::new(&self.name, size, root, "").map_err(|e| trouble(&e))?;
        self.sign(&body.to_bytes())
    }

    fn sign(&self, text: &[u8]) -> Result<String, LogError> {
        let trouble = |what: &dyn fmt::Debug| LogError::Key(format!("cannot sign: {what:?}"));
        let mut note = Note::new(text, &[]).map_err(|e| trouble(&e))?;
        note.add_sigs(&[&self.key]).map_err(|e| trouble(&e))?;
        String::from_utf8(note.to_bytes()).map_err(|e| trouble(&e))
    }

    fn create(name: &str, path: &Path, entropy: &dyn Entropy) -> Result<Self, LogError> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut_slice());
        let text = Zeroizing::new(encode_key(name, &SigningKey::from_bytes(&seed)));
        // Under its name it is whole: a start that failed for want of room is followed by another.
        let scratch = beside(path);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&scratch)
            .map_err(|source| LogError::io("create", &scratch, source))?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(|source| LogError::io("write", &scratch, source))?;
        fs::rename(&scratch, path).map_err(|source| LogError::io("create", path, source))?;
        path.parent().map_or(Ok(()), layout::sync_directory)?;
        Self::decode(name, &text, path)
    }

    fn decode(name: &str, text: &str, path: &Path) -> Result<Self, LogError> {
        let mode = fs::metadata(path)
            .map_err(|source| LogError::io("read", path, source))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            let place = path.display();
            return Err(LogError::Key(format!("others may read `{place}`: chmod 600 it")));
        }
        let text = text.trim_end();
        let wrong = || LogError::Key(format!("`{}` holds no Ed25519 note key", path.display()));
        let key = StandardSigner::new(text).map_err(|_| wrong())?;
        let public = signing_key(text).ok_or_else(wrong)?.verifying_key();
        let found = signed_note::Signer::name(&key);
        if found != name {
            return Err(LogError::Key(format!("it signs for `{found}`, not for `{name}`")));
        }
        let verifier_key = signed_note::new_ed25519_verifier_key(name, &public);
        let keys = Keys::one(&verifier_key);
        Ok(Self { name: name.to_owned(), key, verifier_key, keys })
    }
}

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

/// Reads a checkpoint without checking who signed it: enough to know what a directory of ours holds.
pub(crate) fn read(text: &str) -> Option<Head> {
    let note = Note::from_bytes(text.as_bytes()).ok()?;
    let body = Checkpoint::from_bytes(note.text()).ok()?;
    Some(Head { size: body.size(), root: *body.hash() })
}

/// Reads a checkpoint that one of `keys` must have signed for the log of its own name.
pub(crate) fn open(text: &str, keys: &Keys) -> Result<Head, String> {
    let note = Note::from_bytes(text.as_bytes()).map_err(|error| error.to_string())?;
    let body = Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())?;
    if body.origin() != keys.name() {
        return Err(format!("it is of the log `{}`, not of `{}`", body.origin(), keys.name()));
    }
    keys.check(&note, body.size())?;
    Ok(Head { size: body.size(), root: *body.hash() })
}

/// Where `path` is written before it gets its name.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

fn encode_key(name: &str, key: &SigningKey) -> String {
    let mut public = vec![ED25519];
    public.extend_from_slice(key.verifying_key().as_bytes());
    let id = signed_note::key_id(name, &public);
    let mut private = Zeroizing::new(vec![ED25519]);
    private.extend_from_slice(key.as_bytes());
    format!("PRIVATE+KEY+{name}+{id:08x}+{}", STANDARD.encode(private.as_slice()))
}

/// The Ed25519 key in an encoded note key.
fn signing_key(text: &str) -> Option<SigningKey> {
    let bytes = Zeroizing::new(STANDARD.decode(text.splitn(5, '+').last()?).ok()?);
    let (_algorithm, seed) = bytes.split_first()?;
    Some(SigningKey::from_bytes(seed.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_key_is_made_once_is_private_and_prints_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (path, public) = (home.path().join("log.key"), home.path().join("log.pub"));
        let first = Signer::load_or_create(&path, &public, "gate.test", &Fixed(7)).unwrap();
        let second = Signer::load_or_create(&path, &public, "gate.test", &Fixed(8)).unwrap();
        assert_eq!(first.verifier_key(), second.verifier_key());
        assert_eq!(fs::read_to_string(&public).unwrap().trim_end(), first.verifier_key());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = fs::read_to_string(&path).unwrap();
        assert!(!format!("{first:?}").contains(secret.rsplit('+').next().unwrap()));

        let checkpoint = first.checkpoint(3, Hash([9; 32])).unwrap();
        let head = open(&checkpoint, second.keys()).unwrap();
        assert_eq!(head, Head { size: 3, root: Hash([9; 32]) });
        assert_eq!(read(&checkpoint), Some(head));
    }

    #[test]
    fn a_key_of_another_log_or_open_to_others_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (path, public) = (home.path().join("log.key"), home.path().join("log.pub"));
        Signer::load_or_create(&path, &public, "gate.test", &Fixed(7)).unwrap();
        let other = Signer::load_or_create(&path, &public, "gate.other", &Fixed(7));
        assert!(matches!(other, Err(LogError::Key(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open_key = Signer::load_or_create(&path, &public, "gate.test", &Fixed(7));
        assert!(open_key.unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn k07_a_checkpoint_signed_by_another_key_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let make = |dir: &str, byte| {
            let dir = home.path().join(dir);
            fs::create_dir(&dir).unwrap();
            Signer::load_or_create(&dir.join("k"), &dir.join("p"), "gate.test", &Fixed(byte))
                .unwrap()
        };
        let (ours, thief) = (make("a", 1), make("b", 2));
        let forged = thief.checkpoint(3, Hash([9; 32])).unwrap();
        assert!(open(&forged, ours.keys()).is_err());
    }
}
