//! Reading a tree into settings: every mistake is collected, none stops the reading.
//!
//! A [`Section`] remembers which keys it was asked for, so what is unknown and what was probably
//! meant follow from the code that reads, and no list of keys has to be kept beside it.

use std::{cell::RefCell, fmt::Display, ops::RangeInclusive, str::FromStr};

use portcullis_policy::LoadError;
use serde_saphyr::{Location, Spanned};

use super::document::{Document, Node, Tree};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Problems {
    errors: RefCell<Vec<LoadError>>,
    hidden: RefCell<Vec<String>>,
}

impl std::fmt::Debug for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Problems").field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl Problems {
    /// Adds one.
    pub(crate) fn push(&self, error: LoadError) {
        self.errors.borrow_mut().push(error);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// What must not be shown.
    pub(super) fn hidden(&self) -> Vec<String> {
        self.hidden.borrow().clone()
    }

    /// All of them, by file and line. No snippet shows what is hidden, whatever it was cut for.
    pub(crate) fn into_vec(self) -> Vec<LoadError> {
        let mut errors = self.errors.into_inner();
        for secret in self.hidden.into_inner() {
            for error in &mut errors {
                error.snippet = error.snippet.take().map(|text| text.replace(&secret, "…"));
            }
        }
        errors.sort_by(|a, b| {
            (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
        });
        errors.dedup();
        errors
    }
}

/// A mapping that is being read.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    document: &'a Document,
    problems: &'a Problems,
    at: Location,
    name: String,
    entries: &'a [(Spanned<String>, Node)],
    asked: Vec<&'static str>,
}

/// One value of a section or list, with its name for messages.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    document: &'a Document,
    problems: &'a Problems,
    node: &'a Node,
    name: String,
}

impl<'a> Section<'a> {
    /// The whole document as a section.
    pub(crate) fn root(document: &'a Document, problems: &'a Problems) -> Option<Self> {
        let name = "the file".to_owned();
        Field { document, problems, node: document.root(), name }.section()
    }

    /// The value of an optional key.
    pub(crate) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let (_, node) = self.entries.iter().find(|(name, _)| name.value == key)?;
        let (document, problems) = (self.document, self.problems);
        Some(Field { document, problems, node, name: key.to_owned() })
    }

    /// The value of a key that must be there.
    pub(crate) fn required(&mut self, key: &'static str) -> Option<Field<'a>> {
        let field = self.field(key);
        if field.is_none() {
            self.error(format!("{} lacks `{key}`", self.name), Some(format!("add `{key}: …`")));
        }
        field
    }

    /// A key that this version does not carry out: never accepted and ignored.
    pub(crate) fn unsupported(&mut self, key: &'static str) {
        if let Some(field) = self.field(key) {
            field.unsupported(&format!("`{key}`"));
        }
    }

    /// A mistake of the section as a whole.
    pub(crate) fn error(&self, message: String, help: Option<String>) {
        self.problems.push(self.document.error(self.at, message, help));
    }

    /// The file and line of the section.
    pub(crate) fn place(&self) -> (String, Option<usize>) {
        (self.document.file.clone(), usize::try_from(self.at.line()).ok())
    }

    /// Reports all keys that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries {
            if self.asked.contains(&key.value.as_str()) {
                continue;
            }
            let help = match nearest(&key.value, &self.asked) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            let message = format!("unknown key `{}` in {}", key.value, self.name);
            self.problems.push(self.document.error(key.referenced, message, Some(help)));
        }
    }
}

impl<'a> Field<'a> {
    /// As a mapping with known keys.
    pub(crate) fn section(&self) -> Option<Section<'a>> {
        let entries = self.entries()?;
        let (document, problems, at) = (self.document, self.problems, self.node.referenced);
        let name =
            if self.name == "the file" { self.name.clone() } else { format!("`{}`", self.name) };
        Some(Section { document, problems, at, name, entries, asked: Vec::new() })
    }

    /// As a mapping with free keys.
    pub(crate) fn pairs(&self) -> Vec<(String, Field<'a>)> {
        let entries = self.entries().unwrap_or_default();
        let pairs = entries.iter().map(|(key, node)| {
            (key.value.clone(), Field { node, name: key.value.clone(), ..self.clone() })
        });
        pairs.collect()
    }

    /// As a list.
    pub(crate) fn list(&self) -> Vec<Field<'a>> {
        match &self.node.value {
            Tree::List(items) => {
                let name = |index| format!("{}[{index}]", self.name);
                let items = items.iter().enumerate();
                items.map(|(i, node)| Field { node, name: name(i), ..self.clone() }).collect()
            }
            other => self.wrong(other, "a list"),
        }
    }

    /// As a list of sections.
    pub(crate) fn sections(&self) -> Vec<Section<'a>> {
        self.list().iter().filter_map(Self::section).collect()
    }

    /// As text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Tree::Text(text) if text.is_empty() => {
                self.error(format!("`{}` is empty", self.name), None);
                None
            }
            Tree::Text(text) => Some(text),
            other => self.wrong(other, "text"),
        }
    }

    /// As text if it is text: for values that may also be a mapping.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a list, for values that may also be one thing.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Tree::List(_))
    }

    /// Whether it is a mapping, for values that may also be text.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Tree::Map(_))
    }

    /// As a list of texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.list().iter().filter_map(Self::text).map(str::to_owned).collect()
    }

    /// As `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Tree::Bool(value) => Some(*value),
            other => self.wrong(other, "true or false"),
        }
    }

    /// As a whole number in `range`.
    pub(crate) fn number(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let Tree::Number(text) = &self.node.value else {
            return self.wrong(&self.node.value, "a number");
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let message = format!("`{}` is a whole number from {least} to {most}", self.name);
            self.error(message, None);
        }
        number
    }

    /// As whatever parses from text.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        let parsed = self.text()?.parse::<T>();
        parsed.map_err(|error| self.error(format!("`{}`: {error}", self.name), None)).ok()
    }

    /// As one of `words`.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let help = nearest(text, &known).map_or_else(
                || format!("it is one of {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.error(format!("`{}` cannot be `{text}`", self.name), Some(help));
        }
        found.map(|(_, value)| *value)
    }

    /// A mistake in this value.
    pub(crate) fn error(&self, message: String, help: Option<String>) {
        self.problems.push(self.mistake(message, help));
    }

    /// One that is not reported, or not yet.
    pub(super) fn mistake(&self, message: String, help: Option<String>) -> LoadError {
        self.document.error(self.node.referenced, message, help)
    }

    /// Keeps this text out of everything that is shown.
    pub(crate) fn hide(&self) {
        if let Tree::Text(text) = &self.node.value {
            self.problems.hidden.borrow_mut().push(text.clone());
        }
    }

    /// Something that this version does not carry out.
    pub(crate) fn unsupported(&self, what: &str) {
        self.error(
            format!("{what} is not supported by this version"),
            Some("take it out: what is not carried out is never accepted and ignored".into()),
        );
    }

    fn entries(&self) -> Option<&'a [(Spanned<String>, Node)]> {
        match &self.node.value {
            Tree::Map(entries) => Some(entries),
            other => self.wrong(other, "a mapping"),
        }
    }

    fn wrong<T: Default>(&self, found: &Tree, wanted: &str) -> T {
        let help = match found {
            Tree::Bool(_) | Tree::Number(_) if wanted == "text" => Some("put it in quotes".into()),
            _ => None,
        };
        let message = format!("`{}` must be {wanted}, and is {}", self.name, found.describe());
        self.error(message, help);
        T::default()
    }
}

/// The known word that `text` was probably meant to be.
pub(crate) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|word| (strsim::damerau_levenshtein(text, word), *word));
    let (distance, word) = scored.min()?;
    (distance <= 1 + text.chars().count() / 4).then_some(word)
}
