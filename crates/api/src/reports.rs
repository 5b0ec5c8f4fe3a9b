//! `/v1/reports`: who had access to what, and somebody's word that they went through it.

use axum::{Json, extract::State, http::StatusCode};
use jiff::Timestamp;
use portcullis_control::{
    Control, OpContext,
    views::report::{AccessReport, ReportedGrant, SeenData, StandingAccess},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access_requests::ReviewBody,
    caller::Caller,
    error::Answer,
    extract::{Body, Search},
    grants::GrantBody,
    parts::Shared,
    principal::PrincipalBody,
};

/// The time of a report.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// From then on.
    #[param(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Before then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Who had access to what.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AccessReport)]
pub struct AccessReportBody {
    /// From then on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Before then.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// When this was looked up; standing access is as it was then.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The bundle that standing access is by.
    pub bundle: String,
    /// What of it is signed off: SHA-256 of its times and its content.
    pub digest: String,
    /// The grants that were in force some of the time, oldest first.
    pub grants: Vec<ReportedGrantBody>,
    /// Who saw sensitive data.
    pub revealed: Vec<SeenDataBody>,
    /// Whether there was more of it than is counted.
    pub more_revealed: bool,
    /// Since when the record is kept, if retention removed some of that time: who saw what before is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub kept_since: Option<Timestamp>,
    /// What each principal reaches without asking anybody, by service.
    pub standing: Vec<StandingAccessBody>,
}

/// A grant, and how it came about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ReportedGrant)]
pub struct ReportedGrantBody {
    /// The grant.
    pub grant: GrantBody,
    /// Why it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who reviewed it; of an emergency, afterwards.
    pub reviews: Vec<ReviewBody>,
    /// Whether it was an emergency.
    pub emergency: bool,
    /// Of an emergency: whether nobody has looked at it since.
    pub open: bool,
}

/// Sensitive data of one class that one principal saw at one service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SeenData)]
pub struct SeenDataBody {
    /// Who.
    pub principal: String,
    /// Where.
    pub service: String,
    /// Which class.
    pub class: String,
    /// In how many answers.
    pub answers: u64,
    /// In how many of them by a grant, and not by standing policy.
    pub by_grant: u64,
    /// When first.
    #[schema(value_type = String, format = DateTime)]
    pub first: Timestamp,
    /// When last.
    #[schema(value_type = String, format = DateTime)]
    pub last: Timestamp,
}

/// What one principal reaches at one service without asking anybody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = StandingAccess)]
pub struct StandingAccessBody {
    /// Who.
    pub principal: PrincipalBody,
    /// What they are called.
    pub name: String,
    /// Where.
    pub service: String,
    /// The operations.
    pub operations: Vec<String>,
    /// The classes of data that they see.
    pub reveals: Vec<String>,
}

/// Somebody's word that they went through a report.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignOff)]
pub struct SignOffBody {
    /// As in the report.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// As in the report.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// As in the report: what was seen is what is signed off.
    pub digest: String,
    /// What came of it.
    #[serde(default)]
    pub note: String,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(access)).routes(routes!(sign_off))
}

/// Who had access to what
///
/// Grants, who reviewed them, emergencies and whether they were looked at afterwards, sensitive data that was seen, and standing access.
#[utoipa::path(get, path = "/v1/reports/access", tag = "audit", operation_id = "access_report",
    params(ReportQuery), responses((status = 200, body = AccessReportBody)))]
pub(crate) async fn access(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<ReportQuery>,
) -> Answer<Json<AccessReportBody>> {
    let until = query.until.unwrap_or(op.now());
    let report = api.control.access_report(&op, query.since, until).await?;
    Ok(Json(AccessReportBody::seen_by(&api.control, &op, report)))
}

/// Sign a report off
///
/// Goes on record with who, when, of which time, and the digest. 409 if the report says something else by now.
#[utoipa::path(post, path = "/v1/reports/access/sign-offs", tag = "audit", operation_id = "sign_off_access",
    request_body = SignOffBody, responses((status = 204)))]
pub(crate) async fn sign_off(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<SignOffBody>,
) -> Answer<StatusCode> {
    let time = (body.since, body.until);
    api.control.sign_off_access(&op, time, &body.digest, &body.note).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl AccessReportBody {
    fn seen_by(control: &Control, op: &OpContext, report: AccessReport) -> Self {
        let AccessReport { since, until, made_at, content, digest } = report;
        let shown = GrantBody::seen_by(control, op);
        let grant = |ReportedGrant { grant, request }| {
            let request = request.as_ref();
            let reviews = request.into_iter().flat_map(|request| &request.reviews);
            ReportedGrantBody {
                grant: shown(grant),
                reason: request.map(|request| request.reason.clone()),
                reviews: reviews.cloned().map(ReviewBody::from).collect(),
                emergency: request.is_some_and(portcullis_model::AccessRequest::is_emergency),
                open: request
                    .is_some_and(portcullis_model::AccessRequest::waits_for_review_afterwards),
            }
        };
        Self {
            since,
            until,
            made_at,
            bundle: content.bundle.0.to_string(),
            digest,
            grants: content.grants.into_iter().map(grant).collect(),
            revealed: content.revealed.into_iter().map(SeenDataBody::from).collect(),
            more_revealed: content.more_revealed,
            kept_since: content.kept_since,
            standing: content.standing.into_iter().map(StandingAccessBody::from).collect(),
        }
    }
}

impl From<SeenData> for SeenDataBody {
    fn from(seen: SeenData) -> Self {
        let SeenData { principal, service, class, answers, by_grant, first, last } = seen;
        Self { principal, service, class, answers, by_grant, first, last }
    }
}

impl From<StandingAccess> for StandingAccessBody {
    fn from(standing: StandingAccess) -> Self {
        let names = |names: Vec<portcullis_model::OperationName>| {
            names.iter().map(ToString::to_string).collect()
        };
        Self {
            principal: (&standing.principal).into(),
            name: standing.name,
            service: standing.service.to_string(),
            operations: names(standing.operations),
            reveals: names(standing.reveals),
        }
    }
}
