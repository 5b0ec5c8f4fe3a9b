//! Searching the record: by everything that people ask for, in parts, and with nothing that a question
//! could say to a database.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::payments::{Payments, Visitor, ana, grant, sam};

/// What a search finds, all parts of it.
fn search(auditor: &Visitor<'_>, query: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = auditor.call("GET", &format!("/v1/audit/events?{query}{cursor}"), None);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let part = answer.json();
        found.extend(part["events"].as_array().unwrap().clone());
        if part["more"] != true {
            return found;
        }
        cursor = format!("&cursor={}", part["next"]);
    }
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

fn types(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// Ana's refunds: some reading, and a grant that she asks for and uses.
fn history(payments: &Payments) -> (String, String) {
    let ana = payments.enter(&ana());
    for id in ["R-17", "R-18", "R-17"] {
        assert_eq!(ana.send("GET", &format!("/v1/refunds/{id}"), None).status, 200);
    }
    let refused = ana.refund(100);
    let request = ana.ask(&refused, json!({"reason": "Zahlung 4711 of Müller is stuck"})).json();
    assert!(ana.refund(100).status < 300);
    payments.event("attempt", |event| event["grant"] == grant(&request).as_str());
    (grant(&request), crate::payments::id(&request).to_owned())
}

#[test]
fn the_record_is_searched_by_who_what_where_when_and_in_words() {
    let payments = Payments::open();
    let (grant, request) = history(&payments);
    let sam = payments.enter(&sam());

    let by_grant = search(&sam, &format!("grant={grant}"));
    let expected = BTreeSet::from(["grant_started", "attempt"]);
    assert!(types(&by_grant).is_superset(&expected), "{by_grant:#?}");
    assert!(by_grant.iter().all(|event| event["grant"] == grant.as_str()));
    let by_request = search(&sam, &format!("access_request={request}"));
    assert!(types(&by_request).contains("access_requested"), "{by_request:#?}");

    let read = "principal=corp:ana&service=payments&operation=payments.getRefund&instance=p-1\
                &decision=permit&type=attempt";
    let reads = search(&sam, read);
    assert_eq!(reads.len(), 3, "{reads:#?}");
    let backwards = search(&sam, &format!("{read}&order=newest&limit=1"));
    assert!(positions(&backwards).iter().eq(positions(&reads).iter().rev()));
    assert_eq!(search(&sam, &format!("{read}&limit=1")), reads);
    assert_eq!(search(&sam, "principal=corp:ben"), [] as [Value; 0]);

    // When: all of it, none of it.
    let (first, last) = (&reads[0]["time"], &reads[2]["time"]);
    let (first, last) = (first.as_str().unwrap(), last.as_str().unwrap());
    let between = search(&sam, &format!("{read}&since={first}&until={last}"));
    assert_eq!(positions(&between), positions(&reads)[..2]);
    assert_eq!(search(&sam, &format!("{read}&until={first}")), [] as [Value; 0]);

    // In words: of people, and of paths.
    let found = search(&sam, "text=m%C3%BCller+ZAHLUNG");
    assert_eq!(types(&found), BTreeSet::from(["access_requested"]), "{found:#?}");
    assert_eq!(
        positions(&search(&sam, "text=/v1/refunds/R-17")),
        [positions(&reads)[0], positions(&reads)[2]]
    );
    assert_eq!(search(&sam, "text=17-r"), [] as [Value; 0]);
    // Reading is on record, with what was asked.
    payments.event("record_read", |event| {
        event["detail"] == format!("events grant={grant}").as_str()
            && event["principal"]["id"] == "corp:sam"
    });
}

#[test]
fn j09_a_question_says_nothing_to_a_database() {
    let payments = Payments::open();
    history(&payments);
    let sam = payments.enter(&sam());
    let all = search(&sam, "type=attempt").len();
    let said = [
        "'",
        "\"",
        "' OR '1'='1",
        "\" OR \"\"=\"",
        "attempt' --",
        "attempt'; DROP TABLE term; --",
        "attempt') UNION SELECT 1,2,3 --",
        "*",
        "refunds*",
        "refunds OR v1",
        "NEAR(v1 refunds)",
        "words: v1",
        "-v1",
        "^v1",
        "{words}: v1",
        "%",
        "_",
        "\u{0}",
        "x'00'",
        "1/**/OR/**/1",
        "(",
        "))",
    ];
    let free = ["principal", "decision", "type", "text"];
    let named = [
        "service",
        "instance",
        "operation",
        "grant",
        "access_request",
        "incident",
        "class",
        "since",
        "until",
        "from",
        "cursor",
        "limit",
        "order",
        "newest",
    ];
    for hostile in said {
        let hostile: String = hostile.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for field in free {
            let answer = sam.call("GET", &format!("/v1/audit/events?{field}={hostile}"), None);
            match answer.status {
                // Words are looked for as words: what is around them means nothing.
                200 if field == "text" => {}
                200 => assert_eq!(answer.json()["events"], json!([]), "{field}={hostile}"),
                status => assert!(status == 400 && field == "text", "{field}={hostile}: {status}"),
            }
        }
        for field in named {
            let answer = sam.call("GET", &format!("/v1/audit/events?{field}={hostile}"), None);
            let empty = answer.status == 200 && answer.json()["events"] == json!([]);
            assert!(
                empty || [400, 422].contains(&answer.status),
                "{field}={hostile}: {}",
                answer.status
            );
        }
    }
    assert_eq!(search(&sam, "type=attempt").len(), all);
    assert_eq!(search(&sam, "text=refunds+OR+v1"), [] as [Value; 0], "OR is a word");
    assert_eq!(search(&sam, "text=drop+table"), [] as [Value; 0]);
}
