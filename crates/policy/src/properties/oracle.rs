//! What the answer should be, found the slow way: all policies, all entities, whole contexts that
//! the schema validates, no index, no slices, nothing remembered, and none of the code that is tested.

use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicySet, Request,
};
use jiff::Timestamp;
use portcullis_model::{
    Grant, GrantKind, Incident, IncidentId, OperationName, Principal, PrincipalKind,
};
use serde_json::{Value as Json, json};

use super::world::{Asking, Draft, Town};
use crate::{Context as Facts, Known, Snapshot, Value, entities::principal_entity};

pub(super) struct Oracle<'a> {
    town: &'a Town,
    policies: Vec<Policy>,
}

/// What Cedar says of some policies.
struct Said {
    permitted: bool,
    erring_forbid: bool,
    reasons: Vec<String>,
}

impl<'a> Oracle<'a> {
    pub(super) fn of(town: &'a Town) -> Self {
        let parsed: PolicySet = town.text.parse().unwrap();
        let policies = (0..town.drafts.len()).map(|number| {
            let id = Draft::id(number);
            let policy = parsed.policies().find(|p| p.annotation("id") == Some(&id)).unwrap();
            policy.new_id(id.parse().unwrap())
        });
        Self { policies: policies.collect(), town }
    }

    /// The answer as `fixture::tell` puts it, and the determining policies of a permit.
    pub(super) fn decide(&self, snapshot: &Snapshot, asking: &Asking) -> (String, Vec<String>) {
        let denied = |kind: &str| {
            let denial = if self.sees(asking) { kind } else { "Invisible" };
            (format!("deny: {denial}"), Vec::new())
        };
        if !self.exists(asking) {
            return denied("ByPolicy");
        }
        let standing = |_: &str, draft: &Draft| draft.forbid || !draft.is_rule();
        let standing = self.ask(snapshot, asking, None, standing);
        if standing.permitted {
            return ("permit".to_owned(), standing.reasons);
        }
        for grant in snapshot.grants_of(&asking.subject.principal().id) {
            if covers(snapshot, grant, asking) {
                let said = self.under(snapshot, asking, grant);
                if said.permitted {
                    return ("permit by grant".to_owned(), said.reasons);
                }
            }
        }
        let ways = self.ways(snapshot, asking);
        if !ways.is_empty() {
            return (format!("requestable:{ways}"), Vec::new());
        }
        denied(if standing.erring_forbid { "ErroringForbid" } else { "ByPolicy" })
    }

    /// Whether the head alone of some permit matches on some operation of the service.
    pub(super) fn sees(&self, asking: &Asking) -> bool {
        let heads = self.town.drafts.iter().filter(|draft| !draft.forbid);
        let heads = heads.map(|draft| format!("permit ({});", draft.head.join(", ")));
        let heads: PolicySet = heads.collect::<Vec<_>>().concat().parse().unwrap();
        let catalog = self.town.bundle.catalog();
        let Some(service) = catalog.service(&asking.resource.service) else { return false };
        let entities = self.entities(asking.subject.principal());
        let name = service.source().name.as_str();
        let instances = service
            .source()
            .instances
            .keys()
            .map(|instance| format!("Instance::\"{name}/{instance}\"").parse().unwrap());
        let mut resources: Vec<EntityUid> = instances.collect();
        resources.push(format!("Service::\"{name}\"").parse().unwrap());
        service.operations().any(|operation| {
            resources.iter().any(|resource| {
                let (principal, action) = (principal(asking), action(operation.name()));
                let empty = Context::empty();
                let request =
                    Request::new(principal, action, resource.clone(), empty, None).unwrap();
                let said = Authorizer::new().is_authorized(&request, &heads, &entities);
                said.decision() == Decision::Allow
            })
        })
    }

    fn exists(&self, asking: &Asking) -> bool {
        let catalog = self.town.bundle.catalog();
        let service = catalog.service(&asking.resource.service);
        let known = service.is_some_and(|service| {
            let instance = asking.resource.instance.as_ref();
            instance.is_none_or(|name| service.source().instances.contains_key(name))
        });
        known && catalog.knows(&asking.operation)
    }

    fn under(&self, snapshot: &Snapshot, asking: &Asking, grant: &Grant) -> Said {
        let incident = grant.incident.clone();
        let grant_facts = (grant.kind, grant.reviews, grant.expires_at, incident);
        self.ask(snapshot, asking, Some(grant_facts), |id, draft| {
            draft.forbid || (draft.is_rule() && id == grant.rule.as_str())
        })
    }

    fn ways(&self, snapshot: &Snapshot, asking: &Asking) -> String {
        let now = asking.context.now;
        let known = |id: &IncidentId| {
            snapshot.incident(id).is_some_and(|incident| {
                incident.services.contains(&asking.resource.service)
                    && incident.fresh_until.is_none_or(|until| now < until)
            })
        };
        let incidents = ["PD-1", "PD-2"].map(|id| id.parse().unwrap());
        let incidents: Vec<IncidentId> = incidents.into_iter().filter(known).collect();
        let mut ways = Vec::new();
        for (number, rule) in self.town.drafts.iter().enumerate().filter(|(_, d)| d.is_rule()) {
            let way = |incident: Option<&IncidentId>| {
                let reviews = self.reviews(snapshot, asking, number, rule, incident)?;
                Some((
                    rule.emergency,
                    reviews,
                    std::cmp::Reverse(rule.minutes),
                    Draft::id(number),
                    incident.cloned(),
                ))
            };
            match way(None) {
                Some(found) => ways.push(found),
                None => ways.extend(incidents.iter().filter_map(|id| way(Some(id)))),
            }
        }
        ways.sort();
        let told = ways.into_iter().map(|(emergency, reviews, _, id, incident)| {
            let kind = match reviews {
                _ if emergency => "emergency",
                0 => "automatic",
                _ => "review",
            };
            let incident = incident.map(|id| format!("@{id}")).unwrap_or_default();
            format!(" {id}/{kind}/{reviews}{incident}")
        });
        told.collect()
    }

    /// How many reviews `rule` takes for `incident`.
    fn reviews(
        &self,
        snapshot: &Snapshot,
        asking: &Asking,
        number: usize,
        rule: &Draft,
        incident: Option<&IncidentId>,
    ) -> Option<u8> {
        let id = Draft::id(number);
        let expires = asking.context.now + jiff::SignedDuration::from_mins(rule.minutes.into());
        let facts = |reviews: u8| {
            let kind = match reviews {
                _ if rule.emergency => GrantKind::Emergency,
                0 => GrantKind::Automatic,
                _ => GrantKind::Review,
            };
            Some((kind, reviews, expires, incident.cloned()))
        };
        let alone = |reviews| self.ask(snapshot, asking, facts(reviews), |other, _| other == id);
        let all = |reviews| {
            self.ask(snapshot, asking, facts(reviews), |other, d| d.forbid || other == id)
        };
        if rule.emergency {
            // For people alone, and nothing raises it.
            let is_person = asking.subject.principal().id.kind == PrincipalKind::User;
            return (is_person && all(0).permitted).then_some(0);
        }
        // Only forbids raise a rule; what its own grant does not open, it does not issue.
        if !alone(rule.reviews).permitted {
            return None;
        }
        (rule.reviews..=5).find(|reviews| all(*reviews).permitted)
    }

    fn ask(
        &self,
        snapshot: &Snapshot,
        asking: &Asking,
        grant: Option<GrantTold>,
        chosen: impl Fn(&str, &Draft) -> bool,
    ) -> Said {
        let now = asking.context.now;
        let incident = grant.as_ref().and_then(|(.., id)| snapshot.incident(id.as_ref()?));
        let stale = incident.is_some_and(|one| one.fresh_until.is_some_and(|until| until <= now));
        let all = self.town.drafts.iter().enumerate();
        let chosen = all.filter(|(number, draft)| chosen(&Draft::id(*number), draft));
        let left = chosen.filter_map(|(number, draft)| {
            let text = draft.where_unknown(number, snapshot, now, stale)?;
            Some(Policy::parse(Some(Draft::id(number).parse().unwrap()), text).unwrap())
        });
        let policies = PolicySet::from_policies(left).unwrap();
        let action = action(&asking.operation);
        let schema = self.town.bundle.schema();
        let facts = facts(&asking.context, grant);
        let context = Context::from_json_value(facts, Some((schema, &action))).unwrap();
        let resource = match (asking.operation.revealed(), &asking.resource.instance) {
            (Some(class), _) => format!("DataClass::\"{}/{class}\"", asking.resource.service),
            (None, Some(_)) => format!("Instance::\"{}\"", asking.resource),
            (None, None) => format!("Service::\"{}\"", asking.resource),
        };
        let resource = resource.parse().unwrap();
        let request = Request::new(principal(asking), action, resource, context, Some(schema));
        let entities = self.entities(asking.subject.principal());
        let entities =
            entities.upsert_entities(of_facts(snapshot, asking, incident), None).unwrap();
        let said = Authorizer::new().is_authorized(&request.unwrap(), &policies, &entities);
        let is_forbid = |id: &cedar_policy::PolicyId| {
            let at = self.policies.iter().position(|policy| policy.id() == id).unwrap();
            self.town.drafts[at].forbid
        };
        let erring_forbid = said.diagnostics().errors().any(|error| {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
            is_forbid(error.policy_id())
        });
        let mut reasons: Vec<String> =
            said.diagnostics().reason().map(ToString::to_string).collect();
        reasons.sort();
        let permitted = said.decision() == Decision::Allow && !erring_forbid;
        Said { permitted, erring_forbid, reasons }
    }

    fn entities(&self, principal: &Principal) -> Entities {
        let principal = principal_entity(principal).unwrap();
        let all = self.town.bundle.entities().clone();
        all.add_entities([principal], None).unwrap()
    }
}

type GrantTold = (GrantKind, u8, Timestamp, Option<IncidentId>);

/// The principal as on call, and the incident of the grant.
fn of_facts(snapshot: &Snapshot, asking: &Asking, incident: Option<&Arc<Incident>>) -> Vec<Entity> {
    let who = asking.subject.principal();
    let on: Vec<Json> = ["primary", "other"]
        .into_iter()
        .filter(|name| {
            snapshot.schedule(&name.parse().unwrap()).is_some_and(|schedule| {
                schedule.until.is_none_or(|until| asking.context.now < until)
                    && schedule.people.contains(&who.id)
            })
        })
        .map(|name| json!({"__entity": {"type": "Schedule", "id": name}}))
        .collect();
    let mut plain = principal_entity(who).unwrap().to_json_value().unwrap();
    if !on.is_empty() {
        plain["attrs"]["onCall"] = Json::Array(on);
    }
    let mut entities = vec![Entity::from_json_value(plain, None).unwrap()];
    if let Some(incident) = incident {
        let entity = |ty: &str, id: &str| json!({"__entity": {"type": ty, "id": id}});
        let services: Vec<Json> =
            incident.services.iter().map(|name| entity("Service", name.as_str())).collect();
        let attributes = json!({
            "open": true, "severity": incident.severity, "services": services, "responders": [],
            "source": format!("api:{}", incident.source.principal.id),
            "openedBy": entity("User", &incident.source.principal.id),
        });
        let whole = json!({
            "uid": {"type": "Incident", "id": incident.id}, "attrs": attributes, "parents": [],
        });
        entities.push(Entity::from_json_value(whole, None).unwrap());
    }
    entities
}

fn covers(snapshot: &Snapshot, grant: &Grant, asking: &Asking) -> bool {
    let now = asking.context.now;
    let concerns = |id: &IncidentId| {
        snapshot.incident(id).is_some_and(|one| one.services.contains(&grant.resource.service))
    };
    grant.incident.as_ref().is_none_or(concerns)
        && (grant.operation == asking.operation || grant.kind == GrantKind::Emergency)
        && grant.resource.service == asking.resource.service
        && (grant.resource.instance.is_none() || grant.resource == asking.resource)
        && grant.starts_at <= now
        && now < grant.expires_at
        && grant.max_uses.is_none_or(|max| grant.uses < max)
}

fn principal(asking: &Asking) -> EntityUid {
    asking.subject.principal().id.to_string().parse().unwrap()
}

fn action(operation: &OperationName) -> EntityUid {
    match operation.revealed() {
        Some(_) => "Action::\"reveal\"".parse().unwrap(),
        None => format!("Action::\"{operation}\"").parse().unwrap(),
    }
}

fn extension(function: &str, argument: &str) -> Json {
    json!({"__extn": {"fn": function, "arg": argument}})
}

fn datetime(at: Timestamp) -> Json {
    extension("datetime", &at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn facts(context: &Facts, grant: Option<GrantTold>) -> Json {
    let (Known::Value(source), Known::Value(request)) = (&context.source, &context.request) else {
        panic!("asked about a request that is not there: {context:?}");
    };
    let mut facts = json!({
        "now": datetime(context.now),
        "source": {"ip": extension("ip", &source.ip.to_string())},
        "auth": {
            "method": context.auth_method,
            "age": extension("duration", &format!("{}s", context.auth_age.as_secs())),
        },
        // That day is a Sunday, and Lisbon keeps the time of UTC on it.
        "clock": {"office": {"weekday": 7, "minute": context.now.as_second() / 60 % 1440}},
        "request": {"id": request.to_string()},
    });
    if let Known::Value(Some(http)) = &context.http {
        facts["http"] = json!({"method": &*http.method, "path": &*http.path, "host": &*http.host});
    }
    if let Some(operation) = &context.seen_in {
        facts["operation"] = json!(operation);
    }
    for (name, part) in [("params", &context.params), ("body", &context.body)] {
        if let Known::Value(Some(fields)) = part {
            let fields = fields.iter().map(|(name, value)| (name.to_string(), plain(value)));
            facts[name] = Json::Object(fields.collect());
        }
    }
    if let Some((kind, reviews, expires, incident)) = grant {
        facts["grant"] =
            json!({"kind": kind.as_str(), "reviews": reviews, "expires": datetime(expires)});
        if let Some(id) = incident {
            facts["grant"]["incident"] = json!({"__entity": {"type": "Incident", "id": id}});
        }
    }
    facts
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Long(number) => json!(number),
        Value::String(text) => json!(text),
        other => panic!("this world has no {other:?}"),
    }
}
