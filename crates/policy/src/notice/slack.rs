//! Places in Slack that a policy may name.

use std::{fmt, str::FromStr, sync::Arc};

use super::InvalidTarget;

const LONGEST: usize = 80;

/// Where in Slack somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlackPlace {
    /// A channel: `#payments`, or its id.
    Channel(Arc<str>),
    /// A member by their Slack id: `@U024BE7LH`.
    Member(Arc<str>),
    /// A person as they are known here, by direct message: `@corp:ana`.
    Person(Arc<str>),
    /// Everybody who could review it and is known in Slack, by direct message.
    Reviewers,
}

impl FromStr for SlackPlace {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let wrong = || InvalidTarget::Slack(text.to_owned());
        if text == "reviewers" {
            return Ok(Self::Reviewers);
        }
        if let Some(name) = text.strip_prefix('#') {
            let is_name =
                |c: char| c == '-' || c == '_' || c.is_alphanumeric() && !c.is_uppercase();
            let fits =
                !name.is_empty() && name.chars().count() <= LONGEST && name.chars().all(is_name);
            return if fits { Ok(Self::Channel(text.into())) } else { Err(wrong()) };
        }
        match text.strip_prefix('@') {
            Some(id) if is_id(id, &['U', 'W']) => Ok(Self::Member(id.into())),
            Some(person) => match person.split_once(':') {
                Some((issuer, subject)) if !issuer.is_empty() && !subject.is_empty() => {
                    Ok(Self::Person(person.into()))
                }
                _ => Err(wrong()),
            },
            None if is_id(text, &['C', 'G']) => Ok(Self::Channel(text.into())),
            None => Err(wrong()),
        }
    }
}

/// Whether `text` is an id of Slack's that begins with one of `kinds`.
fn is_id(text: &str, kinds: &[char]) -> bool {
    text.starts_with(kinds)
        && (8..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

impl fmt::Display for SlackPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => f.write_str(name),
            Self::Member(id) => write!(f, "@{id}"),
            Self::Person(person) => write!(f, "@{person}"),
            Self::Reviewers => f.write_str("reviewers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_channel_a_member_a_person_or_whoever_reviews() {
        for (text, place) in [
            ("#payments-1_ü", SlackPlace::Channel("#payments-1_ü".into())),
            ("C024BE91L", SlackPlace::Channel("C024BE91L".into())),
            ("@U024BE7LH", SlackPlace::Member("U024BE7LH".into())),
            ("@corp:ana", SlackPlace::Person("corp:ana".into())),
            ("reviewers", SlackPlace::Reviewers),
        ] {
            assert_eq!(text.parse::<SlackPlace>().unwrap(), place);
            assert_eq!(place.to_string(), text);
        }
        for text in ["", "#", "#Payments", "#a b", "payments", "@ana", "@", "@:ana", "D024BE7LH"] {
            assert!(text.parse::<SlackPlace>().is_err(), "{text}");
        }
    }
}
