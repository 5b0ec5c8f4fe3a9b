//! What loads of `introspection` and `oauth2`, and what does not.

use super::tests::{SOUND, loaded, refused};

const ASKED: &str = "client_id: portcullis, client_secret: {env: SECRET}";
const AT: &str = "endpoint: \"https://id.example.com/introspect\"";

/// The sound file with these workloads, each what stands in its `introspection`.
fn workloads(entries: &[&str]) -> String {
    let each = entries.iter().enumerate().map(|(at, introspection)| {
        format!("    - {{name: w{at}, introspection: {{{ASKED}, {introspection}}}}}\n")
    });
    let all: String = each.collect();
    SOUND.replace("policies: policies", &format!("  workloads:\n{all}policies: policies"))
}

/// The sound file whose only provider is this one.
fn people(entry: &str) -> String {
    let (before, corp) = SOUND.split_once("    - name: corp").expect("it is there");
    let (_, after) = corp.split_once("policies: policies").expect("it is there");
    format!("{before}{entry}policies: policies{after}")
}

fn oauth2(more: &str) -> String {
    format!(
        "    - {{name: plain, oauth2: {{{ASKED}, authorization_endpoint: \"https://id.example.com/auth\", \
         token_endpoint: \"https://id.example.com/token\", \
         introspection_endpoint: \"https://id.example.com/introspect\"{more}}}}}\n"
    )
}

#[test]
fn an_issuer_of_opaque_tokens_is_discovered_or_named() {
    for sound in [
        AT,
        "issuer: \"https://id.example.com\"",
        "issuer: \"https://id.example.com\", endpoint_hosts: [x.example.com]",
        "issuer: \"https://id.example.com\", endpoint: \"https://x.example.com/i?t=1\"",
    ] {
        let more = "audience: a, scopes: [b, c], subject: \"x:{client_id}\", claims: {team: String}, \
                    groups: {\"team=pay\": [payers]}, groups_claim: g, require: {team: pay}, \
                    rules: [{when: {team: pay}, groups: [x]}], refresh: 10s, prefix: at_";
        let text = workloads(&[&format!("{sound}, {more}")]);
        let loaded = loaded(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(loaded.bundle.claims["team"], "String");
        let shown = serde_json::to_string(&loaded.config).expect("it can be shown");
        assert!(shown.contains(r#""refresh":"10s""#), "{shown}");
    }
}

#[test]
fn an_issuer_of_opaque_tokens_that_cannot_be_asked_soundly_does_not_load() {
    for (introspection, message) in [
        ("audience: a", "nobody is named who could be asked"),
        ("endpoint: \"http://id.example.com/i\"", "it must start with https://"),
        ("issuer: \"http://id.example.com\"", "it must start with https://"),
        (&format!("{AT}, endpoint_hosts: [a]"), "`endpoint_hosts` is never read"),
        (&format!("{AT}, refresh: 1m"), "accepted for too long"),
        (&format!("{AT}, scopes: [\"a b\"]"), "is not one scope"),
        (&format!("{AT}, subject: x"), "it names no claim"),
        (&format!("{AT}, prefix: pc_x"), "what its tokens begin with"),
        (&format!("{AT}, jwks: x"), "unknown key `jwks`"),
    ] {
        let shown = refused(&workloads(&[introspection]));
        assert!(shown.contains(message), "{introspection}: {shown}");
    }
    let literal = workloads(&[AT]).replace("{env: SECRET}", "hunter2");
    assert!(refused(&literal).contains("a secret stands in the configuration"));
    let secretless = workloads(&[AT]).replace("client_secret: {env: SECRET}, ", "");
    assert!(refused(&secretless).contains("lacks `client_secret`"));
}

#[test]
fn d22_several_issuers_of_opaque_tokens_are_told_apart_by_prefix() {
    let with = |prefix: &str| format!("{AT}, prefix: {prefix}");
    loaded(&workloads(&[&with("a_"), &with("b_")])).expect("loads");
    for entries in [[AT, AT], [AT, &with("a_")], [&with("a_"), &with("a_b_")]] {
        let shown = refused(&workloads(&entries));
        assert!(shown.contains("introspection of `w"), "{shown}");
        assert!(shown.contains("each token is asked about at one issuer"), "{shown}");
    }
}

#[test]
fn an_entry_is_of_one_kind() {
    let both = workloads(&[AT])
        .replace("introspection:", "mtls: {spiffe_trust_domain: x.example}, introspection:");
    assert!(refused(&both).contains("an entry is for one kind of workload"));
    let both = people(&oauth2("")).replace("oauth2:", "oidc: {issuer: \"https://a.b\"}, oauth2:");
    assert!(refused(&both).contains("a provider of people is of one kind"));
    assert!(refused(&people("    - {name: x}\n")).contains("a provider of people is of one kind"));
}

#[test]
fn a_provider_without_id_tokens_loads_and_beside_others_needs_its_name() {
    for more in [
        "",
        ", device_authorization_endpoint: \"https://id.example.com/device\", scopes: [a, b]",
        ", subject: \"{username}\", groups: {\"team=pay\": [payers]}, groups_claim: g, \
         claims: {team: String}, step_up: {acr_values: [phr]}, recheck: never",
    ] {
        let loaded = loaded(&people(&oauth2(more))).unwrap_or_else(|error| panic!("{error}"));
        serde_json::to_string(&loaded.config).expect("it can be shown");
    }
    let beside = |more: &str| {
        SOUND.replace("policies: policies", &format!("{}policies: policies", oauth2(more)))
    };
    assert!(refused(&beside("")).contains("beside other providers, `plain` needs an `issuer`"));
    loaded(&beside(", issuer: \"https://id.example.com\"")).expect("loads");
    for (from, to, message) in [
        ("token_endpoint: \"https", "token_endpoint: \"http", "it must start with https://"),
        ("token_endpoint", "tokens_endpoint", "lacks `token_endpoint`"),
        ("https://id.example.com/auth", "/auth", "it must be an absolute URL"),
        ("{env: SECRET}", "hunter2", "a secret stands in the configuration"),
    ] {
        let shown = refused(&people(&oauth2("").replace(from, to)));
        assert!(shown.contains(message), "{to}: {shown}");
    }
}
