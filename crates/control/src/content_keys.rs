//! The keys that what is kept of requests is sealed under. The newest seals; every one that is still there opens
//! what it sealed. They lie in a file of their own, apart from the store that has what they seal.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_model::{Entropy, Secret};

/// Bytes of a key.
const LENGTH: usize = 32;

/// The keys, the newest last. Prints their names and nothing else.
#[derive(Clone, Default)]
pub struct ContentKeys(Vec<ContentKey>);

#[derive(Clone)]
struct ContentKey {
    name: String,
    key: Secret,
}

/// A text that is no list of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no key: each line is a name, a space, and 32 bytes in base64url")]
pub struct InvalidContentKeys {
    /// The line.
    pub line: usize,
}

impl ContentKeys {
    /// The keys in the text of their file.
    pub fn parse(text: &str) -> Result<Self, InvalidContentKeys> {
        let mut keys: Vec<ContentKey> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let invalid = InvalidContentKeys { line: at + 1 };
            let Some((name, key)) = line.split_once(' ') else { return Err(invalid) };
            // A file that was cut short would seal with a key that anybody can guess.
            let whole = URL_SAFE_NO_PAD.decode(key).is_ok_and(|bits| bits.len() == LENGTH);
            let named = (1..=32).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !whole || !named || keys.iter().any(|known| known.name == name) {
                return Err(invalid);
            }
            keys.push(ContentKey { name: name.to_owned(), key: Secret::new(key) });
        }
        if keys.is_empty() { Err(InvalidContentKeys { line: 1 }) } else { Ok(Self(keys)) }
    }

    /// The same with another key, which seals from now on.
    #[must_use]
    pub fn with_another(&self, entropy: &dyn Entropy) -> Self {
        let (mut name, mut bits) = ([0; 6], [0; LENGTH]);
        entropy.fill(&mut name);
        entropy.fill(&mut bits);
        let name = name.iter().fold("k-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
        let key = Secret::new(URL_SAFE_NO_PAD.encode(bits));
        let mut keys = self.0.clone();
        keys.push(ContentKey { name, key });
        Self(keys)
    }

    /// As they stand in their file.
    pub fn text(&self) -> Secret {
        let line =
            |text: String, key: &ContentKey| format!("{text}{} {}\n", key.name, key.key.expose());
        Secret::new(self.0.iter().fold(String::new(), line))
    }

    /// Their names, the newest last.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.name.as_str()).collect()
    }

    /// The one that seals, and its name.
    pub(crate) fn newest(&self) -> Option<(&str, &Secret)> {
        self.0.last().map(|key| (key.name.as_str(), &key.key))
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|key| key.name == name).map(|key| &key.key)
    }
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContentKeys").field(&self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    #[test]
    fn the_newest_seals_and_the_old_ones_stay() {
        let entropy = Counting(1.into());
        let one = ContentKeys::default().with_another(&entropy);
        let two = one.with_another(&entropy);
        let read = ContentKeys::parse(two.text().expose()).unwrap();
        assert_eq!(read.names(), two.names());
        assert_eq!(read.newest().unwrap().0, two.names()[1]);
        assert_eq!(read.lookup(one.names()[0]), one.lookup(one.names()[0]));
        assert!(!format!("{read:?}").contains(two.newest().unwrap().1.expose()));
    }

    #[test]
    fn a_file_that_was_cut_short_is_no_file_of_keys() {
        let text = ContentKeys::default().with_another(&Counting(1.into())).text();
        let text = text.expose();
        let cut: String = text.chars().take(text.len() - 2).collect();
        for wrong in ["", "\n", "k-1", "k-1 AAAA", &cut, &text.repeat(2)] {
            assert!(ContentKeys::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
