//! Answering: the inbox, and a review given on the page of its access request.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    routing::{get, post},
};
use portcullis_control::{
    ControlError,
    views::{AccessRequestFilter, AccessRequestView, PasskeyChallenge, ReviewInput},
};
use portcullis_identity::passkey::AuthenticationResponse;
use portcullis_model::{AccessRequestId, AccessRequestState, Decision, OperationName, Scope};

use super::{
    Failure, Outcome,
    fields::{Fields, correctable, read},
    form::Filled,
    frame::{Frame, Section},
    request::{RequestPage, id_of},
    visitor::{Visitor, done, framed, page},
};
use crate::{page as lists, parts::Shared};

/// Access requests that the inbox shows at once.
const SHOWN: usize = 100;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/review", get(inbox)).route("/requests/{id}/review", post(give))
}

#[derive(Debug, Template)]
#[template(path = "console/review.html")]
struct InboxPage {
    frame: Frame,
    waiting: Vec<AccessRequestView>,
    emergencies: Vec<AccessRequestView>,
    /// This part again, as it is then.
    here: String,
    /// Where the older ones are.
    older: Option<String>,
}

impl InboxPage {
    fn lists(&self) -> [(&'static str, &[AccessRequestView]); 2] {
        [("review-emergencies", &self.emergencies), ("review-waiting", &self.waiting)]
    }
}

async fn inbox(State(api): State<Shared>, visitor: Visitor, RawQuery(query): RawQuery) -> Outcome {
    let fields = Fields::of_query(query.as_deref())?;
    let before = lists::cursor(Some(fields.text("cursor")).filter(|text| !text.is_empty()))?;
    let frame = visitor.frame(&api, Section::Review, "review-title").await?;
    let filter = AccessRequestFilter::ToReview;
    let (all, next) = api.control.access_requests_after(&visitor.op, filter, before, SHOWN).await?;
    let (emergencies, waiting) =
        all.into_iter().partition(|view: &AccessRequestView| view.request.is_emergency());
    let at = |id: AccessRequestId| format!("/review?cursor={id}");
    let here = before.map_or_else(|| "/review".to_owned(), at);
    page(&InboxPage { frame, waiting, emergencies, here, older: next.map(at) })
}

/// What a passkey has to sign, and what else was sent.
#[derive(Debug, Template)]
#[template(path = "console/sign.html")]
struct SignPage {
    frame: Frame,
    id: String,
    view: AccessRequestView,
    decision: Decision,
    /// Everything that goes into the form again.
    sent: Vec<(&'static str, String)>,
    /// For the browser; absent if there is no passkey.
    options: Option<String>,
    statement: String,
}

async fn give(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, fields): Filled<Fields>,
) -> Outcome {
    let id = id_of(&id)?;
    let mut of = RequestPage::of(&api, &visitor, id, &fields).await?;
    let given = match input(&of, &fields) {
        Ok(input) => {
            let decision = input.decision;
            api.control.review(&visitor.op, id, input).await.map(|_| decision)
        }
        Err(error) => Err(error),
    };
    match given {
        Ok(decision) => {
            let word = match decision {
                Decision::Approve if of.view.request.is_emergency() => "emergency-in-order",
                Decision::Approve => "approved",
                Decision::Decline => "declined",
            };
            done(&format!("/requests/{id}"), word)
        }
        Err(ControlError::PasskeyNeeded(challenge)) => sign(of, &fields, challenge.as_deref()),
        Err(error) => {
            let (status, problem) = correctable(error)?;
            (of.problem, of.typed) = (Some(problem), fields);
            Ok(framed(status, of.render().map_err(|_| Failure::Internal)?))
        }
    }
}

impl SignPage {
    /// Whether the review is about this operation too.
    fn is_kept(&self, operation: &OperationName) -> bool {
        let mut only = self.sent.iter().filter(|(name, _)| *name == "only").peekable();
        self.decision == Decision::Decline
            || only.peek().is_none()
            || only.any(|(_, value)| *value == operation.to_string())
    }
}

/// The review that a form gives.
fn input(of: &RequestPage, fields: &Fields) -> Result<ReviewInput, ControlError> {
    let decision = match fields.text("decision") {
        "approve" => Decision::Approve,
        "decline" => Decision::Decline,
        _ => {
            let message = "approve or decline".to_owned();
            return Err(ControlError::Invalid { field: "decision", message });
        }
    };
    let note = Some(fields.text("note").to_owned()).filter(|note| !note.is_empty());
    let passkey = Some(fields.text("passkey")).filter(|text| !text.is_empty());
    let passkey = passkey.map(serde_json::from_str::<AuthenticationResponse>).transpose();
    let passkey = passkey.map_err(|_| {
        let message = "the browser did not answer with a passkey's signature; sign again";
        ControlError::Invalid { field: "passkey", message: message.to_owned() }
    })?;
    let passkey = passkey.map(Box::new);
    if decision == Decision::Decline {
        let (duration, scope) = (None, Scope::default());
        return Ok(ReviewInput { decision, note, duration, scope, passkey });
    }
    let scope = Scope { operations: operations(of, fields)?, instance: fields.one("instance")? };
    Ok(ReviewInput { decision, note, duration: fields.one("duration")?, scope, passkey })
}

/// The operations that stayed ticked, if some did not.
fn operations(
    of: &RequestPage,
    fields: &Fields,
) -> Result<Option<BTreeSet<OperationName>>, ControlError> {
    if !of.can_narrow() {
        return Ok(None);
    }
    let ticked = fields.all("only").into_iter().map(|name| read("only", name));
    let ticked = ticked.collect::<Result<BTreeSet<OperationName>, _>>()?;
    if ticked.is_empty() {
        let message = "tick what you approve, or decline".to_owned();
        return Err(ControlError::Invalid { field: "operations", message });
    }
    let all = of.view.request.queries.iter().all(|query| ticked.contains(&query.operation));
    Ok(Some(ticked).filter(|_| !all))
}

/// The same form again, to be signed.
fn sign(of: RequestPage, fields: &Fields, challenge: Option<&PasskeyChallenge>) -> Outcome {
    let names = ["decision", "note", "duration", "instance", "only"];
    let sent = names.into_iter().flat_map(|name| {
        fields.all(name).into_iter().map(move |value| (name, value.to_owned())).collect::<Vec<_>>()
    });
    let options = challenge.map(|challenge| serde_json::to_string(&challenge.options)).transpose();
    let RequestPage { mut frame, view, .. } = of;
    frame.title = frame.say("review-sign-title");
    let decline = fields.text("decision") == "decline";
    let page = SignPage {
        id: view.request.id.to_string(),
        decision: if decline { Decision::Decline } else { Decision::Approve },
        sent: sent.collect(),
        options: options.map_err(|_| Failure::Internal)?,
        statement: challenge.map(|challenge| challenge.statement.clone()).unwrap_or_default(),
        frame,
        view,
    };
    Ok(framed(StatusCode::OK, page.render().map_err(|_| Failure::Internal)?))
}
