use super::*;
use crate::fixture::bundle;

const POLICIES: &str = r#"
@id("payments.read")
permit (principal is User in Group::"oncall", action in Action::"payments.read", resource in Service::"payments");

@id("builds.read")
permit (principal is Workload, action in Action::"payments.read", resource in Service::"payments")
when { principal has repository && principal.repository == "demo" };

@id("refund.reviewed") @reviews("1") @max_duration("15m")
permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant && context has body && context.body.amount <= 50000 };

@id("two-people")
forbid (principal is User, action in Action::"write", resource)
when { resource has labels && resource.labels has criticality && resource.labels.criticality == "high" }
unless { context has grant && context.grant.reviews >= 2 };

@id("inside")
forbid (principal, action == Action::"payments.getRefund", resource)
unless { context.source.ip.isInRange(ip("10.0.0.0/8")) && context.now < datetime("2027-01-01") };
"#;

const PRINCIPALS: &str = r#"
principals:
  ana: {type: User, id: "corp:ana", groups: [oncall, engineering], email: ana@example.com, amr: [hwk]}
  ci: {type: Workload, id: "builds:ci", claims: {repository: demo}}
cases:
"#;

fn report(cases: &str) -> Report {
    let text = format!("{}{cases}", PRINCIPALS.trim_start());
    run(&bundle(POLICIES), &[("payments/refunds.test.yaml".to_owned(), text)])
}

fn failure(case: &str) -> (String, String) {
    let report = report(case);
    let [failure] = report.failures.as_slice() else { panic!("{report:#?}") };
    assert_eq!((report.cases, &*report.errors), (1, &[][..]));
    (failure.expected.clone(), failure.actual.clone())
}

fn mistake(case: &str) -> String {
    let report = report(case);
    let [error] = report.errors.as_slice() else { panic!("{report:#?}") };
    assert!(error.line.is_some() && error.snippet.is_some(), "{error:?}");
    assert_eq!((report.cases, &*report.failures), (0, &[][..]));
    error.message.clone()
}

#[test]
fn right_answers_pass() {
    let report = report(
        r#"
  - name: on call, from inside
    principal: ana
    operation: payments.getRefund
    context: {source: 10.0.0.1, params: {id: r1}}
    expect: permit
    policies: [payments.read]
  - name: on call, from outside
    principal: ana
    operation: payments.getRefund
    expect: deny
    policies: [inside]
  - name: too late
    principal: ana
    operation: payments.getRefund
    context: {source: 10.0.0.1, now: "2027-01-01T00:00:00Z", auth_age: 5m}
    expect: deny
  - name: builds
    principal: ci
    operation: payments.getRefund
    instance: p-9
    context: {source: 10.0.0.1}
    expect: permit
  - name: the floor raises the rule
    principal: ana
    operation: payments.createRefund
    context: {body: {amount: 50000, currency: EUR}}
    expect: requestable
    ways: [{rule: refund.reviewed, reviews: 2}]
  - name: one review is not enough
    principal: ana
    operation: payments.createRefund
    context: {body: {amount: 50000, currency: EUR}}
    grant: {rule: refund.reviewed}
    expect: requestable
    ways: [{rule: refund.reviewed}]
  - name: two are
    principal: ana
    operation: payments.createRefund
    context: {body: {amount: 50000, currency: EUR}}
    grant: {rule: refund.reviewed, reviews: 2, kind: review}
    expect: permit
  - name: too much
    principal: ana
    operation: payments.createRefund
    context: {body: {amount: 50001, currency: EUR}}
    grant: {rule: refund.reviewed, reviews: 2}
    expect: deny
"#,
    );
    assert!(report.is_ok(), "{report:#?}");
    assert_eq!(report.cases, 8);
}

#[test]
fn every_other_answer_fails_and_is_told() {
    let read =
        "- {name: n, principal: ana, operation: payments.getRefund, context: {source: 10.0.0.1}";
    let permit = "permit by payments.read".to_owned();
    assert_eq!(failure(&format!("{read}, expect: deny}}")), ("deny".into(), permit.clone()));
    let other = format!("{read}, expect: permit, policies: [inside]}}");
    assert_eq!(failure(&other), ("permit by inside".into(), permit));
    let refund = "- {name: n, principal: ana, operation: payments.createRefund, \
                  context: {body: {amount: 1, currency: EUR}}, expect: requestable, ways";
    let told = "requestable by two-people through refund.reviewed with 2 reviews".to_owned();
    let one = failure(&format!("{refund}: [{{rule: refund.reviewed, reviews: 1}}]}}"));
    assert_eq!(one, ("requestable through refund.reviewed with 1 review".into(), told.clone()));
    let none = failure(&format!("{refund}: []}}"));
    assert_eq!(none, ("requestable".into(), told.clone()));
    let another = failure(&format!("{refund}: [{{rule: inside}}]}}"));
    assert_eq!(another, ("requestable through inside".into(), told));
}

#[test]
fn a_failure_tells_its_place() {
    let report = report(
        "- name: first\n  principal: ana\n  operation: payments.getRefund\n  expect: permit\n",
    );
    let errors = report.into_errors();
    let expected =
        "payments/refunds.test.yaml:5: case `first`: expected permit, got deny by inside";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn what_no_request_could_be_is_a_mistake_of_the_file() {
    let case = |rest: &str| mistake(&format!("- {{name: n, expect: deny, {rest}}}"));
    let of_ana = |rest: &str| case(&format!("principal: ana, {rest}"));
    assert_eq!(
        case("principal: bob, operation: payments.getRefund"),
        "case `n`: there is no principal `bob`"
    );
    assert_eq!(
        of_ana("operation: payments.drop"),
        "case `n`: there is no operation `payments.drop`"
    );
    assert_eq!(
        of_ana("operation: payments.getRefund, instance: p-7"),
        "case `n`: there is no instance `payments/p-7`"
    );
    assert_eq!(
        of_ana("operation: payments.getRefund, grant: {rule: inside}"),
        "case `n`: there is no rule `inside`"
    );
    assert_eq!(
        of_ana("operation: payments.getRefund, context: {body: {}}"),
        "case `n`: `payments.getRefund` has no declared body"
    );
    let create = |context: &str| {
        of_ana(&format!("operation: payments.createRefund, context: {{{context}}}"))
    };
    assert_eq!(create("params: {}"), "case `n`: `payments.createRefund` has no parameters");
    assert_eq!(create("body: {amount: 1}"), "case `n`: `body.currency` is required and missing");
    assert_eq!(
        create("body: {amount: 1.5}"),
        "case `n`: `body.amount` is not a whole number of 64 bits"
    );
    assert_eq!(create("body: {amont: 1}"), "case `n`: `body.amont` is not declared");
    assert_eq!(create("now: noon"), "case `n`: `noon` is no time; write 2026-01-01T12:00:00Z");
    assert_eq!(
        of_ana("operation: payments.getRefund, ways: []"),
        "case `n`: `ways` are there only where `expect` is requestable"
    );
}

#[test]
fn a_principal_that_cannot_be_is_told_once() {
    let case = "cases: [{name: n, principal: p, operation: payments.getRefund, expect: deny}]";
    let wrong = [
        ("{type: User, id: ana}", "`ana` is no name; write it like corp:ana"),
        (
            "{type: User, id: \"corp:ana\", claims: {repository: x}}",
            "claim `repository` is not declared",
        ),
        ("{type: Workload, id: \"ci:x\", claims: {repo: x}}", "claim `repo` is not declared"),
        (
            "{type: Workload, id: \"ci:x\", claims: {repository: 1}}",
            "claim `repository` is a Long, not a String",
        ),
    ];
    for (entry, message) in wrong {
        let text = format!("principals: {{p: {entry}}}\n{case}");
        let report = run(&bundle(POLICIES), &[("p.test.yaml".to_owned(), text)]);
        let messages: Vec<_> = report.errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(messages, [format!("principal `p`: {message}")]);
    }
}

#[test]
fn a_file_that_is_no_test_file_is_a_mistake() {
    let wrong = [
        ("principals: {}", "cases"),
        ("principals: {}\ncases: []\nmore: 1", "more"),
        (
            "principals: {}\ncases: [{name: n, principal: p, operation: a.b, expects: deny}]",
            "expects",
        ),
        (
            "principals: {}\ncases: [{name: n, principal: p, operation: a.b, expect: allow}]",
            "allow",
        ),
        ("principals: {p: {type: Robot, id: x}}\ncases: []", "Robot"),
        ("principals: {\n", ""),
    ];
    for (text, word) in wrong {
        let report = run(&bundle(POLICIES), &[("p.test.yaml".to_owned(), text.to_owned())]);
        let [error] = report.errors.as_slice() else { panic!("{text}: {report:#?}") };
        assert!(error.message.starts_with("not a policy test: "), "{error:?}");
        assert!(error.message.contains(word) && error.file == "p.test.yaml", "{error:?}");
    }
}
