//! Access requests: one's own, and the page of each, for whoever asked and for whoever answers.
//!
//! The page stands alone: a link to it on a phone is enough to decide. What a reviewer reads there is what
//! counts: payload and digest as the gate read them, and what policy says at this moment.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Router,
    extract::{Path, RawQuery, State},
    routing::{get, post},
};
use portcullis_control::views::{AccessRequestFilter, AccessRequestView};
use portcullis_model::{
    AccessRequest, AccessRequestId, AccessRequestState, Decision, Grant, InstanceName,
    OperationName,
};

use super::{
    Failure, Outcome,
    fields::{Fields, windows},
    form::{Filled, Nothing},
    frame::{Frame, Section},
    visitor::{Visitor, done, page},
};
use crate::{
    extract::named,
    page as lists,
    parts::{ApiParts, Shared},
};

/// One's own access requests on one page.
const SHOWN: usize = 50;
/// Grants of one access request that its page shows.
const GRANTS: usize = 16;
/// Earlier access requests that a reviewer is shown.
const EARLIER: usize = 8;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/requests", get(mine))
        .route("/requests/{id}", get(one))
        .route("/requests/{id}/withdraw", post(withdraw))
}

#[derive(Debug, Template)]
#[template(path = "console/requests.html")]
struct RequestsPage {
    frame: Frame,
    requests: Vec<AccessRequestView>,
    next: Option<String>,
}

async fn mine(State(api): State<Shared>, visitor: Visitor, RawQuery(query): RawQuery) -> Outcome {
    let fields = Fields::of_query(query.as_deref())?;
    let before = lists::cursor(Some(fields.text("cursor")).filter(|text| !text.is_empty()))?;
    let frame = visitor.frame(&api, Section::Requests, "request-mine-title").await?;
    let filter = AccessRequestFilter::Mine;
    let found = api.control.access_requests_after(&visitor.op, filter, before, SHOWN).await?;
    let (requests, next) = found;
    page(&RequestsPage { frame, requests, next: next.map(|id| id.to_string()) })
}

/// One access request, as the visitor may see it.
#[derive(Debug, Template)]
#[template(path = "console/request.html")]
pub(super) struct RequestPage {
    pub(super) frame: Frame,
    pub(super) view: AccessRequestView,
    pub(super) is_mine: bool,
    pub(super) grants: Vec<Grant>,
    pub(super) earlier: Vec<AccessRequest>,
    /// The page that was refused.
    pub(super) back: Option<String>,
    /// This page, to be looked at again.
    pub(super) address: String,
    pub(super) instances: Vec<InstanceName>,
    pub(super) windows: Vec<String>,
    /// Why a review could not be given as it was sent, and what it said.
    pub(super) problem: Option<String>,
    pub(super) typed: Fields,
}

impl RequestPage {
    pub(super) async fn of(
        api: &ApiParts,
        visitor: &Visitor,
        id: AccessRequestId,
        fields: &Fields,
    ) -> Result<Self, Failure> {
        let (control, op) = (&api.control, &visitor.op);
        let mut frame = visitor.frame(api, Section::Review, "request-title").await?;
        let view = control.access_request(op, id).await?;
        let is_mine = view.request.requester == frame.principal;
        if is_mine {
            frame.section = Some(Section::Requests);
        }
        let mut grants = Vec::new();
        if let AccessRequestState::Approved { grants: ids, .. } = &view.request.state {
            for id in ids.iter().take(GRANTS) {
                // Who may see an access request may not always see what came of it.
                grants.extend(control.grant(op, *id).await.ok());
            }
        }
        let mut earlier = Vec::new();
        let mut instances = Vec::new();
        if !is_mine {
            earlier = control.earlier(op, id).await?;
            earlier.truncate(EARLIER);
        }
        if view.can_review {
            let service = control.service(op, &view.request.service).await;
            instances = service.map(|service| service.instances).unwrap_or_default();
        }
        let back = fields.back(control).filter(|_| is_mine);
        let address = super::fields::with_back(&format!("/requests/{id}"), back.as_deref());
        let windows = windows(view.request.agreed_duration());
        let (problem, typed) = (None, Fields::default());
        Ok(Self {
            frame,
            view,
            is_mine,
            grants,
            earlier,
            back,
            address,
            instances,
            windows,
            problem,
            typed,
        })
    }

    fn request(&self) -> &AccessRequest {
        &self.view.request
    }

    fn is_pending(&self) -> bool {
        self.view.request.state == AccessRequestState::Pending
    }

    /// Operations that can be left out: each once, wherever it was asked for.
    fn names(&self) -> BTreeSet<OperationName> {
        self.request().queries.iter().map(|query| query.operation.clone()).collect()
    }

    /// Whether a reviewer can leave operations out.
    pub(super) fn can_narrow(&self) -> bool {
        let request = self.request();
        self.names().len() > 1 && request.extends.is_none() && !request.is_emergency()
    }

    /// Whether an operation stays ticked.
    fn ticked(&self, operation: &OperationName) -> bool {
        self.problem.is_none() || self.typed.all("only").contains(&operation.to_string().as_str())
    }

    /// Whether what was approved can be used now.
    fn is_open(&self) -> bool {
        self.grants.iter().any(|grant| grant.in_force(self.frame.now))
    }

    /// The key of the text for where an access request is in its life.
    #[expect(clippy::unused_self, reason = "templates reach functions through the page")]
    fn state_key(&self, state: &AccessRequestState) -> &'static str {
        match state {
            AccessRequestState::Pending => "state-pending",
            AccessRequestState::Approved { .. } => "state-approved",
            AccessRequestState::Declined { .. } => "state-declined",
            AccessRequestState::Withdrawn { .. } => "state-withdrawn",
            AccessRequestState::Expired { .. } => "state-expired",
        }
    }

    /// Why it was declined, or taken back by another.
    fn why(&self) -> Option<&str> {
        match &self.request().state {
            AccessRequestState::Declined { why, .. } => Some(why),
            AccessRequestState::Withdrawn { why, .. } => why.as_deref(),
            AccessRequestState::Pending
            | AccessRequestState::Approved { .. }
            | AccessRequestState::Expired { .. } => None,
        }
    }
}

async fn one(
    State(api): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome {
    let fields = Fields::of_query(query.as_deref())?;
    page(&RequestPage::of(&api, &visitor, id_of(&id)?, &fields).await?)
}

async fn withdraw(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    let id = id_of(&id)?;
    api.control.withdraw(&visitor.op, id).await?;
    done(&format!("/requests/{id}"), "withdrawn")
}

pub(super) fn id_of(text: &str) -> Result<AccessRequestId, Failure> {
    Ok(named(text, "the access request")?)
}
