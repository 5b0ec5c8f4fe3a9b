//! Another system tells of incidents: in any order, more than once, and late.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_control::{
    ControlError,
    connector::{
        ConnectorSpec, PeopleMap,
        vendor::{Heard, Hook, Note, Open, Report, Shift, Unheard, Vendor},
        wire::{Call, Line, Reply, Trouble, Wire},
    },
    views::ConnectorState,
};
use portcullis_model::{Clock as _, IncidentState, Window};
use serde_json::{Value, json};

use crate::world::{POLICIES, World};

const MANAGERS: &str = r#"
// house
@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

/// Tells what it is given, and answers nothing.
#[derive(Debug)]
struct Teller;

#[async_trait]
impl Vendor for Teller {
    fn speaks(&self) -> bool {
        true
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Forged)?;
        let report = Report {
            key: "key".into(),
            word: body["number"].to_string(),
            title: body["message"].as_str().unwrap().into(),
            severities: vec!["very bad indeed".into(), "sev1".into()],
            services: vec!["THEIRS".into()],
            responders: vec![],
            whole: true,
            at: body["at"].as_str().unwrap().parse().unwrap(),
            open: body["open"].as_bool().unwrap(),
        };
        Ok(Heard::Incident { message: report.title.clone(), report })
    }

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Open, Trouble> {
        line.ask(Call::of(["incidents"])).await.map(|_| Open::default())
    }

    async fn one(&self, _: &Line, _: &str, _: Timestamp) -> Result<Option<Report>, Trouble> {
        Err(Trouble::Refused(400))
    }

    async fn shift(&self, _: &Line, _: &str, _: Timestamp) -> Result<Option<Shift>, Trouble> {
        Ok(None)
    }

    async fn email(&self, _: &Line, _: &str) -> Result<Option<String>, Trouble> {
        Ok(None)
    }

    async fn note(&self, _: &Line, _: &str, _: &Note) -> Result<bool, Trouble> {
        Ok(true)
    }
}

#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Wire for Nowhere {
    async fn call(&self, _: Call) -> Result<Reply, Trouble> {
        Err(Trouble::Silent("nobody is there".into()))
    }

    fn place(&self) -> String {
        "nowhere".into()
    }
}

async fn world() -> World {
    let spec = ConnectorSpec {
        door: "teller",
        prefix: "T".into(),
        services: [("THEIRS".to_owned(), ["payments".parse().unwrap()].into())].into(),
        severities: BTreeMap::new(),
        schedules: BTreeMap::new(),
        people: PeopleMap::default(),
        every: Window::minutes(1),
        fresh_for: Window::minutes(5),
        notes: None,
        vendor: Arc::new(Teller),
        line: Line::new(Arc::new(Nowhere)),
    };
    World::told_by(&format!("{POLICIES}{MANAGERS}"), vec![spec]).await
}

async fn tell(world: &World, number: usize, message: &str, at: SignedDuration, open: bool) {
    let at = world.clock.now() + at;
    let body = json!({"number": number, "message": message, "at": at, "open": open});
    let source = IpAddr::from([192, 0, 2, 1]);
    let headers = BTreeMap::new();
    let heard = world.control().hear("teller", &headers, body.to_string().as_bytes(), source).await;
    heard.unwrap();
}

async fn is_open(world: &World, number: usize) -> bool {
    let lea = world.sign_in("lea", &["leads", "engineering"]).await;
    let id = format!("T-{number}").parse().unwrap();
    let incident = world.control().incident(&lea, &id).await.unwrap();
    assert_eq!(incident.source.to_string(), "teller");
    assert_eq!(incident.severity.as_str(), "sev1", "the first word that is one");
    incident.state == IncidentState::Open
}

#[tokio::test]
async fn a_system_that_does_not_answer_is_failing_whatever_is_sent_in_its_name() {
    let world = world().await;
    let teller = |world: &World| {
        let all = world.control().connectors_now().into_iter();
        all.clone().find(|one| one.name == "teller").unwrap_or_else(|| panic!("{all:#?}"))
    };
    world.until(|world| teller(world).state == ConnectorState::Failing).await;
    let seen = teller(&world);
    assert_eq!(seen.trouble.as_deref(), Some("nobody is there"));
    assert_eq!((seen.heard_at, seen.known_until, seen.answered_at), (None, None, None));
    tell(&world, 1, "opened", SignedDuration::from_secs(-5), true).await;
    let source = IpAddr::from([192, 0, 2, 1]);
    let forged = world.control().hear("teller", &BTreeMap::new(), b"by a stranger", source).await;
    assert!(matches!(forged, Err(ControlError::Unauthenticated(_))), "{forged:?}");
    let seen = teller(&world);
    assert_eq!((seen.state, seen.heard_at), (ConnectorState::Failing, Some(world.clock.now())));
    let refused = seen.refused.unwrap();
    assert!(refused.why.contains("its signature is not right"), "{refused:?}");
}

const MESSAGES: [(&str, i64, bool); 4] =
    [("opened", -40, true), ("closed", -30, false), ("again", -20, true), ("over", -10, false)];

/// All orders of so many.
fn orders(of: usize) -> Vec<Vec<usize>> {
    let Some(fewer) = of.checked_sub(1) else { return vec![vec![]] };
    let put = |order: Vec<usize>| (0..=fewer).map(move |at| (order.clone(), at));
    let all = orders(fewer).into_iter().flat_map(put);
    all.map(|(mut order, at)| {
        order.insert(at, fewer);
        order
    })
    .collect()
}

#[tokio::test]
async fn in_whatever_order_messages_come_the_newest_counts() {
    let world = world().await;
    let mut number = 0;
    // With the last one, which closes, and without it.
    for newest in [4, 3] {
        for order in orders(newest) {
            number += 1;
            // Each comes twice, the second time when all have come.
            for which in order.iter().chain(&order) {
                let (message, seconds, open) = MESSAGES[*which];
                tell(&world, number, message, SignedDuration::from_secs(seconds), open).await;
            }
            assert_eq!(is_open(&world, number).await, newest == 3, "{order:?}");
        }
    }
}

#[tokio::test]
async fn of_the_same_moment_what_closes_counts() {
    let world = world().await;
    let at = SignedDuration::from_secs(-5);
    tell(&world, 1, "opened", at, true).await;
    tell(&world, 1, "closed", at, false).await;
    assert!(!is_open(&world, 1).await);
    tell(&world, 2, "closed", at, false).await;
    tell(&world, 2, "opened", at, true).await;
    assert!(!is_open(&world, 2).await);
}

#[tokio::test]
async fn n07_what_was_opened_by_another_door_is_not_taken_over() {
    let world = world().await;
    tell(&world, 1, "opened", SignedDuration::from_secs(-5), true).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = "T-1".parse().unwrap();
    let closed = world.control().close_incident(&lea, &id).await;
    assert!(matches!(closed, Err(ControlError::Conflict(_))), "{closed:?}");
    assert!(is_open(&world, 1).await);
}
