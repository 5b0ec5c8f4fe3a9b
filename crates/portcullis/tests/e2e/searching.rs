//! Searching the record: by everything that people ask for, in parts, and with nothing that a question
//! could say to a database.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use portcullis_store::index::Index;
use serde_json::{Value, json};

use crate::{
    payments::{Payments, Visitor, ana, grant, sam},
    streams::script,
};

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

    // When: some of it, none of it. What cores wrote at once need not be in the order of time.
    let time = |event: &Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (first, last) =
        (reads.iter().map(time).min().unwrap(), reads.iter().map(time).max().unwrap());
    let between = search(&sam, &format!("{read}&since={first}&until={last}"));
    let expected: Vec<_> = reads.iter().filter(|event| time(event) < last).cloned().collect();
    assert_eq!((between.len(), &between), (2, &expected));
    assert_eq!(search(&sam, &format!("{read}&until={first}")), [] as [Value; 0]);

    // In words: of people, and of paths.
    let found = search(&sam, "text=m%C3%BCller+ZAHLUNG");
    assert_eq!(types(&found), BTreeSet::from(["access_requested"]), "{found:#?}");
    let expected: Vec<_> =
        reads.iter().filter(|event| event["path"] == "/v1/refunds/R-17").cloned().collect();
    assert_eq!(search(&sam, "text=/v1/refunds/R-17"), expected);
    assert_eq!(search(&sam, "text=17-r"), [] as [Value; 0]);
    // Reading is on record, with what was asked.
    payments.event("record_read", |event| {
        event["detail"] == format!("events grant={grant}").as_str()
            && event["principal"]["id"] == "corp:sam"
    });
}

/// What has a meaning to SQL or to full-text search.
const HOSTILE: [&str; 22] = [
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

#[test]
fn j09_a_question_says_nothing_to_a_database() {
    let payments = Payments::open();
    history(&payments);
    let sam = payments.enter(&sam());
    let all = search(&sam, "type=attempt").len();
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
    for hostile in HOSTILE {
        let hostile: Vec<String> = hostile.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let hostile = hostile.concat();
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

#[test]
fn the_command_line_searches_and_exports() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let refused = ana.refund(100);
    let formula = "=cmd|' /C calc'!A0, \"and\" more";
    let request = ana.ask(&refused, json!({"reason": formula})).json();
    let request = crate::payments::id(&request);
    payments.event("access_requested", |event| event["access_request"] == request);
    let sam = payments.enter(&sam());
    payments.house.profile("sam", &sam.control);
    payments.house.profile("ana", &ana.control);
    let say = |arguments: &[&str]| payments.house.says("sam", &[&["audit"], arguments].concat());

    let (code, said) = say(&["search", "CALC more", "--who", "corp:ana", "--since", "2h"]);
    assert!(code == Some(0) && said.contains("access_requested"), "{said}");
    assert!(said.contains("corp:ana"), "{said}");
    let (code, said) = say(&["search", "--type", "signed_in", "-n", "1"]);
    assert!(code == Some(0) && said.contains("--after "), "{said}");
    let next = said.trim().rsplit_once("--after ").unwrap().1;
    let (_, older) = say(&["search", "--type", "signed_in", "-n", "1", "--after", next]);
    assert!(older.contains("signed_in") && !older.starts_with(&said), "{older}");
    let (_, said) = say(&["search", "calc", "--request", request, "--output", "json"]);
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&found["events"][0]["detail"], &found["more"]), (&formula.into(), &false.into()));
    let (_, said) = say(&["search", "--until", "yesterday"]);
    assert!(said.contains("nothing on record answers this"), "{said}");
    for wrong in [&["--since", "soon"][..], &["--grant", "x"], &["--request", "7"], &["***"]] {
        let (code, said) = say(&[&["search"], wrong].concat());
        assert!(code == Some(2), "{wrong:?}: {said}");
    }

    // All exports have what a search finds; the export itself is not in it.
    let dir = payments.house.dir();
    let expected = search(&sam, "principal=corp:ana");
    for format in ["json", "csv", "parquet"] {
        let file = dir.join(format!("ana.{format}"));
        let to = file.to_str().unwrap();
        let (code, said) = say(&["export", "--who", "corp:ana", "--format", format, "--to", to]);
        assert!(code == Some(0) && said.contains("bytes are in"), "{said}");
        let mut rows = read(&[format, to]);
        for row in rows.as_array_mut().unwrap() {
            let cell = row.as_object_mut().unwrap().remove("cell");
            let is_ask = cell.is_some() && row["type"] == "access_requested";
            assert!(!is_ask || cell == Some(format!("'{formula}").into()), "{cell:?}");
        }
        assert_eq!(rows, Value::from(expected.clone()));
        let detail = format!("export of events principal=corp:ana as {format}");
        payments.event("record_read", |event| event["detail"] == detail.as_str());
    }
    let [table, other] = ["ana.parquet", "ana.csv"].map(|name| dir.join(name));
    let same = read(&["same", table.to_str().unwrap(), other.to_str().unwrap()]);
    assert_eq!(same, expected.len());
    let to = dir.join("refused.csv");
    let arguments = ["audit", "export", "--format", "csv", "--to", to.to_str().unwrap()];
    let (code, said) = payments.house.says("ana", &arguments);
    assert!(code == Some(1) && said.contains("viewAudit") && !to.exists(), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("unfinished")), "{left:?}");
}

/// What Python finds in an export.
fn read(arguments: &[&str]) -> Value {
    let (python, script) = script("exported_record.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_index_that_is_gone_damaged_or_foreign_is_made_anew_and_nothing_waits_for_it() {
    let mut payments = Payments::open();
    let (granted, _) = history(&payments);
    let index = payments.house.dir().join("audit/index.db");
    let question = format!("grant={granted}&type=grant_started");
    let expected = search(&payments.enter(&sam()), &question);
    assert_eq!(expected.len(), 1);
    let others = {
        let other = Payments::open();
        history(&other);
        is_made(&other);
        fs::read(other.house.dir().join("audit/index.db")).unwrap()
    };
    let nonsense = b"no database at all, and long enough to have a head".repeat(100);
    for damage in [None, Some(nonsense), Some(Vec::new()), Some(others)] {
        is_made(&payments);
        payments.house.kill();
        for name in ["index.db", "index.db-wal", "index.db-shm"] {
            let _ = fs::remove_file(index.with_file_name(name));
        }
        if let Some(bytes) = damage {
            fs::write(&index, bytes).unwrap();
        }
        payments.house.restart();
        let (ana, sam) = (payments.enter(&ana()), payments.enter(&sam()));
        assert_eq!(ana.send("GET", "/v1/refunds/R-17", None).status, 200);
        assert_eq!(search(&sam, &question), expected);
        is_made(&payments);
        assert_eq!(search(&sam, &question), expected);
    }
    // Cut off while it is open: whatever it says is looked at, and what it cannot say is looked for.
    fs::OpenOptions::new().write(true).open(&index).unwrap().set_len(4096).unwrap();
    let sam = payments.enter(&sam());
    assert_eq!(search(&sam, &question), expected);
    assert_eq!(search(&sam, "text=4711+m%C3%BCller").len(), 1);
    assert_eq!(payments.enter(&ana()).send("GET", "/v1/refunds/R-17", None).status, 200);
}

/// Waits until the index goes as far as the record did.
fn is_made(payments: &Payments) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checkpoint = payments.house.dir().join("audit/log/checkpoint");
    let checkpoint = fs::read_to_string(checkpoint).unwrap();
    let size: u64 = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let path = payments.house.dir().join("audit/index.db");
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let covered = runtime.block_on(async {
            // One that is not there is not made here.
            let index = Index::open(path.exists().then_some(&path)?).await.ok()?;
            let covered = index.covered().await.ok();
            index.close().await;
            covered
        });
        if covered.is_some_and(|covered| covered.next >= size) {
            return;
        }
        assert!(Instant::now() < deadline, "no index:\n{}", payments.house.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
