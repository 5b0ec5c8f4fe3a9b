//! Writing: one statement for each change, its guard in the statement.

use portcullis_model::{
    AccessRequest, Decision, Event, Grant, GrantState, Principal, RequestId, Review, SignInId,
    TokenHash,
};
use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::{
    Result, browsers, chat, contents, directory, exports, facts, grant_tokens, lifecycle, passkeys,
    retention,
    rows::{json, micros, unreadable},
    sealed, undelivered,
};
use crate::{
    Change, LogMark, Person, StoreError, StoredAnswer, StoredBundle, StoredDevice, StoredRefusal,
    StoredSignIn,
};

/// Answers that are kept for one caller.
const MOST_ANSWERS: i64 = 256;

#[expect(clippy::too_many_lines, reason = "one arm for each change")]
pub(super) async fn apply(tx: &mut SqliteConnection, change: &Change) -> Result<()> {
    match change {
        Change::AddPerson(person) => add_person(tx, person).await,
        Change::SeePrincipal { principal, at } => see_principal(tx, principal, micros(*at)).await,
        Change::ForgetPrincipal(id) => directory::forget_principal(tx, id).await,
        Change::AddSignIn(stored) => add_sign_in(tx, stored).await,
        Change::EndSignIn(id) => end_sign_in(tx, *id).await,
        Change::SeeSignIn { id, at } => browsers::see(tx, *id, *at).await,
        Change::AddCode { hash, code } => browsers::add_code(tx, hash, code).await,
        Change::EndCode(hash) => browsers::end_code(tx, hash).await,
        Change::SeeOnce { hash, until } => browsers::see_once(tx, hash, *until).await,
        Change::KeepProviderToken(token) => browsers::keep_provider_token(tx, token).await,
        Change::AddDevice { hash, device } => add_device(tx, hash, device).await,
        Change::EndDevice(hash) => end_device(tx, hash).await,
        Change::AddAccessRequest { request, at_most } => {
            add_access_request(tx, request, *at_most).await
        }
        Change::MoveAccessRequest { request, seen_reviews } => {
            move_access_request(tx, request, *seen_reviews).await
        }
        Change::ReviewAfterwards(request) => review_afterwards(tx, request).await,
        Change::AddGrant(grant) => add_grant(tx, grant, false).await,
        Change::AddGrantOnce(grant) => add_grant(tx, grant, true).await,
        Change::MoveGrant { grant, seen_version } => move_grant(tx, grant, *seen_version).await,
        Change::SpendUse { grant, request, at } => {
            spend_use(tx, &grant.to_string(), *request, micros(*at)).await
        }
        Change::Token(change) => grant_tokens::apply(tx, change).await,
        Change::SeeGrant { id, at } => lifecycle::see_grant(tx, *id, *at).await,
        Change::Undelivered(change) => undelivered::apply(tx, change).await,
        Change::Notice(change) => lifecycle::notice_change(tx, change).await,
        Change::KeepRefusal { refusal, at_most } => keep_refusal(tx, refusal, *at_most).await,
        Change::KeepAnswer { answer, forget_until } => {
            keep_answer(tx, answer, micros(*forget_until)).await
        }
        Change::AddPasskey { passkey, at_most } => passkeys::add(tx, passkey, *at_most).await,
        Change::SpendPasskey { passkey, seen_counter } => {
            passkeys::spend(tx, passkey, *seen_counter).await
        }
        Change::RemovePasskey { id, principal } => passkeys::remove(tx, *id, principal).await,
        Change::AddChallenge { hash, challenge, now } => {
            passkeys::challenge(tx, hash, challenge, *now).await
        }
        Change::EndChallenge(hash) => passkeys::end_challenge(tx, hash).await,
        Change::Forget { refusals_until, devices_until } => {
            forget(tx, micros(*refusals_until), micros(*devices_until)).await
        }
        Change::AddBundle(bundle) => add_bundle(tx, bundle).await,
        Change::SpendJobToken { key, until, now } => {
            directory::spend_job_token(tx, key, micros(*until), micros(*now)).await
        }
        Change::PutUser(user) => directory::put_user(tx, user).await,
        Change::PutGroup(group) => directory::put_group(tx, group).await,
        Change::RemoveGroup(id) => directory::remove_group(tx, *id).await,
        Change::AddIncident(incident) => facts::add_incident(tx, incident).await,
        Change::MoveIncident { incident, seen_version } => {
            facts::move_incident(tx, incident, *seen_version).await
        }
        Change::PutSchedule(schedule) => facts::put_schedule(tx, schedule).await,
        Change::Sealed(change) => sealed::apply(tx, change).await,
        Change::Export(change) => exports::apply(tx, change).await,
        Change::Content(change) => contents::apply(tx, change).await,
        Change::Chat(change) => chat::apply(tx, change).await,
        Change::Retention(change) => retention::apply(tx, change).await,
        Change::Record(event) => record(tx, event).await,
    }
}

async fn add_device(
    tx: &mut SqliteConnection,
    hash: &TokenHash,
    device: &StoredDevice,
) -> Result<()> {
    let sql = "INSERT INTO devices (token_hash, expires_at, body) VALUES (?, ?, ?)";
    let query = sqlx::query(sql).bind(hash.to_string()).bind(micros(device.expires_at));
    guarded(tx, query.bind(json("devices", device)?)).await
}

async fn end_device(tx: &mut SqliteConnection, hash: &TokenHash) -> Result<()> {
    let sql = "DELETE FROM devices WHERE token_hash = ?";
    guarded(tx, sqlx::query(sql).bind(hash.to_string())).await
}

async fn end_sign_in(tx: &mut SqliteConnection, id: SignInId) -> Result<()> {
    for sql in
        ["DELETE FROM sign_ins WHERE parent = ?", "DELETE FROM provider_tokens WHERE sign_in = ?"]
    {
        sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
    }
    let sql = "DELETE FROM sign_ins WHERE id = ?";
    guarded(tx, sqlx::query(sql).bind(id.to_string())).await
}

/// INVARIANT: a statement that moved no row found its guard false.
pub(super) async fn guarded(
    tx: &mut SqliteConnection,
    query: Query<'_, Sqlite, SqliteArguments>,
) -> Result<()> {
    match query.execute(tx).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}

async fn add_person(tx: &mut SqliteConnection, person: &Person) -> Result<()> {
    let sql = "INSERT INTO people (id, email) VALUES (?, ?) \
               ON CONFLICT (id) DO UPDATE SET email = excluded.email";
    let query = sqlx::query(sql).bind(person.id.to_string()).bind(person.email.clone());
    guarded(tx, query).await
}

async fn see_principal(tx: &mut SqliteConnection, principal: &Principal, at: i64) -> Result<()> {
    let sql = "INSERT INTO principals (id, person, seen_at, body) VALUES (?, ?, ?, ?) \
               ON CONFLICT (id) DO UPDATE SET \
               person = excluded.person, seen_at = excluded.seen_at, body = excluded.body";
    let query = sqlx::query(sql)
        .bind(principal.id.to_string())
        .bind(principal.person.map(|person| person.to_string()))
        .bind(at)
        .bind(json("principals", principal)?);
    guarded(tx, query).await
}

/// A condition: the directory bars neither this principal nor the human being behind it.
macro_rules! not_barred {
    ($principal:literal, $person:literal) => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM directory_users WHERE active = 0 AND (principal = ",
            $principal,
            " OR principal IN (SELECT id FROM principals WHERE person = ",
            $person,
            ") OR email IN (SELECT email FROM people WHERE id = ",
            $person,
            ")))"
        )
    };
}

async fn add_sign_in(tx: &mut SqliteConnection, stored: &StoredSignIn) -> Result<()> {
    let sign_in = &stored.sign_in;
    // A child of a sign-in that has just ended would outlive it: the guard asks for the parent.
    let sql = concat!(
        "INSERT INTO sign_ins (id, token_hash, principal, parent, expires_at, body) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 \
         WHERE (?4 IS NULL OR EXISTS (SELECT 1 FROM sign_ins WHERE id = ?4)) AND ",
        not_barred!("?3", "?7")
    );
    let query = sqlx::query(sql)
        .bind(sign_in.id.to_string())
        .bind(stored.hash.to_string())
        .bind(sign_in.principal.to_string())
        .bind(sign_in.parent.map(|parent| parent.to_string()))
        .bind(micros(sign_in.expires_at))
        .bind(json("sign_ins", sign_in)?)
        .bind(sign_in.person.map(|person| person.to_string()));
    guarded(tx, query).await
}

async fn add_access_request(
    tx: &mut SqliteConnection,
    request: &AccessRequest,
    at_most: u32,
) -> Result<()> {
    let sql = concat!(
        "INSERT INTO access_requests \
         (id, principal, service, asked, state, reviews, expires_at, body, afterwards) \
         SELECT ?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8 \
         WHERE (?5 <> 'pending' OR (SELECT count(*) FROM access_requests \
         WHERE principal = ?2 AND state = 'pending') < ?9) AND ",
        not_barred!("?2", "?10")
    );
    let query = with_columns(sqlx::query(sql), request)?
        .bind(at_most)
        .bind(request.person.map(|person| person.to_string()));
    guarded(tx, query).await
}

/// What an opened credential came to, whatever is guarded elsewhere: it has happened.
pub(super) async fn insert_access_request(
    tx: &mut SqliteConnection,
    request: &AccessRequest,
) -> Result<()> {
    let sql = "INSERT INTO access_requests \
               (id, principal, service, asked, state, reviews, expires_at, body, afterwards) \
               VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)";
    guarded(tx, with_columns(sqlx::query(sql), request)?).await
}

/// Binds what a new row of `access_requests` holds.
fn with_columns<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    request: &'q AccessRequest,
) -> Result<Query<'q, Sqlite, SqliteArguments>> {
    Ok(query
        .bind(request.id.to_string())
        .bind(request.requester.to_string())
        .bind(request.service.to_string())
        .bind(asked(request)?)
        .bind(request.state.as_str())
        .bind(micros(request.expires_at))
        .bind(json("access_requests", request)?)
        .bind(request.waits_for_review_afterwards().then_some("open")))
}

async fn review_afterwards(tx: &mut SqliteConnection, request: &AccessRequest) -> Result<()> {
    let sql = "UPDATE access_requests SET afterwards = 'reviewed', reviews = ?, body = ? \
               WHERE id = ? AND state = 'approved' AND afterwards = 'open'";
    let query = sqlx::query(sql)
        .bind(count(request.reviews.len()))
        .bind(json("access_requests", request)?)
        .bind(request.id.to_string());
    guarded(tx, query).await?;
    for review in &request.reviews {
        add_review(tx, &request.id.to_string(), review).await?;
    }
    Ok(())
}

/// What two access requests have in common when one of them is enough.
fn asked(request: &AccessRequest) -> Result<String> {
    let queries: Vec<_> = request
        .queries
        .iter()
        .map(|query| {
            let way = &query.way;
            (&query.operation, &query.instance, &query.digest, &way.rule, &way.incident)
        })
        .collect();
    match request.extends {
        None => json("access_requests", &(queries, request.duration)),
        Some(grant) => json("access_requests", &(queries, request.duration, grant)),
    }
}

async fn move_access_request(
    tx: &mut SqliteConnection,
    request: &AccessRequest,
    seen_reviews: usize,
) -> Result<()> {
    let sql = "UPDATE access_requests SET state = ?, reviews = ?, body = ? \
               WHERE id = ? AND state = 'pending' AND reviews = ?";
    let query = sqlx::query(sql)
        .bind(request.state.as_str())
        .bind(count(request.reviews.len()))
        .bind(json("access_requests", request)?)
        .bind(request.id.to_string())
        .bind(count(seen_reviews));
    guarded(tx, query).await?;
    for review in request.reviews.iter().skip(seen_reviews) {
        add_review(tx, &request.id.to_string(), review).await?;
    }
    Ok(())
}

async fn add_review(
    tx: &mut SqliteConnection,
    access_request: &str,
    review: &Review,
) -> Result<()> {
    let sql = "INSERT INTO reviews (id, access_request, person, decision, at) \
               VALUES (?, ?, ?, ?, ?)";
    let decision = match review.decision {
        Decision::Approve => "approve",
        Decision::Decline => "decline",
    };
    let query = sqlx::query(sql)
        .bind(review.id.to_string())
        .bind(access_request.to_owned())
        .bind(review.person.to_string())
        .bind(decision)
        .bind(micros(review.at));
    guarded(tx, query).await
}

/// The grant of one, in force or over.
pub(super) async fn insert_grant(tx: &mut SqliteConnection, grant: &Grant) -> Result<()> {
    let sql = "INSERT INTO grants \
               (id, access_request, principal, service, state, version, expires_at, body) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(grant.id.to_string())
        .bind(grant.access_request.to_string())
        .bind(grant.principal.to_string())
        .bind(grant.resource.service.to_string())
        .bind(state(grant))
        .bind(grant.version)
        .bind(micros(grant.expires_at))
        .bind(json("grants", grant)?);
    guarded(tx, query).await
}

async fn add_grant(tx: &mut SqliteConnection, grant: &Grant, once: bool) -> Result<()> {
    let sql = "INSERT INTO grants \
               (id, access_request, principal, service, state, version, expires_at, body, incident) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?11 WHERE (?11 IS NULL OR EXISTS (\
               SELECT 1 FROM incidents WHERE id = ?11 AND state = 'open')) \
               AND (NOT ?9 OR NOT EXISTS (\
               SELECT 1 FROM grants WHERE principal = ?3 AND service = ?4 \
               AND state = 'in_force' AND expires_at > ?10 \
               AND body -> 'rule' IS ?8 -> 'rule' \
               AND body -> 'operation' IS ?8 -> 'operation' \
               AND body -> 'resource' IS ?8 -> 'resource' \
               AND body -> 'digest' IS ?8 -> 'digest' AND incident IS ?11))";
    let query = sqlx::query(sql)
        .bind(grant.id.to_string())
        .bind(grant.access_request.to_string())
        .bind(grant.principal.to_string())
        .bind(grant.resource.service.to_string())
        .bind(state(grant))
        .bind(grant.version)
        .bind(micros(grant.expires_at))
        .bind(json("grants", grant)?)
        .bind(once)
        .bind(micros(grant.starts_at))
        .bind(grant.incident.as_ref().map(ToString::to_string));
    guarded(tx, query).await
}

async fn move_grant(tx: &mut SqliteConnection, grant: &Grant, seen_version: u32) -> Result<()> {
    let sql = "UPDATE grants SET state = ?, version = ?, expires_at = ?, body = ? \
               WHERE id = ? AND state = 'in_force' AND version = ?";
    let query = sqlx::query(sql)
        .bind(state(grant))
        .bind(grant.version)
        .bind(micros(grant.expires_at))
        .bind(json("grants", grant)?)
        .bind(grant.id.to_string())
        .bind(seen_version);
    guarded(tx, query).await?;
    grant_tokens::end_with(tx, grant).await
}

fn state(grant: &Grant) -> &'static str {
    match grant.state {
        GrantState::InForce => "in_force",
        GrantState::Ended { .. } => "ended",
    }
}

async fn spend_use(
    tx: &mut SqliteConnection,
    grant: &str,
    request: RequestId,
    at: i64,
) -> Result<()> {
    let sql = "INSERT INTO grant_uses (access_grant, request, at) VALUES (?, ?, ?)";
    let query = sqlx::query(sql).bind(grant.to_owned()).bind(request.to_string()).bind(at);
    guarded(tx, query).await
}

async fn keep_refusal(
    tx: &mut SqliteConnection,
    refusal: &StoredRefusal,
    at_most: u32,
) -> Result<()> {
    let sql = "INSERT INTO refusals (principal, id, time, body) SELECT ?1, ?2, ?3, ?4 \
               WHERE (SELECT count(*) FROM refusals WHERE principal = ?1) < ?5";
    let query = sqlx::query(sql)
        .bind(refusal.principal.to_string())
        .bind(refusal.id.to_string())
        .bind(micros(refusal.time))
        .bind(json("refusals", refusal)?)
        .bind(at_most);
    guarded(tx, query).await
}

async fn keep_answer(tx: &mut SqliteConnection, answer: &StoredAnswer, until: i64) -> Result<()> {
    let sql = "DELETE FROM answers WHERE at <= ?1 OR (principal = ?2 AND key NOT IN (\
               SELECT key FROM answers WHERE principal = ?2 ORDER BY at DESC LIMIT ?3))";
    let principal = answer.principal.to_string();
    let query = sqlx::query(sql).bind(until).bind(principal.clone()).bind(MOST_ANSWERS - 1);
    query.execute(&mut *tx).await?;
    let sql = "INSERT INTO answers (principal, key, asked, access_request, at) \
               VALUES (?, ?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(principal)
        .bind(answer.key.clone())
        .bind(answer.asked.clone())
        .bind(answer.access_request.to_string())
        .bind(micros(answer.at));
    guarded(tx, query).await
}

async fn forget(tx: &mut SqliteConnection, refusals: i64, lapsed: i64) -> Result<()> {
    let sql = "DELETE FROM refusals WHERE time <= ?";
    sqlx::query(sql).bind(refusals).execute(&mut *tx).await?;
    for sql in [
        "DELETE FROM devices WHERE expires_at <= ?",
        "DELETE FROM challenges WHERE expires_at <= ?",
        "DELETE FROM sign_in_codes WHERE expires_at <= ?",
        "DELETE FROM seen_once WHERE expires_at <= ?",
        "DELETE FROM one_time_tokens WHERE redeemed = 0 AND expires_at <= ?",
    ] {
        sqlx::query(sql).bind(lapsed).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn add_bundle(tx: &mut SqliteConnection, bundle: &StoredBundle) -> Result<()> {
    // INVARIANT: generations only grow; a second writer with the same idea of the last one loses.
    let sql = "INSERT INTO bundles (generation, digest, body) SELECT ?1, ?2, ?3 \
               WHERE ?1 > (SELECT coalesce(max(generation), 0) FROM bundles)";
    let query = sqlx::query(sql)
        .bind(i64::try_from(bundle.generation).map_err(|_| StoreError::Conflict)?)
        .bind(bundle.digest.to_string())
        .bind(json("bundles", bundle)?);
    guarded(tx, query).await
}

async fn record(tx: &mut SqliteConnection, event: &Event) -> Result<()> {
    let sql = "INSERT INTO events (id, body) VALUES (?, ?)";
    let query = sqlx::query(sql).bind(event.id.to_string()).bind(json("events", event)?);
    guarded(tx, query).await
}

pub(super) async fn logged(tx: &mut SqliteConnection, mark: LogMark) -> Result<()> {
    let position = i64::try_from(mark.position).map_err(|error| unreadable("events", error))?;
    let sql = "UPDATE events SET log_position = ? WHERE seq = ? AND log_position IS NULL";
    guarded(tx, sqlx::query(sql).bind(position).bind(mark.seq)).await
}

fn count(reviews: usize) -> i64 {
    i64::try_from(reviews).unwrap_or(i64::MAX)
}
