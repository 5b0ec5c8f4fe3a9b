use portcullis_testkit::ocsf;

use super::*;

/// The names of all types, as reading one that is none tells them.
fn types() -> Vec<String> {
    let told = serde_json::from_value::<EventType>(json!("none")).unwrap_err().to_string();
    let names: Vec<String> = told.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 40 && names.contains(&"attempt".to_owned()), "{told}");
    names
}

fn leaf(kind: &str) -> Value {
    json!({"seq": 7, "id": "01JD", "time": "2026-11-22T10:00:00.5Z", "type": kind})
}

fn with(kind: &str, more: Value) -> Value {
    let mut leaf = leaf(kind);
    if let (Value::Object(leaf), Value::Object(more)) = (&mut leaf, more) {
        leaf.extend(more);
    }
    leaf
}

#[test]
fn every_type_is_what_the_release_defines() {
    assert_eq!(VERSION, ocsf::VERSION);
    let whole = json!({
        "principal": {"type": "User", "id": "corp:ana"}, "service": "payments", "instance": "p-1", "operation": "payments.read",
        "decision": "deny", "policies": ["a", "b"], "grant": "01G", "incident": "INC-1",
        "access_request": "01A", "sign_in": "01S", "connection": "01C", "request": "01R",
        "source": "192.0.2.1", "country": "DE", "detail": "said", "method": "GET", "path": "/a",
        "host": "payments.example.com", "status": 403, "latency_us": 1500, "refusal": "denied",
        "count": 3,
        "alert": {"title": "t", "text": "x", "kind": "denials", "link": "https://a", "urgency": "critical"},
    });
    for kind in types() {
        for leaf in [with(&kind, whole.clone()), with(&kind, json!({"source": "::1"}))] {
            if kind == "alert_fired" && leaf.get("alert").is_none() {
                continue;
            }
            let event = event(&leaf, 7);
            assert_eq!(ocsf::mistakes(&event), Vec::<String>::new(), "{kind}: {event:#}");
            if leaf.get("principal").is_some() {
                assert_eq!(event["actor"]["user"]["uid"], "corp:ana");
            }
            assert_eq!(event["time"], 1_795_341_600_500_i64, "milliseconds");
            assert_eq!(event["unmapped"], leaf, "nothing is lost");
        }
    }
}

#[test]
fn a_mistake_would_be_found() {
    let sound = event(&with("attempt", json!({"method": "GET"})), 1);
    assert!(ocsf::mistakes(&sound).is_empty());
    for (at, wrong) in [
        ("activity_id", json!(12)),
        ("type_uid", json!(400_201)),
        ("time", json!("yesterday")),
        ("http_request", json!({"verb": "GET"})),
        ("metadata", json!({"version": VERSION})),
        ("actor", json!({})),
        ("colour", json!("red")),
    ] {
        let mut event = sound.clone();
        event[at] = wrong;
        assert!(!ocsf::mistakes(&event).is_empty(), "{at}");
    }
    let mut event = sound;
    event.as_object_mut().unwrap().remove("http_request");
    assert!(!ocsf::mistakes(&event).is_empty());
}

#[test]
fn refusals_and_emergencies_stand_out() {
    let severity = |leaf: Value| event(&leaf, 1)["severity_id"].as_u64().unwrap();
    let refused = with("attempt", json!({"decision": "deny", "method": "PUT", "status": 403}));
    let event = event(&refused, 1);
    let members = ["action_id", "disposition_id", "status_id", "activity_id"];
    assert_eq!(members.map(|name| event[name].as_u64().unwrap()), [2, 2, 2, 7]);
    assert_eq!(severity(refused), 2);
    let counted = super::event(&with("refusals_counted", json!({"count": 3})), 1);
    assert_eq!(members.map(|name| counted[name].as_u64().unwrap()), [2, 2, 2, 0]);
    assert_eq!(severity(with("attempt", json!({"decision": "permit", "status": 200}))), 1);
    assert_eq!(severity(leaf("emergency_opened")), 4);
    assert_eq!(severity(leaf("sealed_log_broken")), 5);
}
