//! Publishes snapshots, and keeps what changes them in order.
//!
//! Use cases finish in any order: a grant may be revoked and published as over before the task that
//! issued it gets to publish it. Everything passes through one short lock here, and what is older
//! than what was published already is left out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use portcullis_model::{
    DirectoryId, Grant, GrantId, GrantToken, Incident, IncidentId, Principal, PrincipalId,
    PrincipalKind, Schedule, SealedId, SignIn, SignInId, TokenHash,
};
use portcullis_policy::{Bundle, Snapshot};
use portcullis_store::{StoredGroup, StoredUser};
use tokio::sync::watch;

use crate::{
    directory::{Concerned, Directory},
    usecase::principals,
    views::KnownAs,
};

/// Changes that may wait are announced together after so long.
const COALESCE: Duration = Duration::from_millis(10);

/// One change of what gates see.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// A grant as it is now, in force or over.
    Grant(Grant),
    /// One more grant token.
    GrantToken(TokenHash, GrantToken),
    /// One more sign-in.
    SignIn(TokenHash, SignIn),
    /// A sign-in ended, and all that were made from it.
    EndSignIn(SignInId),
    /// A principal as last seen.
    Principal(Principal),
    /// A user of the directory.
    User(StoredUser),
    /// A group of the directory.
    Group(StoredGroup),
    /// A group of the directory that is gone.
    NoGroup(DirectoryId),
    /// A principal that will not come again.
    ForgetPrincipal(PrincipalId),
    /// An incident as it is now.
    Incident(Incident),
    /// A schedule as it is now.
    Schedule(Schedule),
    /// A sealed credential that opens nothing any more.
    SealedRevoked(SealedId),
    /// Another bundle.
    Bundle(Arc<Bundle>, u64),
}

/// The newest snapshot, and whoever waits for the next.
#[derive(Debug)]
pub struct Snapshots {
    current: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl Snapshots {
    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes when a newer snapshot should be looked at; carries its version.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[derive(Debug)]
pub(crate) struct Publisher {
    snapshots: Arc<Snapshots>,
    live: Mutex<Live>,
}

/// What the snapshot was built from, in the shapes that control itself asks for.
#[derive(Debug, Default)]
struct Live {
    /// The newest version published of each grant, until its window closes.
    grant_versions: HashMap<GrantId, (u32, Timestamp)>,
    /// The same by when their windows close: one change must not cost more, the more grants there are.
    grant_ends: BTreeSet<(Timestamp, GrantId)>,
    grants: HashMap<GrantId, Arc<Grant>>,
    sign_ins: HashMap<SignInId, Arc<SignIn>>,
    /// Ended before they came: they must not come any more.
    ended_early: HashSet<SignInId>,
    /// As their providers said.
    said: BTreeMap<PrincipalId, Principal>,
    /// As they are, with the directory's groups.
    principals: BTreeMap<PrincipalId, Arc<Principal>>,
    /// The newest version published of each incident.
    incident_versions: HashMap<IncidentId, u32>,
    directory: Directory,
    people_epoch: u64,
    announcing: bool,
}

impl Publisher {
    pub(crate) fn new(bundle: Arc<Bundle>, generation: u64) -> Self {
        let snapshot = Snapshot::new(bundle, generation);
        let (version, _) = watch::channel(snapshot.version());
        let snapshots = Snapshots { current: ArcSwap::from_pointee(snapshot), version };
        Self { snapshots: Arc::new(snapshots), live: Mutex::default() }
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// Applies `effects` and announces them at once: when this returns, no decision of this process
    /// that starts now sees the state before.
    pub(crate) fn publish(&self, effects: Vec<Effect>, now: Timestamp) {
        let version = self.apply(effects, now);
        self.snapshots.version.send_replace(version);
    }

    /// Applies `effects` at once, and announces them within 10 ms together with others.
    pub(crate) fn publish_soon(self: &Arc<Self>, effects: Vec<Effect>, now: Timestamp) {
        self.apply(effects, now);
        if std::mem::replace(&mut self.live().announcing, true) {
            return;
        }
        let publisher = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(COALESCE).await;
            publisher.live().announcing = false;
            let version = publisher.current().version();
            publisher.snapshots.version.send_replace(version);
        });
    }

    fn apply(&self, effects: Vec<Effect>, now: Timestamp) -> u64 {
        let mut live = self.live();
        let mut snapshot = Snapshot::clone(&self.snapshots.current.load());
        for effect in effects {
            snapshot = live.apply(snapshot, effect, now);
        }
        let version = snapshot.version();
        self.snapshots.current.store(Arc::new(snapshot));
        version
    }

    pub(crate) fn grants(&self) -> Vec<Arc<Grant>> {
        self.live().grants.values().cloned().collect()
    }

    pub(crate) fn grant(&self, id: GrantId) -> Option<Arc<Grant>> {
        self.live().grants.get(&id).cloned()
    }

    pub(crate) fn sign_in(&self, id: SignInId) -> Option<Arc<SignIn>> {
        self.live().sign_ins.get(&id).cloned()
    }

    /// The sign-ins of one principal, newest first.
    pub(crate) fn sign_ins_of(&self, principal: &PrincipalId) -> Vec<Arc<SignIn>> {
        let live = self.live();
        let own = live.sign_ins.values().filter(|sign_in| sign_in.principal == *principal);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by_key(|sign_in| std::cmp::Reverse(sign_in.id));
        own
    }

    /// The sign-ins for which `is_wanted` holds.
    pub(crate) fn sign_ins_where(&self, is_wanted: impl Fn(&SignIn) -> bool) -> Vec<Arc<SignIn>> {
        self.live().sign_ins.values().filter(|sign_in| is_wanted(sign_in)).cloned().collect()
    }

    /// How many workloads were seen.
    pub(crate) fn workloads(&self) -> usize {
        let live = self.live();
        live.principals.keys().filter(|id| id.kind == PrincipalKind::Workload).count()
    }

    /// Those with `name`, in lower case, in their name or id; `None` if they are more than `most`.
    pub(crate) fn called(&self, name: &str, most: usize) -> Option<Vec<PrincipalId>> {
        let live = self.live();
        let called = live.principals.values().filter(|known| principals::is_called(known, name));
        let ids: Vec<_> = called.take(most + 1).map(|known| known.id.clone()).collect();
        (ids.len() <= most).then_some(ids)
    }

    pub(crate) fn children_of(&self, parent: SignInId) -> Vec<Arc<SignIn>> {
        let live = self.live();
        live.sign_ins.values().filter(|child| child.parent == Some(parent)).cloned().collect()
    }

    /// The sign-ins that come from signing in with `provider`, without those made from them.
    pub(crate) fn own_sign_ins_at(&self, provider: &str) -> Vec<Arc<SignIn>> {
        let live = self.live();
        let own = live
            .sign_ins
            .values()
            .filter(|sign_in| sign_in.parent.is_none() && sign_in.principal.issuer() == provider);
        own.cloned().collect()
    }

    /// Whether `child` was made from `parent`.
    pub(crate) fn is_child(&self, child: SignInId, parent: SignInId) -> bool {
        self.live().sign_ins.get(&child).is_some_and(|child| child.parent == Some(parent))
    }

    /// Everybody seen so far, and a number that changes whenever they do.
    pub(crate) fn principals(&self) -> (u64, Vec<Arc<Principal>>) {
        let live = self.live();
        (live.people_epoch, live.principals.values().cloned().collect())
    }

    /// Looks something up in the directory.
    pub(crate) fn directory<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.live().directory)
    }

    /// `principal`, as the directory has it.
    pub(crate) fn as_known(&self, principal: &Principal) -> Principal {
        self.live().directory.as_known(principal)
    }

    /// What a principal is called, if it is known; the directory knows better than its provider.
    pub(crate) fn known_as(&self, id: &PrincipalId) -> Option<KnownAs> {
        let live = self.live();
        let principal = live.principals.get(id)?;
        let user = live.directory.user_of(principal);
        let name = user.and_then(StoredUser::shown_name).unwrap_or(&principal.name);
        let email = principal.email.as_deref().or_else(|| user.and_then(StoredUser::email));
        Some(KnownAs { name: Some(name.to_owned()), email: email.map(str::to_owned) })
    }

    /// Whether the directory bars this principal, or another of the same human being.
    pub(crate) fn bars(&self, principal: &Principal) -> bool {
        let live = self.live();
        let same = |other: &&Principal| other.person.is_some() && other.person == principal.person;
        live.directory.bars(principal)
            || live.said.values().filter(same).any(|other| live.directory.bars(other))
    }

    pub(crate) fn people_epoch(&self) -> u64 {
        self.live().people_epoch
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn apply(&mut self, snapshot: Snapshot, effect: Effect, now: Timestamp) -> Snapshot {
        match effect {
            Effect::Grant(grant) => self.grant(snapshot, grant, now),
            Effect::GrantToken(hash, token) => self.grant_token(snapshot, hash, token),
            Effect::SignIn(hash, sign_in) => self.sign_in(snapshot, hash, sign_in),
            Effect::EndSignIn(id) => self.end_sign_in(snapshot, id),
            Effect::Principal(principal) => self.principal(snapshot, principal),
            Effect::User(user) => {
                let concerned = self.directory.put_user(user);
                self.derive(snapshot, &concerned)
            }
            Effect::Group(group) => {
                let concerned = self.directory.put_group(group);
                self.derive(snapshot, &concerned)
            }
            Effect::NoGroup(id) => {
                let concerned = self.directory.remove_group(id);
                self.derive(snapshot, &concerned)
            }
            Effect::ForgetPrincipal(id) => {
                self.said.remove(&id);
                self.principals.remove(&id);
                snapshot.without_principal(&id)
            }
            Effect::Incident(incident) => {
                let newest = self.incident_versions.entry(incident.id.clone());
                let newest = newest.or_insert(incident.version);
                // INVARIANT: an incident never goes back to an earlier version.
                if *newest > incident.version {
                    return snapshot;
                }
                *newest = incident.version;
                snapshot.with_incident(Arc::new(incident))
            }
            Effect::Schedule(schedule) => {
                let known = snapshot.schedule(&schedule.name);
                if known.is_some_and(|known| known.version >= schedule.version) {
                    return snapshot;
                }
                snapshot.with_schedule(Arc::new(schedule))
            }
            Effect::SealedRevoked(id) => snapshot.with_sealed_revoked(id),
            // INVARIANT: policies never go back to an earlier generation. What was before comes back
            // as a new one.
            Effect::Bundle(_, generation) if generation <= snapshot.stamp().generation => {
                tracing::error!(generation, "an older bundle came after a newer one; left out");
                snapshot
            }
            Effect::Bundle(bundle, generation) => snapshot.with_bundle(bundle, generation),
        }
    }

    fn grant(&mut self, snapshot: Snapshot, grant: Grant, now: Timestamp) -> Snapshot {
        let known = self.grant_versions.get(&grant.id);
        // INVARIANT: a grant never goes back to an earlier version.
        if known.is_some_and(|(version, _)| *version >= grant.version) {
            return snapshot;
        }
        while let Some(over) = self.grant_ends.first().copied().filter(|(at, _)| *at <= now) {
            self.grant_ends.remove(&over);
            self.grant_versions.remove(&over.1);
        }
        let before = self.grant_versions.insert(grant.id, (grant.version, grant.expires_at));
        if let Some((_, expires_at)) = before {
            self.grant_ends.remove(&(expires_at, grant.id));
        }
        self.grant_ends.insert((grant.expires_at, grant.id));
        let grant = Arc::new(grant);
        if grant.is_over(now) {
            self.grants.remove(&grant.id);
        } else {
            self.grants.insert(grant.id, Arc::clone(&grant));
        }
        snapshot.with_grant(grant, now)
    }

    /// Its grant came before it, and may have ended since.
    fn grant_token(&self, snapshot: Snapshot, hash: TokenHash, token: GrantToken) -> Snapshot {
        if self.grants.contains_key(&token.grant) {
            snapshot.with_grant_token(hash, Arc::new(token))
        } else {
            snapshot
        }
    }

    fn sign_in(&mut self, snapshot: Snapshot, hash: TokenHash, sign_in: SignIn) -> Snapshot {
        // A deactivation ends what is stored, whether or not it has come here.
        if self.ended_early.remove(&sign_in.id) {
            return snapshot;
        }
        // INVARIANT: a child never outlives its parent, also when they cross on the way here. A sign-in
        // itself comes once.
        if sign_in.parent.is_some_and(|parent| !self.sign_ins.contains_key(&parent)) {
            return snapshot;
        }
        let sign_in = Arc::new(sign_in);
        self.sign_ins.insert(sign_in.id, Arc::clone(&sign_in));
        snapshot.with_sign_in(hash, sign_in)
    }

    fn end_sign_in(&mut self, mut snapshot: Snapshot, id: SignInId) -> Snapshot {
        let children = self.sign_ins.values().filter(|child| child.parent == Some(id));
        let mut ended: Vec<SignInId> = children.map(|child| child.id).collect();
        ended.push(id);
        if !self.sign_ins.contains_key(&id) {
            self.ended_early.insert(id);
        }
        for id in ended {
            self.sign_ins.remove(&id);
            snapshot = snapshot.without_sign_in(id);
        }
        snapshot
    }

    fn principal(&mut self, snapshot: Snapshot, principal: Principal) -> Snapshot {
        let known = self.directory.as_known(&principal);
        self.said.insert(principal.id.clone(), principal);
        self.know(snapshot, known)
    }

    /// Gives everybody concerned what the directory has for them now.
    fn derive(&mut self, mut snapshot: Snapshot, concerned: &Concerned) -> Snapshot {
        let said = self.said.values().filter(|principal| concerned.concerns(principal));
        let known: Vec<_> = said.map(|principal| self.directory.as_known(principal)).collect();
        for principal in known {
            snapshot = self.know(snapshot, principal);
        }
        snapshot
    }

    fn know(&mut self, snapshot: Snapshot, principal: Principal) -> Snapshot {
        if self.principals.get(&principal.id).is_some_and(|known| **known == principal) {
            return snapshot;
        }
        self.people_epoch += 1;
        let principal = Arc::new(principal);
        self.principals.insert(principal.id.clone(), Arc::clone(&principal));
        snapshot.with_principal(principal)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::BundleSource;

    use super::*;

    #[test]
    fn f14_an_older_bundle_never_comes_after_a_newer_one() {
        let bundle = || Arc::new(Bundle::load(&BundleSource::default()).unwrap());
        let publisher = Publisher::new(bundle(), 3);
        let now = Timestamp::UNIX_EPOCH;
        for (generation, in_force) in [(2, 3), (3, 3), (5, 5), (4, 5), (1, 5), (6, 6)] {
            publisher.publish(vec![Effect::Bundle(bundle(), generation)], now);
            assert_eq!(publisher.current().stamp().generation, in_force);
        }
    }
}
