//! What the record comes to, by quarters of an hour: how many were decided how, what was refused where, how long
//! answers took, grants that began and ended. Counted as entries are indexed, so that a picture of a month takes as
//! long as one of an hour. It goes back 32 days; for all before, there is the record.

use std::collections::HashMap;

use jiff::Timestamp;
use portcullis_model::Leaf;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{IndexError, Result};

/// Seconds of one count.
pub const QUARTER: i64 = 900;
/// So long counts are kept, back from the newest.
const KEPT: i64 = 32 * 86_400 / QUARTER;
/// Counts that one question gets at most.
const MOST: i64 = 8192;
/// Where one class of durations ends and the next begins, in microseconds.
const CLASSES: [u64; 18] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 60_000_000,
];

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tally {
    /// Requests at the gate, by decision.
    Decisions,
    /// Requests that were not permitted, by service.
    Refusals,
    /// Requests that were permitted, by how long their answers took: at most so many microseconds. The last
    /// class has no number.
    Latencies,
    /// Grants, by whether they `started` or `ended`.
    Grants,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Which part of the time, from 0 on.
    pub part: u64,
    /// Of what.
    pub value: String,
    /// How many.
    pub count: u64,
}

impl Tally {
    const ALL: [Self; 4] = [Self::Decisions, Self::Refusals, Self::Latencies, Self::Grants];

    const fn stored(self) -> i64 {
        match self {
            Self::Decisions => 1,
            Self::Refusals => 2,
            Self::Latencies => 3,
            Self::Grants => 4,
        }
    }
}

/// Counts that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    counts: HashMap<(Tally, i64, String), u64>,
    newest: i64,
}

impl Tallies {
    /// Counts `leaf`, if it is one of those that are counted. One without a time is at no time.
    pub(super) fn add(&mut self, leaf: &Leaf) {
        let Some(time) = leaf.time() else { return };
        let quarter = time.as_second().div_euclid(QUARTER);
        self.newest = self.newest.max(quarter);
        let mut one = |tally, value: &str, count| {
            *self.counts.entry((tally, quarter, value.to_owned())).or_default() += count;
        };
        match leaf.kind() {
            Some("attempt") => {
                let decision = leaf.decision().unwrap_or_default();
                one(Tally::Decisions, decision, 1);
                if decision != "permit" {
                    one(Tally::Refusals, leaf.service().unwrap_or_default(), 1);
                } else if let Some(took) = leaf.latency_us() {
                    let class = CLASSES.iter().find(|class| took <= **class);
                    one(Tally::Latencies, &class.map(u64::to_string).unwrap_or_default(), 1);
                }
            }
            Some("refusals_counted") => {
                one(Tally::Decisions, "refuse", leaf.count());
                one(Tally::Refusals, "", leaf.count());
            }
            Some("grant_started") => one(Tally::Grants, "started", 1),
            Some("grant_ended") => one(Tally::Grants, "ended", 1),
            _ => {}
        }
    }

    /// Writes them, and lets go of what is too old when another quarter has begun since `pruned`.
    pub(super) async fn write(self, db: &mut SqliteConnection, pruned: &mut i64) -> Result<()> {
        for ((tally, quarter, value), count) in self.counts {
            let sql = "INSERT INTO tally (what, quarter, value, n) VALUES (?, ?, ?, ?) \
                       ON CONFLICT (what, quarter, value) DO UPDATE SET n = n + excluded.n";
            sqlx::query(sql)
                .bind(tally.stored())
                .bind(quarter)
                .bind(value)
                .bind(i64::try_from(count).unwrap_or(i64::MAX >> 16))
                .execute(&mut *db)
                .await?;
        }
        if self.newest > *pruned {
            for tally in Tally::ALL {
                sqlx::query("DELETE FROM tally WHERE what = ? AND quarter < ?")
                    .bind(tally.stored())
                    .bind(self.newest - KEPT)
                    .execute(&mut *db)
                    .await?;
            }
            *pruned = self.newest;
        }
        Ok(())
    }
}

/// The numbers of `tally` from `since` on and before `until`, in parts of `part` seconds: both are cut to quarters.
pub(super) async fn counted(
    readers: &SqlitePool,
    tally: Tally,
    since: Timestamp,
    until: Timestamp,
    part: i64,
) -> Result<Vec<Counted>> {
    let quarter = |time: Timestamp| time.as_second().div_euclid(QUARTER);
    let sql = "SELECT (quarter - ?) / ? AS part, value, sum(n) FROM tally \
               WHERE what = ? AND quarter >= ? AND quarter < ? GROUP BY part, value \
               ORDER BY part, value LIMIT ?";
    let rows = sqlx::query(sql)
        .bind(quarter(since))
        .bind((part / QUARTER).max(1))
        .bind(tally.stored())
        .bind(quarter(since))
        .bind(quarter(until))
        .bind(MOST)
        .fetch_all(readers)
        .await?;
    let number = |stored: i64| {
        u64::try_from(stored).map_err(|_| IndexError::Damaged("a count is negative".into()))
    };
    let counted = |row: sqlx::sqlite::SqliteRow| {
        let (part, count) = (number(row.try_get(0)?)?, number(row.try_get(2)?)?);
        Ok(Counted { part, value: row.try_get(1)?, count })
    };
    rows.into_iter().map(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Index, Indexed};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn attempt(second: i64, decision: &str, latency: u64) -> String {
        serde_json::json!({"type": "attempt", "time": at(second).to_string(), "decision": decision,
            "service": "payments", "latency_us": latency})
        .to_string()
    }

    async fn index(folder: &tempfile::TempDir, entries: &[String]) -> Index {
        let index = Index::open(&folder.path().join("index.db")).await.unwrap();
        let indexed = (0..).zip(entries);
        let indexed: Vec<_> = indexed.map(|(position, json)| Indexed { position, json }).collect();
        index.add(&indexed).await.unwrap();
        index
    }

    #[tokio::test]
    async fn what_happened_is_counted_by_quarters() {
        let folder = tempfile::tempdir().unwrap();
        let counted = r#"{"type":"refusals_counted","time":"1970-01-12T13:46:40Z","count":40}"#;
        let entries = [
            attempt(1_000_000, "permit", 1_500),
            attempt(1_000_001, "permit", u64::MAX),
            attempt(1_000_900, "requestable", 10),
            counted.to_owned(),
            r#"{"type":"grant_started","time":"1970-01-12T13:46:40Z"}"#.to_owned(),
            r#"{"type":"attempt","decision":"deny"}"#.to_owned(),
        ];
        let index = index(&folder, &entries).await;
        let ask = async |tally| {
            let found = index.counted(tally, at(999_000), at(1_002_600), QUARTER).await.unwrap();
            let found = found.into_iter();
            found.map(|one| (one.part, one.value, one.count)).collect::<Vec<_>>()
        };
        let of = |part, value: &str, count| (part, value.to_owned(), count);
        let expected = [of(1, "permit", 2), of(1, "refuse", 40), of(2, "requestable", 1)];
        assert_eq!(ask(Tally::Decisions).await, expected);
        assert_eq!(ask(Tally::Refusals).await, [of(1, "", 40), of(2, "payments", 1)]);
        assert_eq!(ask(Tally::Latencies).await, [of(1, "", 1), of(1, "2000", 1)]);
        assert_eq!(ask(Tally::Grants).await, [of(1, "started", 1)]);
        let hour = index.counted(Tally::Decisions, at(999_000), at(1_002_600), 3600).await.unwrap();
        assert_eq!(hour.iter().map(|one| one.part).max(), Some(0));
    }

    #[tokio::test]
    async fn counts_are_kept_for_a_month() {
        let folder = tempfile::tempdir().unwrap();
        let later = 1_000_000 + 40 * 86_400;
        let index = index(&folder, &[attempt(1_000_000, "permit", 1)]).await;
        let json = attempt(later, "permit", 1);
        index.add(&[Indexed { position: 1, json: &json }]).await.unwrap();
        let all = index.counted(Tally::Decisions, at(0), at(later + 900), QUARTER).await.unwrap();
        assert_eq!(all.iter().map(|one| one.count).sum::<u64>(), 1);
    }
}
