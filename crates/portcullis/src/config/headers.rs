//! `services[].headers`: what a service wants changed in the headers of its requests and answers.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use portcullis_policy::edge::{FieldName, FieldValue, HeaderChanges, HeaderRules};
use portcullis_proxy::{kept_from_requests, kept_from_responses};
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// Requests are changed before they are decided, so that what is approved is what is sent; answers of
/// the service on their way back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Headers {
    /// Of requests.
    pub(crate) request: Changes,
    /// Of answers.
    pub(crate) response: Changes,
}

/// First what is removed, then what is set, then what is added.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Changes {
    /// Instead of all there are by that name: `{X-Team: shop}`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) set: BTreeMap<FieldName, FieldValue>,
    /// Beside those that are there.
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) add: BTreeMap<FieldName, FieldValue>,
    /// All there are by that name.
    #[schemars(with = "Vec<String>")]
    pub(crate) remove: BTreeSet<FieldName>,
}

type Kept = fn(&HeaderName) -> Option<&'static str>;

/// More would not fit a head beside what clients send.
const MOST: usize = 32;

impl Headers {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let request = section.field("request");
        let response = section.field("response");
        section.finish();
        let read = |field: Option<Field<'_>>, kept: Kept| {
            field.map_or(Some(Changes::default()), |field| Changes::read(&field, kept))
        };
        let (request, response) =
            (read(request, kept_from_requests), read(response, kept_from_responses));
        Some(Self { request: request?, response: response? })
    }

    /// As the bundle has it.
    pub(super) fn source(&self) -> HeaderRules {
        let changes = |changes: &Changes| HeaderChanges {
            set: changes.set.clone(),
            add: changes.add.clone(),
            remove: changes.remove.clone(),
        };
        HeaderRules { request: changes(&self.request), response: changes(&self.response) }
    }
}

impl Changes {
    fn read(field: &Field<'_>, kept: Kept) -> Option<Self> {
        let mut section = field.section()?;
        let set = section.field("set").map(|field| pairs(&field, kept)).unwrap_or_default();
        let add = section.field("add").map(|field| pairs(&field, kept)).unwrap_or_default();
        let removed = section.field("remove");
        section.finish();
        let mut remove = BTreeSet::new();
        for item in removed.map(|field| field.list()).unwrap_or_default() {
            let Some(name) = item.text().and_then(|text| name(text, &item, kept)) else { continue };
            if set.contains_key(&name) || add.contains_key(&name) {
                let help = Some("`set` alone takes the place of what is there".into());
                item.error(format!("`{name}` is removed and put there"), help);
            }
            remove.insert(name);
        }
        if set.len() + add.len() + remove.len() > MOST {
            field.error(format!("{MOST} changes are the most"), None);
        }
        Some(Self { set, add, remove })
    }
}

fn pairs(field: &Field<'_>, kept: Kept) -> BTreeMap<FieldName, FieldValue> {
    let mut found = BTreeMap::new();
    for (text, value) in field.pairs() {
        let name = name(&text, &value, kept);
        let parsed = value.text().and_then(|text| {
            let parsed = FieldValue::try_from(text.to_owned());
            parsed.map_err(|error| value.error(format!("`{text}`: {error}"), None)).ok()
        });
        let (Some(name), Some(parsed)) = (name, parsed) else { continue };
        if found.insert(name, parsed).is_some() {
            value.error(format!("`{text}` is there twice"), None);
        }
    }
    found
}

fn name(text: &str, at: &Field<'_>, kept: Kept) -> Option<FieldName> {
    let name = match FieldName::try_from(text.to_owned()) {
        Ok(name) => name,
        Err(error) => {
            at.error(format!("`{text}`: {error}"), None);
            return None;
        }
    };
    if let Some(why) = kept(name.get()) {
        at.error(format!("no rule changes `{text}`: {why}"), Some("take it out".into()));
        return None;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(headers: &str) -> String {
        SOUND.replace("9000\"}\n", &format!("9000\"}}\n    headers: {headers}\n"))
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let text = with(
            r#"{request: {set: {X-Team: shop}, add: {Via-Gate: "1"}, remove: [Accept-Encoding]}, response: {set: {Strict-Transport-Security: max-age=31536000}, remove: [Server]}}"#,
        );
        let loaded = loaded(&text).unwrap_or_else(|error| panic!("{error}"));
        let rules = loaded.bundle.services[0].edge.headers.as_ref().expect("rules");
        assert_eq!((rules.request.set.len(), rules.response.remove.len()), (1, 1));
        serde_json::to_string(&loaded.config).expect("it can be shown");
    }

    #[test]
    fn c01_what_no_rule_may_touch_does_not_load() {
        for (headers, message) in [
            ("{request: {set: {Portcullis-Principal: ana}}}", "only the gate does"),
            ("{request: {set: {X_Forwarded_User: ana}}}", "only the gate does"),
            ("{request: {add: {Authorization: Basic x}}}", "no rule changes `Authorization`"),
            ("{request: {remove: [Cookie]}}", "no rule changes `Cookie`"),
            ("{request: {set: {Transfer-Encoding: chunked}}}", "frames messages by it"),
            ("{request: {set: {Host: a}}}", "no rule changes `Host`"),
            ("{response: {set: {Set-Cookie: a=b}}}", "no rule changes `Set-Cookie`"),
            ("{response: {set: {Access-Control-Allow-Origin: \"*\"}}}", "`cors` is for that"),
            ("{response: {set: {Content-Length: \"1\"}}}", "messages are framed"),
            ("{request: {set: {\"a b\": x}}}", "not the name of a header"),
            ("{request: {set: {X-A: \"a\\nb\"}}}", "visible characters"),
            ("{request: {set: {X-A: \" a\"}}}", "visible characters"),
            ("{request: {set: {X-A: a}, remove: [x-a]}}", "is removed and put there"),
            ("{request: {set: {X-A: a, x-a: b}}}", "there twice"),
            ("{requests: {}}", "unknown key `requests`"),
        ] {
            let shown = refused(&with(headers));
            assert!(shown.contains(message), "{headers}: {shown}");
        }
    }
}
