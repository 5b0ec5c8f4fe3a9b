//! An OpenAPI document as a tree with lines, so that a mistake is shown where it was made.
//!
//! YAML and JSON alike. Duplicate keys do not parse: a document has one meaning.

use std::fmt;

use indexmap::IndexMap;
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::declared::Place;

/// References that lead to references: more than this is a circle.
const MAX_HOPS: usize = 32;

/// A parsed document.
#[derive(Debug)]
pub(super) struct Document<'a> {
    path: &'a str,
    text: &'a str,
    root: Node,
}

/// A value of the tree and the line of its key, or of itself in a list.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: Option<usize>,
    pub(super) tree: Tree,
}

/// What a node holds. Numbers keep only what declarations need of them.
#[derive(Debug)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Integer,
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(IndexMap<String, Node>),
}

impl<'a> Document<'a> {
    /// Parses `text`; the error has its place.
    pub(super) fn parse(path: &'a str, text: &'a str) -> Result<Self, Box<crate::LoadError>> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            budget: serde_saphyr::budget! { max_depth: 256, max_nodes: 2_000_000, max_events: 8_000_000 },
        };
        let parsed = match serde_saphyr::from_str_with_options(text, options) {
            Ok(root) => Ok(root),
            // JSON allows tabs between tokens, YAML does not.
            Err(error) => serde_json::from_str(text).map_err(|_| error),
        };
        match parsed {
            Ok(root) => Ok(Self { path, text, root }),
            Err(error) => {
                let line = error.location().as_ref().and_then(line);
                let place = Place::in_text(path, text, line);
                let what = error.to_string();
                let what = what.lines().next().unwrap_or("it is no YAML");
                Err(Box::new(place.error(format!("the document does not parse: {what}"), None)))
            }
        }
    }

    /// Its root.
    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// The place of a line of it.
    pub(super) fn place(&self, line: Option<usize>) -> Place {
        Place::in_text(self.path, self.text, line)
    }

    /// `node`, or what its `$ref` leads to in the end.
    pub(super) fn resolve<'d>(&'d self, node: &'d Node) -> Result<&'d Node, String> {
        let mut node = node;
        for _ in 0..MAX_HOPS {
            let Some(reference) = node.reference() else { return Ok(node) };
            node = self.lookup(reference).ok_or_else(|| match reference.strip_prefix('#') {
                Some(_) => format!("reference `{reference}` leads nowhere"),
                None => format!("reference `{reference}` leads out of the document"),
            })?;
        }
        Err("references run in a circle".to_owned())
    }

    /// RFC 6901, as a fragment (section 6).
    pub(super) fn lookup(&self, reference: &str) -> Option<&Node> {
        let pointer = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
        if pointer.is_empty() {
            return Some(&self.root);
        }
        let steps = pointer.strip_prefix('/')?.split('/');
        steps.map(|step| step.replace("~1", "/").replace("~0", "~")).try_fold(
            &self.root,
            |node, step| match &node.tree {
                Tree::Map(map) => map.get(&step),
                Tree::List(list) => list.get(step.parse::<usize>().ok()?),
                Tree::Null | Tree::Bool(_) | Tree::Integer | Tree::Number(_) | Tree::Text(_) => {
                    None
                }
            },
        )
    }
}

impl Node {
    /// The value under `key`, if this is a map that has one.
    pub(super) fn at(&self, key: &str) -> Option<&Self> {
        match &self.tree {
            Tree::Map(map) => map.get(key),
            Tree::Null
            | Tree::Bool(_)
            | Tree::Integer
            | Tree::Number(_)
            | Tree::Text(_)
            | Tree::List(_) => None,
        }
    }

    /// Its entries, if it is a map.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let map = if let Tree::Map(map) = &self.tree { Some(map) } else { None };
        map.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    /// Its items, if it is a list.
    pub(super) fn items(&self) -> &[Self] {
        if let Tree::List(items) = &self.tree { items } else { &[] }
    }

    /// Its text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Tree::Text(text) = &self.tree { Some(text) } else { None }
    }

    /// The text under `key`.
    pub(super) fn text_at(&self, key: &str) -> Option<&str> {
        self.at(key)?.text()
    }

    /// Whether `key` holds `true`.
    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.at(key), Some(Self { tree: Tree::Bool(true), .. }))
    }

    /// Its `$ref`.
    pub(super) fn reference(&self) -> Option<&str> {
        self.text_at("$ref")
    }
}

impl Place {
    fn in_text(path: &str, text: &str, line: Option<usize>) -> Self {
        let snippet = line.and_then(|line| text.lines().nth(line.checked_sub(1)?));
        Self { file: path.to_owned(), line, snippet: snippet.map(str::to_owned) }
    }
}

fn line(location: &Location) -> Option<usize> {
    usize::try_from(location.line()).ok().filter(|line| *line > 0)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: line(&spanned.referenced), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML or JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Integer)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Integer)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = IndexMap::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let mut node: Node = entries.next_value()?;
            node.line = line(&key.referenced).or(node.line);
            if map.contains_key(&key.value) {
                return Err(A::Error::custom(format_args!("duplicate key `{}`", key.value)));
            }
            map.insert(key.value, node);
        }
        Ok(Tree::Map(map))
    }
}
