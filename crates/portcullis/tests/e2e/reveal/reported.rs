//! Who saw sensitive data is found again.

use serde_json::{Value, json};

use super::Orders;
use crate::payments::grant;

#[test]
fn who_saw_data_of_a_class_is_searched_and_reported() {
    let orders = Orders::open();
    let (sue, lea) = (orders.enter("sue", &["oncall", "support"]), orders.enter("lea", &["leads"]));
    let asked = sue.ask(&json!([{"operation": "payments.getOrder", "reveal": "pci"}])).json();
    let granted = grant(&lea.approve(&asked).json());
    for service in ["payments", "payments", "ledger"] {
        orders.attempt(&sue.order(service));
    }
    let ask =
        |path: &str| -> Value { orders.house.api("GET", path, Some(&orders.auditor), None).json() };
    let found = ask("/v1/audit/events?class=pci&principal=corp:sue");
    assert_eq!(found["events"].as_array().map(Vec::len), Some(2), "{found:#}");
    assert_eq!(found["events"][0]["revealed"][0]["grant"], granted.as_str());
    let found = ask("/v1/audit/events?class=pii");
    assert_eq!(found["events"].as_array().map(Vec::len), Some(3), "{found:#}");
    let report = ask("/v1/reports/access?since=2020-01-01T00:00:00Z");
    let counted: Vec<_> = report["revealed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seen| {
            (
                &seen["principal"],
                &seen["service"],
                &seen["class"],
                &seen["answers"],
                &seen["by_grant"],
            )
        })
        .map(|(who, service, class, answers, by_grant)| {
            json!([who, service, class, answers, by_grant])
        })
        .collect();
    assert_eq!(
        counted,
        [
            json!(["corp:sue", "ledger", "pii", 1, 0]),
            json!(["corp:sue", "payments", "pci", 2, 2]),
            json!(["corp:sue", "payments", "pii", 2, 0]),
        ]
    );
}
