//! Annotations: how a grant is obtained, never whether access is allowed.

use std::time::Duration;

use cedar_policy::Effect;
use portcullis_model::{ContentParts, InvalidParts, PolicyId, Window};

use crate::{
    notice::{MOST_TARGETS, NoticeTarget, Notices},
    policy::{MOST_REVIEWS, Terms},
    rate_limit::RateLimit,
};

/// What a policy's annotations say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) id: Option<PolicyId>,
    pub(super) all_services: bool,
    pub(super) terms: Terms,
    pub(super) notices: Notices,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) record: ContentParts,
    /// The first one that only a rule may carry.
    pub(super) of_a_rule: Option<String>,
    /// The first one that only requests can have carried out.
    pub(super) of_requests: Option<&'static str>,
}

/// A mistake in the annotation of this name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) annotation: String,
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

const KNOWN: &str = "this version knows @id, @reviews, @max_duration, @max_uses, @idle, @hold, @notify, \
                     @escalate, @emergency, @rate_limit, @record and @all_services";
/// What means nothing where data is seen: it is not a request, and does not wait like one.
const OF_REQUESTS: [&str; 4] = ["max_uses", "hold", "rate_limit", "record"];
const OF_A_RULE: [&str; 8] =
    ["reviews", "max_duration", "max_uses", "idle", "hold", "notify", "escalate", "emergency"];
/// An emergency is taken at once, for all that its rule's head matches, and everybody is told at once.
const NEVER_OF_AN_EMERGENCY: [&str; 4] = ["reviews", "max_uses", "hold", "escalate"];
/// How long an emergency may last; a quarter of it where its rule does not say.
const LONGEST_EMERGENCY: Duration = Duration::from_hours(1);

/// Reads the annotations of a policy with this effect.
pub(super) fn annotations(policy: &cedar_policy::Policy) -> (Annotations, Vec<Mistake>) {
    let mut read = Annotations::default();
    let mut mistakes = Vec::new();
    for (name, value) in policy.annotations() {
        if let Err((message, help)) = read.take(name, value, policy.effect()) {
            mistakes.push(Mistake { annotation: name.to_owned(), message, help });
        }
    }
    mistakes.extend(read.nowhere_to_go_on());
    if read.terms.emergency {
        mistakes.extend(read.not_of_an_emergency(policy));
    }
    (read, mistakes)
}

type Wrong = (String, Option<&'static str>);

impl Annotations {
    fn take(&mut self, name: &str, value: &str, effect: Effect) -> Result<(), Wrong> {
        match name {
            "id" => self.id = Some(id(value)?),
            "reviews" => self.terms.reviews = reviews(value)?,
            "max_duration" => self.terms.max_duration = window("max_duration", value)?,
            "max_uses" => self.terms.max_uses = Some(max_uses(value)?),
            "idle" => self.terms.idle = Some(window("idle", value)?),
            "notify" => self.notices.targets = targets(value)?.into(),
            "escalate" => self.notices.escalate = Some(window("escalate", value)?),
            "rate_limit" if effect == Effect::Forbid => {
                return Err(("@rate_limit means nothing on a forbid".to_owned(), None));
            }
            "rate_limit" => {
                let limit = value.parse::<RateLimit>();
                self.rate_limit =
                    Some(limit.map_err(|error| (format!("@rate_limit: {error}"), None))?);
            }
            "record" if effect == Effect::Forbid => {
                return Err(("@record means nothing on a forbid".to_owned(), None));
            }
            "record" => {
                let parts = value.parse();
                self.record =
                    parts.map_err(|error: InvalidParts| (format!("@record: {error}"), None))?;
            }
            "hold" => self.terms.hold = Some(hold(value)?),
            "emergency" if value != "true" => {
                return Err(("@emergency takes \"true\" and nothing else".to_owned(), None));
            }
            "emergency" => {
                self.terms.emergency = true;
                self.terms.reviews = 0;
            }
            "all_services" if value != "true" => {
                return Err(("@all_services takes \"true\" and nothing else".to_owned(), None));
            }
            "all_services" if effect == Effect::Forbid => {
                return Err(("@all_services means nothing on a forbid".to_owned(), None));
            }
            "all_services" => self.all_services = true,
            name => return Err((format!("unknown annotation @{name}"), Some(KNOWN))),
        }
        if let Some(name) = OF_REQUESTS.into_iter().find(|of_requests| *of_requests == name) {
            self.of_requests.get_or_insert(name);
        }
        if OF_A_RULE.contains(&name) {
            self.of_a_rule.get_or_insert_with(|| name.to_owned());
        }
        Ok(())
    }

    /// What contradicts an emergency, and how long it may last.
    fn not_of_an_emergency(&mut self, policy: &cedar_policy::Policy) -> Vec<Mistake> {
        let named = NEVER_OF_AN_EMERGENCY.into_iter();
        let named = named.filter(|name| policy.annotation(name).is_some());
        let mut mistakes: Vec<_> = named
            .map(|name| Mistake {
                annotation: name.to_owned(),
                message: format!("@{name} means nothing beside @emergency"),
                help: Some(
                    "an emergency is granted at once, to whoever names its rule, for all that its head \
                     matches, and is reviewed afterwards",
                ),
            })
            .collect();
        if policy.annotation("max_duration").is_none() {
            self.terms.max_duration = Window::minutes(15);
        } else if self.terms.max_duration.get() > LONGEST_EMERGENCY {
            mistakes.push(Mistake {
                annotation: "max_duration".to_owned(),
                message: format!("an emergency lasts 1h at most, not {}", self.terms.max_duration),
                help: Some("make it short: it can be taken again, and each time is reviewed"),
            });
        }
        mistakes
    }

    /// Going on to the next takes a next one.
    fn nowhere_to_go_on(&self) -> Option<Mistake> {
        let nowhere = self.notices.escalate.is_some() && self.notices.targets.len() < 2;
        nowhere.then(|| Mistake {
            annotation: "escalate".to_owned(),
            message: "@escalate has nobody to go on to".to_owned(),
            help: Some("name two or more in @notify, separated by commas"),
        })
    }
}

fn window(name: &str, value: &str) -> Result<Window, Wrong> {
    value.parse().map_err(|error| (format!("@{name}: {error}"), None))
}

fn targets(value: &str) -> Result<Vec<NoticeTarget>, Wrong> {
    let help = Some("name them in order: @notify(\"webhook:https://one, webhook:https://two\")");
    let targets = value.split(',').map(|one| one.trim().parse());
    let targets: Vec<_> = targets
        .collect::<Result<_, crate::notice::InvalidTarget>>()
        .map_err(|error| (format!("@notify: {error}"), help))?;
    if targets.len() > MOST_TARGETS {
        return Err((format!("@notify names more than {MOST_TARGETS}"), help));
    }
    Ok(targets)
}

fn id(value: &str) -> Result<PolicyId, Wrong> {
    let invalid = "@id must be 1 to 200 printable characters without spaces";
    value.parse().map_err(|_| (invalid.to_owned(), Some("write it like payments.refund.reviewed")))
}

fn reviews(value: &str) -> Result<u8, Wrong> {
    let digit = Some(value).filter(|value| value.len() == 1).and_then(|value| value.parse().ok());
    digit.filter(|reviews| *reviews <= MOST_REVIEWS).ok_or_else(|| {
        let message = format!("@reviews takes a number from 0 to {MOST_REVIEWS}, not `{value}`");
        (message, Some("0 means that the policy approves by itself"))
    })
}

/// A request that waits longer than an access request lives would wait for nothing.
fn hold(value: &str) -> Result<Window, Wrong> {
    const LONGEST: Duration = Duration::from_hours(1);
    let window = window("hold", value)?;
    if window.get() > LONGEST {
        let help = "leave @hold out: what is refused can be asked for and sent again";
        return Err((format!("@hold: `{value}` is longer than 1h"), Some(help)));
    }
    Ok(window)
}

fn max_uses(value: &str) -> Result<u32, Wrong> {
    let digits = Some(value).filter(|value| value.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|value| value.parse().ok())
        .filter(|uses| *uses > 0)
        .ok_or_else(|| (format!("@max_uses takes a whole number from 1 up, not `{value}`"), None))
}
