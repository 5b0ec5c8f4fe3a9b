//! Which of the ways that there are is taken.

use portcullis_model::{PolicyId, Way};

use super::{
    Result, Wish,
    subject::{Subject, Wanted},
};
use crate::{ControlError, ways::Standing};

/// The way to `wanted`, if there is one that fits the wish.
pub(super) fn chosen(
    standing: Standing,
    subject: &Subject,
    wanted: &Wanted,
    wish: Wish<'_>,
) -> Result<Way> {
    let operation = &wanted.operation;
    let ways = match standing {
        Standing::Ways(ways) => ways,
        Standing::Open => {
            let why = format!("`{operation}` is open to you without asking");
            return Err(ControlError::Conflict(why));
        }
        Standing::Invisible => return Err(ControlError::NotFound("the service")),
        Standing::Checked(conditions) => {
            let conditions = conditions.join("; ");
            let why = format!("`{operation}` is open to you without asking, where {conditions}");
            return Err(ControlError::Conflict(why));
        }
        Standing::Closed => {
            let reason = format!("no policy would open `{operation}` to you, with any grant");
            return Err(ControlError::NoWay { reason, ways: Vec::new() });
        }
    };
    let shared = subject.shares_rules();
    let is_way = |rule: &&PolicyId| !shared || ways.iter().any(|way| way.rule == **rule);
    let wish = Wish { rule: wish.rule.filter(is_way), ..wish };
    let rules: Vec<&PolicyId> = wanted.rules.iter().filter(is_way).collect();
    // INVARIANT: an emergency is taken by who names it and by nobody else. The rules of a refusal are
    // what would open it, not what somebody chose.
    let named = |way: &Way| {
        wish.rule == Some(&way.rule) || (subject.refusal.is_none() && rules.contains(&&way.rule))
    };
    let counts = |way: &&Way| {
        (!way.is_emergency() || named(way))
            && (rules.is_empty() || rules.contains(&&way.rule))
            && wish.rule.is_none_or(|rule| way.rule == *rule)
            && subject.extends.as_ref().is_none_or(|grant| way.incident == grant.incident)
    };
    let is_for = |way: &&Way| way.incident.as_ref() == wish.incident;
    let way = match wish.incident {
        None => ways.iter().find(counts),
        // Beside what is for the incident, something that needs none may be asked for.
        Some(_) => ways.iter().filter(counts).find(is_for).or_else(|| {
            let several = subject.wanted.len() > 1;
            ways.iter().filter(counts).find(|way| several && way.incident.is_none())
        }),
    };
    way.cloned().map(|way| Way { reviewers: Vec::new(), ..way }).ok_or_else(|| {
        let rule = wish.rule.or(rules.first().copied());
        let only_emergencies = !ways.is_empty() && ways.iter().all(Way::is_emergency);
        let reason = match (wish.incident, rule) {
            _ if wish.rule.is_none() && only_emergencies => format!(
                "only an emergency would open `{operation}` to you; name its rule to take it"
            ),
            (Some(id), _) => format!("no way to `{operation}` for you needs incident `{id}`"),
            (None, Some(rule)) => format!("rule `{rule}` would not open `{operation}` to you"),
            (None, None) => format!("nothing would open `{operation}` to you"),
        };
        ControlError::NoWay { reason, ways }
    })
}
