//! Lists in parts: from the newest on, no more is read than a part needs, however long the list is.

use std::{future::Future, pin::Pin};

use portcullis_store::StoreError;

use crate::ControlError;

/// Rows of one reading.
const TOGETHER: u32 = 128;
/// Readings of one part, at most; the next part goes on from there.
const READINGS: usize = 4;

/// A part of a list, and the id after which the next one goes on, if there may be one.
pub(crate) type Part<T, Id> = (Vec<T>, Option<Id>);

pub(crate) type Reading<'a, T> =
    Pin<Box<dyn Future<Output = Result<Vec<T>, StoreError>> + Send + 'a>>;

/// Reads those that come after `before` until there are `limit` of those that are wanted.
pub(crate) async fn walk<'a, T, Id: Copy>(
    mut before: Option<Id>,
    limit: usize,
    id: impl Fn(&T) -> Id,
    is_wanted: impl Fn(&T) -> bool,
    read: impl Fn(Option<Id>, u32) -> Reading<'a, T>,
) -> Result<Part<T, Id>, ControlError> {
    let mut found = Vec::new();
    for _ in 0..READINGS {
        let rows = read(before, TOGETHER).await?;
        // A row that cannot be read is left out: only none at all is the end.
        let Some(last) = rows.last() else { return Ok(cut(found, limit, id)) };
        before = Some(id(last));
        for row in rows {
            if is_wanted(&row) {
                found.push(row);
                if found.len() > limit {
                    return Ok(cut(found, limit, id));
                }
            }
        }
    }
    Ok((found, before))
}

/// The first `limit` of a list.
pub(crate) fn cut<T, Id>(mut all: Vec<T>, limit: usize, id: impl Fn(&T) -> Id) -> Part<T, Id> {
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(id);
    (all, next)
}

/// Two parts of the same list as one, newest first: what lies behind the end of either comes in the next part.
pub(crate) fn both<T, Id: Copy + Ord>(
    one: Part<T, Id>,
    other: Part<T, Id>,
    limit: usize,
    id: impl Fn(&T) -> Id,
) -> Part<T, Id> {
    let end = one.1.max(other.1);
    let mut all = one.0;
    all.extend(other.0);
    all.retain(|item| end.is_none_or(|end| id(item) >= end));
    all.sort_by_key(|item| std::cmp::Reverse(id(item)));
    let (all, next) = cut(all, limit, id);
    (all, next.or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of the numbers below `count` that are wanted, part by part.
    async fn parts(count: u32, limit: usize, is_wanted: fn(&u32) -> bool) -> Vec<Vec<u32>> {
        let read = |before: Option<u32>, at_most: u32| -> Reading<'static, u32> {
            let end = before.unwrap_or(count);
            let rows = (end.saturating_sub(at_most)..end).rev().collect();
            Box::pin(async move { Ok(rows) })
        };
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let (part, next) = walk(before, limit, |n| *n, is_wanted, read).await.unwrap();
            all.push(part);
            let Some(next) = next else { return all };
            before = Some(next);
        }
    }

    #[tokio::test]
    async fn parts_follow_each_other_and_none_reads_on_and_on() {
        assert_eq!(parts(5, 2, |_| true).await, [vec![4, 3], vec![2, 1], vec![0]]);
        assert_eq!(parts(4, 2, |_| true).await, [vec![3, 2], vec![1, 0]]);
        assert_eq!(parts(0, 2, |_| true).await, [Vec::<u32>::new()]);
        let few = parts(2_000, 10, |n| *n == 7).await;
        assert!(few.len() > 2 && few.concat() == [7], "{few:?}");
        let all = parts(2_000, 50, |n| n % 3 == 0).await.concat();
        assert!(all.iter().eq((0..2_000).rev().filter(|n| n % 3 == 0).collect::<Vec<_>>().iter()));
    }

    #[test]
    fn what_is_behind_the_end_of_one_list_waits_for_the_next_part() {
        let id = |n: &u32| *n;
        assert_eq!(
            both((vec![9, 3], None), (vec![8, 5], Some(5)), 9, id),
            (vec![9, 8, 5], Some(5))
        );
        assert_eq!(both((vec![9, 3], None), (vec![8], None), 2, id), (vec![9, 8], Some(8)));
        assert_eq!(both((vec![9], None), (vec![], None), 2, id), (vec![9], None));
    }
}
