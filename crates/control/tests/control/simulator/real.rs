//! The product: a whole control on SQLite, the PDP on its snapshots, and a gate that does nothing but
//! decide, spend and send.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::SignedDuration;
use portcullis_control::{
    ControlError, OpContext,
    ports::ConsumeError,
    views::{Ask, AskFor, AskOperation, NewIncident, OnCallInput, ReviewInput},
};
use portcullis_model::{
    AccessRequestId, Clock as _, Decision, GrantId, IncidentId, OperationName, PrincipalId,
    PrincipalKind, RequestId, Resource, Scope, Secret, TokenHash, Window,
};
use portcullis_policy::{
    Answer, Context, DecisionCache, Known, Query, Subject,
    context::{Http, Source},
};

use super::{
    model::{GrantKey, Key, Model},
    rules::{BOOKS, CREATE, DELETE},
    steps::{Act, EVERYBODY, Who},
};
use crate::world::{HOME, World, bundle, source};

/// What the product answered.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    Done,
    Refused,
    /// Neither: what was needed did not answer, or it is a mistake of ours. No model says so.
    Failed(String),
    Asked(AccessRequestId),
    Passed(Option<GrantId>),
    Ways(BTreeSet<(String, Option<String>)>),
    /// A one-time token, or a grant token.
    Token(Key, Secret),
}

/// Who acts, and what the model's names are called here. Made before an act begins.
#[derive(Debug, Clone)]
pub(super) struct Acting {
    pub(super) op: Option<OpContext>,
    pub(super) request: Option<AccessRequestId>,
    pub(super) grant: Option<GrantId>,
    pub(super) token: Option<Secret>,
}

pub(super) struct Real {
    pub(super) world: World,
    pub(super) book: usize,
    tokens: BTreeMap<Who, Secret>,
    warden: Option<Secret>,
    pub(super) requests: BTreeMap<Key, AccessRequestId>,
    pub(super) grants: BTreeMap<GrantKey, GrantId>,
    pub(super) one_time: BTreeMap<Key, Secret>,
    pub(super) grant_tokens: BTreeMap<Key, Secret>,
}

pub(super) fn id(who: Who) -> PrincipalId {
    PrincipalId::new(PrincipalKind::User, "corp", &who.name())
}

pub(super) fn incident(n: u8) -> IncidentId {
    format!("incident-{n}").parse().unwrap()
}

fn window(minutes: i64) -> Window {
    Window::minutes(u32::try_from(minutes).unwrap())
}

fn instance_of(named: bool) -> Option<portcullis_model::InstanceName> {
    named.then(|| "p-1".parse().unwrap())
}

impl Real {
    pub(super) async fn new(model: &Model) -> Self {
        let world = World::with(&BOOKS[0].cedar()).await;
        let mut real = Self {
            world,
            book: 0,
            tokens: BTreeMap::new(),
            warden: None,
            requests: BTreeMap::new(),
            grants: BTreeMap::new(),
            one_time: BTreeMap::new(),
            grant_tokens: BTreeMap::new(),
        };
        for who in EVERYBODY {
            let groups: Vec<&str> = model.groups[&who].iter().copied().collect();
            real.sign_in(who, &groups).await;
        }
        let warden = real.world.token_of("ivy", "ivy@example.com", &["wardens"]).await;
        real.warden = Some(warden);
        real
    }

    async fn sign_in(&mut self, who: Who, groups: &[&str]) {
        let token = self.vouch(who, groups).await;
        self.tokens.insert(who, token);
    }

    async fn vouch(&self, who: Who, groups: &[&str]) -> Secret {
        let email = format!("{}@example.com", who.person().name());
        self.world.token_of(&who.name(), &email, groups).await
    }

    /// So much time passes, by the runtime's clock as by the one on the wall.
    pub(super) async fn wait(&self, seconds: i64) {
        self.world.wait(SignedDuration::from_secs(seconds));
        tokio::time::advance(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
    }

    pub(super) fn set_clock(&self, seconds: i64) {
        self.world.wait(SignedDuration::from_secs(seconds));
    }

    pub(super) async fn restart(&mut self) {
        self.world.restart(&BOOKS[self.book].cedar()).await;
    }

    pub(super) async fn crash(&mut self) {
        self.world.crash_under(&BOOKS[self.book].cedar()).await;
    }

    pub(super) fn forget_to_answer(&self) {
        self.world.faults.forgets_to_answer.store(true, Ordering::SeqCst);
    }

    /// Everything that `act` needs to know before it begins; `None` where a secret that it takes was
    /// lost on the way to whoever asked for it.
    pub(super) async fn acting(&mut self, act: &Act, model: &Model) -> Option<Acting> {
        let mut acting = Acting { op: None, request: None, grant: None, token: None };
        let who = match act {
            Act::SignIn { .. } | Act::Redeem { .. } | Act::Present { .. } | Act::Policy { .. } => {
                None
            }
            Act::Ask { who, .. }
            | Act::Extend { who, .. }
            | Act::Review { who, .. }
            | Act::Withdraw { who, .. }
            | Act::Use { who, .. }
            | Act::OneTimeToken { who, .. }
            | Act::GiveBack { who, .. } => Some(self.signed_in(*who, model).await),
            Act::Revoke { .. }
            | Act::OpenIncident(_)
            | Act::CloseIncident(_)
            | Act::ReopenIncident(_)
            | Act::OnCall(_) => {
                let warden = self.warden.clone().unwrap();
                Some(self.world.op(&warden).await)
            }
        };
        acting.op = who;
        match act {
            Act::Review { request, .. } | Act::Withdraw { request, .. } => {
                acting.request = Some(self.requests[request]);
            }
            Act::Extend { grant, .. }
            | Act::OneTimeToken { grant, .. }
            | Act::GiveBack { grant, .. }
            | Act::Revoke { grant } => acting.grant = Some(self.grants[grant]),
            Act::Redeem { token } => acting.token = Some(self.one_time.get(token)?.clone()),
            Act::Present { token, .. } => {
                // Before it is redeemed, somebody tries with the one-time token itself.
                let known = self.grant_tokens.get(token);
                let redeemed = model.tokens.get(token).is_some_and(|token| token.redeemed);
                let other = self.one_time.get(token).filter(|_| !redeemed);
                acting.token = Some(known.or(other)?.clone());
            }
            Act::SignIn { .. }
            | Act::Ask { .. }
            | Act::Use { .. }
            | Act::OpenIncident(_)
            | Act::CloseIncident(_)
            | Act::ReopenIncident(_)
            | Act::OnCall(_)
            | Act::Policy { .. } => {}
        }
        Some(acting)
    }

    async fn signed_in(&mut self, who: Who, model: &Model) -> OpContext {
        let token = self.tokens[&who].clone();
        if self.world.control().authenticate(Some(token.expose())).await.is_err() {
            let groups: Vec<&str> = model.groups[&who].iter().copied().collect();
            self.sign_in(who, &groups).await;
        }
        self.world.op(&self.tokens[&who]).await
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each act")]
    pub(super) async fn act(&self, act: &Act, acting: &Acting) -> Heard {
        let control = self.world.control();
        let op = || acting.op.as_ref().unwrap();
        let request = || acting.request.unwrap();
        let grant = || acting.grant.unwrap();
        let asked = |answer: Result<portcullis_control::views::AccessRequestView, ControlError>| {
            answer.map_or_else(not_done, |view| Heard::Asked(view.request.id))
        };
        match act.clone() {
            Act::SignIn { who, groups } => {
                self.vouch(who, &groups).await;
                Heard::Done
            }
            Act::Ask { ways, incident: n, instance, minutes, .. } => {
                let needs = ways.contains(&"fix");
                let operation = |way: &&'static str| AskOperation {
                    operation: if matches!(*way, "auto" | "one") { CREATE } else { DELETE }
                        .parse()
                        .unwrap(),
                    instance: instance_of(instance),
                    rule: Some(way.parse().unwrap()),
                };
                let ask = Ask {
                    what: AskFor::Operations(ways.iter().map(operation).collect()),
                    rule: None,
                    reason: "refunds are stuck".into(),
                    incident: needs.then(|| incident(n)),
                    duration: minutes.map(window),
                };
                asked(control.ask(op(), ask).await)
            }
            Act::Extend { minutes, .. } => {
                let ask = Ask {
                    what: AskFor::Extension(grant()),
                    rule: None,
                    reason: "it takes longer".into(),
                    incident: None,
                    duration: Some(window(minutes)),
                };
                asked(control.ask(op(), ask).await)
            }
            Act::Review { approve, minutes, only, instance, .. } => {
                let only: Option<OperationName> = only.map(|only| only.parse().unwrap());
                let scope = Scope {
                    operations: only.map(|only| [only].into()),
                    instance: instance_of(instance),
                };
                let input = ReviewInput {
                    decision: if approve { Decision::Approve } else { Decision::Decline },
                    note: Some("looked at it".into()),
                    duration: minutes.map(window),
                    scope: if approve { scope } else { Scope::default() },
                    passkey: None,
                };
                done(control.review(op(), request(), input).await)
            }
            Act::Withdraw { .. } => done(control.withdraw(op(), request()).await),
            Act::Use { who, operation, instance, request } => {
                self.use_it(&id(who), None, operation, instance, request).await
            }
            Act::OneTimeToken { key, .. } => match control.one_time_token(op(), grant()).await {
                Ok(made) => Heard::Token(key, made.token),
                Err(error) => not_done(error),
            },
            Act::Redeem { token } => {
                let presented = acting.token.as_ref().unwrap();
                match control.redeem(presented, None, HOME).await {
                    Ok(made) => Heard::Token(token, made.token),
                    Err(error) => not_done(error),
                }
            }
            Act::Present { operation, instance, request, .. } => {
                let hash = TokenHash::of(acting.token.as_ref().unwrap().expose());
                let snapshot = control.snapshots().current();
                let token = snapshot.grant_token(&hash).map(|token| token.grant);
                let held = token.and_then(|grant| snapshot.grant(grant).cloned());
                let Some(held) = held else { return Heard::Refused };
                let (holder, only) = (&held.principal, Some(held.id));
                match self.use_it(holder, only, operation, instance, request).await {
                    Heard::Ways(_) => Heard::Refused,
                    heard => heard,
                }
            }
            Act::GiveBack { .. } => done(control.give_back(op(), grant()).await),
            Act::Revoke { .. } => done(control.revoke(op(), grant()).await),
            Act::OpenIncident(n) => {
                let new = NewIncident {
                    id: Some(incident(n)),
                    title: "refunds are stuck".into(),
                    severity: "sev1".parse().unwrap(),
                    services: ["payments".parse().unwrap()].into(),
                    responders: [].into(),
                    fresh_for: None,
                };
                done(control.open_incident(op(), new).await)
            }
            Act::CloseIncident(n) => done(control.close_incident(op(), &incident(n)).await),
            Act::ReopenIncident(n) => done(control.reopen_incident(op(), &incident(n)).await),
            Act::OnCall(people) => {
                let people = people.into_iter().map(id).collect();
                let input = OnCallInput { people, until: None };
                done(control.put_schedule(op(), &"primary".parse().unwrap(), input).await)
            }
            Act::Policy { book } => {
                let text = BOOKS[book].cedar();
                done(control.activate(bundle(&text), source(&text), "file change").await)
            }
        }
    }

    fn context(&self, request: RequestId) -> Context {
        Context {
            now: self.world.clock.now(),
            source: Known::Value(Source { ip: HOME, country: None }),
            auth_method: "sign_in",
            auth_age: SignedDuration::ZERO,
            request: Known::Value(request),
            http: Known::Value(Some(Http {
                method: "POST".into(),
                path: "/v1/refunds".into(),
                host: "payments.example.com".into(),
            })),
            params: Known::Value(None),
            body: Known::Value(None),
            seen_in: None,
        }
    }

    /// As the gate does it: decide, look again, spend one use durably if they are counted, send.
    async fn use_it(
        &self,
        who: &PrincipalId,
        only: Option<GrantId>,
        operation: &str,
        instance: bool,
        request: u64,
    ) -> Heard {
        let operation: OperationName = operation.parse().unwrap();
        let resource =
            Resource { service: "payments".parse().unwrap(), instance: instance_of(instance) };
        let request = RequestId::from_bits(u128::from(request));
        let mut cache = DecisionCache::default();
        loop {
            tokio::task::yield_now().await;
            let snapshot = self.world.control().snapshots().current();
            let Some(principal) = snapshot.principal(who) else { return Heard::Refused };
            let subject = Subject::new(Arc::clone(principal));
            let context = self.context(request);
            let query = Query {
                subject: &subject,
                operation: &operation,
                resource: &resource,
                context: &context,
                digest: None,
                incident: None,
                only,
            };
            let pass = match snapshot.decide(&query, &mut cache).answer {
                Answer::Permit(pass) => pass,
                Answer::Requestable(ways) => {
                    let way = |way: portcullis_model::Way| {
                        (way.rule.to_string(), way.incident.map(|id| id.to_string()))
                    };
                    return Heard::Ways(ways.into_iter().map(way).collect());
                }
                Answer::Deny(_) => return Heard::Ways(BTreeSet::new()),
            };
            let Some(grant) = pass.grant() else { return Heard::Passed(None) };
            if grant.max_uses.is_none() {
                return Heard::Passed(Some(grant.id));
            }
            match self.world.control().consume(grant.id, request).await {
                Ok(()) => return Heard::Passed(Some(grant.id)),
                Err(error @ ConsumeError::Unavailable) => return Heard::Failed(error.to_string()),
                // Somebody else was faster: if the gate knows of that, another grant may be there.
                Err(ConsumeError::Over) => {
                    let snapshot = self.world.control().snapshots().current();
                    if snapshot.grant(grant.id).is_some_and(|held| held.version == grant.version) {
                        return Heard::Refused;
                    }
                }
            }
        }
    }
}

fn done<T>(answer: Result<T, ControlError>) -> Heard {
    answer.map_or_else(not_done, |_| Heard::Done)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_or_else` calls")]
fn not_done(error: ControlError) -> Heard {
    match error {
        ControlError::Unavailable(_) | ControlError::Internal(_) => {
            Heard::Failed(format!("{error:?}"))
        }
        ControlError::Unauthenticated(_)
        | ControlError::NotFound(_)
        | ControlError::NoSuchClass { .. }
        | ControlError::Denied(_)
        | ControlError::Invalid { .. }
        | ControlError::Conflict(_)
        | ControlError::NoWay { .. }
        | ControlError::PasskeyNeeded(_)
        | ControlError::Limited { .. } => Heard::Refused,
    }
}
