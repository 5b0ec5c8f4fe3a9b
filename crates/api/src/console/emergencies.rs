//! Emergencies: taking one, and those that nobody has looked at since.

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use portcullis_control::views::{
    AccessRequestFilter, AccessRequestView, Ask, AskFor, AskOperation, Reach,
};
use portcullis_model::{OperationName, ServiceName, Way};

use super::{
    Failure, Outcome,
    fields::{Fields, correctable, windows},
    form::Filled,
    frame::{Frame, Section},
    visitor::{Visitor, done, framed, page},
};
use crate::parts::{ApiParts, Shared};

/// Emergencies that the page shows.
const SHOWN: usize = 50;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/emergencies", get(emergencies)).route("/emergencies", post(take))
}

#[derive(Debug, Template)]
#[template(path = "console/emergencies.html")]
struct EmergenciesPage {
    frame: Frame,
    offered: Vec<Offer>,
    to_review: Vec<AccessRequestView>,
    mine: Vec<AccessRequestView>,
    problem: Option<String>,
    typed: Fields,
}

/// A rule by which the visitor can open a service.
#[derive(Debug)]
struct Offer {
    service: ServiceName,
    way: Way,
    windows: Vec<String>,
}

impl Offer {
    fn is_typed(&self, typed: &Fields) -> bool {
        typed.text("service") == self.service.as_str()
            && typed.text("rule") == self.way.rule.as_str()
    }
}

impl EmergenciesPage {
    fn lists(&self) -> [(&'static str, &[AccessRequestView]); 2] {
        [("emergencies-to-review", &self.to_review), ("emergencies-mine", &self.mine)]
    }

    async fn of(api: &ApiParts, visitor: &Visitor) -> Result<Self, Failure> {
        let (control, op) = (&api.control, &visitor.op);
        let frame = visitor.frame(api, Section::Emergencies, "emergencies-title").await?;
        let is_open = |view: &AccessRequestView| view.request.waits_for_review_afterwards();
        let afterwards = AccessRequestFilter::ToReviewAfterwards;
        let (to_review, _) = control.access_requests_after(op, afterwards, None, SHOWN).await?;
        let mut mine = control.access_requests(op, AccessRequestFilter::MineWaiting).await?;
        mine.retain(is_open);
        mine.truncate(SHOWN);
        let mut offered: Vec<Offer> = Vec::new();
        for service in control.services(op).await? {
            let all = service.operations.iter().chain(&service.classes);
            let ways = all.filter_map(|operation| match &operation.reach {
                Reach::Requestable(ways) => Some(ways),
                Reach::Open | Reach::Conditional(_) | Reach::Closed => None,
            });
            for way in ways.flatten().filter(|way| way.is_emergency()) {
                let known = |offer: &Offer| {
                    offer.service == service.name
                        && offer.way.rule == way.rule
                        && offer.way.incident == way.incident
                };
                if !offered.iter().any(known) {
                    let windows = windows(way.max_duration);
                    offered.push(Offer {
                        service: service.name.clone(),
                        way: way.clone(),
                        windows,
                    });
                }
            }
        }
        let (problem, typed) = (None, Fields::default());
        Ok(Self { frame, offered, to_review, mine, problem, typed })
    }
}

async fn emergencies(State(api): State<Shared>, visitor: Visitor) -> Outcome {
    page(&EmergenciesPage::of(&api, &visitor).await?)
}

async fn take(State(api): State<Shared>, Filled(visitor, fields): Filled<Fields>) -> Outcome {
    let asked = match ask(&fields) {
        Ok(ask) => api.control.ask(&visitor.op, ask).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(view) => done(&format!("/requests/{}", view.request.id), "emergency"),
        Err(error) => {
            let (status, problem) = correctable(error)?;
            let mut of = EmergenciesPage::of(&api, &visitor).await?;
            (of.problem, of.typed) = (Some(problem), fields);
            Ok(framed(status, of.render().map_err(|_| Failure::Internal)?))
        }
    }
}

fn ask(fields: &Fields) -> Result<Ask, portcullis_control::ControlError> {
    let service: ServiceName = super::fields::read("service", fields.text("service"))?;
    let operation = OperationName::all_of(&service);
    let only = AskOperation { operation, instance: None, rule: fields.one("rule")? };
    Ok(Ask {
        what: AskFor::Operations(vec![only]),
        rule: None,
        reason: fields.text("reason").to_owned(),
        incident: fields.one("incident")?,
        duration: fields.one("duration")?,
    })
}
