//! `PATCH` (RFC 7644, 3.5.2): operations on a resource as it is on the wire, which is then read again
//! as if it had been put. So a patch can reach nothing that a `PUT` could not.

use serde_json::Value;

use super::{
    Answer, Message, bad,
    filter::Filter,
    read::{Attributes, get, objects},
};

const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const MOST: usize = 1000;

/// Where an operation works: `attribute`, `attribute.sub`, `attribute[filter]`, `attribute[filter].sub`.
#[derive(Debug)]
struct Path {
    attribute: &'static str,
    filter: Option<Filter>,
    sub: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

/// Applies the operations of `message` to `resource`, of which `known` attributes may change.
pub(super) fn apply(
    mut resource: Attributes,
    message: &Message,
    known: &'static [&'static str],
) -> Answer<Attributes> {
    let Message(message) = message;
    super::read::check_schema(message, PATCH)?;
    let operations = objects(message, "Operations")?;
    if operations.is_empty() || operations.len() > MOST {
        return Err(bad("invalidSyntax", format!("a patch has 1 to {MOST} operations")));
    }
    for operation in &operations {
        let op = get(operation, "op").and_then(Value::as_str).unwrap_or_default();
        let op = match op.to_ascii_lowercase().as_str() {
            "add" => Op::Add,
            "replace" => Op::Replace,
            "remove" => Op::Remove,
            _ => return Err(bad("invalidSyntax", format!("`{op}` is no operation"))),
        };
        let value = get(operation, "value");
        match get(operation, "path") {
            Some(Value::String(path)) => {
                one(&mut resource, op, &Path::read(path, known)?, value)?;
            }
            Some(_) => return Err(bad("invalidPath", "a path is text")),
            None => without_path(&mut resource, op, value, known)?,
        }
    }
    Ok(resource)
}

fn without_path(
    resource: &mut Attributes,
    op: Op,
    value: Option<&Value>,
    known: &'static [&'static str],
) -> Answer<()> {
    match (op, value) {
        (Op::Remove, _) => Err(bad("noTarget", "a remove needs a path")),
        (_, Some(Value::Object(attributes))) => attributes.iter().try_for_each(|(path, value)| {
            one(resource, op, &Path::read(path, known)?, Some(value))
        }),
        _ => Err(bad("invalidValue", "without a path, the value must be an object")),
    }
}

impl Path {
    fn read(text: &str, known: &'static [&'static str]) -> Answer<Self> {
        let invalid = |why: &str| bad("invalidPath", format!("`{text}`: {why}"));
        let short = [
            "urn:ietf:params:scim:schemas:core:2.0:User:",
            "urn:ietf:params:scim:schemas:core:2.0:Group:",
        ]
        .into_iter()
        .find_map(|schema| text.strip_prefix(schema))
        .unwrap_or(text);
        let (head, filter, rest) = match short.split_once('[') {
            Some((head, rest)) => {
                let (filter, rest) = rest.rsplit_once(']').ok_or_else(|| invalid("`[` is open"))?;
                (head, Some(Filter::read(filter)?), rest.strip_prefix('.'))
            }
            None => match short.split_once('.') {
                Some((head, sub)) => (head, None, Some(sub)),
                None => (short, None, None),
            },
        };
        let attribute = known.iter().find(|name| name.eq_ignore_ascii_case(head));
        let attribute =
            attribute.ok_or_else(|| invalid("no such attribute, or it is read-only"))?;
        Ok(Self { attribute, filter, sub: rest.map(str::to_owned) })
    }
}

fn one(resource: &mut Attributes, op: Op, path: &Path, value: Option<&Value>) -> Answer<()> {
    if op != Op::Remove && value.is_none() {
        return Err(bad("invalidValue", format!("`{}` needs a value", path.attribute)));
    }
    match (&path.filter, &path.sub) {
        (Some(filter), sub) => in_list(resource, op, path.attribute, filter, sub.as_deref(), value),
        (None, Some(sub)) => in_object(resource, op, path.attribute, sub, value),
        (None, None) => whole(resource, op, path.attribute, value),
    }
}

fn whole(
    resource: &mut Attributes,
    op: Op,
    attribute: &'static str,
    value: Option<&Value>,
) -> Answer<()> {
    match (op, resource.get_mut(attribute), value) {
        // Without it, somebody who is deactivated would be active again.
        (Op::Remove, ..) if attribute == "active" => {
            return Err(bad("mutability", "`active` is true or false, and cannot be removed"));
        }
        (Op::Remove, Some(Value::Array(list)), Some(Value::Array(gone))) => {
            list.retain(|one| !gone.iter().any(|gone| gone.get("value") == one.get("value")));
        }
        // What should be removed is named, and cannot be: then nothing is.
        (Op::Remove, _, Some(_)) => {
            return Err(bad("invalidValue", format!("`{attribute}` has no such values")));
        }
        (Op::Remove, _, None) => drop(resource.remove(attribute)),
        (Op::Add, Some(Value::Array(list)), Some(Value::Array(more))) => {
            for one in more {
                list.retain(|known| known.get("value") != one.get("value"));
                list.push(one.clone());
            }
        }
        (Op::Add | Op::Replace, Some(Value::Object(object)), Some(Value::Object(more))) => {
            object.extend(more.clone());
        }
        (Op::Add | Op::Replace, _, Some(value)) => {
            resource.insert(attribute.to_owned(), value.clone());
        }
        (Op::Add | Op::Replace, _, None) => {}
    }
    Ok(())
}

fn in_object(
    resource: &mut Attributes,
    op: Op,
    attribute: &'static str,
    sub: &str,
    value: Option<&Value>,
) -> Answer<()> {
    let object = resource.entry(attribute).or_insert_with(|| Value::Object(Attributes::new()));
    let Some(object) = object.as_object_mut() else {
        return Err(bad("invalidPath", format!("`{attribute}` has no `{sub}`")));
    };
    object.retain(|key, _| !key.eq_ignore_ascii_case(sub));
    if let (Op::Add | Op::Replace, Some(value)) = (op, value) {
        object.insert(sub.to_owned(), value.clone());
    }
    Ok(())
}

fn in_list(
    resource: &mut Attributes,
    op: Op,
    attribute: &'static str,
    filter: &Filter,
    sub: Option<&str>,
    value: Option<&Value>,
) -> Answer<()> {
    let list = resource.entry(attribute).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = list.as_array_mut() else {
        return Err(bad("invalidPath", format!("`{attribute}` is no list")));
    };
    let is = |one: &Value| {
        let found = one.as_object().and_then(|one| get(one, &filter.attribute));
        found.and_then(Value::as_str) == Some(&filter.value)
    };
    match (op, sub, value) {
        (Op::Remove, None, _) => list.retain(|one| !is(one)),
        (_, Some(sub), value) => {
            if !list.iter().any(is) && op != Op::Remove {
                list.push(serde_json::json!({filter.attribute.as_str(): filter.value}));
            }
            for one in list.iter_mut().filter(|one| is(one)).filter_map(Value::as_object_mut) {
                one.retain(|key, _| !key.eq_ignore_ascii_case(sub));
                if let (Op::Add | Op::Replace, Some(value)) = (op, value) {
                    one.insert(sub.to_owned(), value.clone());
                }
            }
        }
        (Op::Add | Op::Replace, None, Some(value)) => {
            if !list.iter().any(is) {
                return Err(bad("noTarget", format!("no `{attribute}` matches the filter")));
            }
            for one in list.iter_mut().filter(|one| is(one)) {
                *one = value.clone();
            }
        }
        (Op::Add | Op::Replace, None, None) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: &[&str] = &["userName", "active", "name", "emails", "members"];

    fn patched(operations: &Value) -> Option<Value> {
        let resource = json!({
            "userName": "ana", "active": true, "name": {"givenName": "Ana"},
            "emails": [{"value": "ana@example.com", "type": "work"}],
            "members": [{"value": "1"}, {"value": "2"}],
        });
        let message = json!({"schemas": [PATCH], "Operations": operations});
        let message = Message(message.as_object().unwrap().clone());
        let resource = resource.as_object().unwrap().clone();
        apply(resource, &message, KNOWN).ok().map(Value::Object)
    }

    #[test]
    fn every_provider_deactivates_in_its_own_way() {
        for operation in [
            json!({"op": "replace", "path": "active", "value": false}),
            json!({"op": "Replace", "path": "ACTIVE", "value": false}),
            json!({"op": "add", "value": {"active": false}}),
            json!({"op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active", "value": false}),
        ] {
            assert_eq!(patched(&json!([operation])).unwrap()["active"], false, "{operation}");
        }
    }

    #[test]
    fn members_are_added_and_removed_in_every_way() {
        let members = |operation: Value| {
            let patched = patched(&json!([operation])).unwrap();
            let members = patched["members"].as_array().cloned().unwrap_or_default();
            members.iter().map(|one| one["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let values = json!([{"value": "2"}, {"value": "3"}]);
        assert_eq!(
            members(json!({"op": "add", "path": "members", "value": values})),
            ["1", "2", "3"]
        );
        assert_eq!(members(json!({"op": "remove", "path": "members", "value": values})), ["1"]);
        assert_eq!(
            members(json!({"op": "replace", "path": "members", "value": values})),
            ["2", "3"]
        );
        assert_eq!(members(json!({"op": "remove", "path": "members[value eq \"1\"]"})), ["2"]);
        assert!(members(json!({"op": "remove", "path": "members"})).is_empty());
    }

    #[test]
    fn parts_of_names_and_addresses_are_reached() {
        let name = json!([{"op": "add", "path": "name.familyName", "value": "Silva"}]);
        assert_eq!(
            patched(&name).unwrap()["name"],
            json!({"givenName": "Ana", "familyName": "Silva"})
        );
        let work =
            json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "a@b.c"}]);
        assert_eq!(patched(&work).unwrap()["emails"][0]["value"], "a@b.c");
        let home =
            json!([{"op": "add", "path": "emails[type eq \"home\"].value", "value": "h@b.c"}]);
        assert_eq!(patched(&home).unwrap()["emails"][1], json!({"type": "home", "value": "h@b.c"}));
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        for operations in [
            json!([]),
            json!([{"op": "move", "path": "active"}]),
            json!([{"op": "replace", "path": "activ", "value": false}]),
            json!([{"op": "replace", "path": "id", "value": "1"}]),
            json!([{"op": "replace", "path": "meta.location", "value": "x"}]),
            json!([{"op": "replace", "path": "active"}]),
            json!([{"op": "remove"}]),
            json!([{"op": "remove", "path": "active"}]),
            json!([{"op": "remove", "path": "userName", "value": "ana"}]),
            json!([{"op": "replace", "path": "members[value eq \"9\"]", "value": {}}]),
            json!([{"op": "replace", "path": "emails[type eq \"work\"", "value": "x"}]),
            json!([{"op": "replace", "path": 1, "value": "x"}]),
            json!({"op": "remove"}),
        ] {
            assert_eq!(patched(&operations), None, "{operations}");
        }
    }
}
