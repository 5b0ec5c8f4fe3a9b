//! All paths of a service as one automaton: a document is walked once, one step per member or element,
//! whatever the number of paths.
//!
//! Names are compared without regard to the case of ASCII letters: an upstream that answers `Email` where
//! `email` is declared says the same thing. What is below a sensitive place is sensitive.

use std::collections::{BTreeSet, HashMap};

use super::{
    ClassSet,
    path::{Path, Selector},
};

/// Where a walk is: what paths can still lead to below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(u32);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automaton {
    nodes: Vec<Node>,
    /// In place of a node that is not there, which does not happen: everything is sensitive.
    missing: Node,
}

/// The paths together are more than can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its paths together are too complex to follow; use fewer `..` in one path")]
pub struct TooComplex;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// What a scalar here is.
    classes: ClassSet,
    /// Whether everything below is as this.
    is_settled: bool,
    /// Members that lead elsewhere than others do, in lower case.
    members: Vec<(Box<[u8]>, At)>,
    /// Bit i: some of them is i bytes long, modulo 64.
    lengths: u64,
    /// All other members.
    other: At,
    /// Elements from this index on, up to the next one's. The first is 0.
    elements: Vec<(u64, At)>,
    /// The root of a document that stands here as text.
    within: At,
}

/// Places in paths, one behind each segment that was taken, and the classes that were reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Reached {
    places: BTreeSet<(usize, usize)>,
    classes: u64,
}

/// What a step is taken to.
#[derive(Clone, Copy)]
enum Child<'k> {
    Member(&'k str),
    OtherMember,
    Element(u64),
}

const MOST: usize = 4096;

impl Automaton {
    /// Of paths, each with the number of its class.
    pub fn new<'p>(paths: impl Iterator<Item = (usize, &'p Path)>) -> Result<Self, TooComplex> {
        let mut building = Building { paths: paths.collect(), ..Building::default() };
        building.build()?;
        let missing = Node {
            classes: ClassSet(u64::MAX),
            is_settled: true,
            members: Vec::new(),
            lengths: 0,
            other: At(u32::MAX),
            elements: Vec::new(),
            within: At(u32::MAX),
        };
        Ok(Self { nodes: building.nodes, missing })
    }

    /// The root of a document.
    pub fn root() -> At {
        At(0)
    }

    /// The member of this name.
    #[inline]
    pub fn member(&self, at: At, name: &[u8]) -> At {
        let node = self.node(at);
        if node.lengths & length(name) == 0 {
            return node.other;
        }
        let found = node.members.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(node.other, |(_, next)| *next)
    }

    /// The element of this index.
    #[inline]
    pub fn element(&self, at: At, index: u64) -> At {
        let elements = &self.node(at).elements;
        match elements.as_slice() {
            [(_, next)] => *next,
            elements => {
                let found = elements.iter().rev().find(|(from, _)| *from <= index);
                found.map_or(At(u32::MAX), |(_, next)| *next)
            }
        }
    }

    /// What a scalar there is.
    #[inline]
    pub fn classes(&self, at: At) -> ClassSet {
        self.node(at).classes
    }

    /// Whether all that is below it is as it is.
    #[inline]
    pub fn is_settled(&self, at: At) -> bool {
        self.node(at).is_settled
    }

    /// The root of a document that stands there as text: its own paths, and those that lead on from there.
    pub fn within(&self, at: At) -> At {
        self.node(at).within
    }

    #[inline]
    fn node(&self, at: At) -> &Node {
        usize::try_from(at.0).ok().and_then(|at| self.nodes.get(at)).unwrap_or(&self.missing)
    }
}

fn length(name: &[u8]) -> u64 {
    1 << (name.len() % 64)
}

#[derive(Default)]
struct Building<'p> {
    paths: Vec<(usize, &'p Path)>,
    known: HashMap<Reached, u32>,
    waiting: Vec<Reached>,
    nodes: Vec<Node>,
}

impl Building<'_> {
    fn build(&mut self) -> Result<(), TooComplex> {
        let mut root = Reached::default();
        for at in 0..self.paths.len() {
            self.reach(&mut root, at, 0);
        }
        self.place(root.clone());
        while let Some(reached) = self.waiting.get(self.nodes.len()).cloned() {
            if self.nodes.len() >= MOST {
                return Err(TooComplex);
            }
            let node = self.node(&reached, &root);
            self.nodes.push(node);
        }
        Ok(())
    }

    fn node(&mut self, reached: &Reached, root: &Reached) -> Node {
        let (mut names, mut starts) = (BTreeSet::new(), BTreeSet::from([0]));
        for selector in self.selectors(reached) {
            match selector {
                Selector::Name(name) => drop(names.insert(name.to_ascii_lowercase())),
                Selector::Elements(from, until) => starts.extend([*from, *until]),
                Selector::Any => {}
            }
        }
        let other = self.step(reached, Child::OtherMember);
        let mut members = Vec::new();
        for name in names {
            let next = self.step(reached, Child::Member(&name));
            members.push((name.into_bytes().into_boxed_slice(), next));
        }
        let elements: Vec<_> = starts
            .into_iter()
            .map(|from| (from, self.step(reached, Child::Element(from))))
            .collect();
        let mut both = reached.clone();
        both.classes |= root.classes;
        both.places.extend(&root.places);
        let within = self.place(both);
        let is_settled = reached.places.is_empty();
        let lengths = members.iter().fold(0, |lengths, (name, _)| lengths | length(name));
        let classes = ClassSet(reached.classes);
        Node { classes, is_settled, members, lengths, other, elements, within }
    }

    fn selectors(&self, reached: &Reached) -> Vec<&Selector> {
        let steps = reached.places.iter().filter_map(|(path, step)| {
            let (_, path) = self.paths.get(*path)?;
            path.steps().get(*step)
        });
        steps.flat_map(|step| &step.selectors).collect()
    }

    fn step(&mut self, from: &Reached, child: Child<'_>) -> At {
        let mut to = Reached { places: BTreeSet::new(), classes: from.classes };
        for (at, place) in &from.places {
            let step = self.paths.get(*at).and_then(|(_, path)| path.steps().get(*place));
            let Some(step) = step else { continue };
            if step.is_deep {
                to.places.insert((*at, *place));
            }
            if step.selectors.iter().any(|selector| selects(selector, child)) {
                self.reach(&mut to, *at, place + 1);
            }
        }
        self.place(to)
    }

    /// Behind so many segments of a path.
    fn reach(&self, reached: &mut Reached, at: usize, place: usize) {
        let Some((class, path)) = self.paths.get(at) else { return };
        if place < path.steps().len() {
            reached.places.insert((at, place));
        } else {
            reached.classes |= ClassSet::default().with(*class).0;
        }
    }

    fn place(&mut self, mut reached: Reached) -> At {
        // What is of a class stays of it: where else its paths lead does not matter.
        let classes = ClassSet(reached.classes);
        let leads_on = |at: usize| self.paths.get(at).is_some_and(|(of, _)| !classes.contains(*of));
        reached.places.retain(|(at, _)| leads_on(*at));
        let next = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let place = *self.known.entry(reached.clone()).or_insert(next);
        if place == next {
            self.waiting.push(reached);
        }
        At(place)
    }
}

fn selects(selector: &Selector, child: Child<'_>) -> bool {
    match (selector, child) {
        (Selector::Any, _) => true,
        (Selector::Name(name), Child::Member(key)) => name.eq_ignore_ascii_case(key),
        (Selector::Elements(from, until), Child::Element(index)) => {
            (*from..*until).contains(&index)
        }
        (Selector::Name(_) | Selector::Elements(..), _) => false,
    }
}

#[cfg(test)]
#[path = "automaton_tests.rs"]
mod tests;
