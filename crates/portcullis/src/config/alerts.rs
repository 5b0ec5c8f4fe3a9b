//! `alerts`: what somebody is called for, and how.

use std::{collections::BTreeSet, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    export::{among, named, posted_to},
    secret::SecretRef,
    section::{Field, Section},
};

const MOST_WEBHOOKS: usize = 16;
const MOST_RULES: usize = 64;
/// A look at the record reads some of its files.
const OFTENEST: Duration = Duration::from_secs(1);

/// Alert rules and whom they call.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Alerts {
    /// Who can be called.
    pub(crate) webhooks: Vec<Webhook>,
    /// What for.
    pub(crate) rules: Vec<Rule>,
}

/// Somebody who can be called: alerts are posted as Standard Webhooks has it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Webhook {
    /// Its name.
    pub(crate) name: String,
    /// `https://…`, or `http://` on this machine.
    #[schemars(with = "String")]
    pub(crate) url: Url,
    /// Signs each message: `whsec_…`.
    pub(crate) secret: SecretRef,
    /// It is on record when it has taken nothing for so long; 5m if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) failing_after: Window,
}

/// What somebody is called for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Rule {
    /// Its name.
    pub(crate) name: String,
    /// What it looks for.
    #[serde(flatten)]
    pub(crate) looks_for: LooksFor,
    /// The webhooks that are called.
    pub(crate) to: BTreeSet<String>,
    /// Once it has fired, it holds its tongue about the same for so long; 1h if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) cool_down: Window,
}

/// What a rule looks for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LooksFor {
    /// Many refusals.
    Denials {
        /// How many: 2 to 1000.
        count: usize,
        /// Within which time: 1h at most.
        #[schemars(with = "String")]
        #[serde(serialize_with = "super::as_text")]
        within: Window,
        /// Whose; `principal` if absent.
        by: By,
    },
    /// Somebody opened something in an emergency: `{}`.
    Emergency {},
    /// Somebody comes from a country that they did not come from lately. Needs `geo`.
    NewCountry(Memory),
    /// Somebody does what they did not do lately, and policy permits it.
    UnusualOperation(Memory),
    /// The record cannot be written or read, or a part of it is not what was signed.
    Record {
        /// How often a part of it is verified; 10m if absent.
        #[schemars(with = "String")]
        #[serde(serialize_with = "super::as_text")]
        every: Window,
    },
    /// A certificate of the gate, of control or for upstreams, or an authority that they believe, ends soon.
    Certificate {
        /// How soon; 14d if absent.
        #[schemars(with = "String")]
        #[serde(serialize_with = "super::as_text")]
        within: Window,
    },
    /// A sink or a webhook has taken nothing for long: `{}`.
    SinkFailing {},
}

/// Whose refusals are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// Those of one principal, wherever.
    Principal,
    /// Those at one service, whoever it was.
    Service,
}

/// How long habits count.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct Memory {
    /// What was done within this time is usual; 30d if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) remember: Window,
    /// Whoever has been known for less has no habits yet; 7d if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) learn: Window,
}

impl Alerts {
    /// `has_geo`: whether countries are known.
    pub(super) fn read(field: &Field<'_>, demo: bool, has_geo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let webhooks = section.field("webhooks").map(|field| webhooks(&field, demo));
        let webhooks = webhooks.unwrap_or_default();
        let known: Vec<&str> = webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
        let rules = section.required("rules").map(|field| rules(&field, &known, has_geo));
        section.finish();
        let rules = rules?;
        Some(Self { webhooks, rules })
    }
}

fn webhooks(field: &Field<'_>, demo: bool) -> Vec<Webhook> {
    let mut all: Vec<Webhook> = Vec::new();
    for item in field.list() {
        let Some(webhook) = item.section().and_then(|section| webhook(section, demo)) else {
            continue;
        };
        if all.iter().any(|other| other.name == webhook.name) {
            item.error(format!("two webhooks are called `{}`", webhook.name), None);
        } else if all.len() == MOST_WEBHOOKS {
            item.error(format!("there are more than {MOST_WEBHOOKS} webhooks"), None);
        } else {
            all.push(webhook);
        }
    }
    all
}

fn webhook(mut section: Section<'_>, demo: bool) -> Option<Webhook> {
    let name = section.required("name").and_then(|field| named(&field));
    let url = section.required("url").and_then(|field| posted_to(&field));
    let secret = section.required("secret").and_then(|field| SecretRef::read(&field, demo));
    let failing_after = section.field("failing_after");
    let failing_after = failing_after.map_or(Some(Window::minutes(5)), |field| field.parsed());
    section.finish();
    Some(Webhook { name: name?, url: url?, secret: secret?, failing_after: failing_after? })
}

fn rules(field: &Field<'_>, webhooks: &[&str], has_geo: bool) -> Vec<Rule> {
    let mut all: Vec<Rule> = Vec::new();
    for item in field.list() {
        let Some(rule) = item.section().and_then(|section| rule(section, webhooks, has_geo)) else {
            continue;
        };
        if all.iter().any(|other| other.name == rule.name) {
            item.error(format!("two alert rules are called `{}`", rule.name), None);
        } else if all.len() == MOST_RULES {
            item.error(format!("there are more than {MOST_RULES} alert rules"), None);
        } else {
            all.push(rule);
        }
    }
    all
}

fn rule(mut section: Section<'_>, webhooks: &[&str], has_geo: bool) -> Option<Rule> {
    let name = section.required("name").and_then(|field| named(&field));
    let kinds = [
        section.field("denials").map(|field| denials(&field)),
        section.field("emergency").map(|field| nothing(&field, LooksFor::Emergency {})),
        section.field("new_country").map(|field| {
            if !has_geo {
                let help = Some("add `geo: {database: …}`".into());
                field.error("countries are not known without a database of them".into(), help);
            }
            memory(&field).map(LooksFor::NewCountry)
        }),
        section.field("unusual_operation").map(|f| memory(&f).map(LooksFor::UnusualOperation)),
        section.field("record").map(|field| record(&field)),
        section.field("certificate").map(|field| certificate(&field)),
        section.field("sink_failing").map(|field| nothing(&field, LooksFor::SinkFailing {})),
    ];
    let mut kinds = kinds.into_iter().flatten();
    let looks_for = kinds.next();
    if looks_for.is_none() || kinds.next().is_some() {
        let help = "write one of `denials`, `emergency`, `new_country`, `unusual_operation`, `record`, `certificate` and `sink_failing`";
        section.error("an alert rule looks for exactly one thing".into(), Some(help.into()));
    }
    let to = section.required("to").map(|field| among(&field, webhooks, "webhook"));
    let cool_down = section.field("cool_down");
    let cool_down = cool_down.map_or(Some(Window::minutes(60)), |field| field.parsed());
    section.finish();
    Some(Rule { name: name?, looks_for: looks_for??, to: to?, cool_down: cool_down? })
}

fn nothing(field: &Field<'_>, looks_for: LooksFor) -> Option<LooksFor> {
    field.section()?.finish();
    Some(looks_for)
}

fn denials(field: &Field<'_>) -> Option<LooksFor> {
    let mut section = field.section()?;
    let count = section.required("count").and_then(|field| field.number(2..=1000));
    let within = section.required("within").and_then(|field| {
        let within: Window = field.parsed()?;
        if within > Window::minutes(60) {
            let help = Some("write 5m; refusals are counted in memory".into());
            field.error(format!("`within` is 1h at most, and not {within}"), help);
            return None;
        }
        Some(within)
    });
    let by = section.field("by").map_or(Some(By::Principal), |field| {
        field.one_of(&[("principal", By::Principal), ("service", By::Service)])
    });
    section.finish();
    Some(LooksFor::Denials { count: count?, within: within?, by: by? })
}

fn memory(field: &Field<'_>) -> Option<Memory> {
    let mut section = field.section()?;
    let days = |section: &mut Section<'_>, key, days: u32| {
        section.field(key).map_or(Some(Window::minutes(days * 24 * 60)), |field| field.parsed())
    };
    let (remember, learn) = (days(&mut section, "remember", 30), days(&mut section, "learn", 7));
    section.finish();
    Some(Memory { remember: remember?, learn: learn? })
}

fn record(field: &Field<'_>) -> Option<LooksFor> {
    let mut section = field.section()?;
    let every = section.field("every").map_or(Some(Window::minutes(10)), |field| {
        let every: Window = field.parsed()?;
        if every.get() < OFTENEST {
            field.error(format!("`every` is 1s at least, and not {every}"), None);
            return None;
        }
        Some(every)
    });
    section.finish();
    Some(LooksFor::Record { every: every? })
}

fn certificate(field: &Field<'_>) -> Option<LooksFor> {
    let mut section = field.section()?;
    let within = section.field("within");
    let within = within.map_or(Some(Window::minutes(14 * 24 * 60)), |field| field.parsed());
    section.finish();
    Some(LooksFor::Certificate { within: within? })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    const WEBHOOKS: &str =
        "  webhooks: [{name: oncall, url: \"https://call.example.com/x\", secret: {env: CALL}}]\n";

    fn with(rules: &str) -> String {
        let alerts = format!("alerts:\n{WEBHOOKS}  rules:\n{rules}policies: policies");
        SOUND.replace("policies: policies", &alerts)
    }

    #[test]
    fn rules_are_read_with_what_is_usual() {
        let loaded = loaded(&with(
            "    - {name: a, denials: {count: 10, within: 5m}, to: [oncall]}
    - {name: b, emergency: {}, to: [oncall], cool_down: 1m}
    - {name: c, unusual_operation: {}, to: [oncall]}
    - {name: d, record: {}, to: [oncall]}
    - {name: e, certificate: {}, to: [oncall]}
    - {name: f, sink_failing: {}, to: [oncall]}
",
        ));
        let config = loaded.expect("loads").config;
        let shown = serde_json::to_value(config.alerts.expect("alerts")).expect("json");
        assert_eq!(shown["rules"][0]["denials"]["by"], "principal");
        assert_eq!(shown["rules"][0]["cool_down"], "1h");
        assert_eq!(shown["rules"][2]["unusual_operation"]["remember"], "30d");
        assert_eq!(shown["rules"][3]["record"]["every"], "10m");
        assert!(shown["webhooks"][0]["secret"].as_str().expect("text").contains("hidden"));
    }

    #[test]
    fn mistakes_in_rules_are_told() {
        for (rule, what) in [
            ("name: a, to: [oncall]", "exactly one thing"),
            ("name: a, emergency: {}, record: {}, to: [oncall]", "exactly one thing"),
            ("name: a, emergancy: {}, to: [oncall]", "did you mean `emergency`?"),
            ("name: a, emergency: {count: 1}, to: [oncall]", "unknown key `count`"),
            ("name: a, emergency: {}, to: [oncal]", "did you mean `oncall`?"),
            ("name: a, emergency: {}, to: []", "no webhook is named"),
            ("name: a, emergency: {}", "lacks `to`"),
            ("name: a, denials: {count: 1, within: 5m}, to: [oncall]", "from 2 to 1000"),
            ("name: a, denials: {count: 9, within: 2h}, to: [oncall]", "1h at most"),
            (
                "name: a, denials: {count: 9, within: 5m, by: host}, to: [oncall]",
                "cannot be `host`",
            ),
            ("name: a, new_country: {}, to: [oncall]", "without a database"),
            ("name: a, record: {every: 5ms}, to: [oncall]", "every"),
        ] {
            let said = refused(&with(&format!("    - {{{rule}}}\n")));
            assert!(said.contains(what) && said.contains("portcullis.yaml"), "{rule}: {said}");
        }
        let twice = "    - {name: a, emergency: {}, to: [oncall]}\n".repeat(2);
        assert!(refused(&with(&twice)).contains("two alert rules are called `a`"));
    }
    #[test]
    fn what_the_operations_guide_shows_loads() {
        let guide = include_str!("../../../../docs/operations.md");
        let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let shown: Vec<&str> = blocks
            .filter(|block| block.starts_with("export:") || block.starts_with("alerts:"))
            .collect();
        assert_eq!(shown.len(), 2);
        for block in shown {
            let text = SOUND.replace("policies: policies", &format!("{block}policies: policies"));
            loaded(&text).unwrap_or_else(|said| panic!("{said}"));
        }
    }
}
