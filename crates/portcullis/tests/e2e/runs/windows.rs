//! Deploy windows: a rule reads a named clock, and a job outside the window is told so before it begins.

use jiff::tz::TimeZone;
use portcullis_testkit::ambient::machine_time;

use super::{ended, folder, run, told, with_token};
use crate::{mesh::eventually, yard::Yard};

/// Minutes since midnight in Lisbon.
fn minute() -> i16 {
    let there = machine_time().to_zoned(TimeZone::get("Europe/Lisbon").unwrap());
    i16::from(there.hour()) * 60 + i16::from(there.minute())
}

/// A rule that opens from `from` to `to` minutes from now, across midnight if need be.
fn rule(from: i16, to: i16) -> String {
    let (from, to) = ((minute() + from).rem_euclid(1440), (minute() + to).rem_euclid(1440));
    let word = if from < to { "&&" } else { "||" };
    format!(
        r#"
@id("deploys") @reviews("0") @max_duration("10m")
permit (principal is Workload, action == Action::"shop.OPTIONS", resource == Service::"shop")
when {{ context has grant && (context.clock.deploys.minute >= {from} {word} context.clock.deploys.minute < {to}) &&
    principal has ref && principal.ref == "refs/heads/main" && principal has environment && principal.environment == "production" &&
    principal has sha && principal.sha == "4cf2d1" && principal has workflow_ref &&
    principal.workflow_ref like "shop/cart/.github/workflows/d.yml@*" }};
"#
    )
}

/// A deployment that these claims stand for: its exit code, and what was said.
fn deploy(yard: &Yard, changed: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut claims = yard.claims("github");
    for (name, value) in changed {
        claims[*name] = (*value).into();
    }
    let token = yard.mint(&claims, serde_json::json!({}));
    let script =
        r#"curl -sS -o /dev/null -w '%{http_code}' -X OPTIONS "$PORTCULLIS_SHOP_URL/page""#;
    let arguments = ["shop.OPTIONS", "--reason", "deploy", "--", "sh", "-c", script];
    ended(run(yard, &with_token(&token), &arguments))
}

#[test]
fn m08_a_deploy_outside_its_window_is_refused_before_it_begins_and_one_within_is_granted() {
    let yard = Yard::furnished("1m", |plan| {
        plan.policy("windows.cedar", &rule(-120, 120)).setting("clocks: {deploys: Europe/Lisbon}")
    });
    let (code, out, err) = deploy(&yard, &[]);
    assert_eq!((code, out.as_str()), (Some(0), "200"), "{err}");
    assert!(!err.contains("still to be checked"), "the clock has been read: {err}");
    // What a policy says of branch, environment, commit and pipeline counts as well.
    for changed in [
        ("ref", "refs/heads/release/1"),
        ("environment", "staging"),
        ("sha", "0000"),
        ("workflow_ref", "shop/cart/.github/workflows/other.yml@refs/heads/main"),
    ] {
        let (code, out, err) = deploy(&yard, &[changed]);
        assert_eq!((code, out.as_str()), (Some(125), ""), "{changed:?}: {err}");
    }
    yard.house().write_policy("windows.cedar", &rule(120, 240));
    yard.house().signal("HUP");
    let mut said = String::new();
    eventually("the window is another", || {
        let (code, out, err) = deploy(&yard, &[]);
        said = err;
        code == Some(125) && out.is_empty()
    });
    assert!(said.contains("shop.OPTIONS: "), "{said}");
}

#[test]
fn m08_a_window_that_closes_while_the_command_runs_closes_for_it_too() {
    let yard = Yard::furnished("10m", |plan| {
        plan.policy("windows.cedar", &rule(-120, 3))
            .setting("clocks: {deploys: Europe/Lisbon}")
            .file("faketime", "+0")
    });
    let script = r#"ask() { curl -sS -o /dev/null -w '%{http_code} ' -X OPTIONS "$PORTCULLIS_SHOP_URL/page"; }
        ask; echo $PORTCULLIS_GATE_TOKEN > gate; touch ready
        until [ -e go ]; do sleep 0.1; done
        ask; exit 3"#;
    let arguments = ["shop.OPTIONS", "--reason", "deploy", "--", "sh", "-c", script];
    let mut child = run(&yard, &with_token(&yard.sound("github")), &arguments).spawn().unwrap();
    eventually("the command runs", || {
        assert!(child.try_wait().unwrap().is_none(), "{}", yard.house().log());
        folder(&yard).join("ready").exists()
    });
    let token = std::fs::read_to_string(folder(&yard).join("gate")).unwrap();
    assert_eq!(yard.gate("OPTIONS", token.trim()), 200);
    yard.house().set_clock("+5m");
    eventually("the window has closed", || yard.gate("OPTIONS", token.trim()) == 403);
    std::fs::write(folder(&yard).join("go"), "").unwrap();
    let (code, out, err) = told(child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(3), "200 403 "), "the command itself goes on: {err}");
    assert!(err.contains("shop.OPTIONS"), "{err}");
}
