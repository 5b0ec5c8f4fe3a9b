//! What a grant reveals in a call that streams ends with the grant, and the call says so.

use std::{path::Path, sync::mpsc, thread, time::Instant};

use serde_json::json;

use super::{AT_ONCE, CARD};
use crate::{
    house::{House, Plan},
    masking::matrix::{
        calls::{field, framed},
        described,
        lanes::{Mouth2, Said, ask2_and},
    },
    people::Person,
};

const POLICIES: &str = r#"
@id("calls")
permit (principal is User, action in Action::"calls.read", resource == Service::"calls");
@id("watch")
permit (principal is User, action == Action::"calls.Watch", resource == Service::"calls");
@id("pci") @reviews("0") @max_duration("10m")
permit (principal is User, action == Action::"reveal", resource == DataClass::"calls/pci")
when { context has grant };
@id("leads")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource == Service::"calls");
"#;

/// Calls to `far` whose notes are sensitive, described in `folder`.
fn house(far: &Mouth2, folder: &Path) -> House {
    let service = format!(
        "name: calls\nhosts: [calls.example.com]\nupstream: {{instances: {{c-1: \"h2c://{}\"}}}}\n\
         operations: {{protobuf: \"{}\", services: [shop.v1.Refunds]}}\nsensitive: {{pci: [\"$.note\"]}}",
        far.address,
        described(folder).display()
    );
    Plan::empty().service(&service).policy("calls.cedar", POLICIES).start()
}

#[test]
fn e21_a_call_that_streams_what_a_grant_reveals_ends_with_it_and_says_so() {
    let far = Mouth2::open();
    let folder = tempfile::tempdir().unwrap();
    let house = house(&far, folder.path());
    let message = [field(1, b"r-1"), field(7, CARD.as_bytes())].concat();
    *far.says.lock().unwrap() = Said {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/grpc".to_owned())],
        pieces: vec![framed(0, &message)],
        goes_on: true,
        ..Said::default()
    };
    let control = house.sign_in(&Person::new("ana", &["oncall"]));
    let gate = house.gate_token(&control);
    // What comes of a call, told as soon as there is something, and how it ended.
    let call = || {
        let (tells, told) = mpsc::channel();
        let request = hyper::Request::builder()
            .method("POST")
            .uri("http://calls.example.com/shop.v1.Refunds/Watch")
            .header("authorization", format!("Bearer {gate}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body("\0\0\0\0\0".to_owned())
            .unwrap();
        let address = house.gate;
        let ended = thread::spawn(move || {
            ask2_and(address, request, |body| {
                let _ = tells.send(String::from_utf8_lossy(body).into_owned());
            })
        });
        (told.recv().expect("a message"), ended)
    };
    let ask =
        json!({"queries": [{"operation": "calls.Watch", "reveal": "pci"}], "reason": "a call"});
    let asked = house.api("POST", "/v1/access-requests", Some(&control), Some(ask));
    assert_eq!(asked.json()["state"], "approved", "{}", asked.text());
    let grant = crate::payments::grant(&asked.json());
    let (seen, ended) = call();
    assert!(seen.contains(CARD), "{seen:?}");
    let lead = house.sign_in(&Person::new("lea", &["leads"]));
    let begun = Instant::now();
    let path = format!("/v1/grants/{grant}/revoke?wait=30s");
    assert_eq!(house.api("POST", &path, Some(&lead), None).status, 200);
    let got = ended.join().unwrap();
    assert!(begun.elapsed() < AT_ONCE, "it went on for {:?}", begun.elapsed());
    let status = got.trailers.iter().find(|(name, _)| name == "grpc-status");
    // PERMISSION_DENIED
    assert!(status.is_some_and(|(_, status)| status == "7"), "{:?}", got.trailers);
    // Who calls again sees it masked, and is left alone.
    let (seen, _still_open) = call();
    assert!(!seen.contains(CARD) && seen.contains("***") && seen.contains("r-1"), "{seen:?}");
}
