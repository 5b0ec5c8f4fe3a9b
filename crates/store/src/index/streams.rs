//! What is in the index for one part of a question, block by block in one direction.

use std::collections::VecDeque;

use sqlx::{Row, SqliteConnection};

use super::{
    BLOCK, Result,
    bits::Bits,
    tables::{position, stored},
};

/// Rows that are fetched where the last ones were not used up, and at most.
const FIRST: i64 = 4;
const MOST: i64 = 256;
/// More than one block has: of so many the first block is whole.
const WHOLE: i64 = 4097;
/// Blocks that are guessed at one time, at most.
const MOST_GUESSED: u64 = 64;

/// The blocks that a term or a phrase is in.
#[derive(Debug)]
pub(super) struct Stream {
    of: Of,
    newest: bool,
    buffer: VecDeque<(u64, Bits)>,
    /// Nothing follows what is in the buffer.
    is_over: bool,
    ahead: i64,
    /// How many blocks were guessed the last time.
    guessed: u64,
}

/// A time, in microseconds since 1970, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since: i64,
    pub(super) until: i64,
}

#[derive(Debug)]
enum Of {
    Term(i64),
    /// Blocks with entries of this time: not all in between are, where clocks were set.
    Time(Span),
    /// A question to the full-text table: phrases of letters and digits in quotes.
    Words {
        question: String,
        /// Where many entries of a block have them, any of them may do, and of the blocks behind it, too: other
        /// parts of the question tell more, and who reads the entries sees it.
        guess: bool,
    },
}

impl Stream {
    pub(super) fn of_term(term: i64, newest: bool) -> Self {
        Self::new(Of::Term(term), newest)
    }

    pub(super) fn of_time(span: Span, newest: bool) -> Self {
        Self::new(Of::Time(span), newest)
    }

    pub(super) fn of_words(phrases: &[Vec<String>], newest: bool, guess: bool) -> Self {
        let quoted: Vec<_> =
            phrases.iter().map(|words| format!("\"{}\"", words.join(" "))).collect();
        Self::new(Of::Words { question: quoted.join(" AND "), guess }, newest)
    }

    fn new(of: Of, newest: bool) -> Self {
        Self { of, newest, buffer: VecDeque::new(), is_over: false, ahead: FIRST, guessed: 0 }
    }

    /// The first block at `target` or past it that has something, and what; `target` never goes back.
    pub(super) async fn seek(
        &mut self,
        db: &mut SqliteConnection,
        target: u64,
    ) -> Result<Option<&(u64, Bits)>> {
        let newest = self.newest;
        let had = !self.buffer.is_empty();
        while self.buffer.front().is_some_and(|(block, _)| is_short_of(newest, *block, target)) {
            self.buffer.pop_front();
        }
        if self.buffer.is_empty() && !self.is_over {
            // What was fetched in advance was good for nothing, or for all that it was asked for.
            self.ahead = if had { (self.ahead * 2).min(MOST) } else { FIRST };
            match &self.of {
                Of::Term(term) => {
                    let term = *term;
                    self.terms(db, term, target).await?;
                }
                Of::Time(span) => {
                    let span = *span;
                    self.times(db, span, target).await?;
                }
                Of::Words { question, guess } => {
                    let (question, guess) = (question.clone(), *guess);
                    self.words(db, &question, guess, target).await?;
                }
            }
        }
        Ok(self.buffer.front())
    }

    async fn terms(&mut self, db: &mut SqliteConnection, term: i64, target: u64) -> Result<()> {
        let sql = if self.newest {
            "SELECT block, places FROM posting WHERE term = ? AND block <= ? \
             ORDER BY block DESC LIMIT ?"
        } else {
            "SELECT block, places FROM posting WHERE term = ? AND block >= ? \
             ORDER BY block LIMIT ?"
        };
        let query = sqlx::query(sql).bind(term).bind(stored(target)).bind(self.ahead);
        let rows = query.fetch_all(db).await?;
        self.is_over = rows.len() < usize::try_from(self.ahead).unwrap_or(usize::MAX);
        for row in rows {
            self.buffer.push_back((position(row.try_get(0)?)?, Bits::read(row.try_get(1)?)?));
        }
        Ok(())
    }

    async fn times(&mut self, db: &mut SqliteConnection, span: Span, target: u64) -> Result<()> {
        let sql = if self.newest {
            "SELECT block FROM block WHERE block <= ? AND last >= ? AND first <= ? \
             ORDER BY block DESC LIMIT ?"
        } else {
            "SELECT block FROM block WHERE block >= ? AND last >= ? AND first <= ? \
             ORDER BY block LIMIT ?"
        };
        let query = sqlx::query_scalar(sql).bind(stored(target)).bind(span.since).bind(span.until);
        let blocks: Vec<i64> = query.bind(MOST).fetch_all(db).await?;
        self.is_over = blocks.len() < usize::try_from(MOST).unwrap_or(usize::MAX);
        for block in blocks {
            self.buffer.push_back((position(block)?, Bits::ALL));
        }
        Ok(())
    }

    async fn words(
        &mut self,
        db: &mut SqliteConnection,
        question: &str,
        guess: bool,
        target: u64,
    ) -> Result<()> {
        let sql = if self.newest {
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid <= ? ORDER BY rowid DESC LIMIT ?"
        } else {
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? ORDER BY rowid LIMIT ?"
        };
        let first = target.saturating_mul(BLOCK);
        let bound = if self.newest { first.saturating_add(BLOCK - 1) } else { first };
        for limit in [MOST, WHOLE] {
            let query = sqlx::query_scalar(sql).bind(question).bind(stored(bound)).bind(limit);
            let found: Vec<i64> = query.fetch_all(&mut *db).await?;
            self.buffer.clear();
            self.is_over = found.len() < usize::try_from(limit).unwrap_or(usize::MAX);
            for place in found {
                let place = position(place)?;
                let (block, place) = (place / BLOCK, u16::try_from(place % BLOCK).unwrap_or(0));
                match self.buffer.back_mut() {
                    Some((last, bits)) if *last == block => bits.add(place),
                    _ => {
                        let mut bits = Bits::NONE;
                        bits.add(place);
                        self.buffer.push_back((block, bits));
                    }
                }
            }
            // Of the last block there may be more than was fetched.
            if self.is_over {
                break;
            }
            if self.buffer.len() > 1 {
                self.buffer.pop_back();
                break;
            }
            if guess && let Some((block, _)) = self.buffer.pop_back() {
                self.guess(block);
                return Ok(());
            }
        }
        self.guessed = 0;
        Ok(())
    }

    /// From `block` on, twice as many as the last time: asking costs as much for a block as for all of them.
    fn guess(&mut self, block: u64) {
        self.guessed = (self.guessed * 2).clamp(1, MOST_GUESSED);
        let on = |step| if self.newest { block.checked_sub(step) } else { block.checked_add(step) };
        self.buffer.extend((0..self.guessed).map_while(on).map(|block| (block, Bits::ALL)));
    }
}

fn is_short_of(newest: bool, block: u64, target: u64) -> bool {
    if newest { block > target } else { block < target }
}
