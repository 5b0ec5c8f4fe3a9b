//! `portcullis schedules`: who is on call.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_api::schedules::{OnCallBody, ScheduleBody, SchedulesBody};
use portcullis_model::{ScheduleName, Window};
use reqwest::Method;

use super::{failure::Failure, incidents::written, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct Schedules {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Says who is on call from now on
    Set(Set),
}

#[derive(Debug, Args)]
struct Set {
    /// The schedule, like payments-primary
    name: ScheduleName,
    /// Who is on call, like corp:ana; nobody if absent
    people: Vec<String>,
    /// For how long this is known, like 12h; until something else is said if absent
    #[arg(long = "for", value_name = "DURATION")]
    fresh_for: Option<Window>,
}

impl Schedules {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let Some(What::Set(set)) = self.what else { return list(session).await };
        let people = set.people.into_iter().collect();
        let body = OnCallBody { people, until: None, fresh_for: set.fresh_for };
        let path = format!("/v1/schedules/{}", set.name);
        let answer = session.send(Method::PUT, &path, Some(written(&body)?)).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
            return Ok(());
        }
        let schedule: ScheduleBody = answer.read()?;
        let now = session.now();
        session.screen.line(&format!("on call for {}: {}", schedule.name, who(&schedule, now)));
        Ok(())
    }
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/schedules").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: SchedulesBody = fetched.read()?;
    let now = session.now();
    let row = |schedule: &ScheduleBody| {
        vec![schedule.name.clone(), who(schedule, now), schedule.source.clone()]
    };
    let rows = all.schedules.iter().map(row).collect();
    session.screen.table("there are no schedules", &["schedule", "on call", "source"], rows);
    Ok(())
}

fn who(schedule: &ScheduleBody, now: Timestamp) -> String {
    if !schedule.known {
        return "unknown".to_owned();
    }
    let people =
        if schedule.people.is_empty() { "nobody".to_owned() } else { schedule.people.join(", ") };
    match schedule.until {
        Some(until) => format!("{people}, {}", when::until(until, now)),
        None => people,
    }
}
