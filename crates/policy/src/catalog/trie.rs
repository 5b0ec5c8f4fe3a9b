//! Matching of paths, on the hot path of every request.
//!
//! One trie of segments per method. A literal beats a parameter, segment by segment from the left,
//! with backtracking; a walk visits each node at most once and allocates nothing.
//!
//! A path whose segment is a literal in disguise (`%61dmin` where `admin` is declared) matches
//! nothing: here it would be a parameter's value, for an upstream that decodes first another operation.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::template::{Segment, Template};

/// The templates of one method.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<Literal>,
    param: Option<Box<Node>>,
    /// The operation whose template ends here.
    operation: Option<usize>,
}

#[derive(Debug)]
struct Literal {
    text: Box<str>,
    node: Node,
}

enum Step {
    Found(usize),
    Nothing,
    /// The path can be read in two ways.
    Disguised,
}

impl Trie {
    /// Adds a template. `Err` is the operation that matches exactly the same paths already.
    pub(super) fn insert(&mut self, template: &Template, operation: usize) -> Result<(), usize> {
        let mut node = &mut self.root;
        for segment in template.segments() {
            node = match segment {
                Segment::Literal(text) => node.literal_mut(text),
                Segment::Param(_) => node.param.get_or_insert_default(),
            };
        }
        if let Some(other) = node.operation {
            return Err(other);
        }
        node.operation = Some(operation);
        Ok(())
    }

    /// The operation that `path` leads to.
    pub(super) fn lookup(&self, path: &str) -> Option<usize> {
        match self.root.step(path.strip_prefix('/')?) {
            Step::Found(operation) => Some(operation),
            Step::Nothing | Step::Disguised => None,
        }
    }
}

impl Node {
    fn literal_mut(&mut self, text: &str) -> &mut Self {
        let at = match self.literals.binary_search_by(|literal| (*literal.text).cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, Literal { text: text.into(), node: Self::default() });
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the index was just found or filled")]
        &mut self.literals[at].node
    }

    fn literal(&self, text: &str) -> Option<&Self> {
        let at = self.literals.binary_search_by(|literal| (*literal.text).cmp(text)).ok()?;
        self.literals.get(at).map(|literal| &literal.node)
    }

    fn step(&self, rest: &str) -> Step {
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(node) = self.literal(segment) {
            match node.end_or_step(rest) {
                Step::Nothing => {}
                step @ (Step::Found(_) | Step::Disguised) => return step,
            }
        } else if segment.contains('%') && self.disguises(segment) {
            return Step::Disguised;
        }
        match &self.param {
            Some(node) if !segment.is_empty() => node.end_or_step(rest),
            Some(_) | None => Step::Nothing,
        }
    }

    fn end_or_step(&self, rest: Option<&str>) -> Step {
        match rest {
            Some(rest) => self.step(rest),
            None => self.operation.map_or(Step::Nothing, Step::Found),
        }
    }

    fn disguises(&self, segment: &str) -> bool {
        let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
        self.literals
            .iter()
            .any(|literal| percent_decode_str(&literal.text).eq(decoded.iter().copied()))
    }
}
