use http::Request;
use portcullis_model::PrincipalKind;

use super::*;
use crate::canonical::{self, LastHost, single::Present};

fn digest(target: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let mut builder = Request::builder().method("POST").uri(target).header("host", "payments.test");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let present = Present::of(&parts.headers);
    let mut request = canonical::read(parts, present, None, &LastHost::default()).unwrap();
    crate::filter::request::strip(&mut request.headers, request.present);
    let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
    let payments = Resource { service: "payments".parse().unwrap(), instance: None };
    of(&ana, &payments, &request, body)
}

const BODY: &[u8] = br#"{"amount":1200}"#;

#[test]
fn the_digest_of_a_known_request_never_changes() {
    // Computed independently, from the module documentation alone.
    let known = "sha256:cb521955622f849422112600c1880a1044da07a3e842fb5b23411fbcdca6115e";
    let headers = [("content-type", "application/json"), ("x-b", "2"), ("x-a", "1")];
    assert_eq!(digest("/v1/refunds?dry=1", &headers, BODY), known);
}

#[test]
fn e12_one_changed_byte_is_another_request() {
    let digest_of = |target, headers: &[(&str, &str)], body| digest(target, headers, body);
    let base = digest_of("/a?x=1&y=2", &[("x-a", "1")], BODY);
    let others = [
        digest_of("/a?y=2&x=1", &[("x-a", "1")], BODY),
        digest_of("/a", &[("x-a", "1")], BODY),
        digest_of("/b?x=1&y=2", &[("x-a", "1")], BODY),
        digest_of("/a?x=1&y=2", &[("x-a", "2")], BODY),
        digest_of("/a?x=1&y=2", &[("x-a", "1"), ("x-a", "1")], BODY),
        digest_of("/a?x=1&y=2", &[], BODY),
        digest_of("/a?x=1&y=2", &[("x-a", "1")], br#"{"amount":1201}"#),
        digest_of("/a?x=1&y=2", &[("x-a", "1")], br#"{"amount": 1200}"#),
    ];
    for other in &others {
        assert_ne!(*other, base);
    }
}

#[test]
fn e12_a_query_is_covered_to_its_last_byte() {
    let targets = ["/", "/?", "/?x=1", "/?x=", "/?x", "/a?x=1", "/a?x=", "/a"];
    let digests: Vec<_> = targets.iter().map(|target| digest(target, &[], BODY)).collect();
    for (at, one) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(one), "{}", targets[at]);
    }
}

#[test]
fn what_differs_between_two_sendings_is_left_out() {
    let base = digest("/a", &[("x-a", "1")], BODY);
    let again = digest(
        "/a",
        &[
            ("x-a", "1"),
            ("user-agent", "curl"),
            ("accept", "*/*"),
            ("accept-language", "pt"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("x-forwarded-for", "192.0.2.1"),
            ("portcullis-authorization", "Bearer x"),
            ("grpc-timeout", "5S"),
            ("prefer", "wait=30"),
        ],
        BODY,
    );
    assert_eq!(again, base);
}

#[test]
fn what_a_client_prefers_is_covered_but_for_how_long_it_waits() {
    let base = digest("/a", &[("prefer", "return=minimal")], BODY);
    assert_eq!(digest("/a", &[("prefer", "wait=5, return=minimal")], BODY), base);
    assert_ne!(digest("/a", &[("prefer", "wait=5")], BODY), base);
    assert_ne!(digest("/a", &[], BODY), base);
}
