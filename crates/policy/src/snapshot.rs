//! Snapshots: all that the data plane decides from, immutable and cheap to change by one entry.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{
    BundleStamp, Grant, GrantEnd, GrantId, GrantState, GrantToken, Incident, IncidentId, Principal,
    PrincipalId, Schedule, ScheduleName, SealedId, SignIn, SignInId, TokenHash,
};
use rpds::{HashTrieMapSync, RedBlackTreeSetSync};

use crate::{Bundle, incidents::Incidents, schedules::Schedules};

/// One consistent state. Cloning is cheap; the maps are persistent.
#[derive(Debug, Clone)]
pub struct Snapshot {
    version: u64,
    bundle: Arc<Bundle>,
    stamp: BundleStamp,
    principals: HashTrieMapSync<PrincipalId, Arc<Principal>>,
    sign_ins: HashTrieMapSync<TokenHash, Arc<SignIn>>,
    sign_ins_by_id: HashTrieMapSync<SignInId, TokenHash>,
    grants: HashTrieMapSync<GrantId, Arc<Grant>>,
    held: HashTrieMapSync<PrincipalId, Arc<[GrantId]>>,
    grant_tokens: HashTrieMapSync<TokenHash, Arc<GrantToken>>,
    tokens_of: HashTrieMapSync<GrantId, Arc<[TokenHash]>>,
    /// Grants without a use left whose window is still open, by the end of their window.
    used_up: RedBlackTreeSetSync<(Timestamp, GrantId)>,
    schedules: Schedules,
    incidents: Incidents,
    /// Sealed credentials that open nothing any more.
    revoked: RedBlackTreeSetSync<SealedId>,
}

impl Snapshot {
    /// With a bundle and nothing else.
    pub fn new(bundle: Arc<Bundle>, generation: u64) -> Self {
        let stamp = BundleStamp { digest: bundle.digest().clone(), generation };
        Self {
            version: 0,
            bundle,
            stamp,
            principals: HashTrieMapSync::default(),
            sign_ins: HashTrieMapSync::default(),
            sign_ins_by_id: HashTrieMapSync::default(),
            grants: HashTrieMapSync::default(),
            held: HashTrieMapSync::default(),
            grant_tokens: HashTrieMapSync::default(),
            tokens_of: HashTrieMapSync::default(),
            used_up: RedBlackTreeSetSync::default(),
            schedules: Schedules::default(),
            incidents: Incidents::default(),
            revoked: RedBlackTreeSetSync::default(),
        }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The policies in force.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Their digest and generation.
    pub fn stamp(&self) -> &BundleStamp {
        &self.stamp
    }

    /// A person as control knows them now.
    pub fn principal(&self, id: &PrincipalId) -> Option<&Arc<Principal>> {
        self.principals.get(id)
    }

    /// A sign-in by its token's hash.
    pub fn sign_in(&self, hash: &TokenHash) -> Option<&Arc<SignIn>> {
        self.sign_ins.get(hash)
    }

    /// A sign-in by its id: a live connection asks whether its own still exists.
    pub fn sign_in_by_id(&self, id: SignInId) -> Option<&Arc<SignIn>> {
        self.sign_ins_by_id.get(&id).and_then(|hash| self.sign_ins.get(hash))
    }

    /// A grant by id, if it was not over when it was last published.
    pub fn grant(&self, id: GrantId) -> Option<&Arc<Grant>> {
        self.grants.get(&id)
    }

    /// A grant token by its hash.
    pub fn grant_token(&self, hash: &TokenHash) -> Option<&Arc<GrantToken>> {
        self.grant_tokens.get(hash)
    }

    /// Whether a grant that ends at `expires_at` is over only because its last use is spent. It opens
    /// nothing, but what one of its uses opened may go on until then.
    pub fn is_used_up(&self, id: GrantId, expires_at: Timestamp) -> bool {
        self.used_up.contains(&(expires_at, id))
    }

    /// Whether a sealed credential is revoked.
    pub fn is_sealed_revoked(&self, id: SealedId) -> bool {
        self.revoked.contains(&id)
    }

    /// The sealed credentials that are revoked, for gates to keep on disk.
    pub fn sealed_revoked(&self) -> impl Iterator<Item = SealedId> + '_ {
        self.revoked.iter().copied()
    }

    /// The grants that `principal` holds, unlimited ones first, then those that end first.
    pub fn grants_of(&self, principal: &PrincipalId) -> impl Iterator<Item = &Arc<Grant>> {
        let held = self.held.get(principal);
        held.into_iter().flat_map(|ids| ids.iter()).filter_map(|id| self.grants.get(id))
    }

    /// How many grants there are.
    pub fn grants_count(&self) -> usize {
        self.grants.size()
    }

    /// An incident that is open.
    pub fn incident(&self, id: &IncidentId) -> Option<&Arc<Incident>> {
        self.incidents.lookup(id)
    }

    /// What was last said of a schedule, known or not any more.
    pub fn schedule(&self, name: &ScheduleName) -> Option<&Arc<Schedule>> {
        self.schedules.lookup(name)
    }

    /// All schedules, as far as they are known at `now`.
    pub fn schedules_at(&self, now: Timestamp) -> Vec<Schedule> {
        let all = self.schedules.at(self.bundle.rotations(), now);
        all.iter().map(|schedule| Schedule::clone(schedule)).collect()
    }

    /// Changes whenever an incident or a schedule does.
    pub fn facts_epoch(&self) -> (u64, u64) {
        (self.schedules.epoch(), self.incidents.epoch())
    }

    pub(crate) fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    pub(crate) fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// The same without anybody's grants: what there is to ask for, whatever was given already.
    #[must_use]
    pub fn without_grants(mut self) -> Self {
        self.grants = HashTrieMapSync::default();
        self.held = HashTrieMapSync::default();
        self
    }

    /// An incident as it is from now on.
    #[must_use]
    pub fn with_incident(mut self, incident: Arc<Incident>) -> Self {
        self.incidents.put(incident);
        self.moved()
    }

    /// A schedule as it is from now on.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Arc<Schedule>) -> Self {
        self.schedules.put(schedule);
        self.moved()
    }

    /// Without a schedule that nobody keeps any more.
    #[must_use]
    pub fn without_schedule(mut self, name: &ScheduleName) -> Self {
        self.schedules.remove(name);
        self.moved()
    }

    /// With one more sealed credential that is revoked.
    #[must_use]
    pub fn with_sealed_revoked(mut self, id: SealedId) -> Self {
        self.revoked.insert_mut(id);
        self.moved()
    }

    /// The same state under another bundle.
    #[must_use]
    pub fn with_bundle(mut self, bundle: Arc<Bundle>, generation: u64) -> Self {
        self.stamp = BundleStamp { digest: bundle.digest().clone(), generation };
        self.bundle = bundle;
        self.moved()
    }

    /// A person as control knows them from now on.
    #[must_use]
    pub fn with_principal(mut self, principal: Arc<Principal>) -> Self {
        self.principals.insert_mut(principal.id.clone(), principal);
        self.moved()
    }

    /// Without a principal that will not come again.
    #[must_use]
    pub fn without_principal(mut self, id: &PrincipalId) -> Self {
        self.principals.remove_mut(id);
        self.moved()
    }

    /// One more sign-in.
    #[must_use]
    pub fn with_sign_in(mut self, hash: TokenHash, sign_in: Arc<SignIn>) -> Self {
        self.sign_ins_by_id.insert_mut(sign_in.id, hash);
        self.sign_ins.insert_mut(hash, sign_in);
        self.moved()
    }

    /// Without the sign-in `id`.
    #[must_use]
    pub fn without_sign_in(mut self, id: SignInId) -> Self {
        if let Some(hash) = self.sign_ins_by_id.get(&id).copied() {
            self.sign_ins.remove_mut(&hash);
            self.sign_ins_by_id.remove_mut(&id);
        }
        self.moved()
    }

    /// With `grant` as it is now; one that opens nothing any more leaves.
    #[must_use]
    pub fn with_grant(mut self, grant: Arc<Grant>, now: Timestamp) -> Self {
        let (id, principal) = (grant.id, grant.principal.clone());
        self.note_used_up(&grant, now);
        if grant.is_over(now) {
            self.grants.remove_mut(&id);
            self.remove_tokens(id);
        } else {
            self.grants.insert_mut(id, grant);
        }
        let mut held: Vec<GrantId> =
            self.held.get(&principal).map(|ids| ids.to_vec()).unwrap_or_default();
        held.retain(|other| *other != id);
        if self.grants.contains_key(&id) {
            held.push(id);
            held.sort_by_key(|id| {
                let grant = self.grants.get(id);
                grant.map(|grant| (grant.max_uses.is_some(), grant.expires_at, *id))
            });
        }
        if held.is_empty() {
            self.held.remove_mut(&principal);
        } else {
            self.held.insert_mut(principal, held.into());
        }
        self.moved()
    }

    /// One more token of a grant. It leaves with the grant.
    #[must_use]
    pub fn with_grant_token(mut self, hash: TokenHash, token: Arc<GrantToken>) -> Self {
        let mut own = self.tokens_of.get(&token.grant).map(|own| own.to_vec()).unwrap_or_default();
        own.retain(|other| *other != hash);
        own.push(hash);
        self.tokens_of.insert_mut(token.grant, own.into());
        self.grant_tokens.insert_mut(hash, token);
        self.moved()
    }

    fn remove_tokens(&mut self, grant: GrantId) {
        let Some(own) = self.tokens_of.get(&grant).cloned() else { return };
        for hash in own.iter() {
            self.grant_tokens.remove_mut(hash);
        }
        self.tokens_of.remove_mut(&grant);
    }

    fn note_used_up(&mut self, grant: &Grant, now: Timestamp) {
        while let Some(over) = self.used_up.first().copied().filter(|(at, _)| *at <= now) {
            self.used_up.remove_mut(&over);
        }
        let is_used_up = matches!(grant.state, GrantState::Ended { why: GrantEnd::UsedUp, .. });
        if is_used_up && now < grant.expires_at {
            self.used_up.insert_mut((grant.expires_at, grant.id));
        } else {
            self.used_up.remove_mut(&(grant.expires_at, grant.id));
        }
    }

    fn moved(mut self) -> Self {
        self.version += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use portcullis_model::RequestId;

    use super::*;
    use crate::fixture;

    #[test]
    fn a_grant_that_is_used_up_opens_nothing_and_is_told_from_a_revoked_one() {
        let ana = fixture::subject("ana", &[]);
        let now = fixture::now();
        let grant = Grant { max_uses: Some(1), ..fixture::grant(&ana, "any", 1) };
        let (id, until) = (grant.id, grant.expires_at);
        let request = RequestId::from_bits(1);
        let used = grant.clone().consume(now, request).unwrap();
        let revoked = grant.clone().end(now, GrantEnd::Revoked, None).unwrap();

        let held = fixture::snapshot("").with_grant(Arc::new(grant), now);
        assert!(held.grant(id).is_some() && !held.is_used_up(id, until));
        let used = held.clone().with_grant(Arc::new(used), now);
        assert!(used.grant(id).is_none() && used.is_used_up(id, until));
        let revoked = held.with_grant(Arc::new(revoked), now);
        assert!(revoked.grant(id).is_none() && !revoked.is_used_up(id, until));
    }

    #[test]
    fn e32_a_clock_that_is_set_back_takes_no_grant_away_for_good() {
        let ana = fixture::subject("ana", &[]);
        let now = fixture::now();
        let grant = fixture::grant(&ana, "any", 1);
        let (id, starts_at) = (grant.id, grant.starts_at);
        let back = starts_at - SignedDuration::from_mins(5);
        let held = fixture::snapshot("").with_grant(Arc::new(grant), back);
        let known = held.grant(id).cloned().unwrap();
        assert!(!known.in_force(back) && !known.is_over(back), "it opens nothing until its start");
        assert!(known.in_force(now) && held.grants_of(&ana.principal().id).count() == 1);
    }

    #[test]
    fn m16_a_grants_tokens_leave_with_it_and_no_others_do() {
        let ana = fixture::subject("ana", &[]);
        let now = fixture::now();
        let grant = fixture::grant(&ana, "any", 1);
        let other = Grant { id: GrantId::from_bits(77), ..grant.clone() };
        let token = |grant: &Grant| {
            Arc::new(GrantToken { grant: grant.id, authenticated_at: now, bound_to: None })
        };
        let [first, second, third] = ["a", "b", "c"].map(TokenHash::of);
        let held = fixture::snapshot("")
            .with_grant(Arc::new(grant.clone()), now)
            .with_grant(Arc::new(other.clone()), now)
            .with_grant_token(first, token(&grant))
            .with_grant_token(second, token(&grant))
            .with_grant_token(third, token(&other));
        assert!([first, second, third].iter().all(|hash| held.grant_token(hash).is_some()));
        let ended = grant.end(now, GrantEnd::Revoked, None).unwrap();
        let held = held.with_grant(Arc::new(ended), now);
        assert!([first, second].iter().all(|hash| held.grant_token(hash).is_none()));
        assert_eq!(held.grant_token(&third).map(|token| token.grant), Some(other.id));
    }

    #[test]
    fn grants_that_are_used_up_are_forgotten_with_their_window() {
        let ana = fixture::subject("ana", &[]);
        let now = fixture::now();
        let grant = Grant { max_uses: Some(1), ..fixture::grant(&ana, "any", 1) };
        let other = Grant { id: GrantId::from_bits(77), max_uses: None, ..grant.clone() };
        let (id, until) = (grant.id, grant.expires_at);
        let used = grant.consume(now, RequestId::from_bits(1)).unwrap();
        let used = fixture::snapshot("").with_grant(Arc::new(used), now);
        let later = used.with_grant(Arc::new(other), until + SignedDuration::from_secs(1));
        assert!(!later.is_used_up(id, until));
    }
}
