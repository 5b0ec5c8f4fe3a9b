//! A mistake in one request is that request's only.

use crate::house::House;

#[test]
fn f13_a_panic_over_a_request_is_a_500_on_record_and_everything_else_goes_on() {
    let house = House::open();
    house.grant("payments.events", None);
    let mut stream = house.stream("GET", "payments.test", "/v1/events", "");
    assert!(stream.until("data: hello").contains("200 OK"));
    let before = house.upstream_requests();
    house.panic(true);
    // While it is admitted, before anything is forwarded.
    let answer = house.get("payments.test", "/v1/refunds/7", "");
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.head.contains("portcullis-request-id: "), "{}", answer.head);
    assert!(!answer.body.contains("as the test wants it"), "{}", answer.body);
    assert_eq!(house.records().last().unwrap(), "refused refuse payments.getRefund 500");
    // And while it is refused.
    let answer = house.post("payments.test", "/v1/refunds", "{\"amount\":1}");
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(house.records().last().unwrap(), "refused refuse payments.createRefund 500");
    assert_eq!(house.upstream_requests(), before, "something was forwarded");
    house.panic(false);
    assert_eq!(house.get("payments.test", "/v1/refunds/7", "").status, 200);
    assert!(house.is_nothing_ended(), "a stream on the same core was cut");
}

#[test]
fn f13_a_panic_takes_no_other_request_of_its_connection_along() {
    let house = House::open();
    let get = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: payments.test\r\nAuthorization: Bearer {}\r\n\r\n",
            crate::house::TOKEN
        )
    };
    house.panic(true);
    let mut stream = house.stream("GET", "payments.test", "/v1/refunds/7", "");
    assert!(stream.until("\r\n\r\n").starts_with("HTTP/1.1 500 "));
    house.panic(false);
    stream.send(&get("/v1/refunds/8"));
    let answer = stream.until("/v1/refunds/8 HTTP/1.1");
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

/// The gate as it is shipped, on real sockets, with a port that panics in the middle of a phase: the binary itself has
/// nothing that could be made to.
#[test]
fn f13_a_panic_in_policy_in_what_may_be_seen_or_behind_the_mask_is_a_500_on_record() {
    let house = House::located();
    let get = |service: &str| house.get(&format!("{service}.test"), "/v1/orders", "");
    for (service, port, on_record) in [
        ("near", "country", "refused refuse near.GET 500"),
        ("shown", "country", "refused refuse shown.GET 500"),
        ("orders", "outcome", "outcome 500 internal"),
    ] {
        assert_eq!(get(service).status, 200, "{service}");
        house.panic_in(port);
        let answer = get(service);
        assert_eq!(answer.status, 500, "{service}: {answer:?}");
        assert!(!answer.body.contains("4111") && !answer.body.contains("wants it"), "{answer:?}");
        assert_eq!(house.records().last().unwrap(), on_record);
        let again = get(service);
        assert_eq!(again.status, 200, "{service}: {again:?}");
        assert_eq!(again.body.contains("***"), service != "near", "{again:?}");
    }
}
