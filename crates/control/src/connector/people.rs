//! Who another system's people are here: by their id there, or by their verified e-mail address, and
//! never by what they are called.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{PrincipalId, PrincipalKind};

use super::{Connector, vendor::Them, wire::Trouble};
use crate::core::Core;

/// An address is asked for again after so long: somebody may have left it to somebody else.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
const MOST: usize = 10_000;

/// E-mail addresses by ids there, and until when they are believed.
#[derive(Debug, Default)]
pub(super) struct Emails(Mutex<HashMap<String, (Option<String>, Timestamp)>>);

impl Emails {
    fn is_known(&self, id: &str, now: Timestamp) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(id).is_some_and(|(_, until)| now < *until)
    }

    fn of(&self, id: &str, now: Timestamp) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(id).filter(|(_, until)| now < *until)?.0.clone()
    }

    fn keep(&self, id: &str, email: Option<String>, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (_, until)| now < *until);
        }
        if kept.len() < MOST {
            kept.insert(id.to_owned(), (email, now + KEPT));
        }
    }
}

/// Who `them` are, asking where that is not known yet.
pub(super) async fn found(
    core: &Core,
    connector: &Connector,
    them: &[Them],
) -> Result<BTreeSet<PrincipalId>, Trouble> {
    let spec = &connector.spec;
    if spec.people.by_email.is_some() {
        for one in them {
            if !all_known(core, connector, std::slice::from_ref(one)) {
                let email = spec.vendor.email(&spec.line, &one.id).await?;
                connector.emails.keep(&one.id, email, core.now());
            }
        }
    }
    Ok(known(core, connector, them))
}

/// Whether nobody has to be asked who `them` are.
pub(super) fn all_known(core: &Core, connector: &Connector, them: &[Them]) -> bool {
    let people = &connector.spec.people;
    them.iter().all(|one| {
        people.by_email.is_none()
            || one.email.is_some()
            || people.named.contains_key(&one.id)
            || connector.emails.is_known(&one.id, core.now())
    })
}

/// Who `them` are, as far as that is known.
pub(super) fn known(core: &Core, connector: &Connector, them: &[Them]) -> BTreeSet<PrincipalId> {
    let people = &connector.spec.people;
    let mut found = BTreeSet::new();
    let mut emails = BTreeSet::new();
    for one in them {
        if let Some(principal) = people.named.get(&one.id) {
            found.insert(principal.clone());
            continue;
        }
        let kept = || connector.emails.of(&one.id, core.now());
        emails.extend(one.email.clone().or_else(kept).map(|email| email.to_lowercase()));
    }
    let Some(issuer) = people.by_email.as_deref().filter(|_| !emails.is_empty()) else {
        return found;
    };
    let (_, all) = core.publisher.principals();
    let theirs = all.iter().filter(|one| {
        let has = |email: &String| emails.contains(&email.to_lowercase());
        one.id.kind == PrincipalKind::User
            && one.id.issuer() == issuer
            && one.email.as_ref().is_some_and(has)
    });
    found.extend(theirs.map(|one| one.id.clone()));
    found
}
