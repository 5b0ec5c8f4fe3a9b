//! What a connection stands on, and whether it still does.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use portcullis_identity::{introspection::Again, sealed::Opened};
use portcullis_model::{ClassName, ConnectionId, ContentParts, Grant, GrantId, PolicyId, SignInId};
use portcullis_policy::{
    Known, Pass, Record, Sensitive, Snapshot, Subject,
    catalog::{Operation, Service},
    rate_limit::RateLimit,
};

use crate::{core::Core, decide::Question, ports::ConnectionEnd, reveal::Met, sealed};

/// Nothing is open for longer by the clock that nobody sets.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What a connection was permitted by.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    question: Rc<Question>,
    grant: Option<Used>,
    sign_in: Option<SignInId>,
    /// It is worth nothing without the client certificate of its connection.
    by_certificate: bool,
    /// When the sign-in ends.
    ends_at: Timestamp,
    /// The same by a clock that nobody sets: whichever is first ends it.
    ends_by: Instant,
    /// What a sealed credential opened, if that is what it stands on.
    sealed: Option<Arc<Opened>>,
    /// Whoever vouched may change their mind before that.
    again: Option<Arc<Again>>,
    generation: u64,
    facts: (u64, u64),
    rereads_time: bool,
    rate_limit: Option<RateLimit>,
    /// What is kept of its request.
    record: ContentParts,
    /// Its client sends messages, each of which is decided.
    is_read: bool,
    data: Data,
    /// What lets it show sensitive data. Rare: on the heap.
    shows: Option<Box<[Standing]>>,
}

/// Why a message is not carried, and the policies that say so, if any do.
#[derive(Debug)]
pub(crate) struct NotCarried {
    pub(crate) why: ConnectionEnd,
    pub(crate) by: Arc<[PolicyId]>,
}

impl NotCarried {
    /// It is not about the message.
    fn as_a_whole(why: ConnectionEnd) -> Self {
        Self { why, by: [].into() }
    }
}

/// By which rules the data is masked that a connection carries down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// None is carried yet.
    NotYet,
    /// None of it is sensitive.
    Plain,
    /// By these; and what was masked so far.
    Masked(Arc<Sensitive>, Rc<Met>),
    /// No more is carried: by which rules it was masked, and what was.
    Over(Arc<Sensitive>, Rc<Met>),
}

impl Data {
    pub(crate) fn by(rules: Option<(&Arc<Sensitive>, &Rc<Met>)>) -> Self {
        let masked = |(rules, met)| Self::Masked(Arc::clone(rules), Rc::clone(met));
        rules.map_or(Self::Plain, masked)
    }

    /// Whether `snapshot` has other rules for what is carried already.
    fn is_outdated(&self, snapshot: &Snapshot, question: &Question) -> bool {
        let service = snapshot.bundle().catalog().service(&question.resource.service);
        let rules = service.and_then(Service::sensitive);
        match self {
            Self::NotYet | Self::Over(..) => false,
            Self::Plain => rules.is_some(),
            // Another bundle has them anew: it is what they say that counts.
            Self::Masked(known, _) => {
                rules.is_none_or(|rules| !Arc::ptr_eq(known, rules) && known != rules)
            }
        }
    }
}

/// The grant that opened a connection.
#[derive(Debug, Clone)]
struct Used {
    id: GrantId,
    expires_at: Timestamp,
    /// The same by the clock that nobody sets.
    ends_by: Instant,
    /// If its uses are counted, the grant as it was before this connection spent one: spending the
    /// last use, here or elsewhere, ends the grant and not what its uses opened.
    before_use: Option<Arc<Grant>>,
}

impl Used {
    fn new(grant: &Grant, now: Timestamp, uptime: Instant) -> Self {
        Self {
            id: grant.id,
            expires_at: grant.expires_at,
            ends_by: by_uptime(grant.expires_at, now, uptime),
            before_use: grant.max_uses.is_some().then(|| Arc::new(grant.clone())),
        }
    }

    fn is_over(&self, now: Timestamp, uptime: Instant) -> bool {
        now >= self.expires_at || uptime >= self.ends_by
    }

    /// Whether the grant left `snapshot` for no other reason than that its last use is spent.
    fn goes_on_in(&self, snapshot: &Snapshot) -> bool {
        self.before_use.is_some() && snapshot.is_used_up(self.id, self.expires_at)
    }
}

/// When it will be `at`, by the clock that nobody sets.
fn by_uptime(at: Timestamp, now: Timestamp, uptime: Instant) -> Instant {
    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    uptime + left.min(LONGEST)
}

impl Standing {
    pub(crate) fn new(
        question: Rc<Question>,
        pass: &Pass,
        sign_in: Option<SignInId>,
        ends_at: Timestamp,
        again: Option<Arc<Again>>,
        generation: u64,
        uptime: Instant,
    ) -> Self {
        let now = question.context.now;
        let grant = pass.grant().map(|grant| Used::new(grant, now, uptime));
        let (rereads_time, rate_limit) = (pass.rereads_time(), pass.rate_limit());
        let ends_by = by_uptime(ends_at, now, uptime);
        let facts = (0, 0);
        Self {
            question,
            grant,
            sign_in,
            by_certificate: false,
            ends_at,
            ends_by,
            sealed: None,
            again,
            generation,
            facts,
            rereads_time,
            rate_limit,
            record: pass.record(),
            is_read: false,
            data: Data::NotYet,
            shows: None,
        }
    }

    /// From here on it carries data down, masked by the rules that `data` is, and shows of it what
    /// `standings` let it show: it ends with the first of them.
    pub(crate) fn show(&mut self, data: Data, standings: Vec<Self>) {
        self.data = data;
        self.shows = (!standings.is_empty()).then(|| standings.into_boxed_slice());
    }

    /// The classes that there was something of in what it carried, masked.
    pub(crate) fn met(&self) -> Vec<ClassName> {
        match &self.data {
            Data::NotYet | Data::Plain => Vec::new(),
            Data::Masked(rules, met) | Data::Over(rules, met) => {
                met.names(rules).into_iter().cloned().collect()
            }
        }
    }

    /// Others see the connection from now on, and will hear what it met.
    pub(crate) fn told(&self, id: ConnectionId) {
        if let Data::Masked(_, met) = &self.data {
            met.goes_on(id);
        }
    }

    /// No more data is carried down: the rules by which it was masked may change.
    pub(crate) fn shown_all(&mut self) {
        self.data = match std::mem::replace(&mut self.data, Data::NotYet) {
            Data::NotYet | Data::Plain => Data::NotYet,
            Data::Masked(rules, met) | Data::Over(rules, met) => Data::Over(rules, met),
        };
    }

    /// An outcome that waits for the end of its answer has waited for as long as it may, at `now`: others see it as
    /// this connection.
    pub(crate) fn tell_late(&self, id: ConnectionId, now: Instant) {
        if let Data::Masked(_, met) = &self.data {
            met.went_on(id, now);
        }
    }

    /// The grants that let it show something.
    pub(crate) fn reveals(&self) -> Vec<GrantId> {
        self.shown().iter().filter_map(Self::grant).collect()
    }

    fn shown(&self) -> &[Self] {
        self.shows.as_deref().unwrap_or_default()
    }

    /// Why it may not show any more what it shows.
    fn unseen(
        &mut self,
        why: impl FnMut(&mut Self) -> Option<ConnectionEnd>,
    ) -> Option<ConnectionEnd> {
        self.shows.iter_mut().flat_map(|shows| shows.iter_mut()).find_map(why)
    }

    /// Whether what identified the caller is the certificate of the connection.
    #[must_use]
    pub(crate) fn by_certificate(mut self, is_so: bool) -> Self {
        self.by_certificate = is_so;
        self
    }

    /// The same on what a sealed credential opened, if one was presented.
    #[must_use]
    pub(crate) fn by_sealed(self, sealed: Option<Arc<Opened>>) -> Self {
        Self { sealed, ..self }
    }

    /// The same, and each message that its client sends is decided.
    #[must_use]
    pub(crate) fn read(self) -> Self {
        Self { is_read: true, ..self }
    }

    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    pub(crate) fn grant(&self) -> Option<GrantId> {
        self.grant.as_ref().map(|grant| grant.id)
    }

    pub(crate) fn sign_in(&self) -> Option<SignInId> {
        self.sign_in
    }

    pub(crate) fn hangs_on_certificate(&self) -> bool {
        self.by_certificate
    }

    /// Why the connection must end at `now`, whatever policy says: by the clock on the wall, or by the
    /// one that nobody sets.
    pub(crate) fn timed_out(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
        uptime: Instant,
    ) -> Option<ConnectionEnd> {
        self.follow_grant(snapshot, now, uptime);
        if self.grant.as_ref().is_some_and(|grant| grant.is_over(now, uptime)) {
            return Some(ConnectionEnd::GrantEnded);
        }
        if let Some(end) = self.unseen(|shown| shown.timed_out(snapshot, now, uptime)) {
            return Some(end);
        }
        let over = now >= self.ends_at
            || uptime >= self.ends_by
            || self.again.as_ref().is_some_and(|again| !again.holds(now));
        over.then_some(ConnectionEnd::SignInEnded)
    }

    /// Why the connection must end in `snapshot`.
    pub(crate) fn ended_in(
        &mut self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<ConnectionEnd> {
        if let Some(end) = self.unseen(|shown| shown.ended_in(core, snapshot, now)) {
            return Some(end);
        }
        let over = match self.sealed_over(core, snapshot, now) {
            Ok(over) => over,
            Err(revoked) => return Some(revoked),
        };
        let snapshot = over.as_ref().unwrap_or(snapshot);
        self.follow_grant(snapshot, now, Instant::now());
        if let Some(used) = &self.grant
            && snapshot.grant(used.id).is_none()
            && !used.goes_on_in(snapshot)
        {
            return Some(ConnectionEnd::GrantEnded);
        }
        if self.sign_in.is_some_and(|id| snapshot.sign_in_by_id(id).is_none()) {
            return Some(ConnectionEnd::SignInEnded);
        }
        let generation = snapshot.stamp().generation;
        let subject = self.changed_subject(snapshot);
        // Whether policies read facts or only time: who reads neither does not care.
        let told = std::mem::replace(&mut self.facts, snapshot.facts_epoch()) != self.facts;
        let told = told && self.rereads_time;
        if generation == self.generation && subject.is_none() && !told {
            return None;
        }
        if generation != self.generation && self.data.is_outdated(snapshot, &self.question) {
            return Some(ConnectionEnd::PolicyChanged);
        }
        self.generation = generation;
        if let Some(subject) = subject {
            let question = Question { subject, ..Question::clone(&self.question) };
            self.question = Rc::new(question);
        }
        self.denied(core, snapshot, now)
    }

    /// A grant that was extended carries on what it opened.
    fn follow_grant(&mut self, snapshot: &Snapshot, now: Timestamp, uptime: Instant) {
        let Some(used) = &mut self.grant else { return };
        let Some(held) = snapshot.grant(used.id) else { return };
        if held.expires_at == used.expires_at {
            return;
        }
        used.expires_at = held.expires_at;
        used.ends_by = by_uptime(held.expires_at, now, uptime);
        // It has a use left, as it had when this connection had not spent one.
        used.before_use = used.before_use.is_some().then(|| Arc::clone(held));
    }

    /// Where the rules read time: why the connection must end at `now`.
    pub(crate) fn denied_by_time(
        &mut self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<ConnectionEnd> {
        if let Some(end) = self.unseen(|shown| shown.denied_by_time(core, snapshot, now)) {
            return Some(end);
        }
        if !self.rereads_time {
            return None;
        }
        match self.sealed_over(core, snapshot, now) {
            Ok(over) => self.denied(core, over.as_ref().unwrap_or(snapshot), now),
            Err(revoked) => Some(revoked),
        }
    }

    /// `snapshot` with what a sealed credential opened, if it stands on one that is not revoked.
    fn sealed_over(
        &self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Option<Snapshot>, ConnectionEnd> {
        match &self.sealed {
            None => Ok(None),
            Some(opened) if sealed::is_revoked(core, snapshot, opened) => {
                Err(ConnectionEnd::GrantEnded)
            }
            Some(opened) => Ok(Some(sealed::over(snapshot, opened, now))),
        }
    }

    /// Whether policies of `snapshot` read each message that its client sends, and nobody does.
    pub(crate) fn is_unread_in(&self, snapshot: &Snapshot) -> bool {
        let (bundle, operation) = (snapshot.bundle(), &self.question.operation);
        let streams_up = bundle.catalog().operation(operation).is_some_and(Operation::streams_up);
        !self.is_read && streams_up && bundle.demands(operation).body
    }

    /// Asks whether a message with this body may be carried; from then on, that is what it stands on.
    pub(crate) fn carry(
        &mut self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
        body: Option<Record>,
    ) -> Result<(), NotCarried> {
        if let Some(end) = self.timed_out(snapshot, now, Instant::now()) {
            return Err(NotCarried::as_a_whole(end));
        }
        let over = self.sealed_over(core, snapshot, now).map_err(NotCarried::as_a_whole)?;
        let snapshot = over.as_ref().unwrap_or(snapshot);
        let mut question = self.question_at(now);
        question.context.body = Known::Value(body);
        if question.locate(core, snapshot).is_err() {
            return Err(NotCarried::as_a_whole(ConnectionEnd::PolicyChanged));
        }
        let pass = question.pass(core, snapshot).filter(|pass| self.covers(pass));
        let pass = pass.or_else(|| {
            // Another grant may come first in order; this stream stands on its own.
            let only = Question { only: Some(self.grant()?), ..question.clone() };
            only.pass(core, snapshot).filter(|pass| self.covers(pass))
        });
        let Some(pass) = pass else {
            let verdict = question.ask(core, snapshot);
            return Err(NotCarried { why: ConnectionEnd::MessageDenied, by: verdict.policies });
        };
        self.rereads_time = pass.rereads_time();
        self.question = Rc::new(question);
        Ok(())
    }

    /// Whether what `pass` stands on is on record for this connection, and counted: a message can begin nothing.
    fn covers(&self, pass: &Pass) -> bool {
        let (kept, wanted) = (self.record, pass.record());
        let is_kept = (kept.headers || !wanted.headers) && (kept.body || !wanted.body);
        let grant = pass.grant().map(|grant| grant.id);
        is_kept
            && grant.is_none_or(|grant| self.grant() == Some(grant))
            && pass.grant().is_none_or(|grant| grant.max_uses.is_none())
            && pass.rate_limit().is_none_or(|limit| self.rate_limit == Some(limit))
    }

    /// What is asked at `now`.
    fn question_at(&self, now: Timestamp) -> Question {
        let mut question = Question::clone(&self.question);
        question.context.auth_age += now.duration_since(question.context.now);
        question.context.now = now;
        question
    }

    /// Asks the same question again.
    fn denied(
        &mut self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<ConnectionEnd> {
        let mut question = self.question_at(now);
        if question.locate(core, snapshot).is_err() {
            return Some(ConnectionEnd::PolicyChanged);
        }
        let before_use = self.grant.as_ref().and_then(|grant| grant.before_use.clone());
        let pass = match before_use {
            // As if the use that this very connection spent were not spent yet.
            Some(grant) => question.pass(core, &snapshot.clone().with_grant(grant, now)),
            None => question.pass(core, snapshot),
        };
        let Some(pass) = pass else { return Some(ConnectionEnd::PolicyChanged) };
        self.rereads_time = pass.rereads_time();
        None
    }

    /// The principal as the snapshot knows it now, if that is another than before.
    fn changed_subject(&self, snapshot: &Snapshot) -> Option<Arc<Subject>> {
        // Who else comes with a token or a certificate is as that says.
        let is_known = self.sign_in.is_some() || self.question.only.is_some();
        if !is_known {
            return None;
        }
        let known = self.question.subject.principal();
        let now = snapshot.principal(&known.id)?;
        let same = Arc::ptr_eq(known, now) || known == now;
        (!same).then(|| Arc::new(Subject::new(Arc::clone(now))))
    }
}
