//! `portcullis connections`.

use portcullis_api::connections::ConnectionBody;

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id, when, who,
};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    let listed: Listed<ConnectionBody> = session.list("/v1/connections", "connections").await?;
    let (screen, now) = (session.screen, session.now());
    if screen.is_json() {
        screen.body(&listed.body());
        return Ok(());
    }
    let rows = listed.items.iter().map(|connection| {
        vec![
            short_id::shown(&connection.id),
            who::shown(&connection.principal),
            connection.operation.clone(),
            connection.instance.clone(),
            connection.protocol.clone(),
            connection.grant.as_deref().map(short_id::shown).unwrap_or_default(),
            when::ago(connection.since, now),
        ]
    });
    let header = ["id", "who", "what", "instance", "protocol", "grant", "since"];
    screen.table("nothing is open", &header, rows.collect());
    Ok(())
}
