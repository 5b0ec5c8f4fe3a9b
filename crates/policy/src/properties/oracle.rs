//! What the answer should be, found the slow way: all policies, all entities, whole contexts that
//! the schema validates, no index, no slices, nothing remembered, and none of the code that is tested.

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, Policy, PolicySet, Request,
};
use jiff::Timestamp;
use portcullis_model::{Grant, GrantKind, OperationName, Principal};
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
        let standing = self.ask(asking, None, |_, draft| draft.forbid || !draft.is_rule());
        if standing.permitted {
            return ("permit".to_owned(), standing.reasons);
        }
        for grant in snapshot.grants_of(&asking.subject.principal().id) {
            if covers(grant, asking) {
                let said = self.under(asking, grant);
                if said.permitted {
                    return ("permit by grant".to_owned(), said.reasons);
                }
            }
        }
        let ways = self.ways(asking);
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
        known && catalog.operation(&asking.operation).is_some()
    }

    fn under(&self, asking: &Asking, grant: &Grant) -> Said {
        let grant_facts = (grant.kind, grant.reviews, grant.expires_at);
        self.ask(asking, Some(grant_facts), |id, draft| {
            draft.forbid || (draft.is_rule() && id == grant.rule.as_str())
        })
    }

    fn ways(&self, asking: &Asking) -> String {
        let mut ways = Vec::new();
        for (number, rule) in self.town.drafts.iter().enumerate().filter(|(_, d)| d.is_rule()) {
            let id = Draft::id(number);
            let expires = asking.context.now + jiff::SignedDuration::from_mins(rule.minutes.into());
            let facts = |reviews: u8| {
                let kind = if reviews == 0 { GrantKind::Automatic } else { GrantKind::Review };
                Some((kind, reviews, expires))
            };
            let alone = |reviews| self.ask(asking, facts(reviews), |other, _| other == id);
            let all =
                |reviews| self.ask(asking, facts(reviews), |other, d| d.forbid || other == id);
            // Only forbids raise a rule; what its own grant does not open, it does not issue.
            if !alone(rule.reviews).permitted {
                continue;
            }
            if let Some(reviews) = (rule.reviews..=5).find(|reviews| all(*reviews).permitted) {
                ways.push((reviews, std::cmp::Reverse(rule.minutes), id));
            }
        }
        ways.sort();
        let told = ways.into_iter().map(|(reviews, _, id)| {
            let kind = if reviews == 0 { "automatic" } else { "review" };
            format!(" {id}/{kind}/{reviews}")
        });
        told.collect()
    }

    fn ask(
        &self,
        asking: &Asking,
        grant: Option<(GrantKind, u8, Timestamp)>,
        chosen: impl Fn(&str, &Draft) -> bool,
    ) -> Said {
        let all = self.policies.iter().zip(&self.town.drafts);
        let chosen = all.filter(|(policy, draft)| chosen(policy.id().as_ref(), draft));
        let policies = PolicySet::from_policies(chosen.map(|(policy, _)| policy.clone())).unwrap();
        let action = action(&asking.operation);
        let schema = self.town.bundle.schema();
        let facts = facts(&asking.context, grant);
        let context = Context::from_json_value(facts, Some((schema, &action))).unwrap();
        let resource = match &asking.resource.instance {
            Some(_) => format!("Instance::\"{}\"", asking.resource),
            None => format!("Service::\"{}\"", asking.resource),
        };
        let resource = resource.parse().unwrap();
        let request = Request::new(principal(asking), action, resource, context, Some(schema));
        let entities = self.entities(asking.subject.principal());
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

fn covers(grant: &Grant, asking: &Asking) -> bool {
    let now = asking.context.now;
    grant.operation == asking.operation
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
    format!("Action::\"{operation}\"").parse().unwrap()
}

fn extension(function: &str, argument: &str) -> Json {
    json!({"__extn": {"fn": function, "arg": argument}})
}

fn datetime(at: Timestamp) -> Json {
    extension("datetime", &at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn facts(context: &Facts, grant: Option<(GrantKind, u8, Timestamp)>) -> Json {
    let (Known::Value(source), Known::Value(request), Known::Value(http)) =
        (&context.source, &context.request, &context.http)
    else {
        panic!("asked about a request that is not there: {context:?}");
    };
    let mut facts = json!({
        "now": datetime(context.now),
        "source": {"ip": extension("ip", &source.ip.to_string())},
        "auth": {
            "method": context.auth_method,
            "age": extension("duration", &format!("{}s", context.auth_age.as_secs())),
        },
        "request": {"id": request.to_string()},
        "http": {"method": &*http.method, "path": &*http.path, "host": &*http.host},
    });
    for (name, part) in [("params", &context.params), ("body", &context.body)] {
        if let Known::Value(Some(fields)) = part {
            let fields = fields.iter().map(|(name, value)| (name.to_string(), plain(value)));
            facts[name] = Json::Object(fields.collect());
        }
    }
    if let Some((kind, reviews, expires)) = grant {
        facts["grant"] =
            json!({"kind": kind.as_str(), "reviews": reviews, "expires": datetime(expires)});
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
