//! `@record`: what is kept of requests rests encrypted beside the record, which commits to it; and K13, its
//! erasure: gone from everything that the server keeps, and every proof still holds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    payments::{POLICIES, Payments, Visitor, ana, grant, sam},
    people::Person,
    shop::Shop,
    upstream::Upstream,
};

/// What somebody sent, and nobody else would.
const PERSONAL: &str = "Qz7JaneDoe";
const ADMINS: &str = r#"
@id("admins")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;

fn max() -> Person {
    Person::new("max", &["admins"])
}

/// A house that keeps headers and bodies of refunds.
fn open() -> Payments {
    let kept = POLICIES.replace(
        "@reviews(\"0\") @max_duration(\"30m\")",
        "@record(\"headers,body\") @reviews(\"0\") @max_duration(\"30m\")",
    );
    assert_ne!(kept, POLICIES);
    Payments::furnished(Upstream::start(), |plan| {
        plan.policy("payments.cedar", &kept).policy("admins.cedar", ADMINS)
    })
}

/// Ana gets a grant and uses it for a refund in somebody's name; the grant, and the event of the refund.
fn refund(payments: &Payments, ana: &Visitor<'_>, name: &str) -> (String, Value) {
    let body = || Some(json!({"amount": 100, "currency": name}));
    let granted = match ana.send("POST", "/v1/refunds", body()) {
        refused if refused.status == 403 => grant(&ana.ask(&refused, json!({})).json()),
        _ => String::new(),
    };
    let done = ana.send("POST", "/v1/refunds", body());
    assert!(done.status < 300, "{}", done.text());
    let id = done.header("portcullis-request-id").unwrap().to_owned();
    let event = payments
        .event("attempt", |event| event["request"] == id.as_str() && event["status"].is_number());
    (granted, event)
}

/// The files below `folder` in which `text` is.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

/// What the store has of content, as it rests there.
fn at_rest(payments: &Payments) -> String {
    let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT sealed FROM contents').fetchone()[0])";
    let store = payments.house.dir().join("portcullis.db");
    let output = Command::new("python3").args(["-c", script]).arg(store).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A pack about `granted`, unpacked into `folder`, which verifies with the log's key alone.
fn pack(payments: &Payments, granted: &str, folder: &Path) -> Value {
    let archive = folder.join("pack.zip");
    let key = payments.house.dir().join("audit/log.pub");
    let (code, said) = payments.house.says("sam", &["evidence", granted, "--to", text(&archive)]);
    assert_eq!(code, Some(0), "{said}");
    let verify = ["audit", "verify", text(&archive), "--key", text(&key)];
    let (code, said) = payments.house.says("nobody", &verify);
    assert_eq!(code, Some(0), "{said}");
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let done = Command::new("python3").args(["-c", script]).arg(&archive).arg(folder).status();
    assert!(done.unwrap().success());
    serde_json::from_slice(&fs::read(folder.join("evidence.json")).unwrap()).unwrap()
}

fn verifies(payments: &Payments) {
    let audit = payments.house.dir().join("audit");
    let (code, said) = payments.house.says("nobody", &["audit", "verify", text(&audit)]);
    assert_eq!(code, Some(0), "{said}");
}

/// Gone: from the API, from searches, from packs, from the files.
fn is_gone(
    payments: &Payments,
    path: &str,
    auditor: &str,
    granted: &str,
    tombstone: &Value,
    sealed: &str,
) {
    let read = payments.house.api("GET", path, Some(auditor), None).json();
    assert_eq!((&read["state"], &read["erased"]["by"]), (&json!("erased"), &json!("corp:max")));
    assert!(read.get("content").is_none() && read.get("salt").is_none(), "{read:#}");
    assert_eq!(files_with(payments.house.dir(), sealed), [] as [PathBuf; 0]);
    let found = format!("/v1/audit/events?text={PERSONAL}&type=attempt");
    let found = payments.house.api("GET", &found, Some(auditor), None).json();
    assert_eq!(found["events"], json!([]));
    let after = tempfile::tempdir().unwrap();
    let body = pack(payments, granted, after.path());
    assert_eq!(body["contents"][0]["state"], "erased", "{body:#}");
    assert_eq!(body["contents"][0]["erasure"], tombstone["seq"]);
    let page = fs::read_to_string(after.path().join("evidence.html")).unwrap();
    assert!(
        page.contains("erased on ")
            && page.contains("corp:max")
            && page.contains("they asked us to")
    );
    assert_eq!(files_with(after.path(), PERSONAL), [] as [PathBuf; 0]);
}

#[test]
fn k13_what_is_erased_is_gone_from_everything_and_the_record_still_proves() {
    let mut payments = open();
    let (auditor, admin) = (payments.house.sign_in(&sam()), payments.house.sign_in(&max()));
    payments.house.profile("sam", &auditor);
    payments.house.profile("max", &admin);
    let (granted, event, ana_control) = {
        let ana = payments.enter(&ana());
        let (granted, event) = refund(&payments, &ana, PERSONAL);
        (granted, event, ana.control)
    };
    let seq = event["seq"].to_string();
    let path = format!("/v1/audit/contents/{seq}");
    let why = json!({"reason": "they asked us to"});

    // Kept: readable by auditors, and by nobody who has the files.
    assert_eq!(event["content"]["parts"], "headers,body", "{event:#}");
    let (code, said) = payments.house.says("sam", &["audit", "content", &seq]);
    assert!(code == Some(0) && said.contains(PERSONAL) && said.contains("content-type"), "{said}");
    let dir = payments.house.dir().to_owned();
    assert_eq!(files_with(&dir, PERSONAL), [] as [PathBuf; 0]);
    let sealed = at_rest(&payments);
    assert_ne!(files_with(&dir, &sealed), [] as [PathBuf; 0], "it rests somewhere");
    let before = tempfile::tempdir().unwrap();
    let body = pack(&payments, &granted, before.path());
    assert_eq!(body["contents"][0]["state"], "kept", "{body:#}");
    assert_ne!(files_with(before.path(), PERSONAL), [] as [PathBuf; 0]);
    verifies(&payments);

    // Neither those who do things nor those who look at them erase anything.
    for token in [&ana_control, &auditor] {
        let erase = format!("{path}/erase");
        let refused = payments.house.api("POST", &erase, Some(token), Some(why.clone()));
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    assert_eq!(payments.house.api("GET", &path, Some(&ana_control), None).status, 403);
    payments.event("control_refused", |event| event["principal"]["id"] == "corp:sam");
    let nothing = payments.house.api(
        "POST",
        &format!("{path}/erase"),
        Some(&admin),
        Some(json!({"reason": " "})),
    );
    assert_eq!(nothing.status, 400, "{}", nothing.text());

    let erase = ["audit", "erase", &seq, "--reason", "they asked us to"];
    let (code, said) = payments.house.says("max", &erase);
    assert!(code == Some(0) && said.contains("was erased on"), "{said}");
    let tombstone = payments.event("content_erased", |_| true);
    assert_eq!(tombstone["principal"]["id"], "corp:max");
    assert_eq!(tombstone["detail"], "they asked us to");
    let erased = json!({"seq": event["seq"], "commitment": event["content"]["commitment"]});
    assert_eq!(tombstone["erased"], erased, "{tombstone:#}");
    let again = payments.house.api("POST", &format!("{path}/erase"), Some(&admin), Some(why));
    assert_eq!(again.status, 409, "{}", again.text());

    is_gone(&payments, &path, &auditor, &granted, &tombstone, &sealed);

    // The record proves what it proved, with the server and without; and so it stays.
    verifies(&payments);
    payments.house.kill();
    verifies(&payments);
    assert_eq!(files_with(&dir, &sealed), [] as [PathBuf; 0]);
    payments.house.restart();
    let read = payments.house.api("GET", &path, Some(&auditor), None).json();
    assert_eq!(read["state"], "erased", "{read:#}");
}

#[test]
fn what_was_kept_before_a_key_was_rotated_is_read_after() {
    let mut payments = open();
    let keys = payments.house.dir().join("audit/contents.keys");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let first = refund(&payments, &payments.enter(&ana()), PERSONAL).1;
    payments.house.kill();
    let (code, said) = payments.house.says("nobody", &["audit", "rotate-content-key", text(&keys)]);
    assert_eq!(code, Some(0), "{said}");
    payments.house.restart();
    let second = refund(&payments, &payments.enter(&ana()), PERSONAL).1;
    assert_ne!(first["content"]["key"], second["content"]["key"]);
    let state = |payments: &Payments, event: &Value| {
        let path = format!("/v1/audit/contents/{}", event["seq"]);
        let read = payments.house.api("GET", &path, Some(&payments.auditor()), None).json();
        (read["state"].clone(), read["content"].to_string().contains(PERSONAL))
    };
    for event in [&first, &second] {
        assert_eq!(state(&payments, event), (json!("kept"), true));
    }

    // Without its key it is gone, and nobody says that somebody erased it.
    payments.house.kill();
    let newest = fs::read_to_string(&keys).unwrap().lines().last().unwrap().to_owned() + "\n";
    fs::write(&keys, newest).unwrap();
    payments.house.restart();
    assert_eq!(state(&payments, &first), (json!("missing"), false));
    assert_eq!(state(&payments, &second), (json!("kept"), true));
    verifies(&payments);
    payments.house.kill();
    fs::write(&keys, "k-1 AAAA\n").unwrap();
    let refused = Command::new(crate::house::binary())
        .args(["serve", "--config", text(&payments.house.dir().join("portcullis.yaml"))])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is not a file of keys"), "{said}");
}

#[test]
fn what_is_kept_is_masked_and_has_no_credentials() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    let shop = Shop::unready_with(
        &format!(
            "{{instances: {{s-1: \"{}\"}}}}\nsensitive: {{pii: [\"$.customer.email\", \"$['x-mail']\"]}}",
            upstream.url()
        ),
        |plan| {
            plan.policy(
                "shop.cedar",
                r#"
@id("writers") @record("headers,body")
permit (principal is Workload in Group::"writers", action in Action::"shop.write", resource == Service::"shop");
@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#,
            )
        },
    );
    shop.house.wait_ready();
    let auditor = shop.house.sign_in(&sam());
    let body = format!("{{\"customer\":{{\"email\":\"{PERSONAL}@example.com\"}},\"sku\":\"A-7\"}}");
    let request = format!(
        "POST /orders HTTP/1.1\r\nHost: shop.example.com\r\nAuthorization: Bearer {}\r\n\
         X-Api-Key: {PERSONAL}-key\r\nX-Mail: {PERSONAL}@example.com\r\nX-Shown: yes\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        shop.writer(),
        body.len()
    );
    let done = crate::wire::exchange(shop.house.gate, request);
    assert_eq!(done.status, 200, "{}", done.text());
    assert!(upstream.take().iter().any(|sent| sent.headers("x-shown") == ["yes"]));
    let kept = |event: &&Value| event["content"].is_object();
    let events = shop.house.record(&auditor, |events| events.iter().any(|one| kept(&one)));
    let seq = &events.iter().find(kept).unwrap()["seq"];
    let path = format!("/v1/audit/contents/{seq}");
    let read = shop.house.api("GET", &path, Some(&auditor), None).json();
    let content = read["content"].as_str().unwrap();
    assert!(!content.contains(PERSONAL), "{content}");
    let content: Value = serde_json::from_str(content).unwrap();
    let header = |name: &str| {
        let headers = content["headers"].as_array().unwrap();
        headers.iter().find(|header| header["name"] == name).cloned()
    };
    assert_eq!(header("x-shown").unwrap()["value"], "yes");
    assert!(header("x-api-key").unwrap().get("value").is_none(), "{content:#}");
    assert_eq!(header("authorization"), None, "the one that was used is not sent on");
    assert!(content["body"]["text"].as_str().unwrap().contains("A-7"), "{content:#}");
    assert_eq!(content["body"]["masked"], json!(["pii"]));
}

#[test]
fn what_was_kept_is_looked_at_on_the_page_of_its_entry_until_it_is_erased() {
    let payments = open();
    let (ana, max) = (payments.enter(&ana()), payments.enter(&max()));
    let (_, event) = refund(&payments, &ana, PERSONAL);
    let control = format!("http://{}", payments.house.control);
    let look = |person: &Person, path: &str| {
        payments.house.people.browsers().seat(person);
        let mut browser = Browser::new(&payments.house);
        browser.open(&format!("{control}/sign-in?page={path}"))
    };
    let seq = event["seq"].as_u64().unwrap();
    let page = format!("/record/{seq}/content");
    let entry = look(&sam(), &format!("/record/{seq}")).text();
    assert!(entry.contains(&format!("href=\"{page}\"")) && !entry.contains(PERSONAL), "{entry}");
    let kept = look(&sam(), &page);
    assert_eq!(kept.status, 200, "{}", kept.text());
    assert!(kept.text().contains(PERSONAL) && kept.text().contains("application/json"));
    payments.event("record_read", |event| {
        event["detail"].as_str().is_some_and(|what| what.contains("content"))
            && event["principal"]["id"] == "corp:sam"
    });
    assert_eq!(look(&crate::payments::ana(), &page).status, 403);
    let other = payments.event("grant_started", |_| true)["seq"].as_u64().unwrap();
    assert_eq!(look(&sam(), &format!("/record/{other}/content")).status, 404);
    let erase = format!("/v1/audit/contents/{seq}/erase");
    let erased = max.call("POST", &erase, Some(json!({"reason": "she asked <b>us</b>"})));
    assert_eq!(erased.status, 200, "{}", erased.text());
    let gone = look(&sam(), &page).text();
    assert!(gone.contains("It was erased") && gone.contains("she asked &lt;b&gt;us&lt;/b&gt;"));
    assert!(!gone.contains(PERSONAL), "{gone}");
}
