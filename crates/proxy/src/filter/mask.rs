//! Masks what is sensitive in answers, as they stream.
//!
//! Whatever passes here was understood: text that is not well-formed, a coding that is unknown, a kind of
//! content that cannot be looked into end the answer, and never pass. Memory is bounded whatever comes.
//! A mask keeps the type of what it hides: `"***"`, `0`, `false`; a null stays null.
//!
//! What it does not do: it finds fields, not meanings. A card number in the prose of a field that nobody
//! declared is found by recognisers, if a class has them, and not otherwise.

pub(crate) mod answer;
pub(crate) mod beside;
pub(crate) mod coding;
mod events;
pub(crate) mod head;
mod json;
mod messages;
mod nested;
mod recognise;
mod scan;
mod telling;

use std::sync::Arc;

use portcullis_policy::{ClassSet, Sensitive, sensitive::automaton::Automaton};

pub(crate) use self::{
    json::{Framing, Json},
    telling::tells,
};

/// Why an answer cannot be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The text breaks the grammar of JSON, or is not UTF-8.
    #[error("it is not well-formed JSON in UTF-8")]
    NotJson,
    /// It is nested too deeply.
    #[error("it is nested deeper than {MOST_DEEP} levels")]
    TooDeep,
    /// A name is too long to be compared.
    #[error("a name in it has more than {LONGEST_NAME} bytes")]
    LongName,
    /// Its type is none that can be looked into.
    #[error("its content type is none that can be inspected")]
    Type,
    /// Its coding is none that can be undone.
    #[error("its content coding is none that can be decoded")]
    Coding,
    /// What it is packed in is broken.
    #[error("it cannot be decoded")]
    Undecodable,
    /// It unpacks to far more than it is.
    #[error("it unpacks to too much")]
    Bomb,
    /// An event or a message is too large to be held.
    #[error("a message in it has more than {MOST_HELD} bytes")]
    TooLarge,
    /// It is only a part, or comes in a way that hides parts of it.
    #[error("it is an answer to a question that was not asked")]
    Unasked,
    /// Masking panicked.
    #[error("masking it failed")]
    Panicked,
}

/// The most levels of a document.
const MOST_DEEP: usize = 512;
/// The most bytes of a name.
const LONGEST_NAME: usize = 64 * 1024;
/// The most bytes of text that may turn out to be a document, and of a message that is masked as a whole.
const MOST_HELD: usize = 1024 * 1024;

/// What stands in place of a string.
const HIDDEN: &[u8] = b"***";

/// What is masked in one answer.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    sensitive: Arc<Sensitive>,
    classes: ClassSet,
}

impl Rules {
    /// Masks `classes`.
    pub(crate) fn new(sensitive: Arc<Sensitive>, classes: ClassSet) -> Self {
        Self { sensitive, classes }
    }

    /// Whether any of them is found by its looks.
    fn recognises(&self) -> bool {
        self.classes.0 & self.sensitive.recognised.0 != 0
    }

    fn automaton(&self) -> &Automaton {
        &self.sensitive.automaton
    }

    /// Whether of these classes each shows the end of a value.
    fn shows_end(&self, classes: ClassSet) -> bool {
        classes.0 & !self.sensitive.last_four.0 == 0
    }
}

/// What stands in place of `text`, which is of these classes, without its quotes.
fn mask_of(text: &str, shows_end: bool) -> String {
    /// Of shorter ones, four characters say too much.
    const LONG: usize = 12;
    let mut mask = String::from_utf8_lossy(HIDDEN).into_owned();
    let is_number = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -.".contains(&byte));
    let parts: Vec<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    if shows_end && is_number && parts.len() >= LONG {
        mask.extend(parts.iter().skip(parts.len() - 4));
    }
    mask
}

/// Masks one message, which must be a document, and says what was masked.
pub(crate) fn mask_message(bytes: &[u8], rules: &Rules) -> Result<(Vec<u8>, ClassSet), Trouble> {
    let mut masked = Vec::with_capacity(bytes.len());
    let mut json = Json::new(rules.clone(), Framing::One);
    json.push(bytes, &mut masked)?;
    json.finish(&mut masked)?;
    Ok((masked, json.met()))
}

/// The most bytes of a message that is masked as a whole.
pub(crate) const MOST_MESSAGE: usize = MOST_HELD;

/// Masks a whole document of this content type: a body that people look at.
pub fn mask_document(
    bytes: &[u8],
    content_type: &str,
    sensitive: &Arc<Sensitive>,
    classes: ClassSet,
) -> Result<Vec<u8>, Trouble> {
    let framing = Framing::of(content_type).ok_or(Trouble::Type)?;
    let rules = Rules::new(Arc::clone(sensitive), classes);
    let mut masked = Vec::with_capacity(bytes.len());
    let mut json = Json::new(rules, framing);
    json.push(bytes, &mut masked)?;
    json.finish(&mut masked)?;
    Ok(masked)
}

#[cfg(test)]
mod tests;
