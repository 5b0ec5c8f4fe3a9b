//! Keeps the policy guide true: its policies load together, and its policy tests pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use portcullis_model::Window;

use crate::{
    Bundle, BundleSource, PolicySource, ServiceSource,
    bundle::{OperationsSource, TcpLimits},
    policy_test,
};

const GUIDE: &str = include_str!("../../../docs/policy-guide.md");
const PIPELINES: &str = include_str!("../../../docs/pipelines.md");

const OPENAPI: &str = r#"
openapi: 3.1.0
info: {title: Payments, version: "1"}
paths:
  /v1/refunds:
    get:
      operationId: listRefunds
      parameters: [{name: limit, in: query, schema: {type: integer}}]
      responses: {"200": {description: ok}}
    post:
      operationId: createRefund
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [amount, currency]
              properties: {amount: {type: integer}, currency: {type: string}}
      responses: {"201": {description: created}}
  /v1/refunds/{id}:
    get:
      operationId: getRefund
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"200": {description: ok}}
  /v1/status:
    get:
      operationId: getStatus
      responses: {"200": {description: ok}}
"#;

/// The blocks of `page` in `language`, with their lines.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = None;
    for (number, line) in (1..).zip(page.lines()) {
        match (line.strip_prefix("```"), inside) {
            (Some(found), None) => {
                inside = Some(found == language);
                if found == language {
                    blocks.push((number, String::new()));
                }
            }
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => {
                let (_, text) = blocks.last_mut().unwrap();
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

fn payments() -> ServiceSource {
    let labels = [("env", "prod"), ("criticality", "high")];
    ServiceSource {
        name: "payments".parse().unwrap(),
        hosts: vec!["payments.example.com".to_owned()],
        path_prefix: None,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        instances: IndexMap::from([("p-1".parse().unwrap(), "http://127.0.0.1:8001".to_owned())]),
        addressed_only: Vec::new(),
        operations: OperationsSource::OpenApi {
            path: "apis/payments.yaml".to_owned(),
            text: OPENAPI.to_owned(),
        },
        groups: BTreeMap::new(),
        max_grant: Window::minutes(8 * 60),
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: BTreeMap::new(),
        upstream: crate::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: true,
        edge: crate::edge::EdgeSource {
            sensitive: Some(crate::fixture::sensitive(&["pci", "pii"])),
            ..crate::edge::EdgeSource::default()
        },
        place: ("portcullis.yaml".to_owned(), None),
    }
}

/// A TCP service.
fn database() -> ServiceSource {
    ServiceSource {
        name: "ledger-db".parse().unwrap(),
        hosts: vec!["ledger-db.example.com".to_owned()],
        instances: [("db-1".parse().unwrap(), "tcp://10.0.0.5:5432".to_owned())].into(),
        operations: OperationsSource::Connect(TcpLimits {
            idle: Window::minutes(60),
            max_bytes: None,
        }),
        anonymous: false,
        edge: crate::edge::EdgeSource::default(),
        ..payments()
    }
}

/// A service of gRPC.
fn ledger() -> ServiceSource {
    let folder = std::env::temp_dir().join(format!("portcullis-guide-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let proto = r#"
        syntax = "proto3";
        package ledger.v1;
        service Ledger { rpc Transfer(Order) returns (Order); rpc Post(stream Order) returns (Order); }
        message Order { int64 cents = 1; optional string purpose = 2; }
    "#;
    std::fs::write(folder.join("ledger.proto"), proto).unwrap();
    let set = protox::compile(["ledger.proto"], [&folder]).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    ServiceSource {
        name: "ledger".parse().unwrap(),
        hosts: vec!["ledger.example.com".to_owned()],
        operations: OperationsSource::Protobuf {
            path: "apis/ledger.binpb".to_owned(),
            set: prost_reflect::prost::Message::encode_to_vec(&set),
            services: Vec::new(),
        },
        anonymous: false,
        ..payments()
    }
}

#[test]
fn the_policies_of_the_guide_load_together_and_its_tests_pass() {
    let policies = blocks(GUIDE, "cedar")
        .into_iter()
        .map(|(line, text)| PolicySource { path: format!("policy-guide.md:{line}"), text });
    let policies: Vec<_> = policies.collect();
    assert!(policies.len() >= 6, "{policies:#?}");
    let source = BundleSource {
        geo: false,
        policies,
        services: vec![payments(), database(), ledger()],
        labels: BTreeMap::new(),
        claims: BTreeMap::from([("repository".to_owned(), "String".to_owned())]),
        user_claims: BTreeMap::new(),
        clocks: BTreeMap::from([("office".to_owned(), "Europe/Lisbon".to_owned())]),
        rotations: BTreeMap::new(),
        receivers: BTreeSet::new(),
        decisions: false,
    };
    let bundle = Arc::new(Bundle::load(&source).unwrap_or_else(|errors| panic!("{errors:#?}")));
    let tests = blocks(GUIDE, "yaml").into_iter().filter(|(_, text)| text.contains("expect:"));
    let tests: Vec<_> =
        tests.map(|(line, text)| (format!("policy-guide.md:{line}"), text)).collect();
    let report = policy_test::run(&bundle, &tests);
    assert!(report.is_ok() && report.cases >= 4, "{report:#?}");
}

#[test]
fn the_policies_of_the_page_about_pipelines_load() {
    let policies = blocks(PIPELINES, "cedar").into_iter().map(|(line, text)| PolicySource {
        path: format!("pipelines.md:{line}"),
        // The page's service has an operation that this one has not.
        text: text.replace("payments.migrate\"", "payments.createRefund\""),
    });
    let policies: Vec<_> = policies.collect();
    assert_eq!(policies.len(), 1);
    let claims = ["ref", "environment", "workflow_ref"];
    let source = BundleSource {
        geo: false,
        policies,
        services: vec![payments()],
        labels: BTreeMap::new(),
        claims: claims.map(|name| (name.to_owned(), "String".to_owned())).into(),
        user_claims: BTreeMap::new(),
        clocks: BTreeMap::from([("deploys".to_owned(), "Europe/Lisbon".to_owned())]),
        rotations: BTreeMap::new(),
        receivers: BTreeSet::new(),
        decisions: false,
    };
    Bundle::load(&source).unwrap_or_else(|errors| panic!("{errors:#?}"));
}
