//! One loaded policy: what Cedar needs of it, and what the PDP must know beside.

use std::collections::HashMap;

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, PolicySet, PrincipalConstraint,
    ResourceConstraint,
};
use portcullis_model::{ContentParts, GrantKind, PolicyId, Window};

use crate::{notice::Notices, rate_limit::RateLimit, reads::Reads, unknown::FactReads};

/// How a rule's grants are obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) reviews: u8,
    pub(crate) max_duration: Window,
    pub(crate) max_uses: Option<u32>,
    pub(crate) idle: Option<Window>,
    pub(crate) hold: Option<Window>,
    /// Taken at once by whoever names it, and reviewed afterwards.
    pub(crate) emergency: bool,
}

impl Terms {
    /// What a grant is that so many people approved.
    pub(crate) fn kind(self, reviews: u8) -> GrantKind {
        match reviews {
            _ if self.emergency => GrantKind::Emergency,
            0 => GrantKind::Automatic,
            _ => GrantKind::Review,
        }
    }
}

/// The most reviews that a floor can raise a rule to.
pub(crate) const MOST_REVIEWS: u8 = 5;

impl Default for Terms {
    fn default() -> Self {
        Self {
            reviews: 1,
            max_duration: Window::minutes(30),
            max_uses: None,
            idle: None,
            hold: None,
            emergency: false,
        }
    }
}

/// A policy's scope.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) principal: PrincipalConstraint,
    pub(crate) action: ActionConstraint,
    pub(crate) resource: ResourceConstraint,
}

/// A loaded policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) id: PolicyId,
    pub(crate) cedar: cedar_policy::Policy,
    /// Just this policy, for evaluating a rule under its own grant.
    pub(crate) alone: PolicySet,
    pub(crate) head: Head,
    pub(crate) reads: Reads,
    /// What it reads that may be unknown.
    pub(crate) facts: FactReads,
    /// Every entity that it names.
    pub(crate) literals: Vec<EntityUid>,
    /// Of a rule: a permit that reads `context.grant`.
    pub(crate) terms: Option<Terms>,
    /// Of a permit: how often it admits somebody.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Of a permit: what it has kept of requests.
    pub(crate) record: ContentParts,
    /// Of a rule: who hears of its access requests.
    pub(crate) notices: Notices,
}

impl Policy {
    pub(crate) fn is_forbid(&self) -> bool {
        self.cedar.effect() == Effect::Forbid
    }
}

/// An entity as heads see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scoped<'a> {
    pub(crate) uid: &'a EntityUid,
    pub(crate) ancestors: &'a [EntityUid],
}

impl Scoped<'_> {
    fn within(&self, other: &EntityUid) -> bool {
        self.uid == other || self.ancestors.contains(other)
    }

    fn is(&self, ty: &EntityTypeName) -> bool {
        self.uid.type_name() == ty
    }
}

impl Head {
    pub(crate) fn admits_principal(&self, principal: Scoped<'_>) -> bool {
        match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::In(uid) => principal.within(uid),
            PrincipalConstraint::Eq(uid) => principal.uid == uid,
            PrincipalConstraint::Is(ty) => principal.is(ty),
            PrincipalConstraint::IsIn(ty, uid) => principal.is(ty) && principal.within(uid),
        }
    }

    pub(crate) fn admits_action(&self, action: Scoped<'_>) -> bool {
        match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => action.uid == uid,
            ActionConstraint::In(uids) => uids.iter().any(|uid| action.within(uid)),
        }
    }

    pub(crate) fn admits_resource(&self, resource: Scoped<'_>) -> bool {
        match &self.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::In(uid) => resource.within(uid),
            ResourceConstraint::Eq(uid) => resource.uid == uid,
            ResourceConstraint::Is(ty) => resource.is(ty),
            ResourceConstraint::IsIn(ty, uid) => resource.is(ty) && resource.within(uid),
        }
    }
}

/// All policies of a bundle, in the order of their files.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    all: Vec<Policy>,
    by_id: HashMap<String, u32>,
    any_rate_limit: bool,
    any_record: bool,
}

impl Policies {
    pub(crate) fn new(all: Vec<Policy>) -> Self {
        let numbered = (0..).zip(&all);
        let by_id = numbered.map(|(at, policy)| (policy.id.to_string(), at)).collect();
        let any_rate_limit = all.iter().any(|policy| policy.rate_limit.is_some());
        let any_record = all.iter().any(|policy| !policy.record.is_none());
        Self { all, by_id, any_rate_limit, any_record }
    }

    /// How often what `permits` determined is admitted: if all of them say so, as the largest says.
    pub(crate) fn rate_limit(&self, permits: &[PolicyId]) -> Option<RateLimit> {
        if !self.any_rate_limit {
            return None;
        }
        let mut limits = permits
            .iter()
            .map(|id| self.lookup(id.as_str()).and_then(|(_, policy)| policy.rate_limit));
        let first = limits.next()??;
        limits.try_fold(first, |largest, limit| Some(largest.larger(limit?)))
    }

    /// What is kept of a request that `permits` determined: whatever one of them says.
    pub(crate) fn record(&self, permits: &[PolicyId]) -> ContentParts {
        if !self.any_record {
            return ContentParts::default();
        }
        let parts = permits.iter().filter_map(|id| Some(self.lookup(id.as_str())?.1.record));
        parts.fold(ContentParts::default(), ContentParts::and)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Policy)> {
        (0..).zip(&self.all)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Policy> {
        usize::try_from(index).ok().and_then(|index| self.all.get(index))
    }

    pub(crate) fn lookup(&self, id: &str) -> Option<(u32, &Policy)> {
        let index = *self.by_id.get(id)?;
        self.at(index).map(|policy| (index, policy))
    }
}
