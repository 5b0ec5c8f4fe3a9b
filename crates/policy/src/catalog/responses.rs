//! What answers are declared to have in them: enough to find paths of sensitive data that lead nowhere.
//!
//! Nothing here decides anything. A path that no answer and no request is declared to have is most
//! likely misspelt, and what it should have masked is not masked.

use std::collections::HashSet;

use portcullis_model::ClassName;

use super::document::{Document, Node, Tree};
use crate::{
    ServiceSource,
    bundle::OperationsSource,
    sensitive::{
        Path,
        path::{Selector, Step},
    },
};

/// The keys of a path item that are methods.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// The paths of sensitive data that lead nowhere, by class. None where some operation does not declare
/// what it answers: then nobody can tell.
pub fn leading_nowhere(source: &ServiceSource) -> Vec<(ClassName, Path)> {
    let (Some(sensitive), OperationsSource::OpenApi { path, text }) =
        (&source.edge.sensitive, &source.operations)
    else {
        return Vec::new();
    };
    let Ok(document) = Document::parse(path, text) else { return Vec::new() };
    let Some(schemas) = schemas(&document) else { return Vec::new() };
    let classes = sensitive.classes.iter();
    let paths = classes.flat_map(|class| class.paths.iter().map(|path| (&class.name, path)));
    let parsed =
        paths.filter_map(|(class, text)| Some((class.clone(), text.parse::<Path>().ok()?)));
    let nowhere = |(_, path): &(ClassName, Path)| {
        let mut search = Search { document: &document, seen: HashSet::new() };
        !schemas.iter().any(|schema| search.leads(schema, path.steps()))
    };
    parsed.filter(nowhere).collect()
}

/// The schemas of all bodies, if every answer declares its own.
fn schemas<'d>(document: &'d Document<'_>) -> Option<Vec<&'d Node>> {
    let mut found = Vec::new();
    let paths = document.root().at("paths")?;
    for (_, item) in paths.entries().filter(|(path, _)| !path.starts_with("x-")) {
        let item = document.resolve(item).ok()?;
        for (_, operation) in item.entries().filter(|(key, _)| METHODS.contains(key)) {
            if let Some(body) = operation.at("requestBody") {
                found.extend(of_content(document.resolve(body).ok()?)?);
            }
            let responses = operation.at("responses")?;
            for (status, response) in responses.entries() {
                let response = document.resolve(response).ok()?;
                if !is_empty(status) {
                    found.extend(of_content(response)?);
                }
            }
        }
    }
    Some(found)
}

/// Answers that have no body.
fn is_empty(status: &str) -> bool {
    status.starts_with('1') || matches!(status, "204" | "205" | "304")
}

fn of_content(body: &Node) -> Option<Vec<&Node>> {
    body.at("content")?.entries().map(|(_, content)| content.at("schema")).collect()
}

/// A search for one path.
struct Search<'d> {
    document: &'d Document<'d>,
    /// Schemas that were looked at, with the number of steps that were left there.
    seen: HashSet<(*const Node, usize)>,
}

impl Search<'_> {
    /// Whether what `schema` describes may have something at the end of `steps`.
    fn leads(&mut self, schema: &Node, steps: &[Step]) -> bool {
        let Some((step, rest)) = steps.split_first() else { return true };
        // What nobody understands may be anything.
        let Ok(schema) = self.document.resolve(schema) else { return true };
        if !self.seen.insert((std::ptr::from_ref(schema), steps.len())) {
            return false;
        }
        if says_nothing(schema) {
            return true;
        }
        let of_all = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.at(key));
        if of_all.flat_map(Node::items).any(|part| self.leads(part, steps)) {
            return true;
        }
        let wants = |name: &str| step.selectors.iter().any(|selector| selects(selector, name));
        let members = schema.at("properties").into_iter().flat_map(Node::entries);
        for (name, member) in members {
            if (wants(name) && self.leads(member, rest))
                || (step.is_deep && self.leads(member, steps))
            {
                return true;
            }
        }
        let names = step.selectors.iter().any(|one| !matches!(one, Selector::Elements(..)));
        let more = ["additionalProperties", "patternProperties"].into_iter();
        for member in more.filter_map(|key| schema.at(key)) {
            match &member.tree {
                Tree::Bool(false) => {}
                Tree::Map(_) => {
                    if (names && self.leads(member, rest))
                        || (step.is_deep && self.leads(member, steps))
                    {
                        return true;
                    }
                }
                _ => return true,
            }
        }
        let indices = step.selectors.iter().any(|one| !matches!(one, Selector::Name(_)));
        let items = schema.at("items").into_iter();
        let items = items.chain(schema.at("prefixItems").into_iter().flat_map(Node::items));
        for item in items {
            if (indices && self.leads(item, rest)) || (step.is_deep && self.leads(item, steps)) {
                return true;
            }
        }
        false
    }
}

fn selects(selector: &Selector, name: &str) -> bool {
    match selector {
        Selector::Name(own) => **own == *name,
        Selector::Any => true,
        Selector::Elements(..) => false,
    }
}

/// A schema that admits whatever comes: an object without properties, a list of anything, or no schema.
fn says_nothing(schema: &Node) -> bool {
    const INSIDE: [&str; 8] = [
        "properties",
        "additionalProperties",
        "patternProperties",
        "items",
        "prefixItems",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    if INSIDE.iter().any(|key| schema.at(key).is_some()) {
        return false;
    }
    let scalar = |ty: &str| matches!(ty, "string" | "number" | "integer" | "boolean" | "null");
    match schema.at("type").map(|ty| &ty.tree) {
        Some(Tree::Text(ty)) => !scalar(ty),
        Some(Tree::List(types)) => !types.iter().all(|ty| ty.text().is_some_and(scalar)),
        _ => schema.at("enum").is_none() && schema.at("const").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitive::{ClassSource, Mask, SensitiveSource};

    const ORDER: &str = r##"{"openapi": "3.1.0", "info": {"title": "orders", "version": "1"},
      "paths": {"/orders/{id}": {"get": {"operationId": "getOrder", "responses": {
          "200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
          "304": {"description": "the same"}}}}},
      "components": {"schemas": {
        "Order": {"type": "object", "properties": {
          "customer": {"type": "object", "properties": {"email": {"type": "string"}}},
          "lines": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/Line"}]}},
          "notes": {"type": "object"},
          "parent": {"$ref": "#/components/schemas/Order"}}},
        "Line": {"type": "object", "properties": {"card": {"type": ["string", "null"]}}}}}}"##;

    fn nowhere(text: &str, paths: &[&str]) -> Vec<String> {
        let mut source = crate::fixture::source("").services.remove(0);
        source.operations =
            OperationsSource::OpenApi { path: "api.json".into(), text: text.to_owned() };
        let class = ClassSource {
            name: "pci".parse().unwrap(),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            mask: Mask::Full,
            recognise: Vec::new(),
        };
        source.edge.sensitive = Some(SensitiveSource { classes: vec![class] });
        leading_nowhere(&source).into_iter().map(|(_, path)| path.to_string()).collect()
    }

    #[test]
    fn misspelt_paths_are_found_and_others_are_not() {
        for found in [
            "$.custmer.email",
            "$.customer.mail",
            "$.lines.card",
            "$.lines[*].crad",
            "$.customer[0]",
        ] {
            assert_eq!(nowhere(ORDER, &[found]), [found]);
        }
        // Notes may have anything in them.
        assert_eq!(nowhere(ORDER, &["$..emial"]), [""; 0]);
        let declared = ORDER.replace(r#""notes": {"type": "object"},"#, "");
        assert_eq!(nowhere(&declared, &["$..emial"]), ["$..emial"]);
        let sound = [
            "$.customer.email",
            "$..email",
            "$..card",
            "$.lines[*].card",
            "$.lines[0].card",
            "$.*.email",
            "$.notes.any.thing",
            "$.parent.parent.customer.email",
            "$.customer",
        ];
        assert_eq!(nowhere(ORDER, &sound), [""; 0]);
    }

    #[test]
    fn where_answers_are_not_declared_nothing_is_said() {
        let silent = ORDER
            .replace(r#""304": {"description": "the same"}"#, r#""400": {"description": "wrong"}"#);
        assert_eq!(nowhere(&silent, &["$.custmer.email"]), [""; 0]);
    }
}
