//! Annotations: how a grant is obtained, never whether access is allowed.

use std::time::Duration;

use cedar_policy::Effect;
use portcullis_model::{PolicyId, Window};

use crate::policy::{MOST_REVIEWS, Terms};

/// What a policy's annotations say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) id: Option<PolicyId>,
    pub(super) all_services: bool,
    pub(super) terms: Terms,
    /// The first one that only a rule may carry.
    pub(super) of_a_rule: Option<String>,
}

/// A mistake in the annotation of this name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) annotation: String,
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

const NOT_BUILT: [&str; 6] = ["idle", "emergency", "notify", "escalate", "rate_limit", "record"];
const KNOWN: &str =
    "this version knows @id, @reviews, @max_duration, @max_uses, @hold and @all_services";

/// Reads the annotations of a policy with this effect.
pub(super) fn annotations(policy: &cedar_policy::Policy) -> (Annotations, Vec<Mistake>) {
    let mut read = Annotations::default();
    let mut mistakes = Vec::new();
    for (name, value) in policy.annotations() {
        if let Err((message, help)) = read.take(name, value, policy.effect()) {
            mistakes.push(Mistake { annotation: name.to_owned(), message, help });
        }
    }
    (read, mistakes)
}

type Wrong = (String, Option<&'static str>);

impl Annotations {
    fn take(&mut self, name: &str, value: &str, effect: Effect) -> Result<(), Wrong> {
        match name {
            "id" => self.id = Some(id(value)?),
            "reviews" => self.terms.reviews = reviews(value)?,
            "max_duration" => {
                let window = value.parse();
                self.terms.max_duration =
                    window.map_err(|error| (format!("@max_duration: {error}"), None))?;
            }
            "max_uses" => self.terms.max_uses = Some(max_uses(value)?),
            "hold" => self.terms.hold = Some(hold(value)?),
            "all_services" if value != "true" => {
                return Err(("@all_services takes \"true\" and nothing else".to_owned(), None));
            }
            "all_services" if effect == Effect::Forbid => {
                return Err(("@all_services means nothing on a forbid".to_owned(), None));
            }
            "all_services" => self.all_services = true,
            name if NOT_BUILT.contains(&name) => {
                return Err((format!("@{name} is not supported by this version"), Some(KNOWN)));
            }
            name => return Err((format!("unknown annotation @{name}"), Some(KNOWN))),
        }
        if ["reviews", "max_duration", "max_uses", "hold"].contains(&name) {
            self.of_a_rule.get_or_insert_with(|| name.to_owned());
        }
        Ok(())
    }
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
    let window: Window = value.parse().map_err(|error| (format!("@hold: {error}"), None))?;
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
