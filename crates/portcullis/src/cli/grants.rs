//! `portcullis grants`.

use jiff::Timestamp;
use portcullis_api::grants::GrantBody;

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id, when, who,
};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    let listed: Listed<GrantBody> = session.list("/v1/grants", "grants").await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&listed.body());
        return Ok(());
    }
    let rows = listed.items.iter().map(|grant| row(grant, now)).collect();
    screen.table("there are no grants", &["id", "who", "what", "how", "uses", "state"], rows);
    Ok(())
}

fn row(grant: &GrantBody, now: Timestamp) -> Vec<String> {
    let what = match &grant.instance {
        Some(instance) => format!("{} on {instance}", grant.operation),
        None => grant.operation.clone(),
    };
    let uses = match grant.max_uses {
        Some(max) => format!("{} of {max}", grant.uses),
        None => "any".to_owned(),
    };
    let short = short_id::shown(&grant.id);
    vec![short, who::shown(&grant.principal), what, grant.kind.clone(), uses, state(grant, now)]
}

/// `until 14:32, 12m left`, or why it is over.
pub(crate) fn state(grant: &GrantBody, now: Timestamp) -> String {
    match (grant.end, grant.ended_at) {
        (Some(end), Some(at)) => format!("{} {}", end.in_words(), when::at(at, now)),
        _ => when::until(grant.expires_at, now),
    }
}
