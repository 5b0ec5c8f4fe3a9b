//! `/v1/schedules`: who is on call.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use portcullis_control::{ControlError, views::OnCallInput};
use portcullis_model::{Schedule, ScheduleName, Window};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, named},
    incidents::people,
    parts::Shared,
};

/// Who is on call on one schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleBody {
    /// Its name.
    pub name: String,
    /// Who is on call, like `corp:ana`, as far as it is known.
    pub people: Vec<String>,
    /// Whether it is known. Unknown is not nobody.
    pub known: bool,
    /// Until when that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Who said so: `config`, or `api:corp:ana`.
    pub source: String,
}

impl ScheduleBody {
    /// As it is at `now`.
    fn at(now: Timestamp, schedule: &Schedule) -> Self {
        let known = schedule.is_known(now);
        let people = schedule.people.iter().filter(|_| known).map(|who| who.id.to_string());
        Self {
            name: schedule.name.to_string(),
            people: people.collect(),
            known,
            until: schedule.until,
            source: schedule.source.clone(),
        }
    }
}

/// All schedules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Schedules)]
pub struct SchedulesBody {
    /// By name.
    pub schedules: Vec<ScheduleBody>,
}

/// Who is on call from now on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OnCall)]
pub struct OnCallBody {
    /// People, like `corp:ana`; nobody if empty.
    pub people: BTreeSet<String>,
    /// Until when that is known; after it, it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// The same as a time from now, like `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fresh_for: Option<Window>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put))
}

/// Who is on call
#[utoipa::path(get, path = "/v1/schedules", tag = "facts", operation_id = "schedules",
    responses((status = 200, body = SchedulesBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<SchedulesBody>> {
    let all = api.control.schedules(&op).await?;
    let schedules = all.iter().map(|schedule| ScheduleBody::at(op.now(), schedule)).collect();
    Ok(Json(SchedulesBody { schedules }))
}

/// Say who is on call; takes `manageIncident` on the system
#[utoipa::path(put, path = "/v1/schedules/{name}", tag = "facts", operation_id = "put_schedule",
    params(("name" = String, Path)), request_body = OnCallBody,
    responses((status = 200, body = ScheduleBody)))]
pub(crate) async fn put(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(name): Path<String>,
    Body(body): Body<OnCallBody>,
) -> Answer<Json<ScheduleBody>> {
    let name: ScheduleName = named(&name, "a schedule of this name")?;
    let until = match (body.until, body.fresh_for) {
        (Some(_), Some(_)) => {
            let message = "say `until` or `fresh_for`, not both".to_owned();
            return Err(ControlError::Invalid { field: "until", message }.into());
        }
        (until, None) => until,
        (None, Some(window)) => Some(op.now() + window.signed()),
    };
    let input = OnCallInput { people: people(body.people), until };
    let schedule = api.control.put_schedule(&op, &name, input).await?;
    Ok(Json(ScheduleBody::at(op.now(), &schedule)))
}
