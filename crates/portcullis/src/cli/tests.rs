use clap::{CommandFactory, Parser};

use super::{ClientCommand, ClientOptions, Output};

#[derive(Debug, Parser)]
#[command(name = "portcullis")]
struct Whole {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    command: ClientCommand,
}

fn parse(line: &str) -> Result<Whole, clap::Error> {
    Whole::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_in_order() {
    Whole::command().debug_assert();
}

#[test]
fn commands_are_said_as_promised() {
    for line in [
        "portcullis login https://portcullis.example.com --as work --no-browser",
        "portcullis login",
        "portcullis logout",
        "portcullis whoami --output json",
        "portcullis services payments",
        "portcullis ask 7K2M --for 30m --reason stuck --wait",
        "portcullis ask payments.a payments.b --rule r --instance p-2 --reason x",
        "portcullis requests --to-review",
        "portcullis review 01KABCDEF approve --for 10m",
        "portcullis review 01KABCDEF approve --only payments.a --only payments.b --instance p-2",
        "portcullis review 01KABCDEF decline --note no",
        "portcullis requests 01KABCDEF",
        "portcullis extend 01KABCDEF --for 30m --reason more --wait",
        "portcullis withdraw 01KABCDEF",
        "portcullis --profile lea grants",
        "portcullis revoke 01KABCDEF",
        "portcullis give-back",
        "portcullis connections",
        "portcullis close 01KABCDEF",
        "portcullis token payments",
        "portcullis token 01KABCDEF",
        "portcullis redeem",
        "portcullis redeem https://portcullis.example.com",
        "portcullis redeem --dpop-key tool.key",
        "portcullis redeem --certificate tool.pem",
        "portcullis proof GET https://payments.example.com/v1/refunds --key tool.key",
        "portcullis audit tail -n 5 -f",
        "portcullis audit show 41",
        "portcullis bundle rollback",
        "portcullis connect payments ledger-db=5433 --ask payments.a --reason x --wait 2m",
        "portcullis run payments.a --reason x --wait 15m --grace 10s --connect ledger-db -- ./migrate.sh -v",
        "portcullis completion bash",
        "portcullis curl -sS -H a:b http://payments.test/",
        "portcullis curl --gate http://127.0.0.1:8080 -i http://payments.test/ --output x",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_use_is_told_before_anything_is_sent() {
    for line in [
        "portcullis",
        "portcullis ask",
        "portcullis ask 7K2M --for 0m",
        "portcullis ask 7K2M --for 2y",
        "portcullis review 01KABCDEF maybe",
        "portcullis requests --mine --to-review",
        "portcullis requests 01KABCDEF --mine",
        "portcullis extend --for 30m",
        "portcullis login http://portcullis.example.com",
        "portcullis redeem http://portcullis.example.com",
        "portcullis redeem https://portcullis.example.com pc_once_x",
        "portcullis redeem --dpop-key tool.key --certificate tool.pem",
        "portcullis proof get https://payments.example.com/v1/refunds --key tool.key",
        "portcullis proof GET /v1/refunds --key tool.key",
        "portcullis proof GET https://payments.example.com/v1/refunds",
        "portcullis audit tail -n 0",
        "portcullis explain payments.a",
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn what_follows_curl_is_curls_own() {
    let whole = parse("portcullis curl -o file --output json http://payments.test/").unwrap();
    assert_eq!(whole.options.output, Output::Text);
}

#[test]
fn an_ask_on_the_wire_names_a_refusal_or_operations() {
    let refusal = super::ask::wire(&["7k2m"], &[], "stuck").unwrap();
    assert_eq!(refusal, serde_json::json!({"refusal": "7K2M", "reason": "stuck"}));
    let operations = super::ask::wire(&["payments.a", "payments.b"], &[], "stuck").unwrap();
    let expected = serde_json::json!({"reason": "stuck",
        "queries": [{"operation": "payments.a"}, {"operation": "payments.b"}]});
    assert_eq!(operations, expected);
    assert!(super::ask::wire(&["7K2M", "payments.a"], &[], "stuck").is_err());
    assert!(super::ask::wire(&["nonsense"], &[], "stuck").is_err());
}

#[test]
fn one_rule_is_for_all_operations_and_several_are_one_for_each() {
    let both = ["payments.a", "payments.b"];
    let one = super::ask::wire(&both, &["r"], "stuck").unwrap();
    assert_eq!((&one["rule"], &one["queries"][0]["rule"]), (&"r".into(), &serde_json::Value::Null));
    let each = super::ask::wire(&both, &["r", "s"], "stuck").unwrap();
    assert_eq!(
        (&each["queries"][0]["rule"], &each["queries"][1]["rule"]),
        (&"r".into(), &"s".into())
    );
    assert!(each.get("rule").is_none());
    assert!(super::ask::wire(&both, &["r", "s", "t"], "stuck").is_err());
    assert!(super::ask::wire(&["payments.a"], &["r", "s"], "stuck").is_err());
}
