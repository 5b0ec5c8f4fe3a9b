use crate::config::tests::{SOUND, loaded, refused};

const WHOLE: &str = "connectors:
  teams: {payments: {url: {env: TEAMS_PAYMENTS}}}
  email: {smtp: smtp.example.com, from: portcullis@example.com, username: portcullis, password: {file: mail}}
  webhooks: {tickets: {url: \"https://tickets.example.com/x\", secret: {env: TICKETS}, format: cloudevents}}
  decisions: {desk: {secret: {env: DESK}, groups: [approvers]}}
";

fn with(connectors: &str) -> String {
    SOUND.replace("policies: policies", &format!("{connectors}policies: policies"))
}

#[test]
fn connectors_are_read_with_what_is_usual() {
    let config = loaded(&with(WHOLE)).expect("loads").config;
    let receivers: Vec<String> = config.connectors.receivers().into_iter().collect();
    assert_eq!(receivers, ["email", "teams:payments", "webhook:tickets"]);
    let shown = serde_json::to_value(&config.connectors).expect("json");
    assert_eq!(
        (&shown["email"]["smtp"], &shown["email"]["tls"]),
        (&"smtp.example.com:465".into(), &"implicit".into())
    );
    assert_eq!(shown["webhooks"]["tickets"]["give_up_after"], "3d");
    assert_eq!(shown["webhooks"]["tickets"]["events"].as_array().expect("events").len(), 12);
    let secrets = [&shown["teams"]["payments"]["url"], &shown["decisions"]["desk"]["secret"]];
    for secret in secrets {
        assert!(secret.as_str().expect("text").contains("hidden"));
    }
}

#[test]
fn mistakes_in_connectors_are_told_with_their_place() {
    for (connectors, what) in [
        ("teem: {}", "did you mean `teams`?"),
        (
            "teams: {a: {url: \"https://secret.example.com/x\"}}",
            "a secret stands in the configuration",
        ),
        ("teams: {A b: {url: {env: X}}}", "is no name"),
        ("teams: {a: {}}", "lacks `url`"),
        ("email: {smtp: mail.example.com}", "lacks `from`"),
        ("email: {smtp: \"mail.example.com:x\", from: a@example.com}", "is no mail server"),
        (
            "email: {smtp: mail.example.com, from: \"a@b.example, c@d.example\"}",
            "no e-mail address",
        ),
        (
            "email: {smtp: mail.example.com, from: a@example.com, tls: none}",
            "readable on their way",
        ),
        (
            "email: {smtp: mail.example.com, from: a@example.com, tls: starttl}",
            "did you mean `starttls`?",
        ),
        ("email: {smtp: mail.example.com, from: a@example.com, username: a}", "come together"),
        ("webhooks: {a: {url: \"http://a.example.com\", secret: {env: X}}}", "https://"),
        ("webhooks: {a: {url: \"https://a.example.com\"}}", "lacks `secret`"),
        (
            "webhooks: {a: {url: \"https://a.example.com\", secret: {env: X}, format: cloudevent}}",
            "did you mean `cloudevents`?",
        ),
        (
            "webhooks: {a: {url: \"https://a.example.com\", secret: {env: X}, events: [grant_stated]}}",
            "did you mean `grant_started`?",
        ),
        ("decisions: {desk: {groups: [a]}}", "lacks `secret`"),
        (
            "grafana_incidents: {url: \"https://acme.grafana.net\", token: {env: X}, services: {payments: \"service:a\"}, schedules: {primary: S1}}",
            "have no `schedules`",
        ),
        (
            "grafana_incidents: {token: {env: X}, services: {payments: \"service:a\"}}",
            "lacks `url`",
        ),
        (
            "incident_io: {token: {env: X}, service_field: 01A, notes_field: 01A, services: {payments: 01B}}",
            "notes would stand where",
        ),
    ] {
        let said = refused(&with(&format!("connectors: {{{connectors}}}\n")));
        assert!(said.contains(what) && said.contains("portcullis.yaml"), "{connectors}: {said}");
        assert!(!said.contains("secret.example.com"), "{said}");
    }
}
