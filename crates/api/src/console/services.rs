//! Services: what each is, how its instances are, and what of it whoever looks can use or ask for.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use portcullis_control::views::{OperationView, Reach, ServiceView};

use super::{
    Outcome,
    frame::{Frame, Section},
    visitor::{Visitor, page},
};
use crate::{
    extract::named,
    parts::{ApiParts, Shared},
    services::{HealthBody, InstanceBody},
};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/services", get(list)).route("/services/{name}", get(one))
}

/// A service in the list.
#[derive(Debug)]
struct Row {
    service: ServiceView,
    open: usize,
    requestable: usize,
    closed: usize,
    /// Instances that get requests, of all; nobody learns of them who only may ask.
    health: Option<(usize, usize)>,
}

#[derive(Debug, Template)]
#[template(path = "console/services.html")]
struct ServicesPage {
    frame: Frame,
    rows: Vec<Row>,
}

#[derive(Debug, Template)]
#[template(path = "console/service.html")]
struct ServicePage {
    frame: Frame,
    service: ServiceView,
    health: Option<Vec<InstanceBody>>,
}

impl ServicePage {
    /// The mark and the key of the text of how an instance is.
    #[expect(
        clippy::unused_self,
        clippy::trivially_copy_pass_by_ref,
        reason = "templates reach functions through what they show, and pass references"
    )]
    fn standing(&self, health: &HealthBody) -> (&'static str, &'static str) {
        match health {
            HealthBody::Up => ("chip open", "services-up"),
            HealthBody::Unwell => ("chip bad", "services-unwell"),
            HealthBody::Ejected => ("chip wait", "services-ejected"),
        }
    }

    /// The operations of one reach after the other: what is open, what can be asked for, the rest.
    fn operations(&self) -> Vec<&OperationView> {
        sorted(&self.service.operations)
    }

    fn classes(&self) -> Vec<&OperationView> {
        sorted(&self.service.classes)
    }
}

fn sorted(all: &[OperationView]) -> Vec<&OperationView> {
    let rank = |reach: &Reach| match reach {
        Reach::Open => 0,
        Reach::Conditional(_) => 1,
        Reach::Requestable(_) => 2,
        Reach::Closed => 3,
    };
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|view| rank(&view.reach));
    all
}

fn uses(service: &ServiceView) -> bool {
    service.operations.iter().any(|operation| operation.reach == Reach::Open)
}

impl Row {
    fn of(api: &ApiParts, service: ServiceView) -> Self {
        let count = |is: fn(&Reach) -> bool| {
            service.operations.iter().filter(|operation| is(&operation.reach)).count()
        };
        let open = count(|reach| matches!(reach, Reach::Open | Reach::Conditional(_)));
        let requestable = count(|reach| matches!(reach, Reach::Requestable(_)));
        let closed = count(|reach| matches!(reach, Reach::Closed));
        let health = uses(&service).then(|| {
            let all = (api.standing)(&service.name);
            let is_up = |instance: &&InstanceBody| instance.health == HealthBody::Up;
            (all.iter().filter(is_up).count(), all.len())
        });
        Self { service, open, requestable, closed, health }
    }
}

async fn list(visitor: Visitor, State(api): State<Shared>) -> Outcome {
    let frame = visitor.frame(&api, Section::Services, "services-title").await?;
    let services = api.control.services(&visitor.op).await?;
    let rows = services.into_iter().map(|service| Row::of(&api, service)).collect();
    page(&ServicesPage { frame, rows })
}

async fn one(visitor: Visitor, State(api): State<Shared>, Path(name): Path<String>) -> Outcome {
    let name = named(&name, "the service")?;
    let mut frame = visitor.frame(&api, Section::Services, "services-title").await?;
    let service = api.control.service(&visitor.op, &name).await?;
    frame.title = service.name.to_string();
    let health = uses(&service).then(|| (api.standing)(&service.name));
    page(&ServicePage { frame, service, health })
}
