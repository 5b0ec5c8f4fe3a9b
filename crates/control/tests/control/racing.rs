//! Many at the same moment: exactly one wins, and what wins is what everybody sees.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_control::{
    ControlError, OpContext,
    ports::ConsumeError,
    views::{Ask, AskFor},
};
use portcullis_model::{Decision, EventType, GrantEnd, GrantState, RequestId, Window};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::world::{POLICIES, World, answer, asking, who};

const MANY: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e27_of_automatic_asks_at_once_one_grant_comes() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    let mut racing = JoinSet::new();
    for minutes in 1..=MANY {
        let (control, ana) = (Arc::clone(world.control()), ana.clone());
        // Not even with other words: a longer window is no other access.
        let window = Window::minutes(u32::try_from(minutes).unwrap());
        let ask = asking("payments.createRefund", Some(window));
        racing.spawn(async move { control.ask(&ana, ask).await.unwrap().request.id });
    }
    let mut ids = racing.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1, "all are told of the same access request");
    assert_eq!(world.holds(&who(&ana)), 1);
    assert_eq!(world.log.count(EventType::GrantStarted), 1);
    assert_eq!(world.log.count(EventType::AccessRequested), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_ask_at_once_one_waits() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut racing = JoinSet::new();
    for _ in 0..MANY {
        let (control, ana) = (Arc::clone(world.control()), ana.clone());
        let ask = asking("payments.deleteRefund", None);
        racing.spawn(async move { control.ask(&ana, ask).await.unwrap().request.id });
    }
    let mut ids = racing.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_of_approving_and_withdrawing_at_once_exactly_one_wins() {
    for round in 0..8 {
        let world = World::new().await;
        let ana = world.sign_in("ana", &["engineering"]).await;
        let lea = world.sign_in("lea", &["leads"]).await;
        let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
        let mut racing = JoinSet::new();
        for n in 0..MANY {
            let control = Arc::clone(world.control());
            let (ana, lea) = (ana.clone(), lea.clone());
            racing.spawn(async move {
                if (n + round) % 2 == 0 {
                    control.withdraw(&ana, id).await.is_ok()
                } else {
                    control.review(&lea, id, answer(Decision::Approve)).await.is_ok()
                }
            });
        }
        let won = racing.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
        let state = world.control().access_request(&ana, id).await.unwrap().request.state;
        let approved = state.as_str() == "approved";
        assert!(approved || state.as_str() == "withdrawn", "{state:?}");
        assert_eq!(world.holds(&who(&ana)), usize::from(approved));
        world.until(|world| world.log.count(EventType::AccessRequestEnded) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m02_of_many_approvals_at_once_as_many_count_as_are_needed() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut leads = Vec::new();
    for n in 0..MANY {
        leads.push(world.sign_in(&format!("lead-{n}"), &["leads"]).await);
    }
    let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
    let mut racing = JoinSet::new();
    for lead in leads {
        let control = Arc::clone(world.control());
        racing.spawn(async move { control.review(&lead, id, answer(Decision::Approve)).await });
    }
    let results = racing.join_all().await;
    assert_eq!(results.iter().filter(|given| given.is_ok()).count(), 2);
    let request = world.control().access_request(&ana, id).await.unwrap().request;
    assert_eq!((request.reviews.len(), request.state.as_str()), (2, "approved"));
    assert_eq!(world.holds(&who(&ana)), 1);
    assert_eq!(world.log.count(EventType::GrantStarted), 1);
}

/// Ten racing reviews of each of many access requests; `PORTCULLIS_SOAK` says how many: with 200, it is
/// ten thousand reviews.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_m01_m02_of_racing_reviews_nothing_is_approved_twice_or_below_its_quorum() {
    let soak = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "leads"]).await;
    let mut leads = Vec::new();
    for n in 0..5 {
        leads.push(world.sign_in(&format!("lead-{n}"), &["leads"]).await);
        // The same human being under another name.
        let email = format!("lead-{n}@example.com");
        leads.push(world.sign_in_as(&format!("lead-{n}-too"), &email, &["leads"]).await);
    }
    let mut granted = 0;
    for round in 0..soak * 5 {
        let id = world.ask(&ana, "payments.deleteRefund").await.unwrap().request.id;
        let mut racing = JoinSet::new();
        for (n, lead) in leads.iter().chain([&ana]).enumerate() {
            let (control, lead) = (Arc::clone(world.control()), world.later(lead));
            let declines = round % 3 == 0 && n == round % 10;
            let decision = if declines { Decision::Decline } else { Decision::Approve };
            racing.spawn(async move { control.review(&lead, id, answer(decision)).await.is_ok() });
        }
        let counted = racing.join_all().await.into_iter().filter(|counted| *counted).count();
        let request = world.control().access_request(&world.later(&ana), id).await.unwrap().request;
        let people: std::collections::BTreeSet<_> =
            request.reviews.iter().map(|review| review.person).collect();
        assert_eq!((request.reviews.len(), counted), (people.len(), people.len()), "{request:#?}");
        match request.state.as_str() {
            "approved" => {
                assert_eq!(request.approvals(), 2);
                granted += 1;
                assert_eq!(world.holds(&who(&ana)), 1);
                let grants = world.control().grants(&world.later(&ana)).await.unwrap();
                let grant = grants.iter().find(|grant| grant.access_request == id).unwrap();
                world.control().revoke(&world.later(&leads[0]), grant.id).await.unwrap();
            }
            "declined" => assert!(round % 3 == 0 && request.approvals() < 2, "{request:#?}"),
            other => panic!("{other}"),
        }
        assert_eq!(world.log.count(EventType::GrantStarted), granted);
        world.wait(jiff::SignedDuration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_of_extending_and_revoking_at_once_nothing_is_open_afterwards() {
    for _ in 0..4 {
        let world = World::new().await;
        let ana = world.sign_in("ana", &["engineering"]).await;
        let lea = world.sign_in("lea", &["leads"]).await;
        let tom = world.sign_in("tom", &["leads"]).await;
        let ask = asking("payments.deleteRefund", Some(Window::minutes(5)));
        let id = world.control().ask(&ana, ask).await.unwrap().request.id;
        world.approve(&lea, id).await.unwrap();
        world.approve(&tom, id).await.unwrap();
        let grant = world.control().grants(&ana).await.unwrap()[0].id;
        let more = Ask {
            what: AskFor::Extension(grant),
            ..asking("payments.deleteRefund", Some(Window::minutes(30)))
        };
        let id = world.control().ask(&ana, more).await.unwrap().request.id;
        world.approve(&lea, id).await.unwrap();
        let (extending, revoking) = (Arc::clone(world.control()), Arc::clone(world.control()));
        let extend = tokio::spawn(async move {
            extending
                .review(&tom, id, answer(Decision::Approve))
                .await
                .map(|view| view.request.state)
        });
        let revoke = tokio::spawn(async move { revoking.revoke(&lea, grant).await });
        extend.await.unwrap().unwrap();
        revoke.await.unwrap().unwrap();
        assert_eq!(world.holds(&who(&ana)), 0, "revoking wins, whichever came first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d25_no_gate_sign_in_survives_signing_out_at_the_same_moment() {
    let mut world = World::new().await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let mut racing = JoinSet::new();
    for n in 0..MANY {
        let (control, ana) = (Arc::clone(world.control()), ana.clone());
        racing.spawn(async move {
            if n == MANY / 2 {
                control.sign_out(&ana).await.unwrap();
            } else {
                let _gone = control.gate_sign_in(&ana, None).await;
            }
        });
    }
    racing.join_all().await;
    assert!(world.control().sign_ins(&ana).await.unwrap().is_empty());
    world.restart(POLICIES).await;
    assert!(world.control().sign_ins(&ana).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_key_at_once_there_is_one_answer() {
    let world = World::new().await;
    let ana = world.sign_in("ana", &["engineering", "oncall"]).await;
    for operation in ["payments.createRefund", "payments.deleteRefund"] {
        let mut racing = JoinSet::new();
        for n in 0..MANY {
            let (control, ana) = (Arc::clone(world.control()), ana.clone());
            let window = (n % 2 == 0).then(|| Window::minutes(5));
            let ask = asking(operation, window);
            racing.spawn(async move { (n % 2, control.ask_once(&ana, operation, ask).await) });
        }
        let mut answers = BTreeMap::<usize, Vec<_>>::new();
        for (words, answer) in racing.join_all().await {
            match answer {
                Ok(view) => answers.entry(words).or_default().push(view.request.id),
                Err(error) => assert!(matches!(error, ControlError::Conflict(_)), "{error:?}"),
            }
        }
        assert_eq!(answers.len(), 1, "one way of asking took the key");
        let mut ids = answers.into_values().next().unwrap();
        assert_eq!(ids.len(), MANY / 2);
        ids.dedup();
        assert_eq!(ids.len(), 1);
    }
}

/// Ana with a grant that carries as many requests as a grant can: only an end stops it.
async fn generous() -> (World, OpContext, OpContext, portcullis_model::GrantId) {
    let uses = format!("@max_uses(\"{}\")", u32::MAX);
    let world = World::with(&POLICIES.replace("@max_uses(\"1\")", &uses)).await;
    let ana = world.sign_in("ana", &["engineering"]).await;
    let lea = world.sign_in("lea", &["leads"]).await;
    let id = world.ask(&ana, "payments.createRefund").await.unwrap().request.id;
    world.approve(&lea, id).await.unwrap();
    let grant = world.control().grants(&ana).await.unwrap()[0].id;
    (world, ana, lea, grant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e25_nothing_is_spent_after_a_revocation_returned() {
    let (world, ana, lea, grant) = generous().await;
    let mut spending = JoinSet::new();
    let under_way = Arc::new(Semaphore::new(0));
    for task in 0..MANY {
        let (control, under_way) = (Arc::clone(world.control()), Arc::clone(&under_way));
        spending.spawn(async move {
            let mut spent = 0_u32;
            for n in 0.. {
                let request = RequestId::from_bits(((task as u128) << 64) | n);
                match control.consume(grant, request).await {
                    Ok(()) => {
                        spent += 1;
                        under_way.add_permits(1);
                    }
                    Err(ConsumeError::Over) => break,
                    Err(ConsumeError::Unavailable) => panic!("the store answers"),
                }
            }
            spent
        });
    }
    let _some = under_way.acquire_many(u32::try_from(2 * MANY).unwrap()).await.unwrap();
    let ended = world.control().revoke(&lea, grant).await.unwrap();
    assert_eq!(world.holds(&who(&ana)), 0);
    let late = world.control().consume(grant, RequestId::from_bits(u128::MAX)).await;
    assert_eq!(late, Err(ConsumeError::Over));
    let spent: u32 = spending.join_all().await.into_iter().sum();
    let kept = world.control().grant(&ana, grant).await.unwrap();
    assert_eq!((kept.uses, kept.version), (ended.uses, ended.version), "nothing moved after it");
    assert_eq!(kept.uses, spent);
    let uses = usize::try_from(spent).unwrap();
    world.until(|world| world.log.count(EventType::GrantUsed) == uses).await;
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_ends_at_once_exactly_one_ends_it() {
    let (world, ana, lea, grant) = generous().await;
    let mut ending = JoinSet::new();
    for n in 0..MANY {
        let control = Arc::clone(world.control());
        let (ana, lea) = (ana.clone(), lea.clone());
        ending.spawn(async move {
            let ended = if n % 2 == 0 {
                control.revoke(&lea, grant).await
            } else {
                control.give_back(&ana, grant).await
            };
            assert!(matches!(ended, Ok(_) | Err(ControlError::Conflict(_))), "{ended:?}");
            ended.ok().map(|grant| grant.state)
        });
    }
    let won: Vec<GrantState> = ending.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    let kept = world.control().grant(&ana, grant).await.unwrap().state;
    assert_eq!(kept, won[0]);
    let why = |state| matches!(state, GrantState::Ended { why, .. } if why != GrantEnd::Expired);
    assert!(why(kept));
    world.until(|world| world.log.count(EventType::GrantEnded) == 1).await;
}
