//! One YAML file as a tree in which every node knows its place.
//!
//! Deserializing into structs would stop at the first mistake; a tree can be read to the end, so
//! that all mistakes are reported at once. Anchors and merges are expanded within a budget.

use std::{fmt, path::Path};

use portcullis_policy::LoadError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A file of more bytes than this is no configuration.
const LARGEST_FILE: usize = 4 << 20;

/// A parsed file.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its path as messages name it, relative to the configuration file's folder.
    pub(crate) file: String,
    text: String,
    root: Node,
}

/// A value and where it stands.
pub(crate) type Node = Spanned<Tree>;

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Tree {
    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Document {
    /// Reads `base/file`.
    pub(crate) fn read(base: &Path, file: &str) -> Result<Self, Box<LoadError>> {
        let text = std::fs::read_to_string(base.join(file)).map_err(|error| {
            let help = Some("check the path and its permissions".into());
            let message = format!("cannot be read: {error}");
            located(file, "", Location::UNKNOWN, message, help)
        })?;
        Self::parse(file, text)
    }

    /// Parses `text`.
    pub(crate) fn parse(file: &str, text: String) -> Result<Self, Box<LoadError>> {
        if text.len() > LARGEST_FILE {
            let help = Some("split it and name the parts under `include`".into());
            let message = format!("is larger than {LARGEST_FILE} bytes");
            return Err(Box::new(located(file, "", Location::UNKNOWN, message, help)));
        }
        match serde_saphyr::from_str_with_options::<Node>(&text, options()) {
            Ok(root) => Ok(Self { file: file.to_owned(), text, root }),
            Err(error) => Err(Box::new(syntax_error(file, &text, &error))),
        }
    }

    /// The whole document.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A mistake at `at`.
    pub(crate) fn error(&self, at: Location, message: String, help: Option<String>) -> LoadError {
        located(&self.file, &self.text, at, message, help)
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 200_000,
            max_events: 500_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_depth: 64,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

fn syntax_error(file: &str, text: &str, error: &serde_saphyr::Error) -> LoadError {
    let at = error.location().unwrap_or(Location::UNKNOWN);
    let message = error.without_snippet().render();
    let message = message.lines().next().unwrap_or("is not YAML");
    // The place is told by the error itself; the library's text repeats it.
    let message = message.split(" at line ").next().unwrap_or(message);
    located(file, text, at, format!("not valid YAML: {message}"), None)
}

fn located(
    file: &str,
    text: &str,
    at: Location,
    message: String,
    help: Option<String>,
) -> LoadError {
    let line = usize::try_from(at.line()).ok().filter(|line| *line > 0);
    let column = usize::try_from(at.column()).ok().filter(|column| *column > 0);
    let snippet = line.and_then(|line| text.lines().nth(line - 1)).map(str::to_owned);
    LoadError { file: file.to_owned(), line, column, snippet, message, help }
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
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
