use super::super::tests::{SOUND, loaded, refused};

fn with(sinks: &str) -> String {
    SOUND.replace("policies: policies", &format!("export:\n{sinks}policies: policies"))
}

#[test]
fn sinks_are_read_with_what_is_usual() {
    let sinks =
        "  - {name: siem, http: {url: \"https://siem.example.com/secret\", sign: {env: KEY}}}
  - name: collector
    syslog: {address: \"logs.example.com:6514\", ca: ca.pem}
    only: {types: [attempt], services: [payments], decisions: [deny]}
    from: now
  - {name: disk, file: {path: exports/a.jsonl, rotate: daily}, rate: 50, failing_after: 1m}
  - {name: here, syslog: {address: \"127.0.0.1:601\", transport: tcp}}
";
    let loaded = loaded(&with(sinks)).expect("loads");
    let [siem, collector, disk, here] = loaded.config.export.as_slice() else { panic!("four") };
    assert_eq!((siem.rate, siem.failing_after.to_string().as_str()), (1000, "5m"));
    assert_eq!(siem.place(), "https://siem.example.com", "without what may be secret");
    assert_eq!(collector.only.types.len(), 1);
    assert_eq!(disk.place(), "file exports/a.jsonl");
    assert_eq!(here.place(), "syslog+tcp://127.0.0.1:601");
    let shown = serde_json::to_string(&loaded.config).expect("json");
    assert!(shown.contains("hidden, from environment variable KEY"), "{shown}");
}

#[test]
fn mistakes_in_sinks_are_told() {
    let http = "http: {url: \"https://a.example.com\", sign: {env: KEY}}";
    for (sink, what) in [
        ("name: a".to_owned(), "exactly one place"),
        (format!("name: a, {http}, file: {{path: a}}"), "exactly one place"),
        (format!("name: A, {http}"), "`A` is no name"),
        (format!("name: a, {http}, from: then"), "`from` cannot be `then`"),
        (format!("name: a, {http}, rate: 0"), "from 1 to 100000"),
        (format!("name: a, {http}, only: {{types: [atempt]}}"), "did you mean `attempt`?"),
        (format!("name: a, {http}, only: {{services: [payment]}}"), "did you mean `payments`?"),
        (format!("name: a, {http}, only: {{decisions: [denied]}}"), "there are: "),
        (format!("name: a, {http}, only: {{types: []}}"), "no type is named"),
        (format!("name: a, {http}, flter: 1"), "unknown key `flter`"),
        ("name: a, http: {url: \"https://a.example.com\"}".into(), "has to know who posts"),
        ("name: a, http: {url: \"http://a.example.com\", bearer: {env: K}}".into(), "https://"),
        (
            "name: a, http: {url: \"https://u:p@a.example.com\", bearer: {env: K}}".into(),
            "password",
        ),
        (
            "name: a, http: {url: \"https://a.example.com\", bearer: hunter2}".into(),
            "a secret stands",
        ),
        ("name: a, syslog: {address: logs}".into(), "no host and port"),
        ("name: a, syslog: {address: \"logs:514\", transport: tcp}".into(), "told in clear"),
        ("name: a, syslog: {address: \"logs:514\", transport: udp}".into(), "cannot be `udp`"),
        ("name: a, syslog: {address: \"logs:6514\", hostname: \"\"}".into(), "`hostname` is empty"),
        ("name: a, file: {path: \"..\"}".into(), "names no file"),
    ] {
        let said = refused(&with(&format!("  - {{{sink}}}\n")));
        assert!(said.contains(what), "{sink}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("u:p"), "{said}");
    }
    let said = refused(&with(&format!("  - {{name: a, {http}}}\n  - {{name: a, {http}}}\n")));
    assert!(said.contains("two sinks are called `a`"), "{said}");
    let (one, other) =
        ("name: a, file: {path: x/a}", "name: b, file: {path: ./x/./a, rotate: daily}");
    let said = refused(&with(&format!("  - {{{one}}}\n  - {{{other}}}\n")));
    assert!(said.contains("`a` is written to the same file"), "{said}");
    let open = "name: a, syslog: {address: \"logs:514\", transport: tcp, cleartext: true}";
    assert!(loaded(&with(&format!("  - {{{open}}}\n"))).is_ok());
}
