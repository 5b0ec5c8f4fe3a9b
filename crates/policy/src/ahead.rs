//! Deciding ahead of time, when the request is not there yet.
//!
//! The grant is known, or assumed; the rest of the context is unknown, which is not absent. Cedar's
//! type-aware partial evaluation says what is left of each policy. What is left of a permit is a
//! condition that the gate will check; so is the contrary of what is left of a forbid.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{
    Effect, Entities, Entity, PartialEntities, PartialEntityUid, PartialRequest, PolicySet,
    pst::{self, Clause, EntityType, EntityUID, Expr, Literal, Name, SmolStr, UnaryOp},
};
use jiff::Timestamp;
use portcullis_model::{Incident, OperationName, PolicyId, PrincipalKind, Way};

use crate::{
    Bundle, Snapshot,
    clocks::Clocks,
    decide::{Answer, Query, Verdict, permit},
    entities::TYPES,
    evaluate::Findings,
    facts::{GrantFacts, datetime_text},
    incidents::incident_entity,
    policy::Policy,
    reads::context_path,
    slice::Slice,
    ways::{candidates, with_incidents},
    words::words,
};

/// Why a policy could not be partially evaluated.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Decides `query` as far as it can be known. `Err` is a denial for which nothing is left to check.
pub(crate) fn decide(
    snapshot: &Snapshot,
    query: &Query<'_>,
    slice: &Slice,
) -> Result<Verdict, Findings> {
    let bundle = snapshot.bundle();
    let found = Ahead::new(snapshot, bundle, slice, query).and_then(|ahead| ahead.decide(query));
    found.unwrap_or_else(|error| {
        tracing::error!(%error, operation = %query.operation, "cannot be decided ahead of time; denied");
        Err(Findings::none())
    })
}

/// What is left of some policies.
#[derive(Debug, Default)]
struct Left {
    certain_permit: bool,
    permits_under: Vec<String>,
    /// The same in words.
    permits_in_words: Vec<String>,
    forbids_in_words: Vec<String>,
    forbids: Vec<PolicyId>,
    erring_forbid: bool,
    permitting: Vec<PolicyId>,
    forbids_under: Vec<String>,
}

impl Left {
    /// Whether it may come to a permit at all.
    fn is_open(&self) -> bool {
        !self.forbidden() && self.permits()
    }

    /// Whether some permit may apply.
    fn permits(&self) -> bool {
        self.certain_permit || !self.permits_under.is_empty()
    }

    /// Whether it will be a permit whatever the request.
    fn is_certain(&self) -> bool {
        !self.forbidden() && self.certain_permit && self.forbids_under.is_empty()
    }

    fn forbidden(&self) -> bool {
        self.erring_forbid || !self.forbids.is_empty()
    }

    fn conditions(&self) -> impl Iterator<Item = &String> {
        // A permit that holds anyway makes the conditions of the others irrelevant.
        let permits = if self.certain_permit { &[][..] } else { &self.permits_under[..] };
        permits.iter().chain(&self.forbids_under)
    }

    fn in_words(&self) -> Vec<String> {
        let permits = if self.certain_permit { &[][..] } else { &self.permits_in_words[..] };
        permits.iter().chain(&self.forbids_in_words).cloned().collect()
    }

    fn findings(self) -> Findings {
        Findings {
            took_too_long: false,
            permitted: false,
            erring_forbid: self.erring_forbid,
            policies: self.forbids.into(),
        }
    }
}

struct Ahead<'a> {
    snapshot: &'a Snapshot,
    bundle: &'a Bundle,
    slice: &'a Slice,
    /// The incidents that ways are tried with.
    incidents: Vec<&'a Arc<Incident>>,
    request: PartialRequest,
    entities: PartialEntities,
    seen_in: Option<&'a OperationName>,
    /// A workload asks for now, so it is known what clocks show; a person may ask for later.
    clocks: Option<(&'a Clocks, Timestamp)>,
}

impl<'a> Ahead<'a> {
    fn new(
        snapshot: &'a Snapshot,
        bundle: &'a Bundle,
        slice: &'a Slice,
        query: &Query<'a>,
    ) -> Result<Self, Failed> {
        let incidents = snapshot.incidents_for(query, slice);
        let schema = bundle.schema();
        let request = PartialRequest::new(
            PartialEntityUid::from_concrete(slice.principal.clone()),
            slice.action.clone(),
            PartialEntityUid::from_concrete(slice.resource.clone()),
            None,
            schema,
        )?;
        let held = snapshot.covering(query).filter_map(|grant| snapshot.incident_of(grant));
        let wanted = incidents.iter().map(|incident| &***incident).chain(held);
        let concrete = declared(bundle, slice, wanted)?;
        let entities = PartialEntities::from_concrete(concrete, schema)?;
        let seen_in = query.context.seen_in.as_ref();
        let is_workload = query.subject.principal().id.kind == PrincipalKind::Workload;
        let clocks = is_workload.then_some((&**bundle.clocks(), query.context.now));
        Ok(Self { snapshot, bundle, slice, incidents, request, entities, seen_in, clocks })
    }

    fn decide(&self, query: &Query<'_>) -> Result<Result<Verdict, Findings>, Failed> {
        let is_standing = |policy: &Policy| policy.terms.is_none();
        let standing = self.left(is_standing, None, true)?;
        let permit = |grant, left: Left| {
            let policies = left.permitting.into();
            Ok(Ok(permit(self.snapshot, query, self.slice, grant, policies)))
        };
        if standing.is_certain() {
            return permit(None, standing);
        }
        for grant in self.snapshot.covering(query) {
            let incident = self.snapshot.incident_of(grant);
            let is_known = incident.is_none_or(|incident| incident.is_fresh(query.context.now));
            let rule = |policy: &Policy| {
                policy.is_forbid() || (policy.terms.is_some() && policy.id == grant.rule)
            };
            let left = self.left(rule, Some(GrantFacts::of(grant, incident)), is_known)?;
            if left.is_certain() {
                return permit(Some(Arc::clone(grant)), left);
            }
        }
        let (ways, to_be_checked) = self.ways(query)?;
        if !ways.is_empty() {
            return Ok(Ok(Verdict {
                answer: Answer::Requestable(ways),
                policies: standing.forbids.into(),
                valid_until: None,
                to_be_checked,
            }));
        }
        if !standing.is_open() {
            return Ok(Err(standing.findings()));
        }
        let to_be_checked = standing.conditions().cloned().collect();
        Ok(Ok(Verdict {
            answer: Answer::Deny(crate::Denial::ByPolicy),
            policies: [].into(),
            valid_until: None,
            to_be_checked,
        }))
    }

    fn ways(&self, query: &Query<'_>) -> Result<(Vec<Way>, Vec<String>), Failed> {
        let mut found: Vec<(Way, Vec<String>)> = Vec::new();
        for at in &self.slice.rules {
            let Some(rule) = self.bundle.policies().at(*at) else { continue };
            let mut failed = None;
            let ways = with_incidents(&self.incidents, |incident| {
                self.way(rule, query, incident).unwrap_or_else(|error| {
                    failed = Some(error);
                    None
                })
            });
            if let Some(error) = failed {
                return Err(error);
            }
            found.extend(ways);
        }
        found.sort_by(|(a, _), (b, _)| a.order(b));
        let (ways, conditions): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let mut to_be_checked: Vec<String> = conditions.into_iter().flatten().collect();
        let mut seen = std::collections::BTreeSet::new();
        to_be_checked.retain(|condition| seen.insert(condition.clone()));
        Ok((ways, to_be_checked))
    }

    /// The way that `rule` opens for `incident`, and what is left to be checked.
    fn way(
        &self,
        rule: &Policy,
        query: &Query<'_>,
        incident: Option<&Incident>,
    ) -> Result<Option<(Way, Vec<String>)>, Failed> {
        let candidates = candidates(rule, self.slice, query.context.now, incident);
        for (raised, candidate) in candidates.into_iter().enumerate() {
            let policies = |policy: &Policy| policy.is_forbid() || policy.id == rule.id;
            let left = self.left(policies, Some(candidate.grant), true)?;
            if left.is_open() {
                let way = Way { to_be_checked: left.in_words(), ..candidate.way };
                return Ok(Some((way, left.conditions().cloned().collect())));
            }
            // What its own grant does not open, no floor is to blame for.
            if raised == 0 && !left.permits() {
                break;
            }
        }
        Ok(None)
    }

    /// Partially evaluates the policies that are `wanted` under `grant`, whose incident may not be
    /// known any more.
    fn left(
        &self,
        wanted: impl Fn(&Policy) -> bool,
        grant: Option<GrantFacts<'_>>,
        is_known: bool,
    ) -> Result<Left, Failed> {
        let mut set = PolicySet::new();
        for candidate in &self.slice.candidates {
            let policy = self.bundle.policies().at(candidate.at).filter(|policy| wanted(policy));
            let cedar = if is_known { Some(&candidate.cedar) } else { candidate.unread.as_ref() };
            if let (Some(_), Some(cedar)) = (policy, cedar) {
                set.add(under(cedar, Told { grant, seen_in: self.seen_in, clocks: self.clocks })?)?;
            }
        }
        let response = set.tpe(&self.request, &self.entities, self.bundle.schema())?;
        let ours = |id: &cedar_policy::PolicyId| {
            self.bundle.policies().lookup(id.as_ref()).map(|(_, policy)| policy.id.clone())
        };
        let mut left = Left {
            certain_permit: response.true_permits().next().is_some(),
            permitting: response.true_permits().filter_map(ours).collect(),
            forbids: response
                .true_forbids()
                .chain(response.error_forbids())
                .filter_map(ours)
                .collect(),
            erring_forbid: response.error_forbids().next().is_some(),
            ..Left::default()
        };
        for policy in response.residual_policies() {
            let (text, said) = condition(&policy)?;
            match policy.effect() {
                Effect::Permit => {
                    left.permits_under.push(format!("{}: {text}", policy.id()));
                    left.permits_in_words.push(format!("{said} ({})", policy.id()));
                }
                Effect::Forbid => {
                    left.forbids_under.push(format!("{}: !({text})", policy.id()));
                    left.forbids_in_words.push(format!("not: {said} ({})", policy.id()));
                }
            }
        }
        left.permits_under.sort();
        left.forbids_under.sort();
        left.permits_in_words.sort();
        left.forbids_in_words.sort();
        Ok(left)
    }
}

/// The entities of `slice`, without the claims that no policy can name: partial evaluation refuses what
/// is not in the schema.
fn declared<'a>(
    bundle: &Bundle,
    slice: &Slice,
    incidents: impl Iterator<Item = &'a Incident>,
) -> Result<Entities, Failed> {
    let incidents: BTreeMap<_, _> = incidents.map(|one| (one.id.clone(), one)).collect();
    let mut entities: Vec<Entity> =
        incidents.values().map(|incident| incident_entity(incident)).collect::<Result<_, _>>()?;
    for entity in slice.entities.iter() {
        if entity.uid() != slice.principal {
            entities.push(entity.clone());
            continue;
        }
        let (kind, own) = if entity.uid().type_name() == &TYPES.workload {
            (PrincipalKind::Workload, &["issuer"][..])
        } else {
            (PrincipalKind::User, &["email", "amr", "onCall"][..])
        };
        let (uid, mut attributes, parents) = entity.clone().into_inner();
        attributes.retain(|name, _| {
            own.contains(&name.as_str()) || bundle.claims(kind).contains_key(name.as_str())
        });
        entities.push(Entity::new(uid, attributes, parents)?);
    }
    Ok(Entities::from_entities(entities, None)?)
}

/// The condition of a residual policy, its single `when`: as Cedar has it, and in words.
fn condition(policy: &cedar_policy::Policy) -> Result<(String, String), Failed> {
    let body = policy.to_pst()?;
    let (mut texts, mut said) = (Vec::new(), Vec::new());
    for clause in body.body().clauses() {
        match clause {
            Clause::When(expr) => {
                texts.push(expr.to_string());
                said.push(words(expr).unwrap_or_else(|| expr.to_string()));
            }
            Clause::Unless(expr) => {
                texts.push(format!("!({expr})"));
                said.push(format!("not ({})", words(expr).unwrap_or_else(|| expr.to_string())));
            }
        }
    }
    Ok((texts.join(" && "), said.join(" and ")))
}

/// What is known ahead of the request.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    grant: Option<GrantFacts<'a>>,
    /// What data is to be seen in, if that was said.
    seen_in: Option<&'a OperationName>,
    /// What clocks show, and when.
    clocks: Option<(&'a Clocks, Timestamp)>,
}

/// `policy` with everything it says about what is known replaced by what is so.
fn under(policy: &cedar_policy::Policy, told: Told<'_>) -> Result<cedar_policy::Policy, Failed> {
    let body = policy.to_pst()?;
    let template = body.body();
    let clauses = template.clauses().iter().map(|clause| match clause {
        Clause::When(expr) => Clause::When(replace(expr, told)),
        Clause::Unless(expr) => Clause::Unless(replace(expr, told)),
    });
    let replaced = pst::Template::new(
        template.id.clone(),
        template.effect,
        template.principal.clone(),
        template.action.clone(),
        template.resource.clone(),
    )
    .try_with_clauses(clauses.collect::<Vec<_>>())?;
    let replaced = pst::StaticPolicy::try_from(replaced)?;
    Ok(cedar_policy::Policy::from_pst(pst::Policy::Static(replaced))?)
}

fn replace(expr: &Arc<Expr>, told: Told<'_>) -> Arc<Expr> {
    let Told { grant, seen_in, clocks } = told;
    if let (Some(path), Some((clocks, now))) = (context_path(expr), clocks)
        && let [part, clock, field] = path.as_slice()
        && *part == "clock"
        && let Some(value) = clocks.shown(clock, now).and_then(|shown| shown.field(field))
    {
        return literal(Literal::Long(value));
    }
    if let (Some(path), Some(name)) = (context_path(expr), seen_in)
        && let [part] = path.as_slice()
        && *part == "operation"
    {
        return literal(Literal::String(SmolStr::from(name.as_str())));
    }
    if let Expr::HasAttr { expr: base, attrs } = &**expr
        && let Some(mut path) = context_path(base)
    {
        path.extend(attrs.iter());
        if let ([part], Some(_)) = (path.as_slice(), seen_in)
            && *part == "operation"
        {
            return literal(Literal::Bool(true));
        }
        if let [part, of_grant @ ..] = path.as_slice()
            && *part == "grant"
        {
            let value = grant.and_then(|grant| field(grant, of_grant.first()?));
            return match (of_grant, value) {
                ([], _) => literal(Literal::Bool(grant.is_some())),
                (_, None) => literal(Literal::Bool(false)),
                ([_], Some(_)) => literal(Literal::Bool(true)),
                // Of the incident: the rest is its own.
                ([_, head, tail @ ..], Some(expr)) => {
                    let mut attrs = attrs.clone();
                    attrs.head = (*head).clone();
                    attrs.tail = tail.iter().map(|name| (*name).clone()).collect();
                    Arc::new(Expr::HasAttr { expr, attrs })
                }
            };
        }
    }
    if let (Some(path), Some(grant)) = (context_path(expr), grant)
        && let [part, rest @ ..] = path.as_slice()
        && *part == "grant"
    {
        match rest {
            [] => return record(grant),
            [name] => return field(grant, name).unwrap_or_else(|| Arc::clone(expr)),
            // Of the incident: the rest is its own.
            [_, ..] => {}
        }
    }
    rebuild(expr, told)
}

fn literal(value: Literal) -> Arc<Expr> {
    Arc::new(Expr::Literal(value))
}

const FIELDS: [&str; 4] = ["kind", "reviews", "expires", "incident"];

fn record(grant: GrantFacts<'_>) -> Arc<Expr> {
    let fields = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), field(grant, name)?)));
    Arc::new(Expr::Record(fields.collect()))
}

fn field(grant: GrantFacts<'_>, name: &str) -> Option<Arc<Expr>> {
    match name {
        "kind" => Some(literal(Literal::String(SmolStr::from(grant.kind.as_str())))),
        "reviews" => Some(literal(Literal::Long(i64::from(grant.reviews)))),
        "expires" => {
            let text = literal(Literal::String(SmolStr::from(datetime_text(grant.expires))));
            Some(Arc::new(Expr::UnaryOp { op: UnaryOp::Datetime, expr: text }))
        }
        "incident" => {
            let ty = EntityType::from_name(Name::unqualified("Incident").ok()?);
            let eid = SmolStr::from(grant.incident?.id.as_str());
            Some(literal(Literal::EntityUID(EntityUID { ty, eid })))
        }
        _ => None,
    }
}

/// The same expression over replaced ones.
fn rebuild(expr: &Arc<Expr>, told: Told<'_>) -> Arc<Expr> {
    let new = |expr: &Arc<Expr>| replace(expr, told);
    Arc::new(match &**expr {
        Expr::UnaryOp { op, expr } => Expr::UnaryOp { op: *op, expr: new(expr) },
        Expr::BinaryOp { op, left, right } => {
            Expr::BinaryOp { op: *op, left: new(left), right: new(right) }
        }
        Expr::GetAttr { expr, attr } => Expr::GetAttr { expr: new(expr), attr: attr.clone() },
        Expr::HasAttr { expr, attrs } => Expr::HasAttr { expr: new(expr), attrs: attrs.clone() },
        Expr::Like { expr, pattern } => Expr::Like { expr: new(expr), pattern: pattern.clone() },
        Expr::Is { expr, entity_type, in_expr } => Expr::Is {
            expr: new(expr),
            entity_type: entity_type.clone(),
            in_expr: in_expr.as_ref().map(new),
        },
        Expr::IfThenElse { cond, then_expr, else_expr } => Expr::IfThenElse {
            cond: new(cond),
            then_expr: new(then_expr),
            else_expr: new(else_expr),
        },
        Expr::Set(items) => Expr::Set(items.iter().map(new).collect()),
        Expr::Record(fields) => {
            Expr::Record(fields.iter().map(|(name, field)| (name.clone(), new(field))).collect())
        }
        _ => return Arc::clone(expr),
    })
}
