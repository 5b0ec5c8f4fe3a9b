//! Mistakes, all at once and with their place.

use super::*;
use crate::bundle::OperationGroup;

fn messages(services: &[ServiceSource]) -> Vec<String> {
    errors(services).into_iter().map(|error| error.message).collect()
}

#[track_caller]
fn one_error(operations: OperationsSource) -> LoadError {
    let mut found = errors(&[service("payments", operations)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn get(path: &str, rest: &str) -> String {
    format!("openapi: 3.0.0\npaths:\n  {path}:\n    get:\n      operationId: x\n{rest}")
}

#[test]
fn every_mistake_is_reported_at_once() {
    let mut source = service(
        "payments",
        inline(&[("a", "GET /a"), ("b", "FETCH /b"), ("read", "GET /r"), ("c d", "GET /c")]),
    );
    source.hosts = vec![
        "Payments.example.com".to_owned(),
        "payments:80".to_owned(),
        "*.example.com".to_owned(),
        "a..b".to_owned(),
    ];
    source.instances = IndexMap::from([
        ("p-1".parse().unwrap(), "ftp://x".to_owned()),
        ("p-2".parse().unwrap(), "http://u:hush@x".to_owned()),
    ]);
    source.addressed_only = vec!["p-3".parse().unwrap()];
    source.groups.insert("aa".to_owned(), OperationGroup::Read);
    source.max_bodies.insert("bb".to_owned(), 1);
    let found = errors(&[source]);
    let all = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for part in [
        "lower case",
        "scheme and port",
        "wildcards",
        "`a..b`",
        "ftp",
        "user name or password",
        "`addressed_only` names `p-3`",
        "`groups` names `aa`",
        "`max_body` names `bb`",
        "`FETCH`",
        "name of a group",
        "`c d` cannot be",
    ] {
        assert!(all.contains(part), "{part} is not in\n{all}");
    }
    assert!(!all.contains("hush"));
    assert!(
        found.iter().all(|error| error.file == "portcullis.yaml" && error.line == Some(7)),
        "{found:#?}"
    );
    assert_eq!(found.len(), 12, "{all}");
}

#[test]
fn the_nearest_operation_is_suggested() {
    let mut source =
        service("payments", inline(&[("createRefund", "POST /r"), ("zap", "POST /z")]));
    source.groups.insert("createrefunds".to_owned(), OperationGroup::Read);
    assert_eq!(errors(&[source])[0].help.as_deref(), Some("did you mean `createRefund`?"));
}

#[test]
fn services_do_not_share_names_or_places() {
    let one = service("payments", OperationsSource::Methods);
    let mut other = service("refunds", OperationsSource::Methods);
    other.hosts = one.hosts.clone();
    assert!(
        messages(&[one.clone(), other.clone()])[0]
            .contains("both answer `payments.example.com` at `/`")
    );
    other.path_prefix = Some("/r".to_owned());
    assert!(Catalog::load(&[one.clone(), other.clone()]).is_ok());
    assert!(messages(&[one.clone(), one.clone()])[0].contains("two services `payments`"));
    other.hosts = vec!["payments--p-1.example.com".to_owned()];
    assert!(messages(&[one, other])[0].contains("already addresses instance `p-1`"));
}

#[test]
fn a_service_without_instances_or_hosts_is_a_mistake() {
    let mut source = service("payments", OperationsSource::Methods);
    source.instances.clear();
    source.hosts.clear();
    assert_eq!(
        messages(&[source]),
        ["service `payments` has no host", "service `payments` has no instance"]
    );
}

#[test]
fn a_document_that_does_not_parse_is_shown_where_it_breaks() {
    let found = one_error(openapi("openapi: 3.0.0\npaths:\n  /x: [\n"));
    assert_eq!(found.file, "apis/payments.yaml");
    assert!(found.line.is_some() && found.message.contains("does not parse"), "{found:?}");
    let twice = one_error(openapi("openapi: 3.0.0\npaths:\n  /x: {}\n  /x: {}\n"));
    assert_eq!((twice.line, twice.snippet.as_deref()), (Some(4), Some("  /x: {}")), "{twice:?}");
    for text in [
        "",
        "swagger: '2.0'\npaths: {}",
        "openapi: 4.0.0\npaths: {}",
        "[]",
        "openapi: 3.1.0",
        "openapi: 3.10.0\npaths: {}",
    ] {
        one_error(openapi(text));
    }
    assert!(Catalog::load(&[service("payments", openapi("openapi: 3.1\npaths: {}"))]).is_ok());
}

#[test]
fn a_clash_of_ids_or_templates_has_its_line() {
    let text = "openapi: 3.0.0\npaths:\n  /a/{x}:\n    get:\n      operationId: one\n  /b:\n    get:\n      operationId: one\n  /a/{y}:\n    get:\n      operationId: two\n";
    let found = errors(&[service("payments", openapi(text))]);
    let all: Vec<_> = found.iter().map(|error| (error.line, error.message.as_str())).collect();
    assert_eq!(
        all,
        [
            (Some(8), "there are two operations `one`"),
            (Some(11), "operations `one` and `two` match the same requests"),
        ]
    );
    assert_eq!(found[1].snippet.as_deref(), Some("      operationId: two"));
}

#[test]
fn broken_paths_parameters_and_references_are_mistakes() {
    let table = [
        (get("/a/x{b}", ""), "only in part a parameter"),
        (get("/a/{b}/{b}", ""), "the parameter `{b}` twice"),
        (get("/a//b", ""), "never arrive"),
        (get("/a/../b", ""), "never arrive"),
        (get("a", ""), "does not begin with `/`"),
        (
            get(
                "/a",
                "      parameters: [{name: b, in: path, required: true, schema: {type: string}}]",
            ),
            "`b` is not in the path",
        ),
        (get("/a", "      parameters: [{$ref: '#/nope'}]"), "`#/nope` leads nowhere"),
        (get("/a", "      parameters: [{$ref: 'other.yaml#/P'}]"), "leads out of the document"),
        (
            get("/a", "      parameters: [{name: b, in: query, schema: {$ref: '#/nope'}}]"),
            "leads nowhere",
        ),
        ("openapi: 3.0.0\npaths:\n  /a: {$ref: '#/paths/~1a'}".to_owned(), "in a circle"),
    ];
    for (text, expected) in table {
        let found = one_error(openapi(&text));
        assert!(found.message.contains(expected), "{text}\n{found:?}");
        assert!(found.line.is_some() && found.snippet.is_some(), "{found:?}");
    }
}

#[test]
fn an_operation_outside_of_the_prefix_is_a_mistake() {
    let mut source =
        service("payments", inline(&[("in", "GET /pay/a"), ("out", "GET /payments/a")]));
    source.path_prefix = Some("/pay".to_owned());
    assert_eq!(
        messages(&[source]),
        ["operation `out` at `/payments/a` lies outside of the path prefix `/pay` of `payments`"]
    );
}

#[test]
fn the_first_server_gives_the_base_path() {
    for (url, expected) in [
        ("/v2", "/v2/a"),
        ("https://x.example/", "/a"),
        ("https://x.example", "/a"),
        ("https://x.example/v2/", "/v2/a"),
        ("'https://x.example/{base}/y'", "/v3/y/a"),
        ("//x.example/v4", "/v4/a"),
        ("v5", "/v5/a"),
    ] {
        let text = get(
            "/a",
            &format!(
                "servers: [{{url: {url}, variables: {{base: {{default: v3}}}}}}, {{url: /other}}]"
            ),
        );
        let catalog = payments(openapi(&text));
        assert_eq!(operation(&catalog, "x").path().as_deref(), Some(expected), "{url}");
    }
}
