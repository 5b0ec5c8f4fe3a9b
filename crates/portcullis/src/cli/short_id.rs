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

/// The one of `ids` that begins or ends with `text`.
pub(crate) fn resolve(text: &str, ids: &[String], what: &str) -> Result<String, Failure> {
    let wanted = text.to_ascii_uppercase();
    if wanted.len() < SHORTEST {
        let message =
            format!("`{text}` is too short for an id; give at least {SHORTEST} characters");
        return Err(Failure::WrongUse(message));
    }
    let mut found =
        ids.iter().filter(|id| id.starts_with(wanted.as_str()) || id.ends_with(wanted.as_str()));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Err(Failure::WrongUse(format!("no {what} of yours has the id `{text}`"))),
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
        let found = |text| resolve(text, &ids, "grant");
        assert_eq!(found("aabcdef").unwrap(), ids[0]);
        assert_eq!(found("01KB000000B").unwrap(), ids[1]);
        assert!(found("01KB00").is_err(), "ambiguous");
        assert!(found("BCDEF").is_err(), "too short");
        assert!(found("ZZZZZZ").is_err(), "unknown");
        assert_eq!(found(&shown(&ids[0])).unwrap(), ids[0]);
    }
}
