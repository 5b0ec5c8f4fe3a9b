//! Whoever `@notify("pagerduty:urgent")` wakes, and when they are let go.

use serde_json::{Value, json};

use super::{Told, pagerduty::told};
use crate::payments::{ana, ben, id, lea};

const EMERGENCY: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("5m") @notify("pagerduty:urgent")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };
"#;

/// The policies of payments, where a payout wakes somebody.
fn waking() -> String {
    crate::payments::POLICIES
        .replace("@reviews(\"2\")", "@reviews(\"2\") @notify(\"pagerduty:urgent\")")
}

/// The events of pages, once there are so many.
fn pages(told: &Told, count: usize) -> Vec<Value> {
    let all = |it: &Value| it["pages"].as_array().cloned().unwrap_or_default();
    all(&told.written(|it| all(it).len() >= count))
}

#[test]
fn somebody_is_woken_once_and_let_go_when_somebody_has_answered() {
    let told = told("5m", |plan| plan.policy("payments.cedar", &waking()));
    let (ana, lea) = (told.payments.enter(&ana()), told.payments.enter(&lea()));
    let refused = ana.send("POST", "/v1/payouts", None);
    let asked = ana.ask(&refused, json!({})).json();
    let pages = told.written(|it| it["pages"].as_array().is_some_and(|all| !all.is_empty()));
    let page = &pages["pages"][0];
    let key = format!("portcullis/{}", id(&asked));
    assert_eq!((&page["event_action"], &page["dedup_key"]), (&json!("trigger"), &json!(key)));
    assert!(page["payload"]["summary"].as_str().unwrap().contains("payments: refunds stuck"));
    assert!(page["links"][0]["href"].as_str().unwrap().ends_with(id(&asked)), "{page:#}");
    told.payments.event("notice_delivered", |event| event["detail"] == "pagerduty:urgent");
    assert_eq!(lea.decline(&asked, "not now").status, 201);
    let pages = told.written(|it| it["pages"].as_array().is_some_and(|all| all.len() > 1));
    let last = &pages["pages"][1];
    assert_eq!((&last["event_action"], &last["dedup_key"]), (&json!("resolve"), &json!(key)));
    assert_eq!(pages["pages"].as_array().unwrap().len(), 2);
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn an_emergency_wakes_somebody_and_lets_them_go_when_it_was_reviewed_also_after_a_restart() {
    let mut told = told("5m", |plan| plan.policy("emergency.cedar", EMERGENCY));
    let (opened, lea) = {
        let (ben, lea) = (told.payments.enter(&ben()), told.payments.enter(&lea()));
        let body = json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
        let opened = ben.call("POST", "/v1/access-requests", Some(body));
        assert_eq!(opened.status, 201, "{}", opened.text());
        (opened.json(), lea.control.clone())
    };
    let page = pages(&told, 1).remove(0);
    let key = format!("portcullis/{}", id(&opened));
    assert_eq!((&page["event_action"], &page["dedup_key"]), (&json!("trigger"), &json!(key)));
    assert_eq!(page["payload"]["severity"], "critical", "{page:#}");
    let summary = page["payload"]["summary"].as_str().unwrap().to_owned();
    assert!(summary.contains("took emergency access to payments: payouts"), "{summary}");
    told.payments.event("notice_delivered", |event| event["detail"] == "pagerduty:urgent");

    told.payments.house.kill();
    told.payments.house.restart();
    assert_eq!(pages(&told, 1).len(), 1, "it stands until somebody has looked at it");
    let path = format!("/v1/access-requests/{}/reviews", id(&opened));
    let review = Some(json!({"decision": "approve"}));
    let reviewed = told.payments.house.api("POST", &path, Some(&lea), review);
    assert_eq!(reviewed.status, 201, "{}", reviewed.text());
    let all = pages(&told, 2);
    assert_eq!((&all[1]["event_action"], &all[1]["dedup_key"]), (&json!("resolve"), &json!(key)));
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!(told.vendor.faults(), json!([]));
}

#[test]
fn a_page_about_what_expired_while_the_house_was_down_stands_no_longer() {
    let mut told = told("5m", |plan| {
        let plan = plan.policy("payments.cedar", &waking());
        plan.setting("access_requests: {expire_after: 5m}").file("faketime", "+0")
    });
    let asked = {
        let ana = told.payments.enter(&ana());
        told.payments.enter(&lea());
        ana.ask(&ana.send("POST", "/v1/payouts", None), json!({})).json()
    };
    assert_eq!(pages(&told, 1)[0]["event_action"], "trigger");
    told.payments.event("notice_delivered", |event| event["detail"] == "pagerduty:urgent");
    told.payments.house.kill();
    told.payments.house.set_clock("+10m");
    told.payments.house.restart();
    let all = pages(&told, 2);
    let key = format!("portcullis/{}", id(&asked));
    assert_eq!((&all[1]["event_action"], &all[1]["dedup_key"]), (&json!("resolve"), &json!(key)));
    assert_eq!(all.len(), 2, "{all:#?}");
}

#[test]
fn who_pages_too_often_rests_and_the_page_comes_all_the_same() {
    let told = told("5m", |plan| plan.policy("payments.cedar", &waking()));
    let ana = told.payments.enter(&ana());
    told.payments.enter(&lea());
    told.order(&json!({"do": "limit_pages", "calls": 1}));
    let asked = ana.ask(&ana.send("POST", "/v1/payouts", None), json!({})).json();
    assert_eq!(pages(&told, 1)[0]["dedup_key"], format!("portcullis/{}", id(&asked)));
    assert_eq!(told.vendor.faults(), json!([]), "it is left alone as long as it wants");
}
