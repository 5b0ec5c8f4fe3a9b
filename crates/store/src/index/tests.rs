use std::{fs, path::PathBuf};

use portcullis_model::{EventFilter, Leaf};

use super::*;

/// Numbers that come the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

const TYPES: [&str; 4] = ["attempt", "attempt", "attempt", "reviewed"];
const PEOPLE: [&str; 5] = ["corp:ana", "corp:ben", "corp:lea", "corp:l\u{e9}a", "ci:'; --"];
const WORDS: [&str; 6] = ["refund", "Müller", "R-17", "v1", "stuck", "NEAR"];

fn entry(dice: &mut Dice, position: u64) -> String {
    // Some are no events, some have no time, and the clock goes back now and then.
    if dice.roll(50) == 0 {
        return format!("{{\"seq\":{position},\"type\":7}}");
    }
    let second = 1_700_000_000 + position / 3 - dice.roll(2) * dice.roll(900);
    let time = jiff::Timestamp::new(i64::try_from(second).unwrap(), 5).unwrap();
    let mut event = serde_json::json!({
        "seq": position, "type": dice.one_of(&TYPES),
        "principal": {"type": "User", "id": dice.one_of(&PEOPLE)},
        "path": format!("/{}/{}", dice.one_of(&WORDS), dice.one_of(&WORDS)),
        "decision": dice.one_of(&["permit", "deny"]),
    });
    if dice.roll(20) > 0 {
        event["time"] = time.to_string().into();
    }
    if dice.roll(3) == 0 {
        event["detail"] = format!("{} {}", dice.one_of(&WORDS), dice.one_of(&WORDS)).into();
    }
    if dice.roll(400) == 0 {
        event["service"] = "rare".into();
        let seen = serde_json::json!([{"class": "pci"}, {"class": "pii"}]);
        event["revealed"] = seen;
    }
    event.to_string()
}

fn filter(dice: &mut Dice, size: u64) -> EventFilter {
    let mut filter = EventFilter { newest: dice.roll(2) == 0, limit: 1, ..EventFilter::default() };
    let time = |second: u64| {
        let second = 1_700_000_000 + second / 3;
        Some(jiff::Timestamp::new(i64::try_from(second).unwrap(), 0).unwrap())
    };
    for part in 0..10 {
        if dice.roll(4) > 0 {
            continue;
        }
        match part {
            0 => filter.kind = Some(dice.one_of(&TYPES).into()),
            1 => {
                filter.principal = Some(dice.one_of(&[&PEOPLE[..], &["corp:zoe"]].concat()).into());
            }
            2 => filter.decision = Some("deny".into()),
            3 => filter.since = time(dice.roll(size)),
            4 => filter.until = time(dice.roll(size)),
            5 => filter.words = Some(dice.one_of(&WORDS).parse().unwrap()),
            6 => filter.words = Some("v1/refund stuck".parse().unwrap()),
            7 => filter.class = Some("pii".parse().unwrap()),
            8 => filter.from = Some(dice.roll(size)),
            _ => filter.before = Some(dice.roll(size + 9)),
        }
    }
    filter
}

/// By looking at every entry.
fn scan(entries: &[String], filter: &EventFilter) -> Vec<u64> {
    let answers = |(position, json): (usize, &String)| {
        let position = position as u64;
        let is_within = position >= filter.from.unwrap_or(0)
            && filter.before.is_none_or(|before| position < before);
        let leaf = serde_json::from_str::<Leaf>(json);
        (is_within && leaf.is_ok_and(|leaf| leaf.answers(filter))).then_some(position)
    };
    let mut found: Vec<_> = entries.iter().enumerate().filter_map(answers).collect();
    if filter.newest {
        found.reverse();
    }
    found
}

/// By the index, part by part, each candidate looked at.
async fn search(index: &Index, entries: &[String], filter: &EventFilter, part: usize) -> Vec<u64> {
    let (mut filter, mut all) = (filter.clone(), Vec::new());
    loop {
        let found = index.find(&filter, part).await.unwrap();
        assert!(found.positions.len() <= part);
        let answers = |position: &u64| {
            let json = &entries[usize::try_from(*position).unwrap()];
            serde_json::from_str::<Leaf>(json).is_ok_and(|leaf| leaf.answers(&filter))
        };
        all.extend(found.positions.iter().copied().filter(answers));
        match found.next {
            None => return all,
            Some(next) if filter.newest => filter.before = Some(next),
            Some(next) => filter.from = Some(next),
        }
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    (dir, path)
}

async fn add(index: &Index, entries: &[String], from: u64) {
    let entry = |(n, json): (u64, &'_ String)| (from + n, json.clone());
    let entries: Vec<_> = (0..).zip(entries).map(entry).collect();
    let indexed = |(position, json): &'_ (u64, String)| (*position, json.clone());
    let owned: Vec<_> = entries.iter().map(indexed).collect();
    let all: Vec<_> =
        owned.iter().map(|(position, json)| Indexed { position: *position, json }).collect();
    index.add(&all).await.unwrap();
}

#[tokio::test]
async fn what_the_index_finds_is_what_looking_at_every_entry_finds() {
    let questions = if std::env::var_os("PORTCULLIS_SOAK").is_some() { 2000 } else { 60 };
    let mut dice = Dice(11);
    let entries: Vec<_> = (0..9500).map(|position| entry(&mut dice, position)).collect();
    let (_dir, path) = file();
    let (mut index, mut done) = (Index::open(&path).await.unwrap(), 0);
    // In pieces of all sizes, and with restarts in the middle of blocks.
    while done < entries.len() {
        let size = usize::try_from(1 + dice.roll(2500)).unwrap().min(entries.len() - done);
        add(&index, &entries[done..done + size], done as u64).await;
        done += size;
        let covered = index.covered().await.unwrap();
        assert_eq!((covered.next, covered.last.as_ref()), (done as u64, entries.get(done - 1)));
        if dice.roll(2) == 0 {
            index.close().await;
            index = Index::open(&path).await.unwrap();
        }
    }
    let mut answered = 0;
    for _ in 0..questions {
        let filter = filter(&mut dice, entries.len() as u64);
        let part = usize::try_from(1 + dice.roll(700)).unwrap();
        let expected = scan(&entries, &filter);
        assert_eq!(search(&index, &entries, &filter, part).await, expected, "{filter:?}");
        answered += usize::from(!expected.is_empty());
    }
    assert!(answered > questions / 3, "too many questions have no answer: {answered}");
}

#[tokio::test]
async fn what_is_no_index_of_ours_is_damaged() {
    let (_dir, path) = file();
    fs::write(&path, "not a database, and longer than the head of one ".repeat(9)).unwrap();
    assert!(matches!(Index::open(&path).await, Err(IndexError::Damaged(_))));
    remove(&path).unwrap();
    let index = Index::open(&path).await.unwrap();
    add(&index, &[entry(&mut Dice(1), 0)], 0).await;
    index.close().await;
    // Another version, and a table that is gone.
    let tamper = async |sql: &'static str| {
        let db = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query(sql).execute(&db).await.unwrap();
        db.close().await;
    };
    tamper("PRAGMA user_version = 1").await;
    assert!(matches!(Index::open(&path).await, Err(IndexError::Damaged(_))));
    tamper("PRAGMA user_version = 2").await;
    tamper("DROP TABLE posting").await;
    let index = Index::open(&path).await.unwrap();
    let filter = EventFilter { kind: Some("attempt".into()), ..EventFilter::default() };
    assert!(matches!(index.find(&filter, 10).await, Err(IndexError::Damaged(_))));
    assert!(index.is_damaged());
    index.close().await;
    remove(&path).unwrap();
    assert!(!path.exists());
    remove(&path).unwrap();
}

#[tokio::test]
async fn what_is_forgotten_is_found_no_more_and_all_else_is() {
    let mut dice = Dice(5);
    let mut entries: Vec<_> = (0..3 * 4096 + 50).map(|at| entry(&mut dice, at)).collect();
    entries[9] = serde_json::json!({"seq": 9, "type": "reviewed", "service": "gone",
        "detail": "Wallenstein"})
    .to_string();
    let (_dir, path) = file();
    let index = Index::open(&path).await.unwrap();
    add(&index, &entries, 0).await;
    let about =
        EventFilter { words: Some("wallenstein".parse().unwrap()), ..EventFilter::default() };
    assert_eq!(search(&index, &entries, &about, 10).await, [9]);
    for _ in 0..2 {
        index.forget(0, 2 * 4096).await.unwrap();
        assert_eq!(search(&index, &entries, &about, 10).await, [0; 0]);
    }
    let of =
        |text: &str| EventFilter { service: Some(text.parse().unwrap()), ..EventFilter::default() };
    assert_eq!(search(&index, &entries, &of("gone"), 10).await, [0; 0]);
    // It goes on, with terms that were known and forgotten too.
    let more = vec![entries[9].clone(); 3];
    add(&index, &more, entries.len() as u64).await;
    let first = entries.len() as u64;
    entries.extend(more);
    assert_eq!(search(&index, &entries, &of("gone"), 2).await, [first, first + 1, first + 2]);
    for _ in 0..40 {
        let filter = EventFilter { limit: 1, ..filter(&mut dice, entries.len() as u64) };
        // Nobody asks it for everything: who does reads the log.
        if filter.is_open() {
            continue;
        }
        let mut expected = scan(&entries, &filter);
        expected.retain(|at| *at >= 2 * 4096);
        assert_eq!(search(&index, &entries, &filter, 300).await, expected, "{filter:?}");
    }
    index.close().await;
    let db = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM term WHERE NOT EXISTS (SELECT 1 FROM posting WHERE term = term.id)",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(left, 0, "who is nowhere any more is not named");
}
