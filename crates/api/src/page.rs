//! Lists in parts: newest first, from a cursor on.

use portcullis_control::ControlError;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::Answer;

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 500;

/// Which part of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `next` of the part before; the beginning if absent.
    pub cursor: Option<String>,
    /// At most so many items, 1 to 500; 50 if absent.
    pub limit: Option<usize>,
}

/// One part of a list, newest first; each resource puts it on the wire under its own name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part<T> {
    pub(crate) items: Vec<T>,
    /// The cursor of the next part; absent at the end.
    pub(crate) next: Option<String>,
}

/// How many items a caller wants.
pub(crate) fn limit(wanted: Option<usize>) -> Answer<usize> {
    match wanted {
        None => Ok(DEFAULT_LIMIT),
        Some(limit) if (1..=LARGEST_LIMIT).contains(&limit) => Ok(limit),
        Some(limit) => {
            let message = format!("{limit} is not between 1 and {LARGEST_LIMIT}");
            Err(ControlError::Invalid { field: "limit", message }.into())
        }
    }
}

/// The id that a cursor stands for.
pub(crate) fn cursor<Id: std::str::FromStr>(text: Option<&str>) -> Answer<Option<Id>> {
    let message = "this is not a cursor that a list returned as `next`";
    let wrong = |_| ControlError::Invalid { field: "cursor", message: message.to_owned() };
    Ok(text.map(str::parse::<Id>).transpose().map_err(wrong)?)
}

/// Cuts a part out of `all`. Ids sort by time, so a cursor stays good when items come or go.
pub(crate) fn cut<T, Id, B>(
    query: &PageQuery,
    mut all: Vec<T>,
    id: impl Fn(&T) -> Id,
    body: impl FnMut(T) -> B,
) -> Answer<Part<B>>
where
    Id: Ord + ToString + std::str::FromStr,
{
    let limit = limit(query.limit)?;
    let after = cursor::<Id>(query.cursor.as_deref())?;
    all.sort_by_key(|item| std::cmp::Reverse(id(item)));
    if let Some(after) = after {
        all.retain(|item| id(item) < after);
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|item| id(item).to_string());
    Ok(Part { items: all.into_iter().map(body).collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(cursor: Option<&str>, limit: usize, all: &[u32]) -> Part<u32> {
        let query = PageQuery { cursor: cursor.map(str::to_owned), limit: Some(limit) };
        cut(&query, all.to_vec(), |n| *n, |n| n).unwrap()
    }

    #[test]
    fn parts_follow_each_other_without_gap_or_overlap() {
        let first = part(None, 2, &[3, 1, 5, 4, 2]);
        assert_eq!((first.items, first.next.as_deref()), (vec![5, 4], Some("4")));
        let second = part(Some("4"), 2, &[3, 1, 6, 5, 2]);
        assert_eq!((second.items, second.next.as_deref()), (vec![3, 2], Some("2")));
        let last = part(Some("2"), 2, &[3, 1]);
        assert_eq!((last.items, last.next), (vec![1], None));
    }

    #[test]
    fn a_limit_out_of_bounds_is_refused() {
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(LARGEST_LIMIT + 1)).is_err());
    }
}
