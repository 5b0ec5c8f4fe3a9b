//! Sign-in by the CLI, through the binary, at a certified OpenID provider.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use portcullis_testkit::Process;

use crate::{house::binary, shop::Shop, upstream::Upstream};

#[test]
fn a_person_signs_in_through_a_certified_provider() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders/oidc-provider");
    if !folder.join("node_modules/oidc-provider").is_dir() {
        let why = "run `npm ci` in tests/outsiders/oidc-provider first";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    let mut provider = Command::new("node");
    let provider =
        Process::start(provider.arg("server.mjs").current_dir(&folder).stderr(Stdio::null()));
    let issuer = provider.wait_for_line("listening ", Duration::from_mins(1));
    let upstream = Upstream::start();
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("secret", "portcullis-secret\n").people(&format!(
            "{{name: outside, oidc: {{issuer: \"{issuer}\", client_id: portcullis, client_secret: {{file: secret}}, \
             groups_claim: groups, scopes: [openid, email, profile, groups]}}}}"
        ))
    });
    let mut login = Command::new(binary());
    login
        .args(["login", "--no-browser", "--provider", "outside"])
        .arg(format!("http://{}", shop.house.control))
        .env("PORTCULLIS_HOME", shop.house.dir().join("homes/ana"))
        .stderr(Stdio::null());
    let login = Process::start(&mut login);
    let uri = login.wait_for_line("To sign in, open ", Duration::from_secs(20));
    let code = login.wait_for_line("and see that it shows the code ", Duration::from_secs(20));
    assert!(uri.ends_with(&code), "{uri} has the code {code} filled in");
    let confirmed = Command::new("node")
        .args(["confirm.mjs", &uri, "ana"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(confirmed.status.success(), "{}", String::from_utf8_lossy(&confirmed.stderr));
    let who = login.wait_for_line("signed in as ", Duration::from_secs(30));
    assert!(who.starts_with("outside:ana"), "{who}");
    let shown = shop.house.cli("ana", &["whoami"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["outside:ana", "ana@example.com", "engineers", "on-call"] {
        assert!(shown.to_lowercase().contains(part), "{part} is not in {shown}");
    }
}
