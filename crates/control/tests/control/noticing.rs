//! Telling people of access requests: in order, while nobody has answered, also after a restart.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_control::{
    connector::ConnectedSystem,
    ports::{NotDelivered, Notice, Notifier},
};
use portcullis_model::{AccessRequestId, EventType};
use portcullis_policy::notice::NoticeTarget;

use crate::world::{POLICIES, World};

/// Who was told, and of what.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) messages: Mutex<Vec<(String, serde_json::Value)>>,
    /// Nobody can be reached.
    pub(crate) broken: AtomicBool,
    /// What reaches somebody is not known to have.
    deaf: AtomicBool,
    taken_back: Mutex<Vec<(String, AccessRequestId)>>,
}

#[async_trait]
impl Notifier for Told {
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(NotDelivered::yet("it does not answer"));
        }
        let body = serde_json::from_str(&notice.body).unwrap();
        self.messages.lock().unwrap().push((target.to_string(), body));
        if self.deaf.load(Ordering::SeqCst) {
            return Err(NotDelivered::lost("its answer was lost"));
        }
        Ok(())
    }

    async fn take_back(
        &self,
        target: &NoticeTarget,
        about: AccessRequestId,
    ) -> Result<(), NotDelivered> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(NotDelivered::yet("it does not answer"));
        }
        self.taken_back.lock().unwrap().push((target.to_string(), about));
        Ok(())
    }

    fn receivers(&self) -> Vec<ConnectedSystem> {
        let known = [("pagerduty", "pagerduty:urgent"), ("teams", "teams:payments")];
        let system = |(kind, name): (&'static str, &str)| ConnectedSystem {
            kind,
            name: name.to_owned(),
            place: "a double".to_owned(),
        };
        known.map(system).into()
    }
}

const ONE: &str = "webhook:https://one.example.com/hook-1";
const TWO: &str = "webhook:https://two.example.com/";

fn telling(escalate: &str) -> String {
    let notify = format!("@reviews(\"2\") @notify(\"{ONE}, {TWO}\"){escalate}");
    POLICIES.replace("@reviews(\"2\")", &notify)
}

fn told(world: &World) -> Vec<String> {
    let messages = world.notices.messages.lock().unwrap();
    messages.iter().map(|(target, _)| target.clone()).collect()
}

#[tokio::test]
async fn all_are_told_at_once_of_who_asks_for_what_and_why() {
    let world = World::with(&telling("")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.sign_in("lea", &["leads"]).await;
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    world.until(|world| told(world).len() == 2).await;
    let mut both = told(&world);
    both.sort();
    assert_eq!(both, [ONE, TWO]);
    let message = world.notices.messages.lock().unwrap()[0].1.clone();
    let about = &message["access_request"];
    assert_eq!(message["type"], "access_request");
    assert_eq!(about["id"], asked.id.to_string());
    assert_eq!(about["requester_name"], "ana");
    assert_eq!(about["queries"][0]["operation"], "payments.deleteRefund");
    assert_eq!(about["reviews_needed"], 2);
    assert_eq!(about["reviewers"][0], "lea");
    assert!(about["reason"].as_str().unwrap().contains("stuck"));
    world.until(|world| world.log.count(EventType::NoticeDelivered) == 2).await;
    let record = serde_json::to_string(&world.log.events()).unwrap();
    assert!(!record.contains("hook-1"), "a path may be the receiver's secret");
}

#[tokio::test]
async fn the_next_is_told_only_while_nobody_has_answered() {
    let mut world = World::with(&telling(" @escalate(\"5m\")")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let answered = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    world.until(|world| told(world) == [ONE]).await;
    let no = crate::world::answer(portcullis_model::Decision::Decline);
    world.control().review(&lea, answered, no).await.unwrap();
    world.wait(SignedDuration::from_mins(1));
    world.ask(&ana, "payments.deleteRefund").await.unwrap();
    world.until(|world| told(world) == [ONE, ONE]).await;
    // Whom to tell, and when, outlives the process.
    world.restart(&telling(" @escalate(\"5m\")")).await;
    world.wait(SignedDuration::from_mins(5));
    world.until(|world| told(world) == [ONE, ONE, TWO]).await;
    world.until(|world| world.log.count(EventType::NoticeDelivered) == 3).await;
    assert_eq!(told(&world).len(), 3, "of the first nobody else was told");
}

#[tokio::test]
async fn who_cannot_be_told_is_tried_again_and_in_the_end_it_is_on_record() {
    let world = World::with(&telling("")).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.notices.broken.store(true, Ordering::SeqCst);
    world.ask(&ana, "payments.deleteRefund").await.unwrap();
    world.wait(SignedDuration::from_secs(1));
    world.notices.broken.store(false, Ordering::SeqCst);
    for _ in 0..200 {
        if told(&world).len() == 2 {
            break;
        }
        world.wait(SignedDuration::from_secs(1));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(told(&world).len(), 2);

    world.notices.broken.store(true, Ordering::SeqCst);
    let ben = world.sign_in("ben", &["engineering"]).await;
    world.ask(&ben, "payments.deleteRefund").await.unwrap();
    for _ in 0..200 {
        if world.log.count(EventType::NoticeFailed) == 2 {
            break;
        }
        world.wait(SignedDuration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.log.count(EventType::NoticeFailed), 2, "each of the two, once");
    let sam = world.sign_in("sam", &["auditors"]).await;
    let aside = world.control().undelivered(&sam).await.unwrap();
    assert_eq!(aside.len(), 2, "{aside:#?}");
    assert!(aside.iter().all(|one| one.kind == "notice" && one.attempts > 1), "{aside:#?}");
}

pub(crate) fn paging() -> String {
    POLICIES.replace("@reviews(\"2\")", "@reviews(\"2\") @notify(\"pagerduty:urgent\")")
}

/// Lets time pass until `done`, a second each time.
pub(crate) async fn passes(world: &World, done: impl Fn() -> bool) {
    for _ in 0..400 {
        if done() {
            return;
        }
        world.wait(SignedDuration::from_secs(1));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn who_was_woken_without_our_knowing_is_let_go_all_the_same() {
    let world = World::with(&paging()).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.notices.deaf.store(true, Ordering::SeqCst);
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    world.until(|world| told(world) == ["pagerduty:urgent"]).await;
    // Nobody can be reached while it is withdrawn, and for some time after.
    world.notices.broken.store(true, Ordering::SeqCst);
    world.control().withdraw(&world.later(&ana), asked.id).await.unwrap();
    world.wait(SignedDuration::from_mins(5));
    world.notices.broken.store(false, Ordering::SeqCst);
    let taken = || world.notices.taken_back.lock().unwrap().clone();
    passes(&world, || !taken().is_empty()).await;
    assert_eq!(taken(), [("pagerduty:urgent".to_owned(), asked.id)]);
}

#[tokio::test]
async fn who_was_asked_without_our_knowing_is_told_what_came_of_it() {
    let told_in_a_channel = "@reviews(\"2\") @notify(\"teams:payments\")";
    let world = World::with(&POLICIES.replace("@reviews(\"2\")", told_in_a_channel)).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    world.notices.deaf.store(true, Ordering::SeqCst);
    let asked = world.ask(&ana, "payments.deleteRefund").await.unwrap().request;
    world.until(|world| told(world) == ["teams:payments"]).await;
    // It is answered before anybody is asked again.
    world.control().withdraw(&world.later(&ana), asked.id).await.unwrap();
    world.notices.deaf.store(false, Ordering::SeqCst);
    passes(&world, || world.log.count(EventType::NoticeDelivered) == 1).await;
    assert_eq!(told(&world), ["teams:payments"; 2]);
}
