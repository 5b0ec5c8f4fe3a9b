//! A small world: a few heads, conditions and grants to make policies from, a few people to ask,
//! and contexts in which every condition holds and does not hold.

use std::{fmt::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    Grant, GrantId, GrantKind, Incident, IncidentId, IncidentState, OperationName, Principal,
    PrincipalId, PrincipalKind, RequestId, Resource, Schedule, Window,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    Bundle, Context, Known, Query, Snapshot, Source, Subject, Value,
    context::Http,
    fixture::{bundle, context, grant, incident, now, person, schedule, workload},
};

const PRINCIPALS: [&str; 8] = [
    "principal",
    "principal == User::\"corp:ana\"",
    "principal in Group::\"a\"",
    "principal in Group::\"b\"",
    "principal is User",
    "principal is User in Group::\"a\"",
    "principal is Workload",
    "principal is Workload in Group::\"b\"",
];

const ACTIONS: [&str; 9] = [
    "action",
    "action == Action::\"payments.createRefund\"",
    "action == Action::\"payments.getRefund\"",
    "action == Action::\"ledger.getEntry\"",
    "action in Action::\"payments.write\"",
    "action in Action::\"read\"",
    "action in Action::\"write\"",
    "action in [Action::\"payments.getRefund\", Action::\"ledger.read\"]",
    REVEAL,
];

const RESOURCES: [&str; 12] = [
    "resource",
    "resource == Service::\"payments\"",
    "resource in Service::\"payments\"",
    "resource in Service::\"ledger\"",
    "resource is Service",
    "resource is Instance",
    "resource == Instance::\"payments/p-9\"",
    "resource in Instance::\"payments/p-9\"",
    "resource is Instance in Service::\"payments\"",
    "resource == DataClass::\"payments/pci\"",
    "resource in DataClass::\"pci\"",
    "resource is DataClass",
];

const REVEAL: &str = "action == Action::\"reveal\"";

const CONDITIONS: [&str; 21] = [
    "true",
    "context has body && context.body.amount <= 10",
    "context has body && context.body == {amount: 5, currency: \"EUR\"}",
    // Errs on large amounts.
    "context has body && context.body.amount + 9223372036854775800 > 0",
    // Errs on old sign-ins.
    "context.auth.age.toMilliseconds() + 9223372036854475807 > 0",
    "context.source.ip.isInRange(ip(\"10.0.0.0/8\"))",
    "context.auth.method == \"sign-in\"",
    "context.auth.age <= duration(\"5m\")",
    "context.now < datetime(\"2026-03-01T12:30:00Z\")",
    "context has http && context.http.method == \"POST\"",
    "context has params && context.params has id && context.params.id == \"r1\"",
    "principal is User && principal.amr.contains(\"pwd\")",
    "principal is Workload && principal has repository && principal.repository == \"demo\"",
    "resource has labels && resource.labels has criticality && resource.labels.criticality == \"high\"",
    "resource in Service::\"payments\"",
    "action in Action::\"write\"",
    "principal in Group::\"b\"",
    "context.clock.office.weekday == 7 && context.clock.office.minute < 740",
    ON_PRIMARY,
    ON_ANY,
    "context has operation && context.operation == \"payments.getRefund\"",
];

const ON_PRIMARY: &str =
    "principal is User && principal has onCall && principal.onCall.contains(Schedule::\"primary\")";
const ON_ANY: &str = "principal is User && principal has onCall";
const INCIDENT: &str = "context has grant && context.grant has incident && context.grant.incident.severity == \"sev1\"";

const GRANTS: [&str; 7] = [
    "context has grant",
    "context has grant && context.grant.kind == \"emergency\"",
    "context has grant && context.grant.reviews >= 2",
    "context has grant && context.grant.kind == \"automatic\"",
    "context has grant && context.grant.expires < datetime(\"2026-03-01T12:45:00Z\")",
    INCIDENT,
    "context has grant && context.grant has incident && \
     context.grant.incident.services.contains(Service::\"payments\") && \
     context.grant.incident has openedBy && !(context.grant.incident.openedBy == principal)",
];

const MINUTES: [u32; 2] = [10, 30];

/// One policy before it is text.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) forbid: bool,
    pub(super) head: [&'static str; 3],
    condition: &'static str,
    negated: bool,
    grant: Option<&'static str>,
    pub(super) reviews: u8,
    pub(super) minutes: u32,
    pub(super) max_uses: Option<u32>,
    pub(super) emergency: bool,
}

impl Draft {
    pub(super) fn is_rule(&self) -> bool {
        !self.forbid && self.grant.is_some()
    }

    pub(super) fn id(number: usize) -> String {
        format!("p{number}")
    }

    pub(super) fn effect(&self) -> &'static str {
        if self.forbid { "forbid" } else { "permit" }
    }

    fn text(&self, number: usize) -> String {
        self.text_with(number, self.condition, self.grant)
    }

    /// What is left of it where its facts may be unknown.
    pub(super) fn where_unknown(
        &self,
        number: usize,
        snapshot: &Snapshot,
        now: Timestamp,
        incident_unknown: bool,
    ) -> Option<String> {
        let known = |name: &str| {
            let schedule = snapshot.schedule(&name.parse().unwrap());
            schedule.is_some_and(|schedule| schedule.until.is_none_or(|until| now < until))
        };
        let lapsed =
            |name: &&&str| snapshot.schedule(&name.parse().unwrap()).is_some() && !known(name);
        let condition_unknown = match self.condition {
            ON_PRIMARY => !known("primary"),
            ON_ANY => SCHEDULES.iter().find(lapsed).is_some(),
            _ => false,
        };
        let grant = self.grant.filter(|grant| incident_unknown && grant.contains("incident"));
        if !condition_unknown && grant.is_none() {
            return Some(self.text(number));
        }
        if !self.forbid {
            return None;
        }
        let condition = match (condition_unknown, self.negated) {
            (false, _) => self.condition,
            (true, false) => "true",
            (true, true) => "false",
        };
        let grant = grant.map_or(self.grant, |_| Some("false"));
        Some(self.text_with(number, condition, grant))
    }

    fn text_with(&self, number: usize, condition: &str, grant: Option<&str>) -> String {
        let mut text = format!("@id(\"{}\") ", Self::id(number));
        if !self.forbid {
            text.push_str("@all_services(\"true\") ");
        }
        if self.is_rule() && self.emergency {
            let _ = write!(text, "@emergency(\"true\") @max_duration(\"{}m\") ", self.minutes);
        } else if self.is_rule() {
            let _ = write!(
                text,
                "@reviews(\"{}\") @max_duration(\"{}m\") ",
                self.reviews, self.minutes
            );
            if let Some(uses) = self.max_uses {
                let _ = write!(text, "@max_uses(\"{uses}\") ");
            }
        }
        let _ = write!(text, "{} ({})", self.effect(), self.head.join(", "));
        let word = if self.negated { "unless" } else { "when" };
        let _ = write!(text, " {word} {{ {condition} }}");
        if let Some(grant) = grant {
            let word = if self.forbid { "unless" } else { "when" };
            let _ = write!(text, " {word} {{ {grant} }}");
        }
        text.push(';');
        text
    }
}

/// The first, which says nothing, as often as all the others: most heads match nobody otherwise.
fn often(all: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(all[0]), select(all)]
}

fn draft() -> impl Strategy<Value = Draft> {
    let head = (often(&PRINCIPALS), often(&ACTIONS), often(&RESOURCES));
    let terms = (0..=2_u8, select(&MINUTES[..]), option::of(Just(1)), prop::bool::weighted(0.25));
    (prop::bool::weighted(0.3), head, often(&CONDITIONS), prop::bool::weighted(0.3), terms)
        .prop_flat_map(|parts| (Just(parts), option::of(select(&GRANTS[..]))))
        .prop_map(|((forbid, head, condition, negated, terms), grant)| Draft {
            forbid,
            head: [head.0, head.1, head.2],
            condition,
            negated: negated && condition != "true",
            grant,
            reviews: if terms.3 { 0 } else { terms.0 },
            minutes: terms.1,
            // Nobody counts how often data is seen.
            max_uses: terms.2.filter(|_| !terms.3 && !["action", REVEAL].contains(&head.1)),
            emergency: terms.3,
        })
}

const SCHEDULES: [&str; 2] = ["primary", "other"];
const ON_CALL: [&[&str]; 4] = [&[], &["ana"], &["ben"], &["ana", "ben"]];
const ABOUT: [&[&str]; 3] = [&["payments"], &["ledger"], &["payments", "ledger"]];
const INCIDENTS: [&str; 2] = ["PD-1", "PD-2"];

/// Something that is said.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    /// Who is on call.
    Schedule(Arc<Schedule>),
    /// How an incident is; its version comes with the telling.
    Incident(Box<Incident>),
}

impl Fact {
    /// `snapshot` with it, as the `number`th of its kind.
    pub(super) fn said(&self, snapshot: Snapshot, number: u32) -> Snapshot {
        match self {
            Self::Schedule(schedule) => snapshot.with_schedule(Arc::clone(schedule)),
            Self::Incident(incident) => {
                let incident = Incident { version: number, ..Incident::clone(incident) };
                snapshot.with_incident(Arc::new(incident))
            }
        }
    }
}

pub(super) fn fact() -> impl Strategy<Value = Fact> {
    let until = || option::of(Just(moment(30)));
    let on = select(&ON_CALL[..]);
    let said = (select(&SCHEDULES[..]), on, until());
    let said = said.prop_map(|(name, people, until)| Fact::Schedule(schedule(name, people, until)));
    let about = select(&ABOUT[..]);
    let words = (select(&["sev1", "sev2"][..]), select(&["ana", "lea"][..]));
    let broken = (select(&INCIDENTS[..]), about, words, until(), prop::bool::weighted(0.8));
    let broken = broken.prop_map(|(id, services, (severity, opener), fresh_until, open)| {
        let mut one = incident(id, services);
        one.severity = severity.parse().unwrap();
        one.source.principal = PrincipalId::new(PrincipalKind::User, "corp", opener);
        one.fresh_until = fresh_until;
        if !open {
            let by = one.source.principal.clone();
            one.state = IncidentState::Closed { at: now(), by };
        }
        Fact::Incident(Box::new(one))
    });
    prop_oneof![said, broken]
}

/// The id of an incident that there may be.
pub(super) fn incident_id() -> impl Strategy<Value = Option<IncidentId>> {
    option::of(select(&INCIDENTS[..]).prop_map(|id| id.parse().unwrap()))
}

/// A loaded bundle and what it was made from.
#[derive(Debug, Clone)]
pub(super) struct Town {
    pub(super) drafts: Vec<Draft>,
    pub(super) text: String,
    pub(super) bundle: Arc<Bundle>,
}

pub(super) fn town() -> impl Strategy<Value = Town> {
    vec(draft(), 1..10).prop_map(|drafts| {
        let texts = drafts.iter().enumerate().map(|(number, draft)| draft.text(number));
        let text = texts.collect::<Vec<_>>().join("\n");
        Town { bundle: bundle(&text), drafts, text }
    })
}

/// People and builds, some of them the same with other groups or claims.
pub(super) fn people() -> Vec<Arc<Subject>> {
    let grouped = |principal: Principal| Principal { groups: [Arc::from("b")].into(), ..principal };
    let all = [
        person("ana", &[]),
        person("ana", &["a"]),
        person("ana", &["a", "b"]),
        Principal { amr: ["hwk".to_owned()].into(), ..person("ben", &["a"]) },
        person("ben", &["b"]),
        workload(&[]),
        workload(&[("repository", "demo")]),
        grouped(workload(&[("repository", "demo")])),
    ];
    all.into_iter().map(|principal| Arc::new(Subject::new(Arc::new(principal)))).collect()
}

const OPERATIONS: [&str; 8] = [
    "payments.createRefund",
    "payments.getRefund",
    "ledger.getEntry",
    "payments.unknown",
    "payments.reveal:pci",
    "payments.reveal:pii",
    "ledger.reveal:pci",
    "ledger.reveal:pii",
];
const INSTANCES: [Option<&str>; 4] = [None, None, Some("p-9"), Some("p-7")];

/// A query, and everything that it borrows.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) subject: Arc<Subject>,
    pub(super) operation: OperationName,
    pub(super) resource: Resource,
    pub(super) context: Context,
}

impl Asking {
    pub(super) fn query(&self) -> Query<'_> {
        Query {
            subject: &self.subject,
            operation: &self.operation,
            resource: &self.resource,
            context: &self.context,
            digest: None,
            incident: None,
            only: None,
        }
    }

    /// The same, asked when nothing of the request is known.
    pub(super) fn ahead(&self) -> Self {
        let context = Context { now: self.context.now, ..crate::fixture::ahead() };
        Self { context, ..self.clone() }
    }

    /// The same by whatever rule has this number, which may be one for emergencies.
    pub(super) fn grant_of(&self, town: &Town, rule: usize, reviews: u8, window: Window) -> Grant {
        let grant = self.grant(&Draft::id(rule), reviews, window);
        match town.drafts.get(rule) {
            Some(draft) if draft.is_rule() && draft.emergency => self.emergency(grant),
            _ => grant,
        }
    }

    /// `grant` for all that there is on its service.
    fn emergency(&self, grant: Grant) -> Grant {
        let operation = format!("{}.*", self.resource.service).parse().unwrap();
        let resource = Resource { instance: None, ..self.resource.clone() };
        Grant { kind: GrantKind::Emergency, reviews: 0, operation, resource, ..grant }
    }

    /// The grant that this rule would issue for what is asked, with so many reviews.
    pub(super) fn grant(&self, rule: &str, reviews: u8, window: Window) -> Grant {
        Grant {
            operation: self.operation.clone(),
            resource: self.resource.clone(),
            starts_at: self.context.now,
            expires_at: self.context.now + window.signed(),
            ..grant(&self.subject, rule, reviews)
        }
    }
}

pub(super) fn asking() -> impl Strategy<Value = Asking> {
    let what = (select(people()), select(&OPERATIONS[..]), select(&INSTANCES[..]));
    let times = (select(&[0_i64, 25, 40][..]), select(&[60_i64, 600][..]));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let inside =
        (select(&[None, Some(5_i64), Some(50)][..]), select(&[None, Some("r1"), Some("r2")][..]));
    (what, times, flags, inside).prop_map(
        |(
            (subject, operation, instance),
            (minutes, age),
            (near, signed_in, post),
            (amount, id),
        )| {
            let operation: OperationName = operation.parse().unwrap();
            let instance = instance.map(|name| name.parse().unwrap());
            let service = operation.service().parse().unwrap();
            let mut at = context(amount.unwrap_or(0));
            // Only what the operation declares is ever in a context.
            let creates = operation.as_str() == OPERATIONS[0];
            if !creates || amount.is_none() {
                at.body = Known::Value(None);
            }
            if let (false, Some(id)) = (creates, id) {
                let fields = [(Arc::from("id"), Value::String(id.to_owned()))];
                at.params = Known::Value(Some(fields.into()));
            }
            at.now = moment(minutes);
            at.auth_age = SignedDuration::from_secs(age);
            at.auth_method = if signed_in { "sign-in" } else { "jwt" };
            let ip = if near { "10.0.0.1" } else { "192.0.2.1" };
            at.source = Known::Value(Source { ip: ip.parse().unwrap(), country: None });
            at.request = Known::Value(RequestId::from_bits(u128::from(age.unsigned_abs())));
            if let Known::Value(Some(Http { method, .. })) = &mut at.http {
                *method = if post { "POST" } else { "GET" }.into();
            }
            if operation.revealed().is_some() {
                let (http, none) = (Known::Value(None), Known::Value(None));
                let seen_in = Some(OPERATIONS[usize::from(post)].parse().unwrap());
                at = Context { http, params: none.clone(), body: none, seen_in, ..at };
            }
            Asking { subject, operation, resource: Resource { service, instance }, context: at }
        },
    )
}

fn moment(minutes: i64) -> Timestamp {
    now() + SignedDuration::from_mins(minutes)
}

/// What changes between one question and the next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Ask(Asking),
    /// Another bundle is activated.
    Activate(usize),
    /// A grant is issued to whoever asks this, by the rule of this number.
    Issue(Asking, usize, u8, Option<u32>, Option<IncidentId>),
    /// Something is said.
    Say(Fact),
    /// A grant's window moves.
    Extend(usize, i64),
    /// A grant gets another review.
    Review(usize),
    Use(usize),
    End(usize),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let issue = (asking(), 0..10_usize, 0..=3_u8, option::of(Just(2)), incident_id());
    let step = prop_oneof![
        8 => asking().prop_map(Step::Ask),
        1 => (0..2_usize).prop_map(Step::Activate),
        3 => issue.prop_map(|(asking, rule, reviews, uses, incident)| {
            Step::Issue(asking, rule, reviews, uses, incident)
        }),
        3 => fact().prop_map(Step::Say),
        1 => (0..8_usize, 1..60_i64).prop_map(|(grant, minutes)| Step::Extend(grant, minutes)),
        1 => (0..8_usize).prop_map(Step::Review),
        1 => (0..8_usize).prop_map(Step::Use),
        1 => (0..8_usize).prop_map(Step::End),
    ];
    vec(step, 1..40)
}

/// A grant like `grant` under a number of its own.
pub(super) fn numbered(grant: Grant, number: usize) -> Grant {
    let kind = if grant.reviews == 0 { GrantKind::Automatic } else { GrantKind::Review };
    let kind = if grant.kind == GrantKind::Emergency { grant.kind } else { kind };
    Grant { id: GrantId::from_bits(number as u128 + 1), kind, ..grant }
}
