//! Access requests, on the wire. People appear by name and principal; who is the same human being
//! as whom stays inside.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_control::views::AccessRequestView;
use portcullis_model::{
    AccessQuery, AccessRequestState, Decision, Review, Window, access_request::Held,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    incidents::IncidentBody,
    principal::{NamedPrincipalBody, PrincipalBody},
    refusals::ShownBodyBody,
    way::WayBody,
};

/// An access request, as the caller may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccessRequest)]
pub struct AccessRequestBody {
    /// Its id.
    pub id: String,
    /// `pending`, `approved`, `declined`, `withdrawn` or `expired`.
    pub state: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why it was declined, or withdrawn by another than the requester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The grants that it ended in, one for each query that all reviewers approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Who asks.
    pub requester: NamedPrincipalBody,
    /// The requester's name when they asked.
    pub requester_name: String,
    /// The service that all queries are about.
    pub service: String,
    /// What is asked for.
    pub queries: Vec<QueryBody>,
    /// Why.
    pub reason: String,
    /// For how long, from approval; what all reviews so far agree on.
    #[schema(value_type = String)]
    pub duration: Window,
    /// The refusal that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The grant whose end it shall move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// The request that waits at the gate for the answer, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldBody>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it goes unanswered.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// How many distinct people must approve.
    pub reviews_needed: u8,
    /// Of an emergency, which is reviewed afterwards: `open` until somebody has, then `reviewed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub afterwards: Option<String>,
    /// The answers so far.
    pub reviews: Vec<ReviewBody>,
    /// Whether the caller could review it now.
    pub can_review: bool,
    /// Whether the caller's review has to be signed by a passkey.
    #[serde(default)]
    pub needs_passkey: bool,
    /// Who could, by name.
    pub reviewers: Vec<String>,
    /// The incident that it is for, as long as that is open: who opened it, and by which door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentBody>,
    /// The body of the request that was refused or waits, with what is sensitive masked, as long as it is
    /// kept. Lists are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ShownBodyBody>,
}

/// A request that waits at the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Held)]
pub struct HeldBody {
    /// The request's id.
    pub request: String,
    /// Method and path.
    pub summary: String,
    /// Declared parameters by name, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Bytes of its body.
    pub size: u64,
    /// It is refused then.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// One operation of an access request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AccessQuery)]
pub struct QueryBody {
    /// The operation.
    pub operation: String,
    /// The class of sensitive data, if it is to see one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reveal: Option<String>,
    /// The addressed instance, or the whole service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The digest of the only request that the grant shall admit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The way that was taken.
    pub way: WayBody,
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Review)]
pub struct ReviewBody {
    /// Its id.
    pub id: String,
    /// Who.
    pub reviewer: PrincipalBody,
    /// Their name.
    pub name: String,
    /// `approve` or `decline`.
    #[schema(value_type = String)]
    pub decision: Decision,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A shorter window than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duration: Option<Window>,
    /// Only these operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<String>>,
    /// Only on this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The passkey that signed it; the signature is in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<String>,
}

impl From<AccessRequestView> for AccessRequestBody {
    fn from(view: AccessRequestView) -> Self {
        let request = view.request;
        let (reviews_needed, duration) = (request.reviews_needed(), request.agreed_duration());
        let state = request.state.as_str().to_owned();
        let open = if request.waits_for_review_afterwards() { "open" } else { "reviewed" };
        let afterwards = request.is_emergency().then(|| open.to_owned());
        let (ended_at, why, grants) = match request.state {
            AccessRequestState::Pending => (None, None, Vec::new()),
            AccessRequestState::Approved { at, grants } => (Some(at), None, grants),
            AccessRequestState::Declined { at, why } => (Some(at), Some(why), Vec::new()),
            AccessRequestState::Withdrawn { at, why } => (Some(at), why, Vec::new()),
            AccessRequestState::Expired { at } => (Some(at), None, Vec::new()),
        };
        Self {
            id: request.id.to_string(),
            state,
            ended_at,
            why,
            grants: grants.iter().map(ToString::to_string).collect(),
            requester: NamedPrincipalBody::new(&request.requester, view.requester),
            requester_name: request.requester_name,
            service: request.service.to_string(),
            queries: request.queries.into_iter().map(QueryBody::from).collect(),
            reason: request.reason,
            duration,
            refusal: request.refusal.map(|id| id.to_string()),
            extends: request.extends.map(|id| id.to_string()),
            held: request.held.map(|held| HeldBody::from(*held)),
            created_at: request.created_at,
            expires_at: request.expires_at,
            reviews_needed,
            afterwards,
            reviews: request.reviews.into_iter().map(ReviewBody::from).collect(),
            can_review: view.can_review,
            needs_passkey: view.needs_passkey,
            reviewers: view.reviewers,
            incident: view.incident.as_deref().map(IncidentBody::from),
            body: view.body.map(ShownBodyBody::from),
        }
    }
}

impl From<Held> for HeldBody {
    fn from(held: Held) -> Self {
        let Held { request, summary, parameters, size, until } = held;
        Self { request: request.to_string(), summary, parameters, size, until }
    }
}

impl From<AccessQuery> for QueryBody {
    fn from(query: AccessQuery) -> Self {
        Self {
            reveal: query.operation.revealed().map(str::to_owned),
            operation: query.operation.to_string(),
            instance: query.instance.map(|name| name.to_string()),
            digest: query.digest.map(|digest| digest.to_string()),
            way: query.way.into(),
        }
    }
}

impl From<Review> for ReviewBody {
    fn from(review: Review) -> Self {
        Self {
            id: review.id.to_string(),
            reviewer: (&review.reviewer).into(),
            name: review.name,
            decision: review.decision,
            note: review.note,
            duration: review.duration,
            operations: review
                .scope
                .operations
                .map(|names| names.iter().map(ToString::to_string).collect()),
            instance: review.scope.instance.map(|name| name.to_string()),
            at: review.at,
            passkey: review.passkey.map(|id| id.to_string()),
        }
    }
}
