use super::*;

fn due(target: &str, tried: bool, count: u64) -> DueMessages {
    DueMessages { target: target.to_owned(), tried, count }
}

#[test]
fn messages_count_for_the_system_that_brings_them() {
    let counts = MessageCounts {
        due: vec![
            due("teams:payments", false, 2),
            due("teams:payments", true, 3),
            due("email:a@example.com", true, 1),
            due("email:b@example.com", true, 1),
            due("pagerduty:urgent", false, 1),
            due("taken back pagerduty:urgent", false, 7),
            due("taken back pagerduty:urgent", true, 1),
            due("webhook:https://elsewhere.example.com/x", true, 1),
            due("nonsense", true, 1),
            due("outcome 0 teams:ops", false, 9),
            due("outcome 0 teams:ops", true, 1),
            due("outcome 1 teams:ops", true, 2),
            due("perhaps teams:ops", true, 4),
        ],
        set_aside: vec![
            ("lifecycle tickets".to_owned(), 4),
            ("webhook:tickets".to_owned(), 1),
            ("slack:#payments".to_owned(), 2),
            ("email:a@example.com".to_owned(), 1),
        ],
    };
    let found = by_system(counts);
    let of = |name: &str| found.get(name).map(|one| (one.waiting, one.set_aside));
    assert_eq!(of("teams:payments"), Some((5, 0)));
    assert_eq!(of("email"), Some((2, 1)));
    assert_eq!(of("pagerduty:urgent"), Some((2, 0)));
    assert_eq!(of("webhook:tickets"), Some((0, 5)));
    assert_eq!(of("slack"), Some((0, 2)));
    assert_eq!(of("teams:ops"), Some((7, 0)));
    assert_eq!(found.len(), 6, "{found:?}");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn seen(known: Known, queue: Option<Queue>, second: i64) -> ConnectorView {
    let (kind, name) = (WEBHOOK, "webhook:tickets".to_owned());
    let system = ConnectedSystem { kind, name, place: String::new() };
    let messages = Messages::default();
    Seen { system: &system, known, messages, known_until: None, queue }.at(at(second))
}

fn trouble(since: i64, last: i64) -> Trouble {
    Trouble { since: at(since), last: at(last), why: "it answered 500".to_owned() }
}

#[test]
fn who_asked_for_a_rest_rests_until_it_is_over_and_then_fails() {
    let nothing = seen(Known::default(), None, 1);
    assert_eq!(nothing.state, ConnectorState::Unknown);
    let heard = Known { heard_at: Some(at(1)), ..Known::default() };
    assert_eq!(seen(heard, None, 2).state, ConnectorState::Working);
    let known =
        Known { trouble: Some(trouble(1, 2)), rests_until: Some(at(9)), ..Known::default() };
    let resting = seen(known.clone(), None, 8);
    assert_eq!((resting.state, resting.rests_until), (ConnectorState::Resting, Some(at(9))));
    let failing = seen(known, None, 9);
    assert_eq!((failing.state, failing.rests_until), (ConnectorState::Failing, None));
    assert_eq!(failing.failing_since, Some(at(1)));
}

#[test]
fn an_event_that_arrived_says_that_a_notice_would_and_not_the_other_way_round() {
    let queue = |delivered_at, failing_since: Option<Timestamp>| Queue {
        sink: SinkView {
            name: "tickets".to_owned(),
            place: String::new(),
            form: Form::Standard,
            next: 5,
            behind: 3,
            delivered: 0,
            failures: 2,
            delivered_at,
            failing_since,
            trouble: failing_since.map(|_| "it answered 400".to_owned()),
        },
        rests_until: None,
        passed_over: None,
    };
    let known = Known { trouble: Some(trouble(1, 2)), failures: 1, ..Known::default() };
    let works = seen(known.clone(), Some(queue(Some(at(3)), None)), 4);
    assert_eq!((works.state, works.behind), (ConnectorState::Working, Some(3)));
    let failing = seen(known.clone(), Some(queue(Some(at(1)), None)), 4);
    assert_eq!(failing.trouble.as_deref(), Some("it answered 500"));
    let answered = Known { answered_at: Some(at(4)), ..Known::default() };
    let behind = seen(answered, Some(queue(None, Some(at(2)))), 5);
    assert_eq!(behind.state, ConnectorState::Failing);
    assert_eq!(behind.trouble.as_deref(), Some("events: it answered 400"));
    let both = seen(known, Some(queue(None, Some(at(0)))), 5);
    assert_eq!(both.trouble.as_deref(), Some("it answered 500; events: it answered 400"));
    assert_eq!((both.failing_since, both.failures), (Some(at(0)), 3));
}

#[test]
fn a_webhook_is_failing_while_what_it_refused_lies_aside_and_nothing_arrived() {
    let aside = Queue {
        sink: SinkView {
            name: "tickets".to_owned(),
            place: String::new(),
            form: Form::Standard,
            next: 5,
            behind: 0,
            delivered: 0,
            failures: 3,
            delivered_at: None,
            failing_since: None,
            trouble: None,
        },
        rests_until: None,
        passed_over: Some((at(1), "it answered 410".to_owned())),
    };
    let (kind, name) = (WEBHOOK, "webhook:tickets".to_owned());
    let system = ConnectedSystem { kind, name, place: String::new() };
    let of = |set_aside| {
        let messages = Messages { waiting: 0, set_aside };
        let (known, queue) = (Known::default(), Some(aside.clone()));
        Seen { system: &system, known, messages, known_until: None, queue }.at(at(9))
    };
    let failing = of(1);
    assert_eq!((failing.state, failing.failing_since), (ConnectorState::Failing, Some(at(1))));
    assert_eq!(failing.trouble.as_deref(), Some("events: it answered 410"));
    assert_eq!(of(0).state, ConnectorState::Unknown);
}
