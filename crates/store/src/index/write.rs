//! Adding to the index: what follows, in one transaction with how far it goes.

use std::collections::{BTreeSet, HashMap};

use portcullis_model::{Field, Leaf};
use sqlx::{Connection, SqliteConnection};

use super::{BLOCK, IndexError, Indexed, Result, bits::Bits, tables::stored};

/// Terms whose ids are kept in memory.
const MOST_TERMS: usize = 1 << 16;

/// The only one that writes.
#[derive(Debug)]
pub(super) struct Writer {
    db: Option<SqliteConnection>,
    terms: HashMap<(Field, String), i64>,
    open: Open,
}

/// The block that is being filled, as far as it was in memory.
#[derive(Debug, Default)]
struct Open {
    block: Option<u64>,
    places: HashMap<i64, Bits>,
    touched: BTreeSet<i64>,
    times: Option<(i64, i64)>,
    /// All of it was added by this writer: what is not in memory is not in the file.
    is_whole: bool,
}

impl Writer {
    pub(super) fn new(db: SqliteConnection) -> Self {
        Self { db: Some(db), terms: HashMap::new(), open: Open::default() }
    }

    pub(super) async fn close(&mut self) {
        if let Some(db) = self.db.take()
            && let Err(error) = db.close().await
        {
            tracing::debug!(%error, "the index of the record was not closed in good order");
        }
    }

    pub(super) async fn add(&mut self, entries: &[Indexed<'_>]) -> Result<()> {
        let Some(last) = entries.last() else { return Ok(()) };
        let Some(mut db) = self.db.take() else {
            return Err(IndexError::Unavailable(sqlx::Error::PoolClosed));
        };
        let added = self.in_transaction(&mut db, entries, last).await;
        self.db = Some(db);
        if added.is_err() {
            // What is in memory may say more than the file.
            self.terms.clear();
            self.open = Open::default();
        }
        added
    }

    /// Forgets whole blocks; those that are filled now are not among them.
    pub(super) async fn forget(&mut self, from: u64, to: u64) -> Result<()> {
        let Some(mut db) = self.db.take() else {
            return Err(IndexError::Unavailable(sqlx::Error::PoolClosed));
        };
        let forgotten = forget(&mut db, from, to).await;
        self.db = Some(db);
        // Terms that are named nowhere any more have no id now.
        self.terms.clear();
        self.open = Open::default();
        forgotten
    }

    async fn in_transaction(
        &mut self,
        db: &mut SqliteConnection,
        entries: &[Indexed<'_>],
        last: &Indexed<'_>,
    ) -> Result<()> {
        let mut tx = db.begin().await?;
        let mut words = Vec::new();
        for entry in entries {
            self.turn_to(&mut tx, entry.position).await?;
            // What is no event is in the log, and answers nothing.
            let Ok(leaf) = serde_json::from_str::<Leaf>(entry.json) else { continue };
            let text = leaf.words();
            if !text.is_empty() {
                words.push((entry.position, text));
            }
            self.note(&mut tx, entry.position, &leaf).await?;
        }
        self.flush(&mut tx).await?;
        add_words(&mut tx, &words).await?;
        sqlx::query("UPDATE covered SET next = ?, last = ?")
            .bind(stored(last.position + 1))
            .bind(last.json)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Makes the block of `position` the open one.
    async fn turn_to(&mut self, db: &mut SqliteConnection, position: u64) -> Result<()> {
        let block = position / BLOCK;
        if self.open.block != Some(block) {
            self.flush(db).await?;
            let is_whole = self.open.block.is_some() || position.is_multiple_of(BLOCK);
            self.open = Open { block: Some(block), is_whole, ..Open::default() };
        }
        Ok(())
    }

    async fn note(&mut self, db: &mut SqliteConnection, at: u64, leaf: &Leaf) -> Result<()> {
        let place = u16::try_from(at % BLOCK).unwrap_or(0);
        if let Some(time) = leaf.time().map(jiff::Timestamp::as_microsecond) {
            let (first, last) = self.open.times.unwrap_or((time, time));
            self.open.times = Some((first.min(time), last.max(time)));
        }
        for (field, value) in leaf.terms() {
            let term = self.term(db, field, value).await?;
            if !self.open.places.contains_key(&term) {
                let block = at / BLOCK;
                let known = if self.open.is_whole { None } else { known(db, term, block).await? };
                self.open.places.insert(term, known.unwrap_or(Bits::NONE));
            }
            if let Some(bits) = self.open.places.get_mut(&term) {
                bits.add(place);
            }
            self.open.touched.insert(term);
        }
        Ok(())
    }

    async fn term(&mut self, db: &mut SqliteConnection, field: Field, value: &str) -> Result<i64> {
        let key = (field, value.to_owned());
        if let Some(term) = self.terms.get(&key) {
            return Ok(*term);
        }
        // A conflict that changes nothing: it answers with the id in either case.
        let sql = "INSERT INTO term (field, value) VALUES (?, ?) \
                   ON CONFLICT (field, value) DO UPDATE SET field = excluded.field RETURNING id";
        let query = sqlx::query_scalar(sql).bind(field.as_str()).bind(value);
        let term = query.fetch_one(db).await?;
        if self.terms.len() >= MOST_TERMS {
            self.terms.clear();
        }
        self.terms.insert(key, term);
        Ok(term)
    }

    /// Writes what has changed in the open block.
    async fn flush(&mut self, db: &mut SqliteConnection) -> Result<()> {
        let Some(block) = self.open.block.map(stored) else { return Ok(()) };
        for term in std::mem::take(&mut self.open.touched) {
            let Some(bits) = self.open.places.get(&term) else { continue };
            sqlx::query("INSERT OR REPLACE INTO posting (term, block, places) VALUES (?, ?, ?)")
                .bind(term)
                .bind(block)
                .bind(bits.to_bytes())
                .execute(&mut *db)
                .await?;
        }
        if let Some((first, last)) = self.open.times.take() {
            let sql = "INSERT INTO block (block, first, last) VALUES (?, ?, ?) ON CONFLICT (block) \
                       DO UPDATE SET first = min(first, excluded.first), \
                       last = max(last, excluded.last)";
            sqlx::query(sql).bind(block).bind(first).bind(last).execute(&mut *db).await?;
        }
        Ok(())
    }
}

async fn forget(db: &mut SqliteConnection, from: u64, to: u64) -> Result<()> {
    let mut tx = db.begin().await?;
    let (first, end) = (stored(from / BLOCK), stored(to / BLOCK));
    for sql in [
        "DELETE FROM posting WHERE block >= ? AND block < ?",
        "DELETE FROM block WHERE block >= ? AND block < ?",
    ] {
        sqlx::query(sql).bind(first).bind(end).execute(&mut *tx).await?;
    }
    let sql = "DELETE FROM term WHERE NOT EXISTS (SELECT 1 FROM posting WHERE term = term.id)";
    sqlx::query(sql).execute(&mut *tx).await?;
    let sql = "DELETE FROM words WHERE rowid >= ? AND rowid < ?";
    sqlx::query(sql).bind(stored(from)).bind(stored(to)).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

async fn known(db: &mut SqliteConnection, term: i64, block: u64) -> Result<Option<Bits>> {
    let sql = "SELECT places FROM posting WHERE term = ? AND block = ?";
    let query = sqlx::query_scalar(sql).bind(term).bind(stored(block));
    let known: Option<Vec<u8>> = query.fetch_optional(db).await?;
    known.map(|bytes| Bits::read(&bytes)).transpose()
}

/// One statement for all of them, whose number it does not depend on.
async fn add_words(db: &mut SqliteConnection, words: &[(u64, String)]) -> Result<()> {
    if words.is_empty() {
        return Ok(());
    }
    let all = serde_json::to_string(words)
        .map_err(|error| IndexError::Unavailable(sqlx::Error::Encode(Box::new(error))))?;
    let sql = "INSERT INTO words (rowid, text) SELECT value ->> 0, value ->> 1 FROM json_each(?)";
    sqlx::query(sql).bind(all).execute(db).await?;
    Ok(())
}
