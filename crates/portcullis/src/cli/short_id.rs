//! Ids as people type them: the last characters, or the first, as long as one thing is meant.

use super::failure::Failure;

const LENGTH: usize = 26;
const SHORTEST: usize = 6;
const SHOWN: usize = 8;

/// What tables show. The end of an id is its random part; the beginning is shared by neighbours.
pub(crate) fn shown(id: &str) -> String {
    let skipped = id.chars().count().saturating_sub(SHOWN);
    id.chars().skip(skipped).collect()
}

/// A whole id needs no list to be found in.
pub(crate) fn whole(text: &str) -> Option<String> {
    let whole = text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric());
    whole.then(|| text.to_ascii_uppercase())
}

/// A kind of thing that has ids.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Grant,
    Connection,
    /// An access request of one's own.
    Mine,
    /// An access request that one could review.
    ToReview,
    /// Any access request that one can see.
    AccessRequest,
}

impl Kind {
    /// Where the API lists them, and under which name.
    pub(crate) const fn list(self) -> (&'static str, &'static str) {
        match self {
            Self::Grant => ("/v1/grants", "grants"),
            Self::Connection => ("/v1/connections", "connections"),
            Self::Mine => ("/v1/access-requests?filter=mine", "access_requests"),
            Self::ToReview => ("/v1/access-requests?filter=to-review", "access_requests"),
            Self::AccessRequest => ("/v1/access-requests?filter=all", "access_requests"),
        }
    }

    /// What people call one, and the command that lists them.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Grant => ("grant that you can see", "portcullis grants"),
            Self::Connection => ("connection that you can see", "portcullis connections"),
            Self::Mine => ("access request of yours", "portcullis requests --mine"),
            Self::AccessRequest => ("access request that you can see", "portcullis requests"),
            Self::ToReview => {
                ("access request that you could review", "portcullis requests --to-review")
            }
        }
    }
}

/// The one of `ids` that begins or ends with `text`.
pub(crate) fn resolve(text: &str, ids: &[String], kind: Kind) -> Result<String, Failure> {
    let wanted = text.to_ascii_uppercase();
    let (what, list) = kind.words();
    if wanted.len() < SHORTEST {
        let message =
            format!("`{text}` is too short for an id; give at least {SHORTEST} characters of it");
        return Err(Failure::WrongUse(message));
    }
    let mut found =
        ids.iter().filter(|id| id.starts_with(wanted.as_str()) || id.ends_with(wanted.as_str()));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => {
            let message = format!("no {what} has the id `{text}`; `{list}` lists them");
            Err(Failure::WrongUse(message))
        }
        (Some(_), Some(_)) => {
            let message = format!("more than one {what} has `{text}` in its id; give more of it");
            Err(Failure::WrongUse(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_by_its_beginning_or_end_and_never_guessed() {
        let ids = ["01KB000000AAAAAAAAAAABCDEF", "01KB000000BBBBBBBBBBBBBBBB"].map(str::to_owned);
        let found = |text| resolve(text, &ids, Kind::Grant);
        assert_eq!(found("aabcdef").unwrap(), ids[0]);
        assert_eq!(found("01KB000000B").unwrap(), ids[1]);
        assert!(found("01KB00").is_err(), "ambiguous");
        assert!(found("BCDEF").is_err(), "too short");
        assert!(found("ZZZZZZ").is_err(), "unknown");
        assert_eq!(found(&shown(&ids[0])).unwrap(), ids[0]);
    }
}
