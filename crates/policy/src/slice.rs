//! Slices: the policies and entities that can matter to one principal, action and resource.

use std::{collections::HashMap, sync::OnceLock};

use cedar_policy::{Entities, Entity, EntityUid, PolicySet, Request};
use portcullis_model::Window;

use crate::{
    Bundle, Context,
    entities::closure,
    facts::{NoContext, is_unknown},
    places::{Action, OperationPlace, ResourcePlace},
    policy::{Policy, Scoped},
    reads::{Part, Read, Reads},
    subject::Prepared,
};

/// All that a decision needs beside the context and the grants.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
    /// The request to Cedar, if no standing permit and no forbid reads the context: then it is
    /// always the same.
    pub(crate) bare: Option<Request>,
    /// Standing permits and all forbids.
    pub(crate) standing: PolicySet,
    /// Whether there are standing permits among them.
    pub(crate) may_stand: bool,
    /// All forbids.
    pub(crate) forbids: PolicySet,
    /// The rules, by their places in the bundle.
    pub(crate) rules: Vec<u32>,
    /// Each rule with all forbids, in the order of `rules`, made when first a grant of it is used.
    guarded: Vec<OnceLock<PolicySet>>,
    /// Every policy in it.
    pub(crate) candidates: Vec<u32>,
    pub(crate) reads: Reads,
    /// What a cached outcome must be keyed by: `reads` without grants.
    pub(crate) keyed_by: Vec<Read>,
    pub(crate) forbids_read_grant: bool,
    pub(crate) max_grant: Window,
}

/// Entities or policies that contradict each other; the query is denied.
pub(crate) type NoSlice = Box<dyn std::error::Error + Send + Sync>;

impl Slice {
    /// For one operation on one resource.
    pub(crate) fn of_operation(
        bundle: &Bundle,
        subject: &Prepared,
        operation: &OperationPlace,
        resource: &ResourcePlace,
    ) -> Result<Self, NoSlice> {
        let resource = resource.scoped();
        Self::new(bundle, subject, &operation.action, resource, Vec::new(), operation.max_grant)
    }

    /// For an action of the control plane on `resource`; `extra` are entities that are not the bundle's.
    pub(crate) fn of_control(
        bundle: &Bundle,
        subject: &Prepared,
        action: &Action,
        resource: Scoped<'_>,
        extra: Vec<Entity>,
    ) -> Result<Self, NoSlice> {
        Self::new(bundle, subject, action, resource, extra, Window::minutes(1))
    }

    fn new(
        bundle: &Bundle,
        subject: &Prepared,
        action: &Action,
        resource: Scoped<'_>,
        extra: Vec<Entity>,
        max_grant: Window,
    ) -> Result<Self, NoSlice> {
        let policies = bundle.policies();
        let principal = subject.scoped();
        let candidates = bundle.index().candidates(policies, principal, action.scoped(), resource);
        let chosen: Vec<&Policy> = candidates.iter().filter_map(|at| policies.at(*at)).collect();
        let (mut standing, mut forbids) = (PolicySet::new(), PolicySet::new());
        let mut reads = Reads::default();
        for policy in &chosen {
            reads.merge(&policy.reads);
            if policy.is_forbid() {
                forbids.add(policy.cedar.clone())?;
            }
            if policy.terms.is_none() {
                standing.add(policy.cedar.clone())?;
            }
        }
        let is_rule = |at: &u32| policies.at(*at).is_some_and(|policy| policy.terms.is_some());
        let forbids_read_grant =
            chosen.iter().any(|policy| policy.is_forbid() && policy.reads.includes(Part::Grant));
        let stands = |policy: &&Policy| policy.terms.is_none() && !policy.is_forbid();
        let rules: Vec<u32> = candidates.iter().copied().filter(is_rule).collect();
        let keyed_by = reads.attributes.iter().filter(|read| read.part != Part::Grant);
        let blind =
            |policy: &&Policy| policy.terms.is_some() || policy.reads.parts().next().is_none();
        let mut slice = Self {
            principal: subject.uid.clone(),
            action: action.uid.clone(),
            resource: resource.uid.clone(),
            bare: None,
            entities: entities(bundle, subject, action, resource, extra, &chosen)?,
            standing,
            forbids,
            may_stand: chosen.iter().any(stands),
            guarded: rules.iter().map(|_| OnceLock::new()).collect(),
            rules,
            keyed_by: keyed_by.cloned().collect(),
            reads,
            candidates,
            forbids_read_grant,
            max_grant,
        };
        if chosen.iter().all(blind) {
            slice.bare = Some(slice.request(cedar_policy::Context::empty())?);
        }
        Ok(slice)
    }

    /// The query as Cedar has it.
    pub(crate) fn request(&self, context: cedar_policy::Context) -> Result<Request, NoContext> {
        let (principal, action) = (self.principal.clone(), self.action.clone());
        Ok(Request::new(principal, action, self.resource.clone(), context, None)?)
    }

    /// The rule with this id and all forbids; `None` if it is no rule of this slice.
    pub(crate) fn guarded(&self, bundle: &Bundle, rule: &str) -> Option<&PolicySet> {
        let (at, rule) = bundle.policies().lookup(rule)?;
        let place = self.rules.iter().position(|rule| *rule == at)?;
        let guarded = self.guarded.get(place)?;
        if let Some(made) = guarded.get() {
            return Some(made);
        }
        let mut policies = self.forbids.clone();
        policies.add(rule.cedar.clone()).ok()?;
        Some(guarded.get_or_init(|| policies))
    }

    /// Whether outcomes may be remembered.
    pub(crate) fn is_cacheable(&self) -> bool {
        !self.reads.time() && !self.reads.includes(Part::Request)
    }

    /// Whether some policy reads what is not known yet.
    pub(crate) fn reads_unknown(&self, context: &Context) -> bool {
        self.keyed_by.iter().any(|read| is_unknown(read, context))
    }
}

fn entities(
    bundle: &Bundle,
    subject: &Prepared,
    action: &Action,
    resource: Scoped<'_>,
    extra: Vec<Entity>,
    chosen: &[&Policy],
) -> Result<Entities, NoSlice> {
    let mut found: HashMap<EntityUid, Entity> = HashMap::new();
    let named = chosen.iter().flat_map(|policy| &policy.literals);
    closure(bundle.entities(), named.chain([&action.uid, resource.uid]), &mut found);
    found.extend(extra.into_iter().map(|entity| (entity.uid(), entity)));
    found.insert(subject.uid.clone(), subject.entity.clone());
    Ok(Entities::from_entities(found.into_values(), None)?)
}
