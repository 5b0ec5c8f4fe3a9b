//! What strict validation does not find: scopes wider than meant, grants in places where they would
//! take access away, and words that this version does not carry out.

use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, ResourceConstraint,
    pst::{BinaryOp, Clause, Expr, Literal, SmolStr, Var},
};

use crate::{
    Catalog, ServiceSource,
    catalog::{Operation, Service},
    entities::{TYPES, class_uid, uid},
    places::REVEAL,
    policy::{Head, Scoped},
    reads::{Part, Reads, children, context_path},
    schema::{GROUPS, group_name},
};

/// A mistake: a word of the policy's text to point at, what is wrong, and advice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) at: String,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

fn mistake(at: &str, message: impl Into<String>, help: &str) -> Mistake {
    let help = Some(help.to_owned()).filter(|help| !help.is_empty());
    Mistake { at: at.to_owned(), message: message.into(), help }
}

/// One policy as the checks see it.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub(super) struct Checked<'a> {
    pub(super) effect: Effect,
    pub(super) head: &'a Head,
    pub(super) clauses: &'a [Clause],
    pub(super) literals: &'a [EntityUid],
    pub(super) all_services: bool,
    /// Whether it says `@hold`.
    pub(super) holds: bool,
    /// Whether it says `@max_uses`.
    pub(super) counts: bool,
    /// Whether its `@record` names the body.
    pub(super) keeps_body: bool,
    /// The first annotation that only requests can have carried out.
    pub(super) of_requests: Option<&'a str>,
    /// The first folder of its file, if it is a service's.
    pub(super) folder: Option<&'a str>,
}

impl Checked<'_> {
    /// All mistakes of one policy.
    pub(super) fn mistakes(&self, catalog: &Catalog) -> Vec<Mistake> {
        let mut found = self.not_built(catalog);
        found.extend(self.grant_positions());
        found.extend(self.wide_scope());
        found.extend(self.instances(catalog));
        found.extend(self.outside_of_folder());
        found.extend(self.strangers(catalog));
        found.extend(self.holds_nothing(catalog));
        found.extend(self.counted_reveals(catalog));
        found.extend(self.streams(catalog));
        found
    }

    /// A connection to a TCP service is refused at once: nothing is sent yet that could wait.
    fn holds_nothing(&self, catalog: &Catalog) -> Option<Mistake> {
        let is_tcp = |uid: &EntityUid| {
            let service = service_of(uid).and_then(|service| service.parse().ok());
            service.and_then(|name| catalog.service(&name)).is_some_and(|s| s.connect().is_some())
        };
        let by_action = match &self.head.action {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(uid) => is_tcp(uid),
            ActionConstraint::In(uids) => !uids.is_empty() && uids.iter().all(is_tcp),
        };
        let by_resource = match &self.head.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => false,
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => is_tcp(uid),
        };
        let help = "leave @hold out: `portcullis connect --reason …` asks before it connects";
        let message = "a connection to a TCP service is never held";
        (self.holds && (by_action || by_resource)).then(|| mistake("@hold", message, help))
    }

    /// A permit for strangers where none is let in would look open and never be. A forbid may well
    /// stand there before a service lets them in.
    fn strangers(&self, catalog: &Catalog) -> Option<Mistake> {
        if self.effect == Effect::Forbid || !self.names_strangers() {
            return None;
        }
        let named: Vec<&str> = self.literals.iter().filter_map(service_of).collect();
        let lets_in = |service: &ServiceSource| {
            service.anonymous && (named.is_empty() || named.contains(&service.name.as_str()))
        };
        let open = catalog.services().any(|service| lets_in(service.source()));
        let help = "say `anonymous: true` in the service, or permit somebody else";
        (!open).then(|| mistake(STRANGER, "no service here lets strangers in", help))
    }

    fn names_strangers(&self) -> bool {
        let in_clauses = self.clauses.iter().any(|clause| {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            asks_for_stranger(expr)
        });
        let by_literal = self.literals.iter().any(|uid| uid.type_name().basename() == STRANGER);
        in_clauses || by_literal || types_of_head(self.head).iter().any(|ty| ty == STRANGER)
    }

    /// INVARIANT (N05): with `context has grant` as a conjunct of the right clause and nowhere under
    /// a negation, a grant can turn this policy's answer only towards permitting.
    fn grant_positions(&self) -> Vec<Mistake> {
        let help = match self.effect {
            Effect::Permit => "in a permit, write: when { context has grant && … }",
            Effect::Forbid => "in a forbid, write: unless { context has grant && … }",
        };
        let mut found = Vec::new();
        for clause in self.clauses {
            let (expr, allowed) = match clause {
                Clause::When(expr) => (expr, self.effect == Effect::Permit),
                Clause::Unless(expr) => (expr, self.effect == Effect::Forbid),
            };
            let reads = Reads::of_expr(expr);
            if reads.whole {
                let message =
                    "`context` as a whole includes the grant, which a policy may only ask for";
                found.push(mistake("context", message, "name the attributes of `context`"));
                continue;
            }
            if !reads.includes(Part::Grant) {
                continue;
            }
            if !allowed {
                let message = "a grant here would take access away";
                found.push(mistake("grant", message, help));
            } else if !conjuncts(expr).into_iter().any(is_has_grant) || !is_positive(expr) {
                let message = "a grant must be asked for by a plain `context has grant` conjunct";
                found.push(mistake("grant", message, help));
            }
        }
        found
    }

    /// A call with any number of messages is never there as a whole before it is decided.
    fn streams(&self, catalog: &Catalog) -> Option<Mistake> {
        let (at, does) = match (self.counts, self.holds, self.keeps_body) {
            (true, ..) => ("max_uses", "binds a grant to each request of"),
            (_, true, _) => ("hold", "keeps requests waiting, as a whole, of"),
            (.., true) => ("record", "keeps the body of"),
            (false, false, false) => return None,
        };
        let operations = catalog.services().flat_map(crate::catalog::Service::operations);
        let streaming = operations
            .into_iter()
            .find(|operation| operation.streams_up() && self.concerns(operation))?;
        let message = format!(
            "this policy {does} {}, whose clients send a stream of messages",
            streaming.name()
        );
        let help = "name the actions that it is about, without those of streaming methods";
        Some(mistake(at, message, help))
    }

    fn concerns(&self, operation: &Operation) -> bool {
        let (name, group) = (operation.name(), group_name(operation.group()));
        let names = [name.to_string(), format!("{}.{group}", name.service()), group.to_owned()];
        let is_named = |uid: &EntityUid| names.iter().any(|name| *name == uid.id().unescaped());
        let by_action = match &self.head.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => is_named(uid),
            ActionConstraint::In(uids) => uids.iter().any(is_named),
        };
        let by_resource = match &self.head.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => service_of(uid) == Some(name.service()),
        };
        by_action && by_resource
    }

    fn wide_scope(&self) -> Option<Mistake> {
        let group = |uid: &EntityUid| GROUPS.contains(&uid.id().unescaped());
        let group = |uid: &EntityUid| group(uid) || uid.id().unescaped() == REVEAL;
        let wide_action = match &self.head.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => group(uid),
            ActionConstraint::In(uids) => uids.iter().any(group),
        };
        let wide_resource = match &self.head.resource {
            ResourceConstraint::Any => true,
            ResourceConstraint::Is(ty) => {
                ["Service", "Instance", "DataClass"].contains(&ty.basename())
            }
            ResourceConstraint::Eq(_) => false,
            // The class of that name of all services.
            ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                uid.type_name().basename() == "DataClass" && !uid.id().unescaped().contains('/')
            }
        };
        let wide = self.effect == Effect::Permit && wide_action && wide_resource;
        (wide && !self.all_services).then(|| {
            mistake(
                "permit",
                "this permit opens an action group on every service, present and future",
                "name a service, or say that you mean it: @all_services(\"true\")",
            )
        })
    }

    /// N03: the balancer may pick any other instance, so a policy that names one could be sidestepped.
    fn instances(&self, catalog: &Catalog) -> Vec<Mistake> {
        let named = self.literals.iter().filter(|uid| uid.type_name().basename() == "Instance");
        let picked = named.filter_map(|uid| {
            let id = uid.id().unescaped();
            let (service, instance) = id.split_once('/')?;
            let source = catalog.service(&service.parse().ok()?)?.source();
            let name = source.instances.keys().find(|name| name.as_str() == instance)?;
            (!source.addressed_only.contains(name)).then(|| {
                let message = format!(
                    "a request to {service} may land on instance {instance} without naming it"
                );
                mistake(
                    id,
                    message,
                    "list the instance under `addressed_only`, or name the service",
                )
            })
        });
        let known = |uid: &&EntityUid| {
            let ty = uid.type_name().basename();
            let id = uid.id().unescaped();
            match ty {
                "Service" => catalog.services().any(|s| s.source().name.as_str() == id),
                "Instance" => id.split_once('/').is_some_and(|(service, instance)| {
                    let source = catalog.services().map(crate::catalog::Service::source);
                    source.into_iter().any(|s| {
                        s.name.as_str() == service
                            && s.instances.keys().any(|name| name.as_str() == instance)
                    })
                }),
                "DataClass" => classes(catalog).any(|(service, class)| match id.split_once('/') {
                    Some((of, name)) => of == service && name == class,
                    None => id == class,
                }),
                _ => true,
            }
        };
        let unknown = self.literals.iter().filter(|uid| !known(uid)).map(|uid| {
            let message = format!("{uid} is not configured");
            let help = match uid.type_name().basename() {
                "DataClass" => {
                    "name a class that a service lists under `sensitive`, like payments/pci"
                }
                _ => "name a configured service or instance",
            };
            mistake(uid.id().unescaped(), message, help)
        });
        picked.chain(unknown).collect()
    }

    /// What a permit to see data says that is carried out for requests only: nobody counts how often
    /// something is seen in a stream, and no request waits for what only a part of its answer needs.
    fn counted_reveals(&self, catalog: &Catalog) -> Option<Mistake> {
        let annotation = self.of_requests?;
        let action = uid(&TYPES.action, REVEAL);
        let action = Scoped { uid: &action, ancestors: &[] };
        let mut classes = classes(catalog);
        let matches = self.head.admits_action(action)
            && classes.any(|(service, class)| {
                let (uid, parents) = class_uid(service, class);
                self.head.admits_resource(Scoped { uid: &uid, ancestors: &parents })
            });
        let help = "name operations in it, and reveal data by a permit of its own";
        let message =
            format!("@{annotation} is about requests, and this permit is about seeing data too");
        matches.then(|| mistake(annotation, message, help))
    }

    fn outside_of_folder(&self) -> Vec<Mistake> {
        let Some(folder) = self.folder else { return Vec::new() };
        let help = format!("policies under {folder}/ may name the service {folder} only");
        let foreign = self
            .literals
            .iter()
            .filter(|uid| service_of(uid).is_some_and(|service| service != folder));
        let mut found: Vec<_> = foreign
            .map(|uid| mistake(uid.id().unescaped(), format!("{uid} is not of {folder}"), &help))
            .collect();
        if found.is_empty() && !self.is_confined_to(folder) {
            let head = if self.effect == Effect::Permit { "permit" } else { "forbid" };
            let message = format!("this policy applies to more than the service {folder}");
            found.push(mistake(head, message, &help));
        }
        found
    }

    fn is_confined_to(&self, folder: &str) -> bool {
        let of_folder = |uid: &EntityUid| service_of(uid).is_some_and(|service| service == folder);
        let by_action = match &self.head.action {
            ActionConstraint::Any => false,
            ActionConstraint::Eq(uid) => of_folder(uid),
            ActionConstraint::In(uids) => !uids.is_empty() && uids.iter().all(of_folder),
        };
        let by_resource = match &self.head.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => false,
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => of_folder(uid),
        };
        let by_condition = self.clauses.iter().any(|clause| match clause {
            Clause::When(expr) => {
                conjuncts(expr).into_iter().any(|expr| is_service_of_request(expr, folder))
            }
            Clause::Unless(_) => false,
        });
        by_action || by_resource || by_condition
    }

    fn not_built(&self, catalog: &Catalog) -> Vec<Mistake> {
        let mut found = Vec::new();
        for clause in self.clauses {
            let (Clause::When(expr) | Clause::Unless(expr)) = clause;
            words(expr, &mut |word, message| {
                if word == COUNTRY && catalog.is_located() {
                    return;
                }
                found.push(mistake(word, message.to_owned(), ""));
            });
        }
        found.dedup();
        found
    }
}

const STRANGER: &str = "Anonymous";
const COUNTRY: &str = "country";

fn asks_for_stranger(expr: &Expr) -> bool {
    matches!(expr, Expr::Is { entity_type, .. } if entity_type.to_string() == STRANGER)
        || children(expr).into_iter().any(asks_for_stranger)
}

/// Every class of data: its service and its name.
fn classes(catalog: &Catalog) -> impl Iterator<Item = (&str, &str)> {
    let names = catalog.services().flat_map(Service::reveals);
    names.map(|name| (name.service(), name.revealed().unwrap_or_default()))
}

fn types_of_head(head: &Head) -> Vec<String> {
    use cedar_policy::PrincipalConstraint as P;
    let principal = match &head.principal {
        P::Is(ty) | P::IsIn(ty, _) => Some(ty),
        P::Any | P::In(_) | P::Eq(_) => None,
    };
    let resource = match &head.resource {
        ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => Some(ty),
        ResourceConstraint::Any | ResourceConstraint::In(_) | ResourceConstraint::Eq(_) => None,
    };
    principal.into_iter().chain(resource).map(|ty| ty.basename().to_owned()).collect()
}

/// The service that an entity belongs to, by its name.
fn service_of(uid: &EntityUid) -> Option<&str> {
    let id = uid.id().unescaped();
    match uid.type_name().basename() {
        "Service" => Some(id),
        "Instance" | "DataClass" => id.split_once('/').map(|(service, _)| service),
        "Action" => id.split_once('.').map(|(service, _)| service),
        _ => None,
    }
}

/// `a && b && c` taken apart.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

fn is_has_grant(expr: &Expr) -> bool {
    matches!(expr, Expr::HasAttr { expr, attrs }
        if matches!(**expr, Expr::Var(Var::Context)) && attrs.len() == 1 && attrs.head == "grant")
}

/// Whether `context has grant` stands only where its truth makes the whole truer.
fn is_positive(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } => {
            is_positive(left) && is_positive(right)
        }
        other if is_has_grant(other) => true,
        other => !asks_for_grant(other),
    }
}

fn asks_for_grant(expr: &Expr) -> bool {
    is_has_grant(expr) || children(expr).into_iter().any(asks_for_grant)
}

/// `resource.service == Service::"payments"`: how policies on access requests name their service.
fn is_service_of_request(expr: &Expr, service: &str) -> bool {
    let is_attribute = |expr: &Arc<Expr>| {
        matches!(&**expr, Expr::GetAttr { expr, attr }
            if attr == "service" && matches!(**expr, Expr::Var(Var::Resource)))
    };
    let is_literal = |expr: &Arc<Expr>| {
        matches!(&**expr, Expr::Literal(Literal::EntityUID(uid))
            if uid.eid == service && uid.ty.to_string() == "Service")
    };
    matches!(expr, Expr::BinaryOp { op: BinaryOp::Eq, left, right }
        if (is_attribute(left) && is_literal(right)) || (is_literal(left) && is_attribute(right)))
}

/// Reports the words of `expr` that this version does not carry out.
fn words(expr: &Expr, report: &mut dyn FnMut(&str, &str)) {
    let (base, names): (&Expr, Vec<&SmolStr>) = match expr {
        Expr::GetAttr { expr, attr } => (expr, vec![attr]),
        Expr::HasAttr { expr, attrs } => (expr, attrs.iter().collect()),
        Expr::BinaryOp { op, left, right } => {
            if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) {
                grant_kind(left, right, report);
                grant_kind(right, left, report);
            }
            (expr, Vec::new())
        }
        _ => (expr, Vec::new()),
    };
    if !names.is_empty()
        && let Some(name) = not_built_attribute(base, &names)
    {
        let message = match name {
            COUNTRY => "no database says where addresses are: configure `geo`".to_owned(),
            _ => format!("`{name}` is not supported by this version"),
        };
        report(name, &message);
    }
    for child in children(expr) {
        words(child, report);
    }
}

fn not_built_attribute<'a>(base: &Expr, names: &[&'a SmolStr]) -> Option<&'a str> {
    let not_built: &[&str] = match base {
        Expr::Var(Var::Resource) => &["zone"],
        other => match context_path(other)?.as_slice() {
            [part] if *part == "source" => &["country"],
            _ => &[],
        },
    };
    let first = names.first().map(|name| name.as_str()).filter(|name| not_built.contains(name));
    let second = || match (base, names) {
        (Expr::Var(Var::Context), [first, second, ..]) => {
            let pair = (first.as_str(), second.as_str());
            (pair == ("source", "country")).then(|| second.as_str())
        }
        _ => None,
    };
    first.or_else(second)
}

fn grant_kind(left: &Expr, right: &Expr, report: &mut dyn FnMut(&str, &str)) {
    let Some(path) = context_path(left) else { return };
    let Expr::Literal(Literal::String(kind)) = right else { return };
    if path.iter().map(|name| name.as_str()).ne(["grant", "kind"]) {
        return;
    }
    match kind.as_str() {
        "automatic" | "review" | "emergency" => {}
        _ => {
            let kinds = "`automatic`, `review` or `emergency`";
            report(kind, &format!("a grant's kind is {kinds}, never `{kind}`"));
        }
    }
}
