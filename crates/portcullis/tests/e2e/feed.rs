//! `/v1/events`: told at once, in order, to whom it concerns, and nothing lost between two streams.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    desk::{CONTROL, Desk},
    payments::{Payments, Visitor, ana, ben, grant, id, lea},
    wire::Wire,
};

/// One event as it came.
#[derive(Debug, Clone, Default)]
struct Told {
    kind: String,
    id: Option<u64>,
    data: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

struct Stream(Wire);

impl Stream {
    fn open(payments: &Payments, visitor: &Visitor<'_>, after: Option<u64>) -> Self {
        let after = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let head = format!("Authorization: Bearer {}\r\n{after}", visitor.control);
        Self::with(payments.house.control, &head)
    }

    /// With these headers.
    fn with(control: SocketAddr, headers: &str) -> Self {
        Self::of(control, "", headers)
    }

    /// With this query and these headers.
    fn of(control: SocketAddr, query: &str, headers: &str) -> Self {
        let mut wire = Wire::connect(control);
        wire.send(format!("GET /v1/events{query} HTTP/1.1\r\nHost: {control}\r\n{headers}\r\n"));
        let head = String::from_utf8(wire.read_until(b"\r\n\r\n")).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        Self(wire)
    }

    /// The next block, whatever it is.
    fn block(&mut self) -> Told {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let bytes = self.0.read_until(b"\n\n");
            let text = String::from_utf8(bytes).unwrap();
            let field = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
            };
            let told = Told {
                kind: field("event: "),
                id: field("id: ").parse().ok(),
                data: field("data: "),
            };
            if told.id.is_some() || !told.kind.is_empty() {
                return told;
            }
            assert!(Instant::now() < deadline, "nothing but {text:?}");
        }
    }

    /// The next event for which `which` holds.
    fn find(&mut self, which: impl Fn(&Told) -> bool) -> Told {
        loop {
            let told = self.next();
            assert_ne!(told.kind, "end", "{told:?}");
            if which(&told) {
                return told;
            }
        }
    }

    /// The next event.
    fn next(&mut self) -> Told {
        let mut told = self.block();
        while told.kind.is_empty() {
            told = self.block();
        }
        told
    }
}

#[test]
fn what_changes_is_told_at_once_to_whom_it_concerns() {
    let payments = Payments::open();
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let mut streams = [&ana, &ben, &lea].map(|visitor| Stream::open(&payments, visitor, None));
    let [anas, bens, leas] = &mut streams;
    let request = ben.ask(&ben.refund(7), json!({})).json();
    for stream in [&mut *bens, &mut *leas] {
        let told = stream.next();
        assert_eq!(told.kind, "access-request");
        assert_eq!(
            (told.json()["id"].clone(), told.json()["state"].clone()),
            (request["id"].clone(), json!("pending"))
        );
    }
    assert_eq!(lea.approve(&request).status, 201);
    let approved = bens.find(|told| told.kind == "access-request");
    assert_eq!(approved.json()["state"], "approved");
    let granted = bens.find(|told| told.kind == "grant");
    assert_eq!(granted.json()["id"], approved.json()["grants"][0]);
    assert_ne!(approved.id, granted.id, "each has its place in the record");
    assert_eq!(ben.refund(7).status, 200, "what is told of is in effect");
    // One use: it is spent, and with it the grant.
    let (used, ended) = (bens.next(), bens.next());
    assert_eq!((used.kind.as_str(), ended.kind.as_str()), ("grant", "grant"));
    assert_eq!(ended.json()["end"], "used_up");
    assert!(granted.id < used.id && used.id < ended.id);
    // Nothing of that concerned ana.
    let own = ana.ask(&ana.refund(1), json!({"rule": "payments.refund.oncall"})).json();
    let told = anas.next();
    assert_eq!(
        (told.kind.as_str(), told.json()["id"].clone()),
        ("access-request", own["id"].clone())
    );
    let record = payments.page(usize::try_from(told.id.unwrap()).unwrap());
    assert_eq!(record[0]["access_request"], own["id"], "the id is its place: {:#}", record[0]);
}

#[test]
fn a_stream_goes_on_where_it_was_left_across_a_restart_too() {
    let mut payments = Payments::open();
    let (begun, first, request) = {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let mut stream = Stream::open(&payments, &ben, None);
        let begun = stream.block().id.expect("where it begins");
        let request = ben.ask(&ben.refund(7), json!({})).json();
        let first = stream.next().id.unwrap();
        drop(stream);
        assert_eq!(lea.approve(&request).status, 201);
        (begun, first, request)
    };
    payments.house.kill();
    payments.house.restart();
    let ben = payments.enter(&ben());
    let mut stream = Stream::open(&payments, &ben, Some(first));
    let kinds = [stream.next(), stream.next()].map(|told| {
        assert!(told.id.unwrap() > first);
        told.kind
    });
    assert!(kinds.contains(&"grant".to_owned()) && kinds.contains(&"access-request".to_owned()));
    let caught_up = stream.block();
    assert!(caught_up.kind.is_empty(), "that was all: {caught_up:?}");
    // From the beginning, each is told once, as it is now.
    let mut stream = Stream::open(&payments, &ben, Some(begun));
    let told = [stream.next(), stream.next()];
    let asked = told.iter().find(|told| told.kind == "access-request").unwrap();
    assert_eq!((&asked.json()["id"], &asked.json()["state"]), (&request["id"], &json!("approved")));
    assert!(stream.block().kind.is_empty());
    // Up to date: nothing but what comes.
    let newest = caught_up.id.unwrap().max(told[1].id.unwrap());
    let mut stream = Stream::open(&payments, &ben, Some(newest));
    let again = ben.ask(&ben.send("POST", "/v1/payouts", None), json!({})).json();
    assert_eq!(stream.next().json()["id"], again["id"]);
    // Of a record that is not this one: nobody knows what was missed.
    let mut stream = Stream::open(&payments, &ben, Some(1 << 40));
    assert_eq!(stream.next().kind, "reset");
    let withdrawn = format!("/v1/access-requests/{}/withdraw", id(&again));
    assert_eq!(ben.call("POST", &withdrawn, None).status, 200);
    assert_eq!(stream.next().json()["state"], "withdrawn");
}

#[test]
fn a_stream_ends_with_its_sign_in_and_says_so() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let mut stream = Stream::open(&payments, &ana, None);
    let granted = grant(&ana.ask(&ana.refund(1), json!({"rule": "payments.refund.oncall"})).json());
    stream.find(|told| told.kind == "grant" && told.json()["id"] == *granted);
    assert_eq!(ana.call("POST", "/v1/sign-out", None).status, 204);
    let end = loop {
        let told = stream.next();
        if told.kind == "end" {
            break told;
        }
    };
    assert_eq!(end.data, "sign in again");
    assert!(stream.0.read_until(b"0\r\n\r\n").ends_with(b"0\r\n\r\n"), "and that was the last");

    let mut wire = Wire::connect(payments.house.control);
    let ben = payments.enter(&ben());
    wire.send(format!(
        "GET /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nLast-Event-ID: x\r\n\r\n",
        ben.control
    ));
    let refused = wire.response().unwrap();
    assert!((400..500).contains(&refused.status) && refused.text().contains("Last-Event-ID"));
}

#[test]
fn a_browser_is_told_by_its_cookie_until_it_signs_in_anew() {
    let desk = Desk::open();
    let mut browser = desk.browser();
    let cookie = browser.cookie("127.0.0.1", CONTROL).unwrap().to_owned();
    let headers = format!("Cookie: {CONTROL}={cookie}\r\nSec-Fetch-Site: same-origin\r\n");
    let mut stream = Stream::with(desk.house.control, &headers);
    assert!(stream.block().id.is_some());
    // Signing in anew ends what was there.
    let again = format!("http://{}/sign-in?fresh=true", desk.house.control);
    assert_eq!(browser.open(&again).status, 200);
    assert_eq!(stream.next().kind, "end");
}

/// After a restart, which all clients see at once, they are told to come again at different times; each
/// does, and is served from where it was.
#[test]
fn i19_clients_do_not_come_again_all_at_once() {
    const STREAMS: usize = 16;
    let mut payments = Payments::open();
    let control = payments.enter(&ana()).control;
    let listen = |control_at: SocketAddr, after: Option<u64>| {
        let after = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        Stream::with(control_at, &format!("Authorization: Bearer {control}\r\n{after}"))
    };
    let mut told: Vec<(u64, Option<u64>)> = (0..STREAMS)
        .map(|_| {
            let mut stream = listen(payments.house.control, None);
            let first = String::from_utf8(stream.0.read_until(b"\n\n")).unwrap();
            let retry = first.lines().find_map(|line| line.strip_prefix("retry: "));
            (retry.unwrap_or_else(|| panic!("{first:?}")).parse().unwrap(), stream.block().id)
        })
        .collect();
    told.sort_unstable();
    assert!(told.iter().all(|(retry, _)| (1_000..=5_000).contains(retry)), "{told:?}");
    let (soonest, latest) = (told[0].0, told[STREAMS - 1].0);
    assert!(latest - soonest >= 1_000, "spread over a second at least: {told:?}");
    payments.house.kill();
    payments.house.restart();
    let restarted = Instant::now();
    for (retry, seen) in told {
        std::thread::sleep(Duration::from_millis(retry).saturating_sub(restarted.elapsed()));
        assert!(listen(payments.house.control, seen).block().id >= seen);
    }
}

#[test]
fn a_stream_tells_of_what_was_asked_for_and_of_nothing_that_one_may_not_see() {
    let payments = Payments::open();
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let open = |visitor: &Visitor<'_>, query: &str| {
        let head = format!("Authorization: Bearer {}\r\n", visitor.control);
        Stream::of(payments.house.control, query, &head)
    };
    let mut grants = open(&ana, "?type=grant&service=payments&principal=corp:ana");
    // A filter shows nobody more than they may see.
    let mut curious = open(&ben, "?principal=corp:ana");
    let mut reviewer = open(&lea, "?type=access-request&principal=corp:ben");
    let asked = ana.ask(&ana.refund(1), json!({})).json();
    assert_eq!(asked["state"], "approved", "{asked:#}");
    let told = grants.find(|told| !told.kind.is_empty());
    assert_eq!((told.kind.as_str(), &told.json()["id"]), ("grant", &asked["grants"][0]));
    let own = ben.ask(&ben.refund(2), json!({})).json();
    let told = reviewer.find(|told| !told.kind.is_empty());
    assert_eq!((told.kind.as_str(), &told.json()["id"]), ("access-request", &own["id"]));
    assert!(ben.call("POST", "/v1/sign-out", None).status < 300);
    let mut told = curious.block();
    while told.kind != "end" {
        assert!(told.kind.is_empty() && told.data.is_empty(), "{told:?}");
        told = curious.block();
    }
    for wrong in ["?type=none", "?what=1", "?grant=none"] {
        let head = format!(
            "GET /v1/events{wrong} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
            ana.control
        );
        let mut wire = Wire::connect(payments.house.control);
        wire.send(head);
        let status = wire.response().unwrap().status;
        assert!([400, 422].contains(&status), "{wrong}: {status}");
    }
}

/// What changes between the moment that a page shows and the one in which it begins to listen is told as well.
#[test]
fn a_page_listens_from_what_it_shows() {
    let payments = Payments::open();
    payments.house.people.browsers().seat(&lea());
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let now = Stream::open(&payments, &lea, None).block().id.unwrap();
    let request = ben.ask(&ben.refund(7), json!({})).json();
    let head = format!("Authorization: Bearer {}\r\n", lea.control);
    let mut late = Stream::of(payments.house.control, &format!("?after={now}"), &head);
    assert_eq!(late.find(|told| told.kind == "access-request").json()["id"], request["id"]);

    // A page of lea's, and what ben does before the page listens.
    let at = |path: &str| format!("http://{}{path}", payments.house.control);
    let mut browser = Browser::new(&payments.house);
    let signed_in = browser.open(&at("/sign-in?page=/review"));
    assert_eq!(signed_in.status, 200, "{:#?} {}", browser.history, signed_in.text());
    let path = format!("/requests/{}", id(&request));
    let page = browser.open(&at(&path)).text();
    let (_, after) = page.split_once("/v1/events?after=").unwrap_or_else(|| panic!("{page}"));
    let after: String = after.chars().take_while(char::is_ascii_digit).collect();
    let withdraw = format!("/v1/access-requests/{}/withdraw", id(&request));
    assert_eq!(ben.call("POST", &withdraw, None).status, 200);
    // It is on record before the page listens: nothing but `after` tells of it.
    payments.event("access_request_ended", |event| event["access_request"] == request["id"]);
    let cookie = browser.cookie("127.0.0.1", CONTROL).unwrap().to_owned();
    let headers = format!("Cookie: {CONTROL}={cookie}\r\nSec-Fetch-Site: same-origin\r\n");
    let query = format!("?after={after}");
    let mut stream = Stream::of(payments.house.control, &query, &headers);
    let told = stream.find(|told| told.kind == "access-request").json();
    assert_eq!((&told["id"], &told["state"]), (&request["id"], &json!("withdrawn")));
}
