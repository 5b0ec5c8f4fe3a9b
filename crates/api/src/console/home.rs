//! The first page: my grants with their clocks, what waits for me, what I can reach and ask for. Before a
//! sign-in: how to sign in.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use portcullis_control::views::{
    AccessRequestFilter, AccessRequestView, Ask, AskFor, OperationView, Reach, ServiceView,
};
use portcullis_model::{AccessRequestState, Grant, GrantId, Window};
use serde::Deserialize;

use super::{
    Failure, Outcome,
    form::{Filled, Nothing},
    frame::{Frame, Section},
    theme::Theme,
    visitor::{Visitor, done, framed, page},
};
use crate::{
    extract::named,
    parts::{ApiParts, Shared},
};

/// Grants and access requests that the page shows; the rest is one link away.
const SHOWN: usize = 20;
/// Access requests to be answered that are counted.
const COUNTED: usize = 99;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(home))
        .route("/grants/{id}/give-back", post(give_back))
        .route("/grants/{id}/extend", post(extend))
}

#[derive(Debug, Template)]
#[template(path = "console/home.html")]
struct HomePage {
    frame: Frame,
    grants: Vec<Grant>,
    /// Grants that are not shown.
    left_out: usize,
    waiting: Vec<AccessRequestView>,
    to_review: usize,
    services: Vec<Reachable>,
}

#[derive(Debug, Template)]
#[template(path = "console/welcome.html")]
struct WelcomePage {
    frame: Frame,
    has_providers: bool,
    command: String,
}

/// A service, with its operations sorted by what the viewer can do.
#[derive(Debug)]
struct Reachable {
    name: String,
    open: Vec<String>,
    requestable: Vec<String>,
    closed: usize,
}

impl Reachable {
    fn of(service: &ServiceView) -> Self {
        let short = |operation: &OperationView| operation.name.local().to_owned();
        let operations = || service.operations.iter();
        let is_open = |reach: &Reach| matches!(reach, Reach::Open | Reach::Conditional(_));
        let open = operations().filter(|one| is_open(&one.reach)).map(short).collect::<Vec<_>>();
        let requestable = operations()
            .filter(|one| matches!(one.reach, Reach::Requestable(_)))
            .map(short)
            .collect::<Vec<_>>();
        let closed = service.operations.len() - open.len() - requestable.len();
        Self { name: service.name.to_string(), open, requestable, closed }
    }
}

async fn home(
    State(api): State<Shared>,
    headers: HeaderMap,
    visitor: Result<Visitor, Failure>,
) -> Outcome {
    let visitor = match visitor {
        // Every other page leads whoever is not signed in away.
        Err(Failure::Elsewhere(_)) => return welcome(&api, &headers),
        other => other?,
    };
    let frame = visitor.frame(&api, Section::Home, "home-title").await?;
    let op = &visitor.op;
    let mut grants = api.control.own_grants(op).await?;
    let left_out = grants.len().saturating_sub(SHOWN);
    grants.truncate(SHOWN);
    let mine = api.control.access_requests(op, AccessRequestFilter::MineWaiting).await?;
    let is_pending =
        |view: &AccessRequestView| matches!(view.request.state, AccessRequestState::Pending);
    let waiting = mine.into_iter().filter(is_pending).take(SHOWN).collect();
    let to_review = api.control.count_to_review(op, COUNTED).await?;
    let services = api.control.services(op).await?.iter().map(Reachable::of).collect();
    page(&HomePage { frame, grants, left_out, waiting, to_review, services })
}

/// Whoever is not signed in learns how to, and nothing else.
fn welcome(api: &ApiParts, headers: &HeaderMap) -> Outcome {
    let mut frame = Frame::of_nobody(Theme::of(headers), api.clock.now());
    frame.title = frame.say("home-welcome-title");
    let has_providers = !api.control.providers().is_empty();
    let command = format!("portcullis login {}", api.base_url);
    let html = WelcomePage { frame, has_providers, command }.render();
    Ok(framed(StatusCode::OK, html.map_err(|_| Failure::Internal)?))
}

async fn give_back(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    let id: GrantId = named(&id, "the grant")?;
    api.control.give_back(&visitor.op, id).await?;
    done("/", "given-back")
}

#[derive(Debug, Deserialize)]
struct Extension {
    duration: Window,
    reason: String,
}

/// More of one's own grant is asked for like anything else.
async fn extend(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Extension { duration, reason }): Filled<Extension>,
) -> Outcome {
    let id: GrantId = named(&id, "the grant")?;
    let what = AskFor::Extension(id);
    let ask = Ask { what, rule: None, reason, incident: None, duration: Some(duration) };
    let view = api.control.ask(&visitor.op, ask).await?;
    let word = match view.request.state {
        AccessRequestState::Pending => "extension-asked",
        _ => "extended",
    };
    Ok(done("/", word)?.into_response())
}
