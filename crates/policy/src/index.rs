//! The head index: which policies could apply to a query, by their heads alone.
//!
//! Conservative: a policy that it leaves out has a head that Cedar would find false. Every policy
//! that Cedar is given costs about a microsecond, matching or not.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint};

use crate::policy::{Head, Policies, Scoped};

/// Policies by what their heads name for the principal and for the action.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entities: HashMap<EntityUid, u32>,
    types: HashMap<EntityTypeName, u32>,
    buckets: HashMap<(u32, u32), Vec<u32>>,
}

/// What an unconstrained part of a head is filed under.
const ANY: u32 = 0;

impl Index {
    pub(crate) fn new(policies: &Policies) -> Self {
        let mut index = Self::default();
        for (at, policy) in policies.iter() {
            let principal = index.principal_key(&policy.head);
            for action in index.action_keys(&policy.head) {
                index.buckets.entry((principal, action)).or_default().push(at);
            }
        }
        index
    }

    /// The policies whose heads admit all three, in order.
    pub(crate) fn candidates(
        &self,
        policies: &Policies,
        principal: Scoped<'_>,
        action: Scoped<'_>,
        resource: Scoped<'_>,
    ) -> Vec<u32> {
        let principals = self.keys(principal);
        let mut found = Vec::new();
        for action in self.keys(action) {
            for principal in &principals {
                found.extend(self.buckets.get(&(*principal, action)).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|at| {
            policies.at(*at).is_some_and(|policy| {
                policy.head.admits_principal(principal) && policy.head.admits_resource(resource)
            })
        });
        found
    }

    fn keys(&self, scoped: Scoped<'_>) -> Vec<u32> {
        let named = scoped.ancestors.iter().chain([scoped.uid]);
        let mut keys: Vec<u32> = named.filter_map(|uid| self.entities.get(uid)).copied().collect();
        keys.extend(self.types.get(scoped.uid.type_name()));
        keys.push(ANY);
        keys
    }

    fn principal_key(&mut self, head: &Head) -> u32 {
        match &head.principal {
            PrincipalConstraint::Any => ANY,
            PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::In(uid)
            | PrincipalConstraint::IsIn(_, uid) => self.entity_key(uid),
            PrincipalConstraint::Is(ty) => {
                let next = self.next_key();
                *self.types.entry(ty.clone()).or_insert(next)
            }
        }
    }

    fn action_keys(&mut self, head: &Head) -> Vec<u32> {
        match &head.action {
            ActionConstraint::Any => vec![ANY],
            ActionConstraint::Eq(uid) => vec![self.entity_key(uid)],
            ActionConstraint::In(uids) => {
                let mut keys: Vec<u32> = uids.iter().map(|uid| self.entity_key(uid)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }

    fn entity_key(&mut self, uid: &EntityUid) -> u32 {
        let next = self.next_key();
        *self.entities.entry(uid.clone()).or_insert(next)
    }

    fn next_key(&self) -> u32 {
        u32::try_from(self.entities.len() + self.types.len() + 1).unwrap_or(u32::MAX)
    }
}
