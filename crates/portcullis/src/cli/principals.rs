//! `portcullis principals`: who there is, for reviewers and auditors.

use jiff::Timestamp;
use portcullis_api::principals::SeenPrincipalBody;

use super::{
    failure::Failure,
    session::{Listed, Session},
    when,
};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    let listed: Listed<SeenPrincipalBody> = session.list("/v1/principals", "principals").await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&listed.body());
        return Ok(());
    }
    let rows = listed.items.iter().map(|seen| row(seen, now)).collect();
    let header = ["name", "principal", "groups", "last sign-in", "sign-ins", "grants", ""];
    screen.table("nobody was seen yet", &header, rows);
    Ok(())
}

fn row(seen: &SeenPrincipalBody, now: Timestamp) -> Vec<String> {
    let name = match &seen.email {
        Some(email) => format!("{} <{email}>", seen.name),
        None => seen.name.clone(),
    };
    vec![
        name,
        seen.principal.id.clone(),
        seen.groups.join(", "),
        when::ago(seen.last_sign_in, now),
        seen.sign_ins.len().to_string(),
        seen.grants.iter().filter(|grant| grant.in_force).count().to_string(),
        if seen.active { String::new() } else { "deactivated".to_owned() },
    ]
}
