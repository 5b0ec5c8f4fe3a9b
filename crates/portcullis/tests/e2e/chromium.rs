//! The whole way with outsiders only: Debian's Chromium in front, a certified provider behind, TLS between.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::{Process, net::free_port};
use serde_json::Value;

use crate::{desk::Desk, house::Plan, upstream::Upstream};

const POLICY: &str = r#"
@id("outsiders")
permit (principal is User in Group::"engineers", action, resource in Service::"desk");
"#;

/// The folder of the programs that drive Chromium; `None` where not all that they and their tests
/// need is installed, which is no pass where it must be.
pub(crate) fn installed() -> Option<PathBuf> {
    let outsiders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders");
    let folder = outsiders.join("browser");
    let there = folder.join("node_modules/playwright-core").is_dir()
        && outsiders.join("oidc-provider/node_modules/oidc-provider").is_dir()
        && Path::new("/usr/bin/chromium").exists();
    if !there {
        let why = "run scripts/test, which installs Chromium and what npm has, first";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    there.then_some(folder)
}

#[test]
fn a_person_signs_in_and_out_with_chromium_at_a_certified_provider() {
    let Some(folder) = installed() else { return };
    let (port, control) = (free_port(), free_port());
    let mut provider = Command::new("node");
    provider
        .args(["server.mjs", "0", &format!("http://127.0.0.1:{control}")])
        .current_dir(folder.join("../oidc-provider"))
        .stderr(Stdio::null());
    let provider = Process::start(&mut provider);
    let issuer = provider.wait_for_line("listening ", Duration::from_mins(1));
    let (certificate, key) = self_signed();
    let desk = Desk::furnished(Upstream::start(), |plan: Plan| {
        plan.control_port(control)
            .listener(&format!(
                "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.crt, key: gate.key}}}}"
            ))
            .file("gate.crt", &certificate)
            .file("gate.key", &key)
            .file("secret", "portcullis-secret\n")
            .policy("outsiders.cedar", POLICY)
            .only_people(&format!(
                "{{name: outside, oidc: {{issuer: \"{issuer}\", client_id: portcullis, client_secret: {{file: secret}}, \
                 groups_claim: groups, recheck: 1s, scopes: [openid, email, profile, groups]}}}}"
            ))
    });
    let page = format!("https://desk.example.com:{port}/page?x=1");
    let mut visit = Command::new("node");
    let control = format!("http://127.0.0.1:{control}");
    visit.args(["visit.mjs", &page, "ana", &issuer, &control]).current_dir(&folder);
    if let Some(folder) = std::env::var_os("PORTCULLIS_SCREENSHOTS") {
        visit.arg(folder);
    }
    let output = visit.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    assert!(
        report["error"].is_null(),
        "{}\n{}",
        report["error"].as_str().unwrap(),
        desk.house.log()
    );
    went_well(&report, &page, &issuer, &desk.house.log());
    // Every second the provider was asked again, with refresh tokens that it exchanges for others.
    assert!(!desk.house.log().contains("no longer vouches"), "{}", desk.house.log());
    assert_eq!(report["violations"].as_array().map(Vec::len), Some(0), "{report:#}");
    let seen = desk.upstream.take();
    assert!(seen.iter().all(|seen| seen.headers("portcullis-principal") == ["outside:ana"]));
    assert!(seen.iter().all(|seen| seen.headers("cookie").is_empty()));
}

/// What the person saw, in the order of the visit.
fn went_well(report: &Value, page: &str, issuer: &str, log: &str) {
    assert!(report["asked_at"].as_str().unwrap().starts_with(issuer), "{report:#}");
    assert_eq!(report["opened"]["url"], page, "{report:#}");
    assert_eq!(report["opened"]["text"], "upstream");
    assert_eq!(report["readable"], "", "no script reads a cookie of ours");
    let cookies = report["cookies"].as_array().unwrap();
    assert!(cookies.iter().any(|cookie| cookie["name"] == "__Host-portcullis"), "{cookies:#?}");
    for cookie in cookies {
        assert_eq!((&cookie["secure"], &cookie["httpOnly"]), (&true.into(), &true.into()));
        assert_eq!(
            (&cookie["sameSite"], &cookie["domain"]),
            (&"Lax".into(), &"desk.example.com".into())
        );
    }
    assert_eq!((&report["script"]["get"], &report["script"]["post"]), (&200.into(), &200.into()));
    assert!(report["control"]["text"].as_str().unwrap().contains("Ana Prata"));
    let gone = report["control_signed_out"]["text"].as_str().unwrap();
    assert!(gone.contains("You are signed out"), "{report:#}");
    assert_eq!(report["after_control"], 401);
    assert!(report["signed_out"]["text"].as_str().unwrap().contains("You are signed out"));
    assert_eq!(report["after"], 401);
    assert_eq!(report["again"]["url"], page, "{report:#}");
    assert_eq!(report["script_again"], 200);
    assert_eq!(report["after_logout"], 401, "d25: back-channel logout, {log}");
    assert!(report["asked_again_at"].as_str().unwrap().starts_with(issuer), "{report:#}");
}

/// A certificate for the desk, made by openssl.
pub(crate) fn self_signed() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key", "-out", "crt", "-days", "2", "-subj", "/CN=desk.example.com"])
        .args(["-addext", "subjectAltName=DNS:desk.example.com"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    (read("crt"), read("key"))
}
