//! Operations from an OpenAPI 3.0 or 3.1 document.

mod bodies;
mod params;

use super::{
    declared::{Body, Document, Draft, Media, Param},
    document::{self, Node, Tree},
    schema::Reader,
    template::{self, Template},
};
use crate::LoadError;

/// The keys of a path item that are methods.
const METHOD_KEYS: [&str; 8] =
    ["get", "head", "post", "put", "patch", "delete", "options", "trace"];

/// All operations of the document `text`; mistakes go to `errors`.
pub(super) fn drafts(path: &str, text: &str, errors: &mut Vec<LoadError>) -> Vec<Draft> {
    let document = match document::Document::parse(path, text) {
        Ok(document) => document,
        Err(error) => {
            errors.push(*error);
            return Vec::new();
        }
    };
    let mut walk = Walk { document: &document, errors, drafts: Vec::new() };
    walk.document();
    walk.drafts
}

struct Walk<'d, 'e> {
    document: &'d document::Document<'d>,
    errors: &'e mut Vec<LoadError>,
    drafts: Vec<Draft>,
}

/// A path and what all its operations share.
struct Item<'d> {
    path: &'d str,
    node: &'d Node,
    servers: Option<&'d Node>,
}

impl<'d> Walk<'d, '_> {
    fn document(&mut self) {
        let root = self.document.root();
        if !is_supported(root) {
            let at = root.at("openapi").or_else(|| root.at("swagger")).unwrap_or(root);
            let help = "write or convert it as OpenAPI 3.0 or 3.1";
            self.report(at.line, "this is no OpenAPI 3.0 or 3.1 document".to_owned(), Some(help));
            return;
        }
        let Some(paths) = root.at("paths") else {
            let help = "describe the operations under `paths`";
            self.report(root.line, "the document has no `paths`".to_owned(), Some(help));
            return;
        };
        for (path, node) in paths.entries().filter(|(path, _)| !path.starts_with("x-")) {
            match self.document.resolve(node) {
                Ok(resolved) => {
                    let servers = resolved.at("servers").or_else(|| root.at("servers"));
                    self.item(&Item { path, node: resolved, servers });
                }
                Err(what) => self.report(node.line, format!("path `{path}`: {what}"), None),
            }
        }
    }

    fn report(&mut self, line: Option<usize>, message: String, help: Option<&str>) {
        let place = self.document.place(line);
        self.errors.push(place.error(message, help.map(str::to_owned)));
    }

    fn item(&mut self, item: &Item<'d>) {
        let methods = item.node.entries().filter(|(key, _)| METHOD_KEYS.contains(key));
        for (key, operation) in methods {
            let method = key.to_ascii_uppercase();
            let id = operation.at("operationId");
            let line = id.and_then(|id| id.line).or(operation.line);
            let name = match id {
                Some(id) => id.text().unwrap_or_default().to_owned(),
                None => format!("{method}_{}", item.path),
            };
            let servers = operation.at("servers").or(item.servers);
            let template = base_path(servers)
                .and_then(|base| Template::parse(&base, item.path))
                .map_err(|what| self.report(line, format!("operation `{name}`: {what}"), None));
            let Ok(template) = template else { continue };
            let params = self.params(item, operation, &template);
            let body = operation.at("requestBody").and_then(|body| self.body(body));
            let place = self.document.place(line);
            let method = method.into();
            self.drafts.push(Draft {
                name,
                method,
                template: Some(template),
                params,
                body: body.map(Body::Document),
                group: None,
                protobuf: None,
                place,
            });
        }
    }

    /// The parameters of an operation over those of its path, which they replace by name and place.
    fn params(&mut self, item: &Item<'d>, operation: &'d Node, template: &Template) -> Vec<Param> {
        let mut declared: Vec<(&str, &str, &'d Node)> = Vec::new();
        let list = |node: &'d Node| node.at("parameters").map_or(&[][..], Node::items);
        for node in list(item.node).iter().chain(list(operation)) {
            match self.document.resolve(node) {
                Ok(param) => {
                    let place = param.text_at("in").unwrap_or_default();
                    let name = param.text_at("name").unwrap_or_default();
                    declared.retain(|(other, own, _)| {
                        *other != place || !params::is_same(place, own, name)
                    });
                    declared.push((place, name, param));
                }
                Err(what) => self.report(node.line, format!("parameter: {what}"), None),
            }
        }
        let in_path = |name: &str| template.params().any(|(_, own)| **own == *name);
        let mut params = Vec::new();
        for (place, name, node) in &declared {
            if *place == "path" && !in_path(name) {
                let message = format!("parameter `{name}` is not in the path `{}`", item.path);
                self.report(node.line, message, None);
            }
            let mut reader = Reader::new(self.document);
            params.extend(params::param(&mut reader, self.document, place, name, node));
            self.report_all(reader);
        }
        let named =
            |name: &str| declared.iter().any(|(place, own, _)| *place == "path" && *own == name);
        params.extend(
            template.params().filter(|(_, name)| !named(name)).map(|(_, name)| Param::text(name)),
        );
        params::without_twins(params, &declared)
    }

    fn body(&mut self, node: &'d Node) -> Option<Document> {
        let body = match self.document.resolve(node) {
            Ok(body) => body,
            Err(what) => {
                self.report(node.line, format!("request body: {what}"), None);
                return None;
            }
        };
        let mut media: Vec<Media> = Vec::new();
        for (name, node) in body.at("content")?.entries() {
            let (read, reader) = bodies::media(self.document, name, node);
            self.report_all(reader);
            bodies::add(&mut media, read);
        }
        bodies::document(media, body.flag("required"))
    }

    fn report_all(&mut self, reader: Reader<'d>) {
        for (line, problem) in reader.into_problems() {
            self.report(line, problem, None);
        }
    }
}

fn is_supported(root: &Node) -> bool {
    match root.at("openapi").map(|node| &node.tree) {
        Some(Tree::Text(version)) => ["3.0", "3.1"].iter().any(|known| {
            version.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }),
        // YAML reads an unquoted 3.1 as a number.
        Some(Tree::Number(version)) => {
            [3.0, 3.1].iter().any(|known| (version - known).abs() < 1e-9)
        }
        Some(Tree::Null | Tree::Bool(_) | Tree::Integer | Tree::List(_) | Tree::Map(_)) | None => {
            false
        }
    }
}

/// The path of the first server's URL, as a prefix; defaults stand in for its variables.
fn base_path(servers: Option<&Node>) -> Result<String, String> {
    let Some(server) = servers.and_then(|servers| servers.items().first()) else {
        return Ok(String::new());
    };
    let mut url = server.text_at("url").unwrap_or("/").to_owned();
    for (name, variable) in server.at("variables").into_iter().flat_map(Node::entries) {
        url = url.replace(&format!("{{{name}}}"), variable.text_at("default").unwrap_or_default());
    }
    let after_host =
        |rest: &str| rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or("/")).to_owned();
    let path = match url.split_once("://") {
        Some((_, rest)) => after_host(rest),
        None => url.strip_prefix("//").map_or_else(|| url.clone(), after_host),
    };
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    template::prefix(&path).map_err(|what| format!("server `{url}`: {what}"))
}
