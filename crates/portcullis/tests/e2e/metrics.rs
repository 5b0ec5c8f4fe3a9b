//! Metrics: the documented list is what the binary says, in both formats, whatever clients send.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    house::House,
    outsiders, pki,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::{Response, exchange},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Type and labels of each metric that the documentation lists, by name.
pub(crate) fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `portcullis_"));
    let rows = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (format!("portcullis_{}", cells[0].trim_matches('`')), (cells[1].to_owned(), labels))
    });
    rows.collect()
}

/// Those that the documentation says are there `only with` something that is not configured here.
fn conditional() -> impl Iterator<Item = String> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `portcullis_"));
    let rows = rows.filter(|row| row.contains("only with") && !row.starts_with("telemetry"));
    let names =
        rows.filter_map(|row| row.split('`').next().map(|name| format!("portcullis_{name}")));
    names.collect::<Vec<_>>().into_iter()
}

pub(crate) fn fetch(house: &House, accept: &str) -> Response {
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    exchange(house.control, head)
}

/// The families as Prometheus's own library reads them.
pub(crate) fn families(format: &str, text: &str) -> Vec<Value> {
    let mut reader = pki::python("metrics_reader.py")
        .arg(format)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python; ./scripts/test installs it");
    let mut input = reader.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "it cannot be read:\n{text}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A shop with everything on that has metrics of its own.
fn furnished(upstream: &Upstream, collector: &Upstream) -> Shop {
    let (certificate, key) = outsiders::self_signed();
    let tls = portcullis_testkit::net::free_port();
    Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&format!("telemetry: {{endpoint: \"{}\", sample: 0%}}", collector.url()))
            .file("cert.pem", &certificate)
            .file("key.pem", &key)
            .listener(&format!(
                "{{name: tls, address: \"127.0.0.1:{tls}\", tls: {{certificate: cert.pem, key: key.pem}}}}"
            ))
            .service(
                "name: found\nhosts: [found.example.com]\n\
                 upstream: {dns: \"http://nothing.invalid:80\"}",
            )
    })
}

fn traced(shop: &Shop, target: &str) -> Response {
    let head = shop.head("GET", target);
    let trace = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\nConnection: close\r\n\r\n");
    exchange(shop.house.gate, head + &trace)
}

#[test]
fn the_documented_list_is_what_the_binary_says_in_both_formats() {
    let collector = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let shop = furnished(&Upstream::start(), &collector);
    assert_eq!(traced(&shop, "/page").status, 200);
    assert_eq!(exchange(shop.house.gate, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 401);
    let listed = documented();
    assert!(listed.len() > 25, "{listed:?}");
    for (format, accept) in [
        (
            "openmetrics",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1",
        ),
        ("text", "text/plain;version=0.0.4"),
    ] {
        let answer = fetch(&shop.house, accept);
        let kind = answer.header("content-type").unwrap();
        assert_eq!(
            kind.starts_with("application/openmetrics-text"),
            format == "openmetrics",
            "{kind}"
        );
        let text = answer.text();
        assert_eq!(text.ends_with("# EOF\n"), format == "openmetrics");
        let mut seen = BTreeSet::new();
        for family in families(format, &text) {
            let counter = family["type"] == "counter";
            let suffix = if counter { "_total" } else { "" };
            let name = format!("{}{suffix}", family["name"].as_str().unwrap());
            let (kind, labels) =
                listed.get(&name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
            assert_eq!(family["type"], kind.as_str(), "{name}");
            assert!(!family["help"].as_str().unwrap().is_empty(), "{name}");
            for sample in family["samples"].as_array().unwrap() {
                let own = sample["labels"].as_object().unwrap().keys().cloned();
                let own: BTreeSet<String> = own.filter(|label| label != "le").collect();
                assert_eq!(own, *labels, "{name}");
            }
            seen.insert(name);
        }
        // Some are there once they have something to count, or something is configured.
        let rare = ["portcullis_gate_connections_turned_away_total", "portcullis_gate_holds_total"];
        let rare: Vec<_> = rare.into_iter().map(str::to_owned).chain(conditional()).collect();
        let missing = listed.keys().filter(|name| !seen.contains(*name));
        let missing: Vec<_> = missing.filter(|name| !rare.contains(name)).collect();
        assert!(missing.is_empty(), "{format} lacks {missing:?}");
    }
}

#[test]
fn a_slow_bucket_names_a_trace_for_who_can_read_that() {
    let collector = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let shop = furnished(&Upstream::start(), &collector);
    assert_eq!(traced(&shop, "/page").status, 200);
    let open = fetch(&shop.house, "application/openmetrics-text").text();
    let families = families("openmetrics", &open);
    for (name, labels) in [
        ("portcullis_gate_request_seconds", json!({"service": "shop", "decision": "permit"})),
        ("portcullis_gate_upstream_seconds", json!({"service": "shop"})),
        ("portcullis_gate_decision_seconds", json!({})),
    ] {
        let family = families.iter().find(|family| family["name"] == name).unwrap();
        let examples: Vec<_> = family["samples"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|sample| sample["exemplar"] == json!({"trace_id": TRACE}))
            .collect();
        assert_eq!(examples.len(), 1, "{name}: {family:#}");
        for (label, value) in labels.as_object().unwrap() {
            assert_eq!(examples[0]["labels"][label], *value, "{name}");
        }
    }
    assert!(!fetch(&shop.house, "*/*").text().contains(TRACE));
    // What is not sampled leaves no trace.
    assert_eq!(shop.read_as(&shop.token).status, 200);
    let again = fetch(&shop.house, "application/openmetrics-text").text();
    assert_eq!(again.matches("trace_id").count(), 3, "{again}");
}

#[test]
fn whatever_clients_send_makes_no_new_series() {
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    let send = |round: usize| {
        let head = |method: &str, target: &str, host: &str, token: &str| {
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
                 User-Agent: canary{round}\r\nX-Canary{round}: a\r\nConnection: close\r\n\r\n"
            );
            exchange(shop.house.gate, head).status
        };
        let stranger = shop.house.workload_token(&format!("canary{round}"), &["readers"]);
        [
            head("GET", &format!("/canary{round}?canary{round}=1"), HOST, &stranger),
            head(&format!("CANARY{round}"), "/page", HOST, &shop.token),
            head("GET", "/page", &format!("canary{round}.example.com"), &shop.token),
            head("GET", "/page", HOST, &format!("canary{round}")),
        ]
    };
    let series = || {
        let text = fetch(&shop.house, "text/plain").text();
        assert!(!text.to_ascii_lowercase().contains("canary"), "{text}");
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let settled = |first: usize| {
        // Cores count apart: each has seen all kinds in a while.
        for round in first..first + 20 {
            send(round);
        }
        series()
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    let (mut before, mut round) = (settled(0), 20);
    loop {
        let after = settled(round);
        if after == before {
            break;
        }
        assert!(Instant::now() < deadline, "{before} series, then {after}");
        (before, round) = (after, round + 20);
    }
    assert!(round <= 100, "series grow for as long as clients are inventive");
}

#[test]
fn the_dashboard_and_the_alerts_use_what_is_listed() {
    let listed = documented();
    let mut bare: BTreeSet<String> = listed.keys().cloned().collect();
    let histograms = listed.iter().filter(|(_, (kind, _))| kind == "histogram");
    for (name, _) in histograms {
        bare.extend(["bucket", "count", "sum"].map(|suffix| format!("{name}_{suffix}")));
    }
    let folder = root().join("integrations");
    let board: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("grafana/portcullis.json")).unwrap())
            .unwrap();
    let mut used = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel:#}");
        for target in targets {
            used.extend(names(target["expr"].as_str().unwrap()));
        }
    }
    let rows = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(
        rows,
        ["Traffic", "Decisions", "Latency", "Record", "Grants", "Upstreams", "Connected systems"]
    );
    let alerts = fs::read_to_string(folder.join("prometheus/alerts.yaml")).unwrap();
    used.extend(names(&alerts));
    assert!(used.len() > 15, "{used:?}");
    for name in used {
        assert!(bare.contains(&name), "{name} is not in docs/metrics.md");
    }
}

/// The metrics in an expression.
fn names(expression: &str) -> Vec<String> {
    let word = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let words = expression.split(word).filter(|word| word.starts_with("portcullis_"));
    words.map(str::to_owned).collect()
}
