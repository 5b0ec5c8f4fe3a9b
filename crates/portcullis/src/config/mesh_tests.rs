//! What loads of `mtls`, `jwt_svid`, `client_ca` and `workload_api`, and what does not.

use super::tests::{SOUND, loaded, refused};

const MESH: &str = "    - {name: mesh, mtls: {spiffe_trust_domain: prod.example.com}}\n";
const PARTNER: &str = "    - {name: partner, mtls: {spiffe_trust_domain: partner.example.com}}\n";
const SOCKET: &str = "  workload_api: \"unix:///run/agent.sock\"\n";
const WITH_CA: &str = "certificate: a.crt, key: a.key, client_ca: mesh.crt";
const FILES: &str = "certificate: a.crt, key: a.key";
const EACH: &str = "certificate: a.crt, key: a.key, client_ca: {prod.example.com: a.pem, partner.example.com: b.pem}";

/// The sound file with these entries and lines of `identity`, and this `tls` of its listener.
fn file(identity: &str, tls: &str) -> String {
    let listener = "{name: gate, address: \"127.0.0.1:8080\"";
    let workloads = if identity.starts_with("    -") { "  workloads:\n" } else { "" };
    SOUND
        .replace(listener, &format!("{listener}, tls: {{{tls}}}"))
        .replace("policies: policies", &format!("{workloads}{identity}policies: policies"))
}

fn refuses(cases: &[(String, &str)]) {
    for (text, message) in cases {
        let shown = refused(text);
        assert!(shown.contains(message), "{message}: {shown}");
    }
}

#[test]
fn certificates_and_bundles_come_from_files_or_the_workload_api() {
    let api = format!("{MESH}{SOCKET}");
    let tokens =
        "    - {name: t, jwt_svid: {spiffe_trust_domain: x, audience: a, bundle: k.json}}\n";
    let sound = [
        file(MESH, WITH_CA),
        file(&api, "workload_api: [svid, bundles]"),
        file(&api, &format!("{FILES}, workload_api: [bundles]")),
        file(&api, "workload_api: [svid], client_ca: mesh.crt"),
        file(&format!("{MESH}{PARTNER}"), EACH),
        file(tokens, FILES),
    ];
    for text in sound {
        let loaded = loaded(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        serde_json::to_string(&loaded.config).expect("it can be shown");
    }
}

#[test]
fn a_listener_that_nobody_could_use_or_everybody_does_not_load() {
    let api = format!("{MESH}{SOCKET}");
    let with = |more: &str| file(&api, &format!("{FILES}, {more}"));
    refuses(&[
        (file("", WITH_CA), "no trust domain is configured"),
        (file(MESH, FILES), "no listener believes the authorities of `prod.example.com`"),
        (file(&format!("{MESH}{PARTNER}"), WITH_CA), "one file cannot vouch for several"),
        (file(MESH, EACH), "the trust domain `partner.example.com` is not configured"),
        (file(MESH, "workload_api: [svid, bundles]"), "no Workload API is configured"),
        (file(&api, WITH_CA), "nothing uses the Workload API"),
        (with("workload_api: [bundles], client_ca: a"), "clients have two sources"),
        (with("client_ca: a, workload_api: [svid]"), "the certificate has two sources"),
        (with("workload_api: []"), "nothing is taken from the Workload API"),
        (with("workload_api: [keys]"), "cannot be `keys`"),
        (
            file(&api.replace("unix:///", "tcp://"), "workload_api: [svid, bundles]"),
            "not the address of a Unix socket",
        ),
        (
            file(MESH, WITH_CA)
                .replace("8600\"}", "8600\", tls: {certificate: a, key: b, client_ca: c}}"),
            "`client_ca` is not supported",
        ),
    ]);
}

#[test]
fn an_entry_of_a_mesh_says_one_thing() {
    let one = |more: &str| {
        file(&format!("    - {{name: m, {more}}}\n"), "certificate: a, key: b, client_ca: c")
    };
    let two = format!("{MESH}{}", PARTNER.replace("partner.example.com", "prod.example.com"));
    let svid = |more: &str| {
        one(&format!("mtls: {{spiffe_trust_domain: x}}, jwt_svid: {{audience: a, {more}}}"))
    };
    let grouped =
        |groups: &str| one(&format!("mtls: {{spiffe_trust_domain: x}}, groups: {groups}"));
    refuses(&[
        (one("groups: {}"), "an entry is for one kind of workload"),
        (
            one("mtls: {spiffe_trust_domain: x}, jwt: {issuer: \"https://a\", audience: a}"),
            "an entry is for one kind of workload",
        ),
        (one("mtls: {}"), "lacks `spiffe_trust_domain`"),
        (one("mtls: {spiffe_trust_domain: Prod}"), "lower-case letters"),
        (svid("spiffe_trust_domain: y, bundle: b"), "an entry of two trust domains"),
        (svid("spiffe_trust_domain: x"), "exactly one source"),
        (svid("spiffe_trust_domain: x, bundle: b, workload_api: true"), "exactly one source"),
        (svid("spiffe_trust_domain: x, workload_api: true"), "no Workload API is configured"),
        (grouped("{\"ns=a\": [g]}"), "asks for neither path nor spiffe_id"),
        (grouped("{path: [g]}"), "must read `claim=value`"),
        (file(&two, WITH_CA), "the trust domain `prod.example.com` has two entries"),
    ]);
}
