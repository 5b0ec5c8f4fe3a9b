//! Traces, as a collector that knows OpenTelemetry's own messages gets them.

use std::{
    io::Write,
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    house::House,
    payments::{Payments, ana},
    pki,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::{Response, exchange},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// All spans that `collector` was sent, waiting until `enough` says so of them.
fn spans(collector: &Upstream, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let spans = read(collector);
        if enough(&spans) {
            return spans;
        }
        assert!(Instant::now() < deadline, "the collector lacks it: {spans:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What OpenTelemetry's own messages make of it.
fn read(collector: &Upstream) -> Vec<Value> {
    let mut reader = pki::python("otlp_reader.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python; ./scripts/test installs it");
    let mut input = reader.stdin.take().unwrap();
    for batch in collector.received() {
        assert_eq!(batch.target(), "POST /v1/traces");
        assert_eq!(batch.headers("content-type"), ["application/x-protobuf"]);
        let digits: Vec<String> = batch.body.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(input, "{}", digits.concat()).unwrap();
    }
    drop(input);
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "what was sent is no OTLP");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn telemetry(collector: &Upstream, more: &str) -> String {
    format!("telemetry: {{endpoint: \"{}\", {more}}}", collector.url())
}

/// A request with a trace and what must get nowhere.
fn traced(house: &House, token: &str, target: &str, sampled: bool) -> Response {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\nCookie: a=canarycookie\r\n\
         User-Agent: canaryagent\r\ntraceparent: 00-{TRACE}-{PARENT}-0{}\r\ntracestate: vendor=1\r\n\
         Connection: close\r\n\r\n",
        u8::from(sampled)
    );
    exchange(house.gate, head)
}

fn named<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    let mut found = spans.iter().filter(|span| span["name"] == name);
    let span = found.next().unwrap_or_else(|| panic!("there is no {name} in {spans:#?}"));
    assert!(found.next().is_none(), "{name} is there twice");
    span
}

#[test]
fn a_trace_goes_on_from_the_client_through_all_phases_to_the_upstream() {
    let (upstream, collector) = (Upstream::start(), Upstream::answering(TAKEN));
    let settings = "sample: 0%, service_name: front, resource: {deployment.environment.name: test}, \
                    headers: {authorization: {file: collector.token}}";
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&telemetry(&collector, settings))
            .file("collector.token", "Bearer canary-of-the-collector\n")
    });
    let answer = traced(&shop.house, &shop.token, "/canarypath?a=canaryquery", true);
    assert_eq!(answer.status, 200);
    let spans = spans(&collector, |spans| spans.iter().any(|span| span["parent"] == PARENT));
    assert_eq!(
        collector.received()[0].headers("authorization"),
        ["Bearer canary-of-the-collector"]
    );
    let own = named(&spans, "GET shop.GET");
    assert_eq!(
        (&own["trace"], &own["parent"], &own["kind"]),
        (&json!(TRACE), &json!(PARENT), &json!(2))
    );
    assert_eq!(own["resource"]["service.name"], "front");
    assert_eq!(own["resource"]["deployment.environment.name"], "test");
    let request = answer.header("portcullis-request-id").unwrap();
    let expected = json!({
        "http.request.method": "GET", "http.response.status_code": 200, "url.scheme": "http",
        "server.address": HOST, "portcullis.service": "shop", "portcullis.operation": "shop.GET",
        "portcullis.decision": "permit", "portcullis.request": request,
    });
    assert_eq!(own["attributes"], expected);
    let mut last = own["from"].clone();
    let phases = ["detect", "identify", "route", "inspect", "decide", "limit", "record", "connect"];
    for phase in phases.into_iter().chain(["forward", "filter", "answer"]) {
        let span = named(&spans, phase);
        assert_eq!((&span["trace"], &span["parent"]), (&json!(TRACE), &own["id"]), "{phase}");
        // Each begins where the last one ends, and none is outside of the whole.
        assert_eq!(span["from"], last, "{phase}");
        assert!(span["from"].as_u64() <= span["to"].as_u64(), "{phase}");
        last = span["to"].clone();
    }
    assert_eq!(last, own["to"]);
    assert_eq!(spans.len(), 12);
    // The upstream's span is part of the one that waits for it.
    let forward = named(&spans, "forward");
    assert_eq!(
        (&forward["kind"], &forward["attributes"]["portcullis.instance"]),
        (&json!(3), &json!("s-1"))
    );
    let received = upstream.take().pop().unwrap();
    let id = forward["id"].as_str().unwrap();
    assert_eq!(received.headers("traceparent"), [format!("00-{TRACE}-{id}-01")]);
    assert_eq!(received.headers("tracestate"), ["vendor=1"]);
    // The record has the rest, under the same id.
    assert!(!json!(spans).to_string().contains("canary"), "{spans:#?}");
    // Whoever is not sampled leaves nothing, and the upstream is told so.
    assert_eq!(traced(&shop.house, &shop.token, "/page", false).status, 200);
    let told = upstream.take().pop().unwrap().headers("traceparent")[0].to_owned();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    assert_eq!(shop.read_as(&shop.token).status, 200);
    let told = upstream.take().pop().unwrap().headers("traceparent")[0].to_owned();
    assert!(told.ends_with("-00"), "{told}");
    assert_eq!(traced(&shop.house, &shop.token, "/page", true).status, 200);
    let twice = |spans: &[Value]| spans.iter().filter(|span| span["parent"] == PARENT).count() > 1;
    assert_eq!(self::spans(&collector, twice).len(), 24);
}

#[test]
fn what_is_refused_says_why_and_a_broken_trace_is_begun_anew() {
    let (upstream, collector) = (Upstream::start(), Upstream::answering(TAKEN));
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&telemetry(&collector, "sample: 100%"))
    });
    let (host, token) = (HOST, &shop.token);
    let send = |method: &str, headers: &str| {
        let head = format!(
            "{method} /page HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{headers}\
             Connection: close\r\n\r\n"
        );
        exchange(shop.house.gate, head)
    };
    assert_eq!(send("DELETE", "").status, 403);
    let broken = format!("traceparent: 00-{TRACE}-0000000000000000-01\r\ntracestate: vendor=1\r\n");
    assert_eq!(send("GET", &broken).status, 200);
    let received = upstream.take().pop().unwrap();
    let told = received.headers("traceparent")[0].to_owned();
    assert!(!told.contains(TRACE) && told.ends_with("-01"), "{told}");
    // What others noted about the trace that is not continued is gone with it.
    assert_eq!(received.headers("tracestate"), [""; 0]);
    let spans = spans(&collector, |spans| {
        let own = |name| spans.iter().any(|span| span["name"] == name);
        own("DELETE shop.DELETE") && own("GET shop.GET")
    });
    let refused = named(&spans, "DELETE shop.DELETE");
    assert_eq!((&refused["parent"], &refused["status"]), (&json!(""), &json!(0)));
    for (key, value) in [
        ("portcullis.decision", json!("deny")),
        ("portcullis.refusal", json!("denied")),
        ("http.response.status_code", json!(403)),
    ] {
        assert_eq!(refused["attributes"][key], value, "{key}");
    }
    let children = spans.iter().filter(|span| span["parent"] == refused["id"]);
    let children: Vec<_> = children.map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(children, ["detect", "identify", "route", "inspect", "decide", "refuse", "answer"]);
}

#[test]
fn a_call_of_control_is_part_of_its_callers_trace() {
    let collector = Upstream::answering(TAKEN);
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.setting(&telemetry(&collector, "sample: 0%"))
    });
    let ana = payments.enter(&ana());
    for path in ["/v1/whoami", "/v1/grants/canarypath?a=canaryquery", "/canarypath?a=canaryquery"] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
             traceparent: 00-{TRACE}-{PARENT}-01\r\nConnection: close\r\n\r\n",
            ana.control
        );
        exchange(payments.house.control, head);
    }
    let spans = spans(&collector, |spans| spans.len() >= 3);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let own = named(&spans, "GET /v1/whoami");
    assert_eq!(
        (&own["trace"], &own["parent"], &own["kind"]),
        (&json!(TRACE), &json!(PARENT), &json!(2))
    );
    assert_eq!(own["attributes"]["http.response.status_code"], 200);
    let other = named(&spans, "GET");
    assert_eq!(other["attributes"]["http.response.status_code"], 404);
    assert!(!json!(spans).to_string().contains("canary"), "{spans:#?}");
}

/// The spans that ended in this way.
fn counted(house: &House, end: &str) -> u64 {
    let metrics = house.api("GET", "/metrics", None, None).text();
    let name = format!("portcullis_telemetry_spans_total{{end=\"{end}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("the counter");
    line.parse().unwrap()
}

#[test]
fn a_collector_that_is_down_or_silent_is_nothing_to_requests() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let nobody = format!("http://127.0.0.1:{}", portcullis_testkit::net::free_port());
    let upstream = Upstream::start();
    for endpoint in [nobody, silent] {
        let shop = Shop::furnished(&upstream.url(), |plan| {
            plan.setting(&format!("telemetry: {{endpoint: \"{endpoint}\", sample: 100%}}"))
        });
        let deadline = Instant::now() + Duration::from_mins(2);
        let mut served = 0;
        while counted(&shop.house, "dropped") == 0 {
            for _ in 0..3 {
                assert_eq!(shop.read_as(&shop.token).status, 200);
                served += 1;
            }
            assert!(Instant::now() < deadline, "nothing is given up after {served} requests");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(counted(&shop.house, "sent"), 0);
        let log = shop.house.log();
        assert_eq!(log.matches("telemetry.unsent").count(), 1, "{log}");
    }
}

#[test]
fn what_waits_is_sent_when_the_process_ends() {
    let (upstream, collector) = (Upstream::start(), Upstream::answering(TAKEN));
    let mut shop = Shop::furnished(&upstream.url(), |plan| {
        plan.setting(&telemetry(&collector, "sample: 100%"))
    });
    assert_eq!(shop.read_as(&shop.token).status, 200);
    shop.house.signal("TERM");
    shop.house.wait_end();
    assert!(read(&collector).iter().any(|span| span["name"] == "GET shop.GET"));
}
