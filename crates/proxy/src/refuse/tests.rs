use portcullis_model::{
    BundleDigest, GrantKind, Way, Window,
    refusal::{Declined, Denial, Requestable, UpstreamTrouble, Waited},
};

use super::*;

fn requestable() -> Refusal {
    let way = Way {
        rule: "payments.<refund>".parse().unwrap(),
        kind: GrantKind::Review,
        reviews: 1,
        max_duration: Window::minutes(15),
        max_uses: Some(1),
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: vec!["<script>lea".to_owned()],
    };
    Refusal::Requestable(Box::new(Requestable {
        service: "payments".parse().unwrap(),
        operation: "payments.createRefund".parse().unwrap(),
        ways: vec![way],
        digest: Some("sha256:ab".to_owned()),
        id: Some("7K2M".parse().unwrap()),
        bundle: BundleDigest("sha256:00".into()),
        waited: None,
    }))
}

#[test]
fn every_refusal_has_its_status_in_both_protocols() {
    let denied = Denial { service: "payments".parse().unwrap(), operation: None };
    let table = [
        (Refusal::Malformed(""), 400, 3),
        (Refusal::MethodNotAllowed, 405, 12),
        (Refusal::Unauthenticated, 401, 16),
        (Refusal::BadCredentials(""), 401, 16),
        (Refusal::CrossOrigin, 403, 7),
        (Refusal::Denied(denied), 403, 7),
        (requestable(), 403, 7),
        (waited(false), 403, 7),
        (waited(true), 403, 4),
        (declined(), 403, 7),
        (Refusal::NotFound, 404, 5),
        (Refusal::TooLarge(""), 413, 8),
        (Refusal::HeadTooLarge(""), 431, 8),
        (Refusal::TooSlow, 408, 4),
        (Refusal::Misdirected, 421, 9),
        (Refusal::NotRepresentable(String::new()), 422, 3),
        (Refusal::Limited { retry_after: 1 }, 429, 8),
        (Refusal::Unavailable(Unavailable::Record), 503, 14),
        (Refusal::Unavailable(Unavailable::Overloaded), 503, 14),
        (Refusal::Unavailable(Unavailable::Internal), 500, 13),
        (Refusal::Upstream(UpstreamTrouble::Unreachable), 502, 14),
        (Refusal::Upstream(UpstreamTrouble::Broken), 502, 14),
        (Refusal::Upstream(UpstreamTrouble::TimedOut), 504, 4),
    ];
    for (refusal, http, grpc) in table {
        assert_eq!(problem::status(&refusal).as_u16(), http, "{refusal:?}");
        assert_eq!(grpc::status(&refusal), grpc, "{refusal:?}");
    }
}

fn waited(by_caller: bool) -> Refusal {
    let Refusal::Requestable(mut what) = requestable() else { unreachable!() };
    what.waited = Some(Waited { time: std::time::Duration::from_secs(30), by_caller });
    Refusal::Requestable(what)
}

fn declined() -> Refusal {
    Refusal::Declined(Box::new(Declined {
        service: "payments".parse().unwrap(),
        operation: "payments.createRefund".parse().unwrap(),
        why: "Lea: call me".to_owned(),
    }))
}

#[test]
fn whoever_waited_is_told_what_became_of_it() {
    let problem = problem::describe("https://control.test", &waited(false));
    let detail =
        "payments.createRefund on payments needs a grant; it waited for 30s and nobody answered";
    assert_eq!((problem.detail.as_deref(), problem.ways.len()), (Some(detail), 1));
    let problem = problem::describe("https://control.test", &declined());
    assert_eq!(problem.kind, "https://control.test/problems/declined");
    let detail = "payments.createRefund on payments was declined: Lea: call me";
    assert_eq!((problem.detail.as_deref(), problem.ways.len()), (Some(detail), 0));
}

#[test]
fn a_requestable_refusal_says_how_to_ask() {
    let problem = problem::describe("https://control.test/", &requestable());
    assert_eq!(problem.kind, "https://control.test/problems/requestable");
    assert_eq!(problem.refusal.as_deref(), Some("7K2M"));
    assert_eq!(problem.ask.as_deref(), Some("portcullis ask 7K2M"));
    assert_eq!(problem.ask_url.as_deref(), Some("https://control.test/ask/7K2M"));
    assert_eq!(problem.detail.as_deref(), Some("payments.createRefund on payments needs a grant"));
    assert_eq!(problem.digest.as_deref(), Some("sha256:ab"));
    assert_eq!(problem.ways.len(), 1);
}

#[test]
fn a_page_shows_everything_as_text() {
    let ask = Some("https://control.test/ask/7K2M?page=\"><script>");
    let page = html::page(&problem::describe("https://control.test", &requestable()), ask, None);
    assert!(page.contains("href=\"https://control.test/ask/7K2M?page=&quot;&gt;"), "{page}");
    assert!(page.contains("payments.&lt;refund&gt;"));
    assert!(page.contains("&lt;script&gt;lea"));
    assert!(!page.contains("<script"));
}

#[test]
fn a_cut_grpc_stream_ends_with_permission_denied() {
    let trailers = grpc::cut_trailers(crate::ports::ConnectionEnd::GrantEnded);
    assert_eq!(trailers["grpc-status"], "7");
    assert_eq!(trailers["grpc-message"], "the grant ended");
}
