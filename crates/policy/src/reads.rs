//! Which parts of the context a policy reads.
//!
//! Decides what the gate has to inspect, what goes into a decision's cache key, and what may be
//! unknown without mattering.

use std::collections::BTreeSet;

use cedar_policy::pst::{Clause, Expr, SmolStr, Var};

/// A top-level attribute of the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Now,
    Source,
    Auth,
    Request,
    Http,
    Clock,
    Operation,
    Params,
    Body,
    Grant,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Now,
        Self::Source,
        Self::Auth,
        Self::Request,
        Self::Http,
        Self::Clock,
        Self::Operation,
        Self::Params,
        Self::Body,
        Self::Grant,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Source => "source",
            Self::Auth => "auth",
            Self::Request => "request",
            Self::Http => "http",
            Self::Clock => "clock",
            Self::Operation => "operation",
            Self::Params => "params",
            Self::Body => "body",
            Self::Grant => "grant",
        }
    }

    /// `None` for what no schema has: validation reports it.
    fn lookup(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// One attribute that a policy reads: `body`, then `customer`, then `id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Read {
    pub(crate) part: Part,
    /// Below the part; empty is all of it.
    pub(crate) path: Vec<SmolStr>,
    /// Only whether it is there: `has`.
    pub(crate) presence: bool,
}

/// All that policies read of the context, and of what else may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) attributes: BTreeSet<Read>,
    /// `context` itself, as a value.
    pub(crate) whole: bool,
    /// `resource.requester`: of an access request, and maybe nobody whom the snapshot knows.
    pub(crate) requester: bool,
}

impl Reads {
    /// Whether a country may matter.
    pub(crate) fn country(&self) -> bool {
        let place = |read: &Read| {
            read.part == Part::Source && read.path.first().is_none_or(|field| field == "country")
        };
        self.whole || self.attributes.iter().any(place)
    }

    pub(crate) fn of(clauses: &[Clause]) -> Self {
        let mut reads = Self::default();
        for clause in clauses {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            reads.visit(expr);
        }
        reads
    }

    pub(crate) fn of_expr(expr: &Expr) -> Self {
        let mut reads = Self::default();
        reads.visit(expr);
        reads
    }

    pub(crate) fn includes(&self, part: Part) -> bool {
        self.whole || self.attributes.iter().any(|read| read.part == part)
    }

    /// The parts that must be in the context.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| self.includes(*part))
    }

    /// Whether `name` of `part`, or all of `part`, is read.
    pub(crate) fn includes_field(&self, part: Part, name: &str) -> bool {
        let mut of_part = self.attributes.iter().filter(|read| read.part == part);
        let is_read = |read: &Read| match read.path.first() {
            Some(first) => first == name,
            None => !read.presence,
        };
        self.whole || of_part.any(is_read)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        self.requester |= other.requester;
        self.attributes.extend(other.attributes.iter().cloned());
    }

    /// The answer may change by waiting, all else equal.
    pub(crate) fn time(&self) -> bool {
        self.whole
            || self.attributes.iter().any(|read| match read.part {
                Part::Now => true,
                Part::Auth => !read.presence && path_may_be(read, "age"),
                // What one clock shows is part of the key; all of them at once are not.
                Part::Clock => !read.presence && read.path.is_empty(),
                Part::Source
                | Part::Request
                | Part::Http
                | Part::Operation
                | Part::Params
                | Part::Body
                | Part::Grant => false,
            })
    }

    /// The answer may change with the minute.
    pub(crate) fn clock(&self) -> bool {
        self.includes(Part::Clock)
    }

    /// The end of the grant that a way would give moves with the time of asking.
    pub(crate) fn grant_end(&self) -> bool {
        let mut grant = self.attributes.iter().filter(|read| read.part == Part::Grant);
        self.whole || grant.any(|read| !read.presence && path_may_be(read, "expires"))
    }

    fn visit(&mut self, expr: &Expr) {
        match context_path(expr) {
            Some(path) => return self.add(&path, false),
            None => {
                if let Expr::HasAttr { expr, attrs } = expr
                    && let Some(mut path) = context_path(expr)
                {
                    path.extend(attrs.iter());
                    return self.add(&path, true);
                }
            }
        }
        self.requester |= is_requester(expr);
        for child in children(expr) {
            self.visit(child);
        }
    }

    fn add(&mut self, path: &[&SmolStr], presence: bool) {
        let Some((first, rest)) = path.split_first() else {
            self.whole = true;
            return;
        };
        if let Some(part) = Part::lookup(first) {
            let path = rest.iter().map(|name| (*name).clone()).collect();
            self.attributes.insert(Read { part, path, presence });
        }
    }
}

fn is_requester(expr: &Expr) -> bool {
    matches!(expr, Expr::GetAttr { expr, attr }
        if attr == "requester" && matches!(**expr, Expr::Var(Var::Resource)))
}

fn path_may_be(read: &Read, name: &str) -> bool {
    read.path.first().is_none_or(|first| first == name)
}

/// The attribute names of `context.a.b`; empty for `context`; `None` for anything else.
pub(crate) fn context_path(expr: &Expr) -> Option<Vec<&SmolStr>> {
    match expr {
        Expr::Var(Var::Context) => Some(Vec::new()),
        Expr::GetAttr { expr, attr } => {
            let mut path = context_path(expr)?;
            path.push(attr);
            Some(path)
        }
        _ => None,
    }
}

/// The expressions directly inside `expr`.
pub(crate) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => {
            [Some(expr), in_expr.as_ref()].into_iter().flatten().map(AsRef::as_ref).collect()
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(items) => items.iter().map(AsRef::as_ref).collect(),
        Expr::Record(fields) => fields.values().map(AsRef::as_ref).collect(),
        // Literals, variables, slots and unknowns; the enum grows only with features of Cedar that are
        // not compiled in.
        _ => Vec::new(),
    }
}
