//! Names that readers take for one another.
//!
//! Policy decides on a declared name; a reader that repairs names may find another value under it. PHP
//! turns `user.id`, `user id` and `user[id` into `user_id`, cuts names at a NUL and drops what leads them;
//! others ignore case, or make one record of `filter[owner]` and `filter.owner`. A name is folded as the
//! most generous of them would, and one that folds to a declared name without being it is refused.

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use super::{
    declared::{Carrier, Param, Written},
    types::{RecordType, Type},
};

/// Between the keys of a folded name: `filter[owner]` is `filter[owner`.
const KEY: char = '[';

/// The declared names of a query, a form or a record, folded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    exact: HashSet<Arc<str>>,
    /// By what readers make of them.
    whole: HashMap<String, Arc<str>>,
    /// What longer ones begin with: `page` for `page[size]`.
    beginnings: HashMap<String, Arc<str>>,
    /// Folded: what has names inside it.
    records: HashSet<String>,
    /// What is written with keys in brackets.
    deep: Vec<Arc<str>>,
    /// Bytes of the longest of `whole`.
    longest: usize,
}

impl Names {
    /// Those in queries and forms.
    pub(super) fn of_pairs(params: &[Param]) -> Self {
        let mut names = Self::default();
        for param in params {
            let Carrier::Query(written) = param.carrier else { continue };
            names.add(&param.name, &param.field.ty);
            if written == Written::Deep {
                names.deep.push(Arc::clone(&param.name));
            }
        }
        names
    }

    fn of_record(ty: &RecordType) -> Self {
        let mut names = Self::default();
        for (name, field) in &ty.fields {
            names.add(name, &field.ty);
        }
        names
    }

    fn add(&mut self, name: &Arc<str>, ty: &Type) {
        self.exact.insert(Arc::clone(name));
        let folded = folded(name);
        if folded.is_empty() {
            return;
        }
        for (at, _) in folded.match_indices(KEY) {
            let beginning = folded.get(..at).unwrap_or_default().to_owned();
            self.beginnings.insert(beginning, Arc::clone(name));
        }
        if matches!(ty, Type::Record(_)) {
            self.records.insert(folded.clone());
        }
        self.longest = self.longest.max(folded.len());
        self.whole.insert(folded, Arc::clone(name));
    }

    /// Whether `name` is declared as it is, or is a key of what is written with keys.
    pub(super) fn owns(&self, name: &str) -> bool {
        let is_key =
            |deep: &Arc<str>| name.strip_prefix(&**deep).is_some_and(|rest| rest.starts_with(KEY));
        self.exact.contains(name) || self.deep.iter().any(is_key)
    }

    /// The declared name that a reader may take `name` for, which is none.
    pub(super) fn taken_for(&self, name: &str) -> Option<&Arc<str>> {
        if self.exact.is_empty() {
            return None;
        }
        let name = cleaned(name);
        let dotted = || {
            let (base, _) = name.split_once('.')?;
            let folded = folded(base);
            self.records.contains(&folded).then(|| self.whole.get(&folded)).flatten()
        };
        let found = self.found(&folded(name)).or_else(|| {
            // PHP: a bracket that is not closed is an underscore.
            let is_open = name.split_once(KEY).is_some_and(|(_, rest)| !rest.contains(']'));
            is_open.then(|| self.found(&folded(&name.replace(KEY, "_")))).flatten()
        });
        found.or_else(dotted)
    }

    /// What a folded name is, or is a part of, or has as a part.
    fn found(&self, folded: &str) -> Option<&Arc<str>> {
        let ends = folded.match_indices(KEY).map(|(at, _)| at).chain([folded.len()]);
        let mut parts = ends
            .take_while(|end| *end <= self.longest)
            .filter_map(|end| self.whole.get(folded.get(..end)?));
        parts.next().or_else(|| self.beginnings.get(folded))
    }
}

/// Without what readers drop of a name before they read it.
fn cleaned(name: &str) -> &str {
    let name = name.split('\0').next().unwrap_or_default().trim_end_matches(is_blank);
    name.trim_start_matches(|c| is_blank(c) || matches!(c, '[' | ']'))
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

/// What the most generous readers make of a name: its keys without brackets and blanks, in one case.
pub(super) fn folded(name: &str) -> String {
    let keys = cleaned(name).split(['[', ']']).map(|key| key.trim_matches(is_blank));
    let mut folded = String::with_capacity(name.len());
    for key in keys.filter(|key| !key.is_empty()) {
        if !folded.is_empty() {
            folded.push(KEY);
        }
        folded.extend(in_one_case(key).chars().map(|c| if c == '.' || c == ' ' { '_' } else { c }));
    }
    folded
}

fn in_one_case(name: &str) -> String {
    if name.is_ascii() { name.to_ascii_lowercase() } else { name.to_uppercase().to_lowercase() }
}

/// The names of a record, folded when they are first asked for. It says nothing that the fields do not.
#[derive(Debug, Default)]
pub(super) struct Folds {
    names: OnceLock<Box<Names>>,
    cases: OnceLock<Box<Cases>>,
}

/// Names in one case, and the bytes of the longest.
#[derive(Debug, Default)]
struct Cases {
    by_case: HashMap<String, Arc<str>>,
    longest: usize,
}

impl Cases {
    fn of_record(ty: &RecordType) -> Self {
        Self {
            by_case: ty.fields.keys().map(|own| (in_one_case(own), Arc::clone(own))).collect(),
            longest: ty.fields.keys().map(|own| own.len()).max().unwrap_or_default(),
        }
    }
}

impl RecordType {
    /// As forms have its names.
    pub(super) fn names(&self) -> &Names {
        self.folds.names.get_or_init(|| Box::new(Names::of_record(self)))
    }

    /// Some readers match names whatever their case, so that `Amount` after `amount` would reach the
    /// upstream as the amount that nobody checked. The name that `name` is like, and is not.
    pub(super) fn in_another_case(&self, name: &str) -> Option<&Arc<str>> {
        let cases = self.folds.cases.get_or_init(|| Box::new(Cases::of_record(self)));
        // No character is more than four times as long in another case.
        if name.len() > cases.longest.saturating_mul(4) {
            return None;
        }
        cases.by_case.get(&in_one_case(name)).filter(|own| ***own != *name)
    }
}

impl Clone for Folds {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Folds {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Folds {}

impl Hash for Folds {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::types::Field;

    fn names(declared: &[(&str, bool)]) -> Names {
        let field = |is_record| {
            let ty = if is_record { Type::Record(RecordType::default()) } else { Type::String };
            Field { ty, required: false }
        };
        let fields = declared.iter().map(|(name, deep)| (Arc::from(*name), field(*deep)));
        Names::of_record(&RecordType { fields: fields.collect(), ..RecordType::default() })
    }

    #[test]
    fn names_are_taken_for_what_readers_make_of_them() {
        let names = names(&[
            ("amount", false),
            ("user_id", false),
            ("filter", true),
            ("page[size]", false),
        ]);
        let cases = [
            (" amount", "amount"),
            ("amount ", "amount"),
            ("\u{feff}amount", "amount"),
            ("[amount]", "amount"),
            ("][ amount", "amount"),
            ("amount\0x", "amount"),
            ("amount[]", "amount"),
            ("AMOUNT[0][x]", "amount"),
            ("amount]", "amount"),
            ("user.id", "user_id"),
            ("user id", "user_id"),
            ("user[id", "user_id"),
            ("User.ID", "user_id"),
            ("[filter][owner]", "filter"),
            ("filter.owner", "filter"),
            ("page", "page[size]"),
            ("page[ size]", "page[size]"),
            ("page[size]x", "page[size]"),
            ("page[size][0]", "page[size]"),
        ];
        for (name, declared) in cases {
            assert!(!names.owns(name), "{name:?}");
            assert_eq!(names.taken_for(name).map(|found| &**found), Some(declared), "{name:?}");
        }
        for other in
            ["", "[]", "amounts", "user", "user[id]", "page[number]", "amount.x", "x.filter"]
        {
            assert_eq!(names.taken_for(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_name_of_many_keys_costs_no_more_than_a_long_one() {
        let names = names(&[("amount", false)]);
        assert_eq!(names.taken_for(&"x[".repeat(500_000)), None);
    }
}
