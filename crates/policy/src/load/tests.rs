use crate::{
    Bundle, BundleSource, LoadError, PolicySource,
    fixture::{ahead, bundle, context, load_errors, snapshot, source, subject, told},
};

fn errors(source: &BundleSource) -> Vec<LoadError> {
    Bundle::load(source).err().unwrap_or_default()
}

fn in_file(path: &str, policy: &str) -> Vec<LoadError> {
    let policies = vec![PolicySource { path: path.to_owned(), text: policy.to_owned() }];
    errors(&BundleSource { policies, ..source("") })
}

/// The one mistake that `policy` has.
fn mistake(policy: &str) -> String {
    match load_errors(policy).as_slice() {
        [only] => only.message.clone(),
        all => panic!("not one mistake: {all:#?}"),
    }
}

fn permit(annotations: &str, condition: &str) -> String {
    format!(
        "@id(\"p\") {annotations}\npermit (principal, action == Action::\"payments.createRefund\", \
         resource in Service::\"payments\")\n{condition};"
    )
}

#[test]
fn f02_every_mistake_of_every_file_is_told_at_once_with_its_place() {
    let policies = [
        (
            "a.cedar",
            "@id(\"a\")\npermit (principal, action, resource in Service::\"payments\")\nwhen { context.now > };\n\npermit (principal);",
        ),
        (
            "b.cedar",
            "// what follows has no action of that name\n@id(\"b\")\npermit (principal, action == Action::\"payments.drop\", resource in Service::\"payments\");",
        ),
        (
            "c.cedar",
            "@id(\"c\") @reviews(\"many\")\npermit (principal, action, resource in Service::\"payments\")\nwhen { context has grant };",
        ),
    ];
    let policies =
        policies.map(|(path, text)| PolicySource { path: path.into(), text: text.into() });
    let found = errors(&BundleSource { policies: policies.into(), ..source("") });
    let places: Vec<_> = found.iter().map(|e| (e.file.as_str(), e.line)).collect();
    for place in
        [("a.cedar", Some(3)), ("a.cedar", Some(5)), ("b.cedar", Some(3)), ("c.cedar", Some(1))]
    {
        assert!(places.contains(&place), "{place:?} is not among {found:#?}");
    }
    assert!(found.iter().all(|error| error.snippet.as_ref().is_some_and(|text| !text.is_empty())));
    let action = found.iter().find(|error| error.file == "b.cedar").unwrap();
    assert!(action.message.contains("payments.drop"), "{action:?}");
    assert!(action.snippet.as_ref().unwrap().contains("payments.drop"), "{action:?}");
}

#[test]
fn f03_what_the_schema_does_not_have_does_not_load() {
    let refused = [
        ("when { context has body && context.body.amont > 1 }", "amont"),
        ("when { context.body.amount > 1 }", "body"),
        ("when { context has body && context.body.amount > \"1\" }", "expected"),
        ("when { context has body && context.body.amount > }", "unexpected token"),
        ("when { principal.department == \"sales\" }", "department"),
        ("when { resource in Folder::\"x\" }", "Folder"),
    ];
    for (condition, word) in refused {
        let found = load_errors(&permit("", condition));
        let told = found.iter().any(|error| error.message.contains(word));
        assert!(told && found.iter().all(|error| error.line.is_some()), "{condition}: {found:#?}");
    }
}

#[test]
fn f07_a_bundle_that_is_too_large_is_refused_before_it_is_parsed() {
    let many = "x;".repeat(super::MAX_POLICIES + 1);
    assert_eq!(mistake(&many), "a bundle may have 20000 policies at most");
    let long = format!("//{}", "x".repeat(super::MAX_FILE));
    assert_eq!(mistake(&long), "a policy file may have 1 MiB at most");
    let text = format!("//{}", "x".repeat(super::MAX_FILE - 2));
    let policies = (0..10).map(|n| PolicySource { path: format!("{n}.cedar"), text: text.clone() });
    let found = errors(&BundleSource { policies: policies.collect(), ..source("") });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].message, "all policy files together may have 8 MiB at most");
}

#[test]
fn f07_a_policy_that_nests_too_deep_is_refused_before_it_is_parsed() {
    let deep = [
        format!("{}true{}", "(".repeat(65), ")".repeat(65)),
        format!("{}[]{}", "[".repeat(65), "]".repeat(65)),
        format!("{}true", "!".repeat(100_000)),
        format!("{}1 > 0", "-".repeat(100_000)),
        format!("{}true", "true && ".repeat(20_000)),
        format!("1{} > 0", " + 1".repeat(100_000)),
        format!("principal{} == 1", ".a".repeat(100_000)),
        format!("{}true", "if true then true else ".repeat(20_000)),
    ];
    for condition in deep {
        let policy = permit("", &format!("when {{ {condition} }}"));
        let message = mistake(&policy);
        assert!(message.starts_with("a policy may nest 64 brackets"), "{message}");
    }
}

#[test]
fn f07_the_longest_policies_that_load_are_decided() {
    let ana = subject("ana", &[]);
    let long = [
        format!("{}true", "true && ".repeat(199)),
        format!("{}true", "false || ".repeat(199)),
        format!("{}true", "if false then false else ".repeat(399)),
        format!("context has body && context.body.amount{} > 0", " + 1".repeat(390)),
        format!("{}true{}", "(".repeat(61), ")".repeat(61)),
    ];
    for condition in long {
        let open = "@id(\"open\") permit (principal, action, resource in Service::\"payments\");";
        let snapshot =
            snapshot(&format!("{open}{}", permit("", &format!("when {{ {condition} }}"))));
        // What matters is that the stack holds, whatever the policy says.
        assert_eq!(told(&snapshot, &ana, "payments.createRefund", &context(1)), "permit");
        assert_eq!(told(&snapshot, &ana, "payments.createRefund", &ahead()), "permit");
    }
}

#[test]
fn n03_an_instance_that_the_balancer_may_pick_cannot_be_named() {
    let on = |instance: &str| {
        format!(
            "@id(\"open\") permit (principal, action, resource in Service::\"payments\");\n\
             @id(\"f\") forbid (principal, action, resource == Instance::\"payments/{instance}\");"
        )
    };
    let found = load_errors(&on("p-1"));
    assert_eq!(found.len(), 1, "{found:?}");
    let message = "a request to payments may land on instance p-1 without naming it";
    assert_eq!((found[0].message.as_str(), found[0].line), (message, Some(2)));
    assert!(found[0].help.as_ref().unwrap().contains("addressed_only"));
    let in_condition = permit("", "unless { resource == Instance::\"payments/p-2\" }");
    assert!(mistake(&in_condition).contains("may land on instance p-2"));
    assert_eq!(load_errors(&on("p-9")), []);
    assert!(mistake(&on("p-8")).contains("is not configured"));
}

#[test]
fn n05_a_grant_that_takes_access_away_does_not_load() {
    let takes_away = "a grant here would take access away";
    let hidden = "a grant must be asked for by a plain `context has grant` conjunct";
    let whole = "`context` as a whole includes the grant, which a policy may only ask for";
    let refused = [
        ("unless { context has grant }", takes_away),
        ("unless { context has grant && context.grant.reviews > 1 }", takes_away),
        ("when { !(context has grant) }", hidden),
        ("when { context has grant || true }", hidden),
        ("when { (context has grant) == false }", hidden),
        ("when { if context has grant then false else true }", hidden),
        ("when { context has grant && !(context has grant) }", hidden),
        ("when { !(context has grant && context.grant.reviews > 1) }", hidden),
        ("when { context == {\"now\": context.now} }", whole),
    ];
    for (condition, message) in refused {
        let found = load_errors(&permit("", condition));
        assert!(found.iter().any(|error| error.message == message), "{condition}: {found:#?}");
        let forbid = permit("", &swapped(condition)).replace("permit (", "forbid (");
        let found = load_errors(&forbid);
        assert!(found.iter().any(|error| error.message == message), "{forbid}: {found:#?}");
    }
    assert_eq!(load_errors(&permit("", "when { context has grant }")), []);
    assert_eq!(
        load_errors(&permit("", "when { context has grant && context.grant.reviews > 1 }")),
        []
    );
    let lifted = permit("", "unless { context has grant }").replace("permit (", "forbid (");
    assert_eq!(load_errors(&lifted), []);
}

fn swapped(condition: &str) -> String {
    match condition.strip_prefix("when") {
        Some(rest) => format!("unless{rest}"),
        None => condition.replacen("unless", "when", 1),
    }
}

/// Each annotation, on a policy with this condition, is the only mistake.
fn refuse(refused: &[(&str, &str, &str)]) {
    for (annotation, condition, message) in refused {
        let found = load_errors(&permit(annotation, condition));
        let [error] = found.as_slice() else { panic!("{annotation}: {found:#?}") };
        assert_eq!((error.message.as_str(), error.line), (*message, Some(1)), "{annotation}");
    }
}

#[test]
fn who_is_told_and_what_lies_unused_is_said_rightly_or_does_not_load() {
    let rule = "when { context has grant }";
    refuse(&[
        ("@idle(\"0m\")", rule, "@idle: a duration of zero opens nothing"),
        ("@idle(\"15m\")", "", "@idle means something on a rule only"),
        (
            "@notify(\"slack:#payments\")",
            rule,
            "`slack:#payments` leads nowhere: the configuration has no `connectors.slack`",
        ),
        (
            "@notify(\"webhook:http://chat.example.com/\")",
            rule,
            "@notify: `webhook:http://chat.example.com/` must begin with https://, or lead to this \
             machine",
        ),
        (
            "@notify(\"webhook:https://a.example.com/\")",
            "",
            "@notify means something on a rule only",
        ),
        ("@escalate(\"5m\")", rule, "@escalate has nobody to go on to"),
        (
            "@rate_limit(\"5 a minute\")",
            "",
            "@rate_limit: `5 a minute` is no rate; write it like 5/1m, at most 1000000 in at most 1h",
        ),
        (
            "@notify(\"webhook:https://a.example.com/\") @escalate(\"5m\")",
            rule,
            "@escalate has nobody to go on to",
        ),
    ]);
    let forbid = "@id(\"f\") @rate_limit(\"5/1m\") forbid (principal, action == \
                  Action::\"payments.createRefund\", resource in Service::\"payments\");";
    let found = load_errors(forbid);
    assert_eq!(found[0].message, "@rate_limit means nothing on a forbid");
    let forbid = forbid.replace("@rate_limit(\"5/1m\")", "@record(\"body\")");
    assert_eq!(load_errors(&forbid)[0].message, "@record means nothing on a forbid");
}

#[test]
fn an_annotation_that_means_nothing_does_not_load() {
    let rule = "when { context has grant }";
    let refused = [
        ("@reviewers(\"2\")", rule, "unknown annotation @reviewers"),
        ("@Reviews(\"2\")", rule, "unknown annotation @Reviews"),
        ("@hold(\"0s\")", rule, "@hold: a duration of zero opens nothing"),
        (
            "@hold(\"2 min\")",
            rule,
            "@hold: `2 min` is not a duration; write it like 30m, 8h or 1h30m",
        ),
        ("@hold(\"2h\")", rule, "@hold: `2h` is longer than 1h"),
        ("@hold(\"2m\")", "", "@hold means something on a rule only"),
        (
            "@record(\"bodies\")",
            "",
            "@record: `bodies` names no parts of a request; write headers, body, or headers,body",
        ),
        ("@reviews(\"6\")", rule, "@reviews takes a number from 0 to 5, not `6`"),
        ("@reviews(\"-1\")", rule, "@reviews takes a number from 0 to 5, not `-1`"),
        ("@reviews(\"01\")", rule, "@reviews takes a number from 0 to 5, not `01`"),
        ("@reviews", rule, "@reviews takes a number from 0 to 5, not ``"),
        ("@max_uses(\"0\")", rule, "@max_uses takes a whole number from 1 up, not `0`"),
        ("@max_uses(\"+1\")", rule, "@max_uses takes a whole number from 1 up, not `+1`"),
        ("@max_uses(\"\")", rule, "@max_uses takes a whole number from 1 up, not ``"),
        (
            "@max_uses(\"4294967296\")",
            rule,
            "@max_uses takes a whole number from 1 up, not `4294967296`",
        ),
        (
            "@max_duration(\"PT15M\")",
            rule,
            "@max_duration: `PT15M` is not a duration; write it like 30m, 8h or 1h30m",
        ),
        ("@max_duration(\"0m\")", rule, "@max_duration: a duration of zero opens nothing"),
        ("@max_duration(\"400d\")", rule, "@max_duration: `400d` is longer than 366 days"),
        ("@all_services(\"yes\")", "", "@all_services takes \"true\" and nothing else"),
        ("@reviews(\"1\")", "", "@reviews means something on a rule only"),
        ("@max_duration(\"1m\")", "", "@max_duration means something on a rule only"),
        ("@max_uses(\"1\")", "", "@max_uses means something on a rule only"),
    ];
    refuse(&refused);
    let everywhere = "@id(\"f\") @all_services(\"true\") forbid (principal, action, resource);";
    assert_eq!(mistake(everywhere), "@all_services means nothing on a forbid");
    let forbid = permit("@reviews(\"1\")", "").replace("permit (", "forbid (");
    assert_eq!(mistake(&forbid), "@reviews means something on a rule only");
}

#[test]
fn every_policy_has_a_name_of_its_own() {
    let nameless = permit("", "").replace("@id(\"p\")", "");
    assert_eq!(mistake(&nameless), "every policy needs an @id");
    let twice = format!("{}\n{}", permit("", ""), permit("", ""));
    let found = load_errors(&twice);
    assert_eq!((found.len(), found[0].line), (1, Some(4)), "{found:?}");
    assert_eq!(found[0].message, "the policy id `p` is taken already");
    for id in ["", "a b", "a\\nb"] {
        let odd = permit("", "").replace("@id(\"p\")", &format!("@id(\"{id}\")"));
        assert!(mistake(&odd).starts_with("@id must be"), "{id}");
    }
}

#[test]
fn a_permit_that_opens_every_service_must_say_so() {
    let message = "this permit opens an action group on every service, present and future";
    let wide = [
        "permit (principal, action, resource)",
        "permit (principal, action in Action::\"read\", resource)",
        "permit (principal, action in [Action::\"payments.getRefund\", Action::\"write\"], resource)",
        "permit (principal, action in Action::\"read\", resource is Service)",
        "permit (principal, action in Action::\"read\", resource is Instance)",
    ];
    for head in wide {
        let condition = "when { context has grant }";
        for condition in ["", condition] {
            assert_eq!(mistake(&format!("@id(\"p\") {head} {condition};")), message, "{head}");
        }
        assert_eq!(
            load_errors(&format!("@id(\"p\") @all_services(\"true\") {head};")),
            [],
            "{head}"
        );
    }
    let narrow = [
        "permit (principal, action in Action::\"payments.read\", resource)",
        "permit (principal, action, resource in Service::\"payments\")",
        "forbid (principal, action, resource)",
        "permit (principal, action == Action::\"review\", resource is AccessRequest)",
    ];
    for head in narrow {
        assert_eq!(load_errors(&format!("@id(\"p\") {head};")), [], "{head}");
    }
}

#[test]
fn a_policy_in_a_services_folder_is_about_that_service_only() {
    let head = |action: &str, resource: &str| {
        format!("@id(\"p\") permit (principal, action{action}, resource{resource});")
    };
    let foreign = [
        head("", " in Service::\"ledger\""),
        head(" == Action::\"ledger.getEntry\"", ""),
        head(" in Action::\"payments.read\"", " in Service::\"ledger\""),
        "@id(\"p\") forbid (principal, action, resource);".to_owned(),
        "@id(\"p\") permit (principal, action == Action::\"review\", resource is AccessRequest);"
            .to_owned(),
    ];
    for policy in &foreign {
        let found = in_file("payments/p.cedar", policy);
        assert_eq!(found.len(), 1, "{policy}: {found:#?}");
        let help = "policies under payments/ may name the service payments only";
        assert_eq!(found[0].help.as_deref(), Some(help), "{policy}");
        // A folder that is no service's restricts nothing, and neither does the top.
        assert_eq!(in_file("teams/p.cedar", policy), [], "{policy}");
        assert_eq!(in_file("p.cedar", policy), [], "{policy}");
    }
    let own = [
        head("", " in Service::\"payments\""),
        head(" in Action::\"payments.read\"", ""),
        "@id(\"p\") permit (principal, action == Action::\"review\", resource is AccessRequest) \
         when { resource.service == Service::\"payments\" };"
            .to_owned(),
    ];
    for policy in own {
        assert_eq!(in_file("payments/p.cedar", &policy), [], "{policy}");
    }
}

#[test]
fn what_this_version_does_not_carry_out_does_not_load() {
    let refused = [
        (
            "when { context.source has country }",
            "no database says where addresses are: configure `geo`",
        ),
        (
            "when { context has grant && context.grant.kind == \"reviewed\" }",
            "a grant's kind is `automatic`, `review` or `emergency`, never `reviewed`",
        ),
        ("when { resource has zone }", "`zone` is not supported by this version"),
    ];
    for (condition, message) in refused {
        let found = load_errors(&permit("", condition));
        assert!(found.iter().any(|error| error.message == message), "{condition}: {found:#?}");
    }
}

#[test]
fn strangers_are_named_only_where_a_service_lets_them_in() {
    let text = "@id(\"p\") permit (principal is Anonymous, action in Action::\"ledger.read\", resource == Service::\"ledger\");";
    assert!(!load_errors(text).is_empty(), "a permit that can never apply");
    let mut open = source(text);
    open.services[1].anonymous = true;
    assert!(Bundle::load(&open).is_ok());
    open.policies[0].text = text.replace("ledger", "payments");
    assert!(Bundle::load(&open).is_err(), "the other service does not let them in");
}

#[test]
fn an_unknown_service_or_operation_does_not_load() {
    let service = "@id(\"p\") permit (principal, action, resource in Service::\"payment\");";
    assert_eq!(mistake(service), "Service::\"payment\" is not configured");
    let operation = permit("", "").replace("createRefund", "createRefunds");
    let found = load_errors(&operation);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("payments.createRefunds"), "{found:?}");
    assert!(found[0].help.as_ref().is_some_and(|help| help.contains("createRefund")), "{found:?}");
}

#[test]
fn an_operation_with_the_name_of_an_action_group_does_not_load() {
    let mut source = source("");
    let inline = indexmap::IndexMap::from([("write".to_owned(), "GET /x".to_owned())]);
    source.services[1].operations = crate::bundle::OperationsSource::Inline(inline);
    let found = errors(&source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].message, "operation `write` has the name of a group");
}

#[test]
fn labels_and_claims_are_what_was_declared() {
    let mut labelled = source("");
    labelled.labels = [("env".to_owned(), true), ("owner".to_owned(), true)].into();
    let messages: Vec<String> = errors(&labelled).into_iter().map(|error| error.message).collect();
    for message in [
        "service payments: label `criticality` is not declared",
        "service ledger: label `owner` is required",
    ] {
        assert!(messages.iter().any(|told| told == message), "{messages:?}");
    }
    let mut claimed = source("");
    claimed.claims =
        [("issuer".to_owned(), "String".to_owned()), ("n".to_owned(), "Float".to_owned())].into();
    let messages: Vec<String> = errors(&claimed).into_iter().map(|error| error.message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("`issuer`") && messages[1].contains("`Float`"), "{messages:?}");
}

#[test]
fn the_digest_covers_every_setting_and_no_place() {
    let base = source(&permit("", ""));
    let digest = |source: &BundleSource| Bundle::load(source).unwrap().digest().clone();
    let same = digest(&base);
    let changes: [fn(&mut BundleSource); 12] = [
        |source| source.policies[0].text.push('\n'),
        |source| source.policies[0].path = "other.cedar".into(),
        |source| source.services[0].hosts.push("pay.example.com".into()),
        |source| source.services[0].max_hold = portcullis_model::Window::minutes(1),
        |source| source.services[0].max_body = 1,
        |source| _ = source.services[0].max_bodies.insert("createRefund".into(), 1),
        |source| source.services[0].strict_audit = true,
        |source| source.services[0].anonymous = true,
        |source| source.services[0].max_grant = portcullis_model::Window::minutes(1),
        |source| source.services[0].addressed_only.clear(),
        |source| _ = source.services[0].labels.insert("env".into(), "test".into()),
        |source| _ = source.claims.insert("ref".into(), "String".into()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = base.clone();
        change(&mut other);
        assert_ne!(digest(&other), same, "change {number}");
    }
    let mut moved = base.clone();
    moved.services.reverse();
    moved.services[0].place = ("elsewhere.yaml".into(), Some(9));
    assert_eq!(digest(&moved), same);
}

#[test]
fn n08_without_the_action_entities_a_forbid_on_a_group_would_be_void() {
    use crate::entities::{TYPES, uid};
    let text = "@id(\"open\") permit (principal, action, resource in Service::\"payments\");\n\
                @id(\"no-writes\") forbid (principal, action in Action::\"write\", resource);";
    let bundle = bundle(text);
    let action = uid(&TYPES.action, "payments.createRefund");
    let set: cedar_policy::PolicySet = text.parse().unwrap();
    let empty = cedar_policy::Context::empty();
    let user = uid(&TYPES.user, "corp:ana");
    let service = uid(&TYPES.service, "payments");
    let request =
        cedar_policy::Request::new(user, action.clone(), service.clone(), empty, None).unwrap();
    let decide = |entities: &cedar_policy::Entities| {
        cedar_policy::Authorizer::new().is_authorized(&request, &set, entities).decision()
    };
    // What a decision point without them would answer, and what ours does.
    let without =
        bundle.entities().iter().filter(|entity| entity.uid().type_name() != &TYPES.action);
    let without = cedar_policy::Entities::from_entities(without.cloned(), None).unwrap();
    assert_eq!(decide(&without), cedar_policy::Decision::Allow);
    assert_eq!(decide(bundle.entities()), cedar_policy::Decision::Deny);
    let ana = subject("ana", &[]);
    assert_eq!(told(&snapshot(text), &ana, "payments.createRefund", &context(1)), "deny: ByPolicy");
}
