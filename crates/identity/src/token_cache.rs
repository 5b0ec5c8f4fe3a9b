//! Tokens that one core has verified already, so that each costs its signature, or a question, once.
//!
//! A hit proves as much as a verification: the whole token is compared, and what was remembered
//! is forgotten at the token's end, when its key must be confirmed or its issuer asked again, and
//! when any key changes.

use std::{collections::HashMap, fmt, sync::Arc};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use crate::{Authenticated, Unverified, Workloads};

/// The end of a token: part of its signature, so tokens that differ at all differ here; of an opaque
/// one, where they need not, so that one of two is found and the other is looked up anew.
/// Only verified ones are kept, so nobody can fill a map with keys of their choice.
type Tail = [u8; 32];

/// See the module. One per core.
pub struct TokenCache {
    version: u64,
    capacity: usize,
    /// What was used lately; when it is full it becomes `old`, and what was `old` is forgotten.
    young: HashMap<Tail, Entry, RandomState>,
    old: HashMap<Tail, Entry, RandomState>,
}

struct Entry {
    token: Box<str>,
    authenticated: Arc<Authenticated>,
    good_until: Timestamp,
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({} of {})", self.len(), self.capacity)
    }
}

impl TokenCache {
    /// Remembers `capacity` tokens at most.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(2);
        Self { version: 0, capacity, young: HashMap::default(), old: HashMap::default() }
    }

    /// As [`Workloads::try_authenticate`], at the price of a look-up where that is enough.
    pub fn try_authenticate(
        &mut self,
        workloads: &Workloads,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<Authenticated>, Unverified> {
        // INVARIANT: read before the keys are used. Keys that change meanwhile void the entry.
        let version = workloads.keys_version();
        if version != self.version {
            self.young.clear();
            self.old.clear();
            self.version = version;
        }
        let Some(tail) = token.as_bytes().last_chunk() else {
            return workloads.try_authenticate(token, now).map(Arc::new);
        };
        if let Some(known) = self.lookup(tail, token, now) {
            return Ok(known);
        }
        let verified = workloads.try_verify(token, now)?;
        let authenticated = Arc::new(verified.authenticated);
        let entry = Entry {
            token: token.into(),
            authenticated: Arc::clone(&authenticated),
            good_until: verified.good_until,
        };
        self.remember(*tail, entry);
        Ok(authenticated)
    }

    /// How many tokens are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lookup(&mut self, tail: &Tail, token: &str, now: Timestamp) -> Option<Arc<Authenticated>> {
        let holds = |entry: &&Entry| *entry.token == *token && now < entry.good_until;
        if let Some(entry) = self.young.get(tail).filter(holds) {
            return Some(Arc::clone(&entry.authenticated));
        }
        self.old.get(tail).filter(holds)?;
        let entry = self.old.remove(tail)?;
        let authenticated = Arc::clone(&entry.authenticated);
        self.remember(*tail, entry);
        Some(authenticated)
    }

    fn remember(&mut self, tail: Tail, entry: Entry) {
        if self.young.len() >= self.capacity / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tail, entry);
    }
}
