//! `portcullis services`: what I can use, and what I can ask for.

use clap::Args;
use portcullis_api::{
    services::{HealthBody, InstanceBody, ReachBody, ServiceBody, ServicesBody},
    way::WayBody,
};

use super::{failure::Failure, screen::Screen, session::Session, way_table};

#[derive(Debug, Args)]
pub(crate) struct Services {
    /// Show this one with its operations
    name: Option<String>,
}

impl Services {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let fetched = match &self.name {
            Some(name) => {
                let found = session.get(&format!("/v1/services/{}", segment(name)?)).await;
                found.map_err(|failure| failure.or_try("`portcullis services` lists yours"))?
            }
            None => session.get("/v1/services").await?,
        };
        if session.screen.is_json() {
            session.screen.body(&fetched.body);
        } else if self.name.is_some() {
            one(session.screen, &fetched.read()?);
        } else {
            all(session.screen, &fetched.read()?);
        }
        Ok(())
    }
}

/// A name that can stand in a path as it is.
pub(crate) fn segment(name: &str) -> Result<&str, Failure> {
    let parsed = name.parse::<portcullis_model::ServiceName>();
    parsed.map(|_| name).map_err(|error| Failure::WrongUse(error.to_string()))
}

fn all(screen: &Screen, services: &ServicesBody) {
    let count = |service: &ServiceBody, reach| {
        service.operations.iter().filter(|operation| operation.reach == reach).count().to_string()
    };
    let rows = services.services.iter().map(|service| {
        vec![
            service.name.clone(),
            service.hosts.join(", "),
            count(service, ReachBody::Open),
            count(service, ReachBody::Requestable),
            service.health.as_deref().map(up_of).unwrap_or_default(),
        ]
    });
    let header = ["service", "hosts", "open", "can be asked for", "instances up"];
    screen.table("there is no service that you can use", &header, rows.collect());
    if screen.is_interactive() {
        screen.note("`portcullis services NAME` shows the operations of one");
    }
}

fn one(screen: &Screen, service: &ServiceBody) {
    screen.line(&format!("{}  {}", service.name, service.hosts.join(", ")));
    match &service.health {
        Some(instances) if !instances.is_empty() => {
            screen.line(&format!("instances  {} up", up_of(instances)));
            for instance in instances {
                screen.line(&format!("  {}", in_words(instance)));
            }
        }
        _ if service.instances.is_empty() => {}
        _ => screen.line(&format!("instances  {}", service.instances.join(", "))),
    }
    let rows = service.operations.iter().map(|operation| {
        let reach = reach(operation.reach, &operation.ways);
        vec![operation.name.clone(), operation.group.clone(), reach]
    });
    screen.table("it has no operations", &["operation", "group", "for you"], rows.collect());
    if !service.sensitive.is_empty() {
        let rows = service.sensitive.iter().map(|class| {
            let shown = match class.reach {
                ReachBody::Open => "shown".to_owned(),
                ReachBody::Closed => "masked".to_owned(),
                ReachBody::Conditional => {
                    format!("shown under conditions: {}", class.conditions.join("; "))
                }
                ReachBody::Requestable => format!("masked; {}", reach(class.reach, &class.ways)),
            };
            vec![class.class.clone(), shown]
        });
        screen.table("", &["sensitive data", "for you"], rows.collect());
    }
}

/// `2 of 3`.
fn up_of(instances: &[InstanceBody]) -> String {
    let up = instances.iter().filter(|instance| instance.health == HealthBody::Up).count();
    format!("{up} of {}", instances.len())
}

fn in_words(instance: &InstanceBody) -> String {
    let zone = instance.zone.as_ref().map(|zone| format!("  in {zone}")).unwrap_or_default();
    let health = match instance.health {
        HealthBody::Up => "up",
        HealthBody::Unwell => "not well, as its health checks say",
        HealthBody::Ejected => "left out for a while, as requests to it failed",
    };
    format!("{}{zone}  {health}", instance.name)
}

fn reach(reach: ReachBody, ways: &[WayBody]) -> String {
    match reach {
        ReachBody::Open => "open".to_owned(),
        ReachBody::Conditional => "under conditions".to_owned(),
        ReachBody::Closed => "closed".to_owned(),
        ReachBody::Requestable => {
            let ways = ways.iter();
            let ways =
                ways.map(|way| format!("{} ({})", way_table::kind(way), way_table::limits(way)));
            format!("ask: {}", ways.collect::<Vec<_>>().join(" or "))
        }
    }
}
