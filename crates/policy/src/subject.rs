//! Principals, prepared for decisions.

use std::sync::Arc;

use cedar_policy::{Entity, EntityUid};
use portcullis_model::Principal;
use sha2::{Digest, Sha256};

use crate::{
    entities::{TYPES, principal_entity, principal_uid, uid},
    policy::Scoped,
};

/// A principal ready for decisions: made once per identity and kept beside the token that proved it,
/// so that building its entities and its cache key is paid once.
#[derive(Debug)]
pub struct Subject {
    principal: Arc<Principal>,
    prepared: Option<Prepared>,
}

/// What decisions need of a principal.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Two principals with one epoch are equal in every field, group and claim.
    pub(crate) epoch: u128,
    pub(crate) uid: EntityUid,
    groups: Vec<EntityUid>,
    /// Without undeclared claims left out: nothing that loads can name those.
    pub(crate) entity: Entity,
}

impl Subject {
    /// Prepares `principal`.
    pub fn new(principal: Arc<Principal>) -> Self {
        let prepared = Prepared::new(&principal);
        if prepared.is_none() {
            tracing::error!(principal = %principal.id, "cannot be prepared; every query is denied");
        }
        Self { principal, prepared }
    }

    /// Who it is.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// `None` cannot happen with the types as they are; were it to, everything is denied.
    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }
}

impl Prepared {
    fn new(principal: &Principal) -> Option<Self> {
        // Every field is serialised, so a new one is in the epoch without anybody thinking of it.
        let serialised = serde_json::to_vec(principal).ok()?;
        let digest: [u8; 32] = Sha256::digest(&serialised).into();
        let epoch = digest.first_chunk().map(|bytes| u128::from_le_bytes(*bytes))?;
        Some(Self {
            epoch,
            uid: principal_uid(&principal.id),
            groups: principal.groups.iter().map(|group| uid(&TYPES.group, group)).collect(),
            entity: principal_entity(principal).ok()?,
        })
    }

    pub(crate) fn scoped(&self) -> Scoped<'_> {
        Scoped { uid: &self.uid, ancestors: &self.groups }
    }
}
