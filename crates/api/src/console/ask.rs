//! Asking: for operations of a service, or for what a refusal was about. Shows the ways that there are,
//! and who could review; which of them counts is decided in control.

mod asking;

use askama::Template;
use axum::{
    Router,
    extract::{Path, RawQuery, State},
    routing::get,
};
use portcullis_control::views::{Reach, ServiceView};

use self::asking::{Asking, Subject};
use super::{
    Failure, Outcome,
    fields::{Fields, correctable, with_back},
    form::Filled,
    frame::{Frame, Section},
    visitor::{Visitor, done, framed, page},
};
use crate::{
    extract::named,
    parts::{ApiParts, Shared},
};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/ask", get(choose).post(ask))
        .route("/ask/{refusal}", get(refused).post(ask_refused))
}

#[derive(Debug, Template)]
#[template(path = "console/ask.html")]
struct AskPage {
    frame: Frame,
    /// The service whose operations are listed; all services if none is chosen.
    chosen: Option<Askable>,
    services: Vec<Askable>,
}

/// A service, with what can be asked for.
#[derive(Debug)]
struct Askable {
    name: String,
    operations: Vec<Entry>,
    classes: usize,
    open: usize,
}

/// One operation that can be asked for.
#[derive(Debug)]
struct Entry {
    name: String,
    local: String,
    /// Whether policy approves by itself.
    at_once: bool,
    /// People who could review.
    reviewers: String,
}

impl Askable {
    fn of(service: &ServiceView) -> Self {
        let entries = service.operations.iter().filter_map(|operation| {
            let Reach::Requestable(ways) = &operation.reach else { return None };
            let first = ways.first()?;
            Some(Entry {
                name: operation.name.to_string(),
                local: operation.name.local().to_owned(),
                at_once: first.reviews == 0 && !first.is_emergency(),
                reviewers: first.reviewers.join(", "),
            })
        });
        let is_open = |reach: &Reach| matches!(reach, Reach::Open | Reach::Conditional(_));
        let requestable = |reach: &Reach| matches!(reach, Reach::Requestable(_));
        Self {
            name: service.name.to_string(),
            operations: entries.collect(),
            classes: service.classes.iter().filter(|class| requestable(&class.reach)).count(),
            open: service.operations.iter().filter(|one| is_open(&one.reach)).count(),
        }
    }
}

/// What can be asked for; with operations in the address, how.
async fn choose(State(api): State<Shared>, visitor: Visitor, RawQuery(query): RawQuery) -> Outcome {
    let fields = Fields::of_query(query.as_deref())?;
    if !fields.all("operation").is_empty() {
        let frame = visitor.frame(&api, Section::Home, "ask-how-title").await?;
        let subject = Subject::operations(&api.control, &visitor.op, &fields).await?;
        return page(&Asking::new(frame, subject, &fields, None));
    }
    let frame = visitor.frame(&api, Section::Home, "ask-title").await?;
    let all = api.control.services(&visitor.op).await?;
    let mut services: Vec<Askable> = all.iter().map(Askable::of).collect();
    let wanted = fields.text("service");
    let chosen = services.iter().position(|service| service.name == wanted);
    let chosen = chosen.map(|at| services.swap_remove(at));
    services.retain(|service| !service.operations.is_empty() || service.classes > 0);
    page(&AskPage { frame, chosen, services })
}

async fn ask(State(api): State<Shared>, Filled(visitor, fields): Filled<Fields>) -> Outcome {
    let frame = visitor.frame(&api, Section::Home, "ask-how-title").await?;
    let subject = Subject::operations(&api.control, &visitor.op, &fields).await?;
    sent(&api, &visitor, frame, subject, &fields).await
}

/// A refusal of the visitor's own, by its code.
async fn refused(
    State(api): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome {
    let fields = Fields::of_query(query.as_deref())?;
    let frame = visitor.frame(&api, Section::Home, "ask-refused-title").await?;
    let subject = of_refusal(&api, &visitor, &id, &fields).await?;
    page(&Asking::new(frame, subject, &fields, None))
}

async fn ask_refused(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, fields): Filled<Fields>,
) -> Outcome {
    let frame = visitor.frame(&api, Section::Home, "ask-how-title").await?;
    let subject = of_refusal(&api, &visitor, &id, &fields).await?;
    sent(&api, &visitor, frame, subject, &fields).await
}

async fn of_refusal(
    api: &Shared,
    visitor: &Visitor,
    id: &str,
    fields: &Fields,
) -> Result<Subject, Failure> {
    let view = api.control.refusal(&visitor.op, &named(id, "the refusal")?).await?;
    Ok(Subject::refusal(view, fields.back(&api.control)))
}

/// Asks; what was typed stays where it cannot be done.
async fn sent(
    api: &ApiParts,
    visitor: &Visitor,
    frame: Frame,
    subject: Subject,
    fields: &Fields,
) -> Outcome {
    let asked = match subject.ask(fields) {
        Ok(ask) => api.control.ask(&visitor.op, ask).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(view) => {
            let word = if view.request.state.as_str() == "pending" { "asked" } else { "granted" };
            let path = format!("/requests/{}", view.request.id);
            done(&with_back(&path, subject.back()), word)
        }
        Err(error) => {
            let (status, problem) = correctable(error)?;
            let page = Asking::new(frame, subject, fields, Some(problem)).render();
            Ok(framed(status, page.map_err(|_| Failure::Internal)?))
        }
    }
}
