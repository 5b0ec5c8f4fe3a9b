//! Slices: the policies and entities that can matter to one principal, action and resource.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use cedar_policy::{Entities, Entity, EntityUid, PolicySet, Request};
use portcullis_model::{Incident, Window};

use crate::{
    Bundle, Context,
    clocks::Clocks,
    entities::{closure, on_call},
    facts::{NoContext, is_unknown},
    incidents::incident_entity,
    places::{Action, OperationPlace, ResourcePlace},
    policy::{Policy, Scoped},
    reads::{Part, Read, Reads},
    schedules::OnCall,
    subject::Prepared,
    unknown::{FactReads, Unknown, without},
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
    /// The same where the incident of a grant is not known any more.
    pub(crate) forbids_unread: PolicySet,
    /// The rules, by their places in the bundle.
    pub(crate) rules: Vec<u32>,
    /// Each rule with all forbids, in the order of `rules`, made when first a grant of it is used.
    guarded: Vec<OnceLock<PolicySet>>,
    /// Every policy in it.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) reads: Reads,
    pub(crate) clocks: Arc<Clocks>,
    /// What its policies read that may be unknown.
    pub(crate) facts: FactReads,
    /// What a cached outcome must be keyed by: `reads` without grants.
    pub(crate) keyed_by: Vec<Read>,
    pub(crate) forbids_read_grant: bool,
    pub(crate) max_grant: Window,
}

/// A policy with what is left of it where facts are unknown.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its place in the bundle.
    pub(crate) at: u32,
    pub(crate) cedar: cedar_policy::Policy,
    /// Where the incident of a grant is unknown as well; a permit does not apply then.
    pub(crate) unread: Option<cedar_policy::Policy>,
}

/// What a slice is about, beside who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) action: &'a Action,
    pub(crate) resource: Scoped<'a>,
}

/// What is known of the world when a slice is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) on_call: &'a OnCall,
    /// The incident of the access request at hand is unknown.
    pub(crate) request_incident_unknown: bool,
}

impl World<'_> {
    fn unknown(&self, incident: bool) -> Unknown<'_> {
        let request_incident = self.request_incident_unknown;
        Unknown { on_call: self.on_call, incident, request_incident }
    }
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
        on_call: &OnCall,
    ) -> Result<Self, NoSlice> {
        let world = World { on_call, request_incident_unknown: false };
        let about = About { action: &operation.action, resource: resource.scoped() };
        Self::new(bundle, subject, about, world, Vec::new(), operation.max_grant)
    }

    /// For an action of the control plane on `resource`; `extra` are entities that are not the bundle's.
    pub(crate) fn of_control(
        bundle: &Bundle,
        subject: &Prepared,
        about: About<'_>,
        world: World<'_>,
        extra: Vec<Entity>,
    ) -> Result<Self, NoSlice> {
        Self::new(bundle, subject, about, world, extra, Window::minutes(1))
    }

    fn new(
        bundle: &Bundle,
        subject: &Prepared,
        about: About<'_>,
        world: World<'_>,
        extra: Vec<Entity>,
        max_grant: Window,
    ) -> Result<Self, NoSlice> {
        let About { action, resource } = about;
        let chosen = chosen(bundle, subject, about, world.unknown(false));
        let mut candidates = Vec::with_capacity(chosen.len());
        let (mut standing, mut forbids) = (PolicySet::new(), PolicySet::new());
        let mut forbids_unread = PolicySet::new();
        let (mut reads, mut facts) = (Reads::default(), FactReads::default());
        for (at, policy) in &chosen {
            reads.merge(&policy.reads);
            facts = facts.merge(&policy.facts);
            let candidate = Candidate::new(*at, policy, world)?;
            if policy.is_forbid() {
                forbids.add(candidate.cedar.clone())?;
                if let Some(unread) = &candidate.unread {
                    forbids_unread.add(unread.clone())?;
                }
            }
            if policy.terms.is_none() {
                standing.add(candidate.cedar.clone())?;
            }
            candidates.push(candidate);
        }
        let is_rule = |(_, policy): &&(u32, &Policy)| policy.terms.is_some();
        let forbids_read_grant = chosen
            .iter()
            .any(|(_, policy)| policy.is_forbid() && policy.reads.includes(Part::Grant));
        let stands = |(_, policy): &(u32, &Policy)| policy.terms.is_none() && !policy.is_forbid();
        let rules: Vec<u32> = chosen.iter().filter(is_rule).map(|(at, _)| *at).collect();
        let keyed_by = reads.attributes.iter().filter(|read| read.part != Part::Grant);
        let blind = |(_, policy): &(u32, &Policy)| {
            policy.terms.is_some() || policy.reads.parts().next().is_none()
        };
        let mut slice = Self {
            principal: subject.uid.clone(),
            action: action.uid.clone(),
            resource: resource.uid.clone(),
            bare: None,
            entities: entities(bundle, subject, about, world, extra, &chosen)?,
            standing,
            forbids,
            forbids_unread,
            may_stand: chosen.iter().any(stands),
            guarded: rules.iter().map(|_| OnceLock::new()).collect(),
            rules,
            keyed_by: keyed_by.cloned().collect(),
            reads,
            clocks: Arc::clone(bundle.clocks()),
            facts,
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

    /// Its entities, and `incident` if a policy may look at it.
    pub(crate) fn entities_with(
        &self,
        incident: Option<&Incident>,
    ) -> Result<Cow<'_, Entities>, NoSlice> {
        match incident.filter(|_| self.facts.incident) {
            None => Ok(Cow::Borrowed(&self.entities)),
            Some(incident) => {
                let incident = incident_entity(incident)?;
                Ok(Cow::Owned(self.entities.clone().add_entities([incident], None)?))
            }
        }
    }

    /// The same as [`Self::guarded`] where the incident of the grant is not known any more.
    pub(crate) fn guarded_unread(&self, bundle: &Bundle, rule: &str) -> Option<PolicySet> {
        let (at, rule) = bundle.policies().lookup(rule)?;
        if !self.rules.contains(&at) || rule.facts.incident {
            return None;
        }
        let mut policies = self.forbids_unread.clone();
        policies.add(rule.cedar.clone()).ok()?;
        Some(policies)
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

impl Candidate {
    fn new(at: u32, policy: &Policy, world: World<'_>) -> Result<Self, NoSlice> {
        let left = |incident: bool| {
            let unknown = world.unknown(incident);
            if !policy.facts.touches(unknown) {
                return Ok(Some(policy.cedar.clone()));
            }
            if policy.is_forbid() { without(&policy.cedar, unknown).map(Some) } else { Ok(None) }
        };
        let cedar = left(false)?.unwrap_or_else(|| policy.cedar.clone());
        Ok(Self { at, cedar, unread: left(true)? })
    }
}

/// The policies whose heads admit all three.
///
/// INVARIANT: a permit that reads what is unknown is not among them.
fn chosen<'a>(
    bundle: &'a Bundle,
    subject: &Prepared,
    about: About<'_>,
    unknown: Unknown<'_>,
) -> Vec<(u32, &'a Policy)> {
    let policies = bundle.policies();
    let (principal, action) = (subject.scoped(), about.action.scoped());
    let found = bundle.index().candidates(policies, principal, action, about.resource);
    let found = found.into_iter().filter_map(|at| policies.at(at).map(|policy| (at, policy)));
    found.filter(|(_, policy)| policy.is_forbid() || !policy.facts.touches(unknown)).collect()
}

fn entities(
    bundle: &Bundle,
    subject: &Prepared,
    about: About<'_>,
    world: World<'_>,
    extra: Vec<Entity>,
    chosen: &[(u32, &Policy)],
) -> Result<Entities, NoSlice> {
    let mut found: HashMap<EntityUid, Entity> = HashMap::new();
    let named = chosen.iter().flat_map(|(_, policy)| &policy.literals);
    closure(bundle.entities(), named.chain([&about.action.uid, about.resource.uid]), &mut found);
    found.extend(extra.into_iter().map(|entity| (entity.uid(), entity)));
    let principal = on_call(subject.entity.clone(), &world.on_call.on)?;
    found.insert(subject.uid.clone(), principal);
    Ok(Entities::from_entities(found.into_values(), None)?)
}
