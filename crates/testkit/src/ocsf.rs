//! Holds events against the Open Cybersecurity Schema Framework: attributes, their types and values, what is
//! required, of the classes and objects that Portcullis uses.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("ocsf-1.8.0.json")).unwrap_or_default());

/// The release that events are held against.
pub const VERSION: &str = "1.8.0";

/// What is wrong with `event`.
pub fn mistakes(event: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
    let class = number("class_uid");
    let Some(definition) = SCHEMA.pointer(&format!("/classes/{class}")) else {
        return vec![format!("there is no class {class}")];
    };
    if event.pointer("/metadata/version") != Some(&Value::from(VERSION)) {
        found.push("it is of another release".to_owned());
    }
    if number("category_uid") != class / 1000 {
        found.push("the category is not that of the class".to_owned());
    }
    if number("type_uid") != class * 100 + number("activity_id") {
        found.push("the type is not that of class and activity".to_owned());
    }
    members(definition, event, "", &mut found);
    found
}

fn members(definition: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(members) = value.as_object() else {
        found.push(format!("{at} is no object"));
        return;
    };
    let nothing = Map::new();
    let known = definition.get("attributes").and_then(Value::as_object).unwrap_or(&nothing);
    for (name, value) in members {
        match known.get(name) {
            Some(attribute) => one(attribute, value, &format!("{at}/{name}"), found),
            None => found.push(format!("{at}/{name} is no attribute")),
        }
    }
    for (name, attribute) in known {
        if attribute.get("must").is_some() && !members.contains_key(name) {
            found.push(format!("{at} lacks {name}"));
        }
    }
    let there = |list: &Value| {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.filter(|name| members.contains_key(*name)).count()
    };
    if definition.get("at_least_one").is_some_and(|list| there(list) == 0) {
        found.push(format!("{at} lacks one of {}", definition["at_least_one"]));
    }
    if definition.get("just_one").is_some_and(|list| there(list) != 1) {
        found.push(format!("{at} has not exactly one of {}", definition["just_one"]));
    }
}

fn one(attribute: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let kind = attribute.get("is").and_then(Value::as_str).unwrap_or_default();
    if let Some(kind) = kind.strip_suffix("[]") {
        match value.as_array() {
            Some(items) => items.iter().for_each(|item| typed(kind, item, at, found)),
            None => found.push(format!("{at} is no list")),
        }
        return;
    }
    typed(kind, value, at, found);
    let among = |of: &Value| of.as_array().is_some_and(|of| of.contains(value));
    if attribute.get("of").is_some_and(|of| !among(of)) {
        found.push(format!("{at} cannot be {value}"));
    }
}

fn typed(kind: &str, value: &Value, at: &str, found: &mut Vec<String>) {
    let fits = match kind {
        "string_t" => value.as_str().is_some_and(|text| !text.is_empty()),
        "integer_t" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "long_t" => value.is_i64() || value.is_u64(),
        "boolean_t" => value.is_boolean(),
        "float_t" => value.is_number(),
        "json_t" => true,
        "object" => value.is_object(),
        object => match SCHEMA.pointer(&format!("/objects/{object}")) {
            Some(definition) => {
                members(definition, value, at, found);
                true
            }
            None => false,
        },
    };
    if !fits {
        found.push(format!("{at} is no {kind}: {value}"));
    }
}
