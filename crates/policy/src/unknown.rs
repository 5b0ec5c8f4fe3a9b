//! Facts that may be unknown, which is not absent.
//!
//! A permit that reads an unknown fact does not apply. A forbid that reads one in a `when` is taken to
//! hold there, in an `unless` not to: it denies, unless another of its clauses says otherwise without
//! the fact.

use std::collections::BTreeSet;

use cedar_policy::pst::{self, BinaryOp, Clause, Expr, Literal, Var};

use crate::{
    load::conjuncts,
    reads::{Part, Reads, children},
    schedules::OnCall,
};

/// The schedules that an expression asks about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Asks {
    #[default]
    Nothing,
    /// Whether somebody is on one of these.
    Named(BTreeSet<String>),
    /// Anything else: what it says may depend on every schedule.
    All,
}

/// What an expression reads of facts that may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FactReads {
    on_call: Asks,
    /// The incident of a grant.
    pub(crate) incident: bool,
    /// The incident of an access request.
    pub(crate) request_incident: bool,
}

/// What is unknown at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unknown<'a> {
    pub(crate) on_call: &'a OnCall,
    pub(crate) incident: bool,
    pub(crate) request_incident: bool,
}

impl FactReads {
    /// What a clause reads.
    pub(crate) fn of(clause: &Clause) -> Self {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        let reads = Reads::of_expr(expr);
        Self {
            on_call: asks(expr),
            incident: reads.includes_field(Part::Grant, "incident"),
            request_incident: reads_request_incident(expr),
        }
    }

    /// What all of these clauses read.
    pub(crate) fn of_all(clauses: &[Clause]) -> Self {
        clauses.iter().map(Self::of).fold(Self::default(), |all, one| all.merge(&one))
    }

    pub(crate) fn merge(mut self, other: &Self) -> Self {
        self.on_call = join(self.on_call, other.on_call.clone());
        self.incident |= other.incident;
        self.request_incident |= other.request_incident;
        self
    }

    /// Whether it asks who is on call.
    pub(crate) fn on_call(&self) -> bool {
        self.on_call != Asks::Nothing
    }

    /// Whether what it reads is unknown.
    pub(crate) fn touches(&self, unknown: Unknown<'_>) -> bool {
        let on_call = match &self.on_call {
            Asks::Nothing => false,
            Asks::Named(names) => names.iter().any(|name| unknown.on_call.is_unknown(name)),
            Asks::All => unknown.on_call.some_unknown(),
        };
        on_call
            || (self.incident && unknown.incident)
            || (self.request_incident && unknown.request_incident)
    }
}

/// `forbid` without the clauses that read what is unknown.
pub(crate) fn without(
    forbid: &cedar_policy::Policy,
    unknown: Unknown<'_>,
) -> Result<cedar_policy::Policy, Box<dyn std::error::Error + Send + Sync>> {
    let body = forbid.to_pst()?;
    let template = body.body();
    let kept = template.clauses().iter().filter(|clause| !FactReads::of(clause).touches(unknown));
    let left = pst::Template::new(
        template.id.clone(),
        template.effect,
        template.principal.clone(),
        template.action.clone(),
        template.resource.clone(),
    )
    .try_with_clauses(kept.cloned().collect::<Vec<_>>())?;
    let left = pst::StaticPolicy::try_from(left)?;
    Ok(cedar_policy::Policy::from_pst(pst::Policy::Static(left))?)
}

/// Which schedules `expr` asks about. A plain `has onCall` beside a test that somebody is on a named
/// schedule adds nothing: the test alone decides.
fn asks(expr: &Expr) -> Asks {
    if let Some((_, names)) = membership(expr) {
        return Asks::Named(names);
    }
    if matches!(expr, Expr::BinaryOp { op: BinaryOp::And, .. }) {
        let parts = conjuncts(expr);
        let tested: Vec<&Expr> =
            parts.iter().filter_map(|part| membership(part).map(|(whose, _)| whose)).collect();
        let counts = |part: &&Expr| !has_on_call(part).is_some_and(|whose| tested.contains(&whose));
        return parts.into_iter().filter(counts).map(asks).fold(Asks::Nothing, join);
    }
    match expr {
        Expr::GetAttr { attr, .. } if attr == ON_CALL && !is_context(expr) => Asks::All,
        Expr::HasAttr { expr: base, attrs }
            if attrs.iter().any(|name| name == ON_CALL) && !is_context(base) =>
        {
            Asks::All
        }
        _ => children(expr).into_iter().map(asks).fold(Asks::Nothing, join),
    }
}

const ON_CALL: &str = "onCall";

fn join(one: Asks, other: Asks) -> Asks {
    match (one, other) {
        (Asks::Nothing, asks) | (asks, Asks::Nothing) => asks,
        (Asks::Named(mut names), Asks::Named(more)) => {
            names.extend(more);
            Asks::Named(names)
        }
        (Asks::All, _) | (_, Asks::All) => Asks::All,
    }
}

/// Whose, and the schedules of `principal.onCall.contains(…)`, `containsAny` and `containsAll`.
fn membership(expr: &Expr) -> Option<(&Expr, BTreeSet<String>)> {
    let Expr::BinaryOp { op, left, right } = expr else { return None };
    let Expr::GetAttr { expr: whose, attr } = &**left else { return None };
    if attr != ON_CALL || is_context(left) {
        return None;
    }
    let names = match (op, &**right) {
        (BinaryOp::Contains, one) => vec![schedule(one)?],
        (BinaryOp::ContainsAny | BinaryOp::ContainsAll, Expr::Set(items)) if !items.is_empty() => {
            items.iter().map(|item| schedule(item)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    Some((whose, names.into_iter().collect()))
}

fn schedule(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(Literal::EntityUID(uid)) if uid.ty.to_string() == "Schedule" => {
            Some(uid.eid.to_string())
        }
        _ => None,
    }
}

/// Whose, of a plain `principal has onCall`.
fn has_on_call(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::HasAttr { expr, attrs } if attrs.len() == 1 && attrs.head == ON_CALL => Some(expr),
        _ => None,
    }
}

/// A field of the context that happens to have that name.
fn is_context(expr: &Expr) -> bool {
    crate::reads::context_path(expr)
        .is_some_and(|path| path.first().is_none_or(|part| *part != "grant"))
}

fn reads_request_incident(expr: &Expr) -> bool {
    let here = match expr {
        Expr::GetAttr { expr, attr } => {
            attr == "incident" && matches!(**expr, Expr::Var(Var::Resource))
        }
        Expr::HasAttr { expr, attrs } => {
            attrs.head == "incident" && matches!(**expr, Expr::Var(Var::Resource))
        }
        _ => false,
    };
    here || children(expr).into_iter().any(reads_request_incident)
}
