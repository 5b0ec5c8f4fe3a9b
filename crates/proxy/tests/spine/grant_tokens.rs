//! Who presents a grant token has one grant, as long as it is in force and its rule permits.

use jiff::SignedDuration;

use crate::house::{House, Stream};

/// First of the two headers, so that the sign-in beside it is not looked at.
const BY_TOKEN: &str = "Portcullis-Authorization: Bearer pc_grant_ana\r\n";

/// An event stream that the token opened, which has begun.
fn streaming(house: &House) -> Stream {
    let mut stream = house.stream("GET", "payments.test", "/v1/events", BY_TOKEN);
    assert!(stream.until("data: hello").contains("200 OK"));
    house.wait_for_connections(1);
    stream
}

#[test]
fn a_grant_token_opens_its_grant_and_nothing_that_its_holder_may_besides() {
    let house = House::open();
    let grant = house.grant("payments.events", None);
    assert_eq!(house.get("payments.test", "/v1/events", BY_TOKEN).status, 401, "unknown");
    house.token(&grant, "pc_grant_ana");
    assert_eq!(house.get("payments.test", "/v1/refunds/7", "").status, 200);
    assert_eq!(house.get("payments.test", "/v1/refunds/7", BY_TOKEN).status, 403);
    assert_eq!(house.get("payments.test", "/nothing", BY_TOKEN).status, 403);
    assert_eq!(house.get("twin.test", "/", "").status, 200);
    assert_eq!(house.get("twin.test", "/", BY_TOKEN).status, 401);
    let stream = streaming(&house);
    house.revoke(&grant);
    stream.rest();
    assert_eq!(house.ended_connections(), ["sse GrantEnded"]);
    assert_eq!(house.get("payments.test", "/v1/events", BY_TOKEN).status, 401);
}

#[test]
fn what_a_grant_token_opened_ends_when_its_holder_loses_the_right() {
    let house = House::open();
    let grant = house.grant("payments.events", None);
    house.token(&grant, "pc_grant_ana");
    let stream = streaming(&house);
    house.leave_groups();
    stream.rest();
    assert_eq!(house.ended_connections(), ["sse PolicyChanged"]);
}

#[test]
fn what_a_grant_token_opened_goes_on_with_an_extended_grant() {
    let house = House::open();
    let grant = house.grant("payments.events", None);
    house.token(&grant, "pc_grant_ana");
    let stream = streaming(&house);
    let until = grant.expires_at + SignedDuration::from_mins(3);
    let now = grant.starts_at;
    house.put(grant.clone().extend(until, grant.kind, grant.reviews, now).unwrap());
    house.advance(SignedDuration::from_mins(6));
    // Time is looked at twice a second.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert!(house.is_nothing_ended(), "the end that it had is no end any more");
    house.advance(SignedDuration::from_mins(2));
    stream.rest();
    assert_eq!(house.ended_connections(), ["sse GrantEnded"]);
}
