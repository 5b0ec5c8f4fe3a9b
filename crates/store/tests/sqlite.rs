//! The suite against SQLite, and what is SQLite's own: one owner, private files, kill -9.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test may fail"
)]

mod suite;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use portcullis_store::{Change, Grants, SqliteStore, Store, StoreError};
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use suite::made;

macro_rules! suite {
    ($($check:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let folder = tempfile::tempdir().unwrap();
            let store = SqliteStore::open(&folder.path().join("p.db")).await.unwrap();
            suite::$check(Arc::new(store)).await;
        }
    )+};
}

suite! {
    a_transaction_happens_whole_or_not_at_all,
    the_same_is_asked_once_while_it_waits,
    lists_go_on_after_what_was_seen,
    those_seen_are_listed_in_parts_and_found_by_name,
    no_more_wait_than_may,
    m02_one_person_is_counted_once_by_the_store_too,
    e25_of_many_transitions_at_once_exactly_one_wins,
    e16_a_use_is_spent_once,
    e16_a_one_time_token_is_redeemed_once,
    m11_a_one_time_token_lapses_and_nothing_comes_of_an_unknown_one,
    m16_a_token_that_is_bound_to_a_key_comes_back_bound,
    m16_a_grants_tokens_end_in_the_transaction_that_ends_it,
    there_are_so_many_tokens_of_a_grant_in_a_minute_and_in_all,
    e27_what_policy_gives_by_itself_is_given_once_while_it_lives,
    e27_an_extended_grant_stands_in_the_way_of_a_second_until_its_new_end,
    e34_an_emergency_is_open_until_one_has_reviewed_it,
    e35_a_sealed_credential_takes_two_people_by_the_store_too,
    e35_what_was_opened_comes_in_once,
    e08_a_button_is_good_once_and_while_it_is_shown,
    one_place_has_one_message_about_the_same,
    a_reader_of_the_record_goes_on_from_where_it_was,
    habits_and_firings_are_kept_until_they_are_forgotten,
    what_was_not_taken_is_kept_once_and_up_to_a_bound,
    what_was_not_taken_is_read_in_parts_oldest_first,
    messages_are_counted_once_they_are_due_or_were_tried,
    k13_what_is_erased_is_gone_and_stays_erased,
    k13_a_hold_that_is_placed_meanwhile_keeps_what_would_be_erased,
    k13_only_what_nothing_commits_to_is_swept,
    a_legal_hold_is_known_again_from_the_record,
    a_legal_hold_is_released_once_and_so_many_are_in_force,
    nothing_is_removed_that_was_held_since_it_was_looked_at,
    events_of_what_was_removed_are_forgotten_and_no_others,
    uses_of_grants_are_known_while_they_are_in_force,
    who_is_to_be_told_is_tried_in_turn_and_told_once,
    a_closed_store_answers_nothing,
    an_ended_grant_stays_ended,
    a_sign_in_takes_its_children_with_it,
    people_are_found_by_address_and_by_principal,
    a_device_sign_in_is_done_once,
    a_code_is_exchanged_once_and_what_came_once_does_not_come_again,
    what_a_browsers_sign_in_needs_ends_with_it,
    e37_a_refusal_is_read_by_its_principal_only,
    an_answer_is_kept_once_for_each_key_and_the_newest_only,
    a_passkey_is_one_principals_and_its_counter_is_guarded,
    a_challenge_is_answered_once,
    n07_a_closed_incident_has_no_grant_in_force,
    a_schedule_is_put_from_what_was_seen,
    leftovers_are_forgotten_at_their_time,
    f14_generations_only_grow,
    events_wait_for_the_log_in_their_order,
    d05_a_job_token_is_spent_once_until_its_time_is_over,
    d25_whom_the_directory_bars_gets_no_sign_in,
    d25_whom_the_directory_bars_asks_for_nothing,
    the_directory_changes_from_what_was_seen_and_names_are_unique,
    a_run_is_forgotten_with_its_sign_in_and_others_are_seen,
}

#[tokio::test]
async fn l08_a_second_owner_is_refused_until_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.db");
    let first = SqliteStore::open(&path).await.unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::InUse(_))));
    first.close().await;
    // Somebody may still refer to it; that does not keep it.
    SqliteStore::open(&path).await.unwrap();
    drop(first);
}

#[cfg(unix)]
#[tokio::test]
async fn every_file_of_the_store_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("p.db")).await.unwrap();
    store.commit(vec![Change::Record(made::event(1))]).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 3, "the database, its lock and its journal");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.db");
    let text = "this is a letter, not a database; ".repeat(64);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(SqliteStore::open(&path).await, Err(StoreError::Open { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

const CHILD: &str = "PORTCULLIS_STORE_CHILD";

/// Not a test: what the next test runs in a process of its own and kills.
#[tokio::test]
#[ignore = "run by l07 as a process of its own"]
async fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = SqliteStore::open(Path::new(&path)).await.unwrap();
    let first = store.unlogged(u32::MAX).await.unwrap().len() as u128;
    for n in first.. {
        let request = made::request(n, "ana", &format!("payments.op{n}"));
        let request = Change::AddAccessRequest { request, at_most: u32::MAX };
        let changes = vec![
            request,
            Change::AddGrant(made::grant(n, n, None)),
            Change::Record(made::event(n)),
        ];
        store.commit(changes).await.unwrap();
        writeln!(std::io::stderr(), "acknowledged {n}").unwrap();
    }
}

#[tokio::test]
async fn a_grant_for_an_incident_that_cannot_be_read_is_an_error_and_not_one_less() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let options = SqliteConnectOptions::new().filename(&path).foreign_keys(false);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let damaged = "INSERT INTO grants (id, access_request, principal, service, state, version, expires_at, \
                   incident, body) VALUES ('G', 'R', 'corp:ana', 'payments', 'in_force', 0, 0, 'PD-1', '{')";
    sqlx::query(damaged).execute(&pool).await.unwrap();
    pool.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let held = store.grants(Grants::For("PD-1".parse().unwrap()), 10).await;
    assert!(matches!(held, Err(StoreError::Unreadable { table: "grants", .. })), "{held:?}");
    // Where others matter more than this one, it is left out.
    assert!(store.grants(Grants::InForce, 10).await.unwrap().is_empty());
}

/// `PORTCULLIS_SOAK` says how many times.
#[tokio::test]
async fn l07_nothing_acknowledged_is_lost_to_kill_9() {
    let rounds = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.db");
    let mut acknowledged = 0;
    for round in 0..rounds {
        acknowledged =
            acknowledged.max(killed_after(&path, Duration::from_millis(150 + round * 37 % 200)));
        let store = SqliteStore::open(&path).await.unwrap();
        let events = store.unlogged(u32::MAX).await.unwrap();
        let ids: Vec<u128> = events.iter().map(|stored| stored.event.id.to_bits()).collect();
        let whole: Vec<u128> = (0..ids.len() as u128).collect();
        assert_eq!(ids, whole, "no gap and no reordering");
        assert!(ids.len() >= acknowledged, "{} of {acknowledged} are there", ids.len());
        for n in whole {
            let grant = portcullis_model::GrantId::from_bits(n);
            let request = portcullis_model::AccessRequestId::from_bits(n);
            assert!(store.grant(grant).await.unwrap().is_some());
            assert!(store.access_request(request).await.unwrap().is_some());
        }
        store.close().await;
    }
    assert!(acknowledged > 0, "the child never got to write");
}

/// Lets the child write for a while, kills it, and says how many rows it had acknowledged in all.
fn killed_after(path: &Path, while_writing: Duration) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (first, has_begun) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let numbers = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("acknowledged ").and_then(|n| n.parse::<usize>().ok())
        });
        let told = numbers.inspect(|_| {
            let _ = first.send(());
        });
        told.last()
    });
    // A machine that is busy takes its time until the child writes at all.
    has_begun.recv_timeout(Duration::from_mins(1)).unwrap();
    std::thread::sleep(while_writing);
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap().map_or(0, |last| last + 1)
}
