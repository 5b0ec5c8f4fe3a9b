//! Which proofs were accepted already, for as long as they could be again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::PrincipalId;

use super::{AHEAD, OLDEST, Proof};
use crate::AuthError;

/// No proof is good for longer than this from when it is first seen.
const SPAN: SignedDuration = SignedDuration::from_secs(OLDEST.as_secs() + AHEAD.as_secs() + 1);
/// Proofs of one holder within a span.
const MOST_OF_ONE: u32 = 1 << 16;
/// Proofs of all holders within a span.
const MOST: usize = 1 << 18;

/// See the module. One for all cores of a process; a proof that is older than that is refused, since
/// nobody remembers whether it came before.
#[derive(Debug)]
pub struct Replays {
    since: Timestamp,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    turned: Timestamp,
    /// Of this span.
    young: HashSet<[u8; 32]>,
    by_holder: HashMap<PrincipalId, u32>,
    /// Of the span before.
    old: HashSet<[u8; 32]>,
}

impl Replays {
    /// Knows of all that comes from `now` on.
    pub fn new(now: Timestamp) -> Self {
        let (young, old, by_holder) = (HashSet::new(), HashSet::new(), HashMap::new());
        Self { since: now, seen: Mutex::new(Seen { turned: now, young, by_holder, old }) }
    }

    /// Admits `proof`, which `holder` of a token presents, once.
    pub fn admit(
        &self,
        proof: &Proof,
        holder: &PrincipalId,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        // The time of a proof has no fractions: one of the very second may be older.
        if proof.made.as_second() <= self.since.as_second() {
            return Err(AuthError::Bad("the DPoP proof is older than this gate: make another"));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.turn(now);
        if seen.young.contains(&proof.id) || seen.old.contains(&proof.id) {
            return Err(AuthError::Bad(
                "the DPoP proof was used before: make one for each request",
            ));
        }
        let busy = || AuthError::Busy("the gate's memory of DPoP proofs".to_owned());
        if seen.young.len() >= MOST {
            return Err(busy());
        }
        let of_holder = seen.by_holder.entry(holder.clone()).or_insert(0);
        if *of_holder >= MOST_OF_ONE {
            return Err(busy());
        }
        *of_holder += 1;
        seen.young.insert(proof.id);
        Ok(())
    }
}

impl Seen {
    /// After a span, what is young becomes old, and what is old is good no longer.
    fn turn(&mut self, now: Timestamp) {
        let age = now.duration_since(self.turned);
        if age < SPAN {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= SPAN + SPAN {
            self.old.clear();
        }
        self.by_holder.clear();
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::{PrincipalKind, Thumbprint};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn proof(n: u32, made: Timestamp) -> Proof {
        Proof { key: Thumbprint::of(b"key"), id: Thumbprint::of(&n.to_be_bytes()).0, made }
    }

    fn ana() -> PrincipalId {
        PrincipalId::new(PrincipalKind::User, "corp", "ana")
    }

    #[test]
    fn a_proof_is_admitted_once_for_as_long_as_it_is_good() {
        let replays = Replays::new(at(0));
        // Seen as early as can be, and again until it is too old: never twice.
        for begin in [40, 60, 95, 180, 400] {
            let made = at(begin + AHEAD.as_secs());
            let proof = proof(u32::try_from(begin).unwrap(), made);
            assert_eq!(replays.admit(&proof, &ana(), at(begin)), Ok(()));
            for second in begin..=begin + AHEAD.as_secs() + OLDEST.as_secs() {
                assert!(replays.admit(&proof, &ana(), at(second)).is_err(), "{begin} {second}");
            }
        }
    }

    #[test]
    fn a_proof_from_before_the_process_is_refused() {
        let replays = Replays::new(at(10) + SignedDuration::from_millis(500));
        assert!(replays.admit(&proof(1, at(9)), &ana(), at(11)).is_err());
        assert!(replays.admit(&proof(1, at(10)), &ana(), at(11)).is_err());
        assert!(replays.admit(&proof(1, at(11)), &ana(), at(11)).is_ok());
    }

    #[test]
    fn one_holder_cannot_fill_the_memory_of_all() {
        let replays = Replays::new(at(0));
        let made = at(10);
        for n in 0..MOST_OF_ONE {
            assert!(replays.admit(&proof(n, made), &ana(), made).is_ok());
        }
        let more = proof(MOST_OF_ONE, made);
        assert!(matches!(replays.admit(&more, &ana(), made), Err(AuthError::Busy(_))));
        let ben = PrincipalId::new(PrincipalKind::User, "corp", "ben");
        assert_eq!(replays.admit(&more, &ben, made), Ok(()));
        // Each is forgotten in time.
        let later = at(10) + SPAN + SPAN;
        assert_eq!(replays.admit(&proof(0, later), &ana(), later), Ok(()));
        let seen = replays.seen.lock().unwrap();
        assert_eq!((seen.young.len(), seen.old.len()), (1, 0));
    }
}
