use std::{fs, path::Path};

use super::{Loaded, load};
use crate::diagnostics;

pub(super) const SOUND: &str = r#"
listeners:
  - {name: gate, address: "127.0.0.1:8080"}
control: {address: "127.0.0.1:8600", url: "http://127.0.0.1:8600"}
store: sqlite:portcullis.db
audit: {directory: audit}
identity:
  people:
    - name: corp
      oidc: {issuer: "https://id.example.com", client_id: portcullis, client_secret: {env: OIDC_SECRET}}
policies: policies
services:
  - name: payments
    hosts: [payments.example.com]
    upstream: {url: "http://127.0.0.1:9000"}
"#;

fn written(yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("policies")).expect("policies");
    fs::write(folder.path().join("portcullis.yaml"), yaml).expect("the file");
    folder
}

pub(super) fn loaded(yaml: &str) -> Result<Loaded, String> {
    let folder = written(yaml);
    load(&folder.path().join("portcullis.yaml"))
        .map_err(|errors| diagnostics::render(&errors, Path::new(".")))
}

pub(super) fn refused(yaml: &str) -> String {
    loaded(yaml).map(|loaded| loaded.config).expect_err("a refusal")
}

#[test]
fn a_sound_file_loads_with_its_defaults() {
    let loaded = loaded(SOUND).expect("loads");
    assert_eq!(loaded.config.audit.directory, Path::new("audit"));
    assert_eq!(loaded.config.services[0].max_grant.to_string(), "8h");
    assert_eq!(loaded.bundle.services[0].instances.len(), 1);
}

/// What to replace, by what, and what is said about it.
const MISTAKES: [(&str, &str, &str, &str); 24] = [
    ("hosts:", "hsots:", "unknown key `hsots` in `services[0]`", "did you mean `hosts`?"),
    (
        "address: \"127.0.0.1:8080\"",
        "address: \"8080\"",
        "`8080` is not an address",
        "127.0.0.1:8080",
    ),
    ("{env: OIDC_SECRET}", "hunter2", "a secret stands in the configuration", "{env: NAME}"),
    ("{env: OIDC_SECRET}", "{vault: a#b}", "`vault` is not supported by this version", ""),
    (
        "sqlite:portcullis.db",
        "postgres://u@h/d",
        "PostgreSQL store is not supported by this version",
        "",
    ),
    ("sqlite:portcullis.db", "portcullis.db", "is not a store", "sqlite:portcullis.db"),
    (
        "{directory: audit}",
        "{directory: audit, checkpoint_every: 2m}",
        "`checkpoint_every` is 1m at most, and not 2m",
        "write 1s",
    ),
    (
        "{directory: audit}",
        "{directory: audit, checkpoint_every: 0s}",
        "`checkpoint_every`: a duration of zero",
        "",
    ),
    (
        "policies: policies",
        "policies: nowhere",
        "the policy folder cannot be read",
        "check the path",
    ),
    (
        "policies: policies",
        "policies: policies\nschedules: {primary: {people: [a], zone: UTC, from: x, every: 36h}}",
        "is not whole days",
        "write 1d or 7d",
    ),
    (
        "policies: policies",
        "policies: policies\nholding: {requests: -1}",
        "`requests` is a whole number from 0 to 100000",
        "",
    ),
    (
        "policies: policies",
        "policies: policies\nholding: {bytes: 5MB}",
        "`5MB` is not a size",
        "64KiB",
    ),
    ("name: payments", "name: payments\n    max_hold: 2h", "`max_hold` is 1h at most", ""),
    (
        "name: payments",
        "name: payments\n    max_body: 1GiB",
        "`max_body` is 64MiB at most",
        "streams",
    ),
    (
        "name: payments",
        "name: payments\n    operations: {max_body: {POST: 65MiB}}",
        "`max_body` is 64MiB at most",
        "streams",
    ),
    (
        "name: payments",
        "name: payments\n    operations: {max_body: {POST: 5MB}}",
        "`5MB` is not a size",
        "64KiB",
    ),
    ("name: payments", "name: Pay_ments", "is not a service name", ""),
    (
        "{url: \"http://127.0.0.1:9000\"}",
        "{dns: payments.local}",
        "`payments.local` does not say",
        "http://",
    ),
    ("{url: \"http://127.0.0.1:9000\"}", "{}", "one of `url`, `instances`", "url: http"),
    ("{url: \"http://127.0.0.1:9000\"}", "{url: \"ftp://x\"}", "is not an upstream URL", "http://"),
    (
        "{url: \"http://127.0.0.1:9000\"}",
        "{url: \"http://u:p@x\"}",
        "must not hold credentials",
        "",
    ),
    ("https://id.example.com", "http://id.example.com", "issuer `http://id.example.com`", ""),
    ("hosts: [payments.example.com]", "hosts: [true]", "must be text, and is a boolean", "quotes"),
    ("hosts: [payments.example.com]", "hosts: []", "without hosts", "name at least one"),
];

#[test]
fn every_kind_of_mistake_is_told_with_its_place_and_what_to_do() {
    for (from, to, message, help) in MISTAKES {
        let text = SOUND.replacen(from, to, 1);
        assert_ne!(text, SOUND, "{from} is in the file");
        let shown = refused(&text);
        assert!(shown.contains(message), "{to}: {shown}");
        assert!(shown.contains(help), "{to}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn sections_of_later_versions_are_errors() {
    for key in ["on_store_loss: keep", "enforcement: {mode: observe}"] {
        let shown = refused(&format!("{SOUND}    {key}\n"));
        assert!(shown.contains("is not supported by this version"), "{shown}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_and_in_order() {
    let text = SOUND
        .replace("client_id", "client_idd")
        .replace("hosts:", "hsots:")
        .replace("store: sqlite", "store: sqlight");
    let shown = refused(&text);
    for message in ["client_idd", "hsots", "is not a store", "lacks `hosts`", "lacks `client_id`"] {
        assert!(shown.contains(message), "{message}: {shown}");
    }
    assert!(shown.ends_with("5 errors\n"), "{shown}");
}

#[test]
fn a_mistake_names_file_line_column_and_shows_the_line() {
    let shown = refused(&SOUND.replace("upstream:", "upstraem:"));
    assert!(shown.contains("portcullis.yaml:15:5"), "{shown}");
    assert!(shown.contains("   15 |     upstraem: {url"), "{shown}");
    assert!(shown.contains("      |     ^"), "{shown}");
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    for text in ["listeners: [\n", "a: b: c\n", "\tx: 1\n", "a: 1\na: 2\n", "- 1\n", "", "x: *y\n"]
    {
        let shown = refused(text);
        assert!(shown.contains("portcullis.yaml"), "{text:?}: {shown}");
    }
    let shown = refused("store: 1\nstore: 2\n");
    assert!(shown.contains("portcullis.yaml:2"), "{shown}");
}

#[test]
fn a_missing_file_is_told_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = load(&folder.path().join("portcullis.yaml")).expect_err("a refusal");
    assert!(errors[0].to_string().contains("portcullis.yaml: cannot be read"), "{errors:?}");
    let shown = refused(&format!("{SOUND}    operations: {{openapi: apis/none.yaml}}\n"));
    assert!(
        shown.contains("OpenAPI document `apis/none.yaml` of `payments` cannot be read"),
        "{shown}"
    );
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let item = format!("*a{}", level - 1);
        let items = vec![item; 10].join(", ");
        text = format!("{text}a{level}: &a{level} [{items}]\n");
    }
    assert!(refused(&text).contains("not valid YAML"));
}

#[test]
fn names_are_unique_across_included_files() {
    let folder =
        written(&SOUND.replace("policies: policies", "policies: policies\ninclude: [more/*.yaml]"));
    fs::create_dir(folder.path().join("more")).expect("a folder");
    let service =
        "services:\n  - name: payments\n    hosts: [b]\n    upstream: {url: \"http://b\"}\n";
    fs::write(folder.path().join("more/a.yaml"), service).expect("a file");
    fs::write(folder.path().join("more/b.yaml"), "servces: []\n").expect("a file");
    let errors = load(&folder.path().join("portcullis.yaml")).expect_err("a refusal");
    let shown = diagnostics::render(&errors, Path::new("."));
    assert!(shown.contains("two services are called `payments`"), "{shown}");
    assert!(shown.contains("the first stands at portcullis.yaml:14"), "{shown}");
    assert!(shown.contains("did you mean `services`?"), "{shown}");
}

#[test]
fn duplicate_providers_and_listeners_are_refused() {
    let shown = refused(&SOUND.replace(
        "  - {name: gate, address: \"127.0.0.1:8080\"}",
        "  - {name: gate, address: \"127.0.0.1:8080\"}\n  - {name: gate, address: \"127.0.0.1:8081\"}",
    ));
    assert!(shown.contains("two listeners are called `gate`"), "{shown}");
    let shown = refused(&SOUND.replace("name: gate", "name: control"));
    assert!(shown.contains("`control` is what the control API is called"), "{shown}");
    let provider = "    - name: corp\n      oidc: {issuer: \"https://x\", client_id: a}\npolicies:";
    let shown = refused(&SOUND.replace("policies:", provider));
    assert!(shown.contains("two providers are called `corp`"), "{shown}");
}

#[test]
fn secrets_are_never_shown() {
    let text = SOUND.replace("{env: OIDC_SECRET}", "hunter2");
    let loaded = loaded(&format!("demo: true\n{text}")).expect("the demo may hold literals");
    let shown = serde_json::to_string(&loaded.config).expect("json");
    assert!(!shown.contains("hunter2") && shown.contains("(hidden)"), "{shown}");
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn the_schema_refuses_nothing_that_loads() {
    let schema = serde_json::to_value(super::schema()).expect("json");
    let properties = schema["properties"].as_object().expect("properties");
    for key in ["listeners", "control", "store", "audit", "identity", "policies", "services"] {
        assert!(properties.contains_key(key), "{key}");
    }
}

#[test]
fn a_claim_has_one_type() {
    let issuer = |name: &str, kind: &str| {
        format!(
            "    - name: {name}\n      jwt: {{issuer: \"https://{name}.example\", audience: a, claims: {{ref: {kind}}}}}\n"
        )
    };
    let workloads = format!("  workloads:\n{}{}", issuer("a", "String"), issuer("b", "Long"));
    let shown =
        refused(&SOUND.replace("policies: policies", &format!("{workloads}policies: policies")));
    assert!(shown.contains("the claim `ref` has two types"), "{shown}");
}

/// A configuration with one CI system.
fn with_ci(jwt: &str, more: &str) -> String {
    let workloads =
        format!("  workloads:\n    - name: ci\n      jwt: {{audience: portcullis, {jwt}}}\n{more}");
    SOUND.replace("policies: policies", &format!("{workloads}policies: policies"))
}

#[test]
fn a_ci_system_is_read_by_its_preset() {
    let sound = with_ci("ci: github, require: {repository: a/b}", "");
    let loaded = loaded(&sound).expect("loads");
    let jwt = loaded.config.identity.workloads[0].jwt.as_ref().expect("an issuer");
    assert_eq!(jwt.issuer.as_str(), "https://token.actions.githubusercontent.com");
    assert_eq!(jwt.mapping.subject.as_deref(), Some("{repository}"));
    assert_eq!(loaded.bundle.claims["run_id"], "String");
    let shown = serde_json::to_string(jwt).expect("shown");
    assert!(
        shown.contains(r#""heartbeat":"1m""#) && shown.contains(r#""system":"github""#),
        "{shown}"
    );
}

#[test]
fn d05_a_shared_issuer_without_an_owner_is_refused() {
    for (system, wanted) in
        [("github", "repository"), ("gitlab", "project_path"), ("buildkite", "organization_slug")]
    {
        for require in ["", ", require: {ref: main}"] {
            let said = refused(&with_ci(&format!("ci: {system}{require}"), ""));
            assert!(said.contains("signs for everybody") && said.contains(wanted), "{said}");
        }
    }
    // An issuer of one's own signs for nobody else.
    let own = with_ci("ci: gitlab, issuer: \"https://gitlab.example.com\"", "");
    assert!(loaded(&own).is_ok());
    let organization = with_ci("ci: circleci, issuer: \"https://oidc.circleci.com/org/0c9d\"", "");
    let claims = loaded(&organization).expect("loads").bundle.claims;
    assert_eq!(claims["oidc.circleci.com/context-ids"], "Set<String>");
    let root = "ci: circleci, issuer: \"https://oidc.circleci.com\"";
    let said = refused(&with_ci(root, ""));
    assert!(said.contains("signs for everybody") && said.contains("org-id"), "{said}");
    assert!(
        loaded(&with_ci(&format!("{root}, require: {{oidc.circleci.com/org-id: a}}"), "")).is_ok()
    );
}

#[test]
fn mistakes_in_rules_about_claims_are_told() {
    for (jwt, what) in [
        ("ci: jenkins", "`ci` cannot be `jenkins`"),
        ("ci: generic", "lacks `issuer`"),
        ("ci: circleci", "lacks `issuer`"),
        ("ci: {system: github, heartbeat: 2h}, require: {repository: a/b}", "longer than a run"),
        ("ci: {system: github, longest: 2h}, require: {repository: a/b}", "longer than a run"),
        ("ci: {system: github, heartbeats: 1m}, require: {repository: a/b}", "did you mean"),
        ("ci: github, require: {repository: {glob: \"**\"}}", "there is no `**`"),
        ("ci: github, require: {repository: {glob: \"*/*\"}}", "whatever anybody calls"),
        ("ci: github, require: {repository: {glob: a/b}}", "without `glob`"),
        ("ci: github, require: {repository: {regex: \".*\"}}", "unknown key `regex`"),
        ("ci: github, require: {repository: []}", "nothing would ever match"),
        ("ci: github, require: {}", "no claim is named"),
        ("ci: github, require: {repository: a/b}, rules: [{groups: [x]}]", "lacks `when`"),
        ("ci: github, require: {repository: a/b}, rules: [{when: {}, groups: [x]}]", "no claim"),
    ] {
        let said = refused(&with_ci(jwt, ""));
        assert!(said.contains(what), "{jwt}: {said}");
    }
}

#[test]
fn scim_names_a_provider_and_no_secret() {
    let scim = |scim: &str| {
        with_ci("ci: github, require: {repository: a/b}", &format!("  scim: {scim}\n"))
    };
    assert!(loaded(&scim("{token: {env: SCIM}, provider: corp, subject: userName}")).is_ok());
    for (wrong, what) in [
        ("{token: hunter2, provider: corp}", "a secret stands in the configuration"),
        ("{token: {env: SCIM}, provider: crop}", "is no provider of people"),
        ("{token: {env: SCIM}}", "lacks `provider`"),
        ("{token: {env: SCIM}, provider: corp, subject: email}", "`subject` cannot be `email`"),
    ] {
        let said = refused(&scim(wrong));
        assert!(said.contains(what) && !said.contains("hunter2"), "{wrong}: {said}");
    }
}
