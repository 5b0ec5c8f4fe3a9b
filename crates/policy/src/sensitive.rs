//! Sensitive data: which fields of a service's messages are of which class, and how they are masked.
//!
//! A class is a resource like any other, `DataClass::"payments/pci"`, and to see it is an action that
//! policy permits, or that can be asked for. Part of the bundle, so that it changes with it as a whole.

pub mod automaton;
pub mod message;
pub mod path;

use portcullis_model::ClassName;

use automaton::Automaton;
pub use path::Path;

/// The most classes that a service can have: as many as a [`ClassSet`] has bits.
pub const MOST_CLASSES: usize = 64;

/// What configuration says is sensitive in one service.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SensitiveSource {
    /// Its classes.
    pub classes: Vec<ClassSource>,
}

/// One class as configured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClassSource {
    /// Its name: `pci`.
    pub name: ClassName,
    /// Where it is, in JSONPath: `$.card.number`.
    pub paths: Vec<String>,
    /// What is shown in its place.
    pub mask: Mask,
    /// What of it is found by its looks, wherever it is.
    pub recognise: Vec<Recogniser>,
}

/// What is shown instead of a sensitive value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// Nothing of it.
    #[default]
    Full,
    /// Its last four characters, if it is long enough for that to say little.
    LastFour,
}

/// Data that is known by its looks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Recogniser {
    /// An e-mail address.
    Email,
    /// The number of a payment card, by its checksum.
    Card,
    /// An international bank account number, by its checksum.
    Iban,
    /// A telephone number in international form.
    Phone,
    /// A token or key, by its shape.
    Token,
}

/// What is sensitive in one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sensitive {
    /// At most [`MOST_CLASSES`], by name.
    pub classes: Vec<Class>,
    /// Where all of them are, for a walk through a document.
    pub automaton: Automaton,
    /// Those that show the end of a value.
    pub last_four: ClassSet,
    /// Those that are found by their looks.
    pub recognised: ClassSet,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name: `pci`.
    pub name: ClassName,
    /// Where it is.
    pub paths: Vec<Path>,
    /// What is shown in its place.
    pub mask: Mask,
    /// What of it is found by its looks, wherever it is.
    pub recognise: Vec<Recogniser>,
}

impl Sensitive {
    /// Compiles what is configured; tells every mistake.
    pub fn new(source: &SensitiveSource) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut classes: Vec<Class> = Vec::new();
        for ClassSource { name, paths, mask, recognise } in &source.classes {
            if paths.is_empty() && recognise.is_empty() {
                wrong.push(format!("class `{name}` says of nothing that it is sensitive"));
            }
            let parsed = paths.iter().filter_map(|text| {
                let path = text.parse::<Path>();
                path.map_err(|error| wrong.push(format!("class `{name}`: `{text}`: {error}"))).ok()
            });
            let (paths, recognise) = (parsed.collect(), recognise.clone());
            classes.push(Class { name: name.clone(), paths, mask: *mask, recognise });
        }
        classes.sort_by(|one, other| one.name.cmp(&other.name));
        for (one, other) in classes.iter().zip(classes.iter().skip(1)) {
            if one.name == other.name {
                wrong.push(format!("there are two classes `{}`", one.name));
            }
        }
        if classes.len() > MOST_CLASSES {
            let count = classes.len();
            wrong.push(format!(
                "{count} classes are more than the {MOST_CLASSES} that a service can have"
            ));
        }
        let paths = classes.iter().enumerate();
        let paths = paths.flat_map(|(at, class)| class.paths.iter().map(move |path| (at, path)));
        match Automaton::new(paths) {
            Ok(automaton) if wrong.is_empty() => {
                let of = |is: fn(&Class) -> bool| {
                    let classes = classes.iter().enumerate().filter(|(_, class)| is(class));
                    classes.fold(ClassSet::default(), |set, (at, _)| set.with(at))
                };
                let last_four = of(|class| class.mask == Mask::LastFour);
                let recognised = of(|class| !class.recognise.is_empty());
                Ok(Self { classes, automaton, last_four, recognised })
            }
            Ok(_) => Err(wrong),
            Err(error) => {
                wrong.push(error.to_string());
                Err(wrong)
            }
        }
    }

    /// All of its classes.
    pub fn all(&self) -> ClassSet {
        (0..self.classes.len()).fold(ClassSet::default(), ClassSet::with)
    }

    /// The names of the classes in `set`, in order.
    pub fn names(&self, set: ClassSet) -> impl Iterator<Item = &ClassName> {
        let classes = self.classes.iter().enumerate();
        classes.filter(move |(at, _)| set.contains(*at)).map(|(_, class)| &class.name)
    }
}

/// Some classes of one service: bit i is the i-th of [`Sensitive::classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassSet(pub u64);

impl ClassSet {
    /// With the `at`-th.
    #[must_use]
    pub fn with(self, at: usize) -> Self {
        Self(self.0 | bit(at))
    }

    /// Without the `at`-th.
    #[must_use]
    pub fn without(self, at: usize) -> Self {
        Self(self.0 & !bit(at))
    }

    /// Whether the `at`-th is in it.
    pub fn contains(self, at: usize) -> bool {
        self.0 & bit(at) != 0
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(at: usize) -> u64 {
    u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, paths: &[&str]) -> ClassSource {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let (mask, recognise) = (Mask::Full, Vec::new());
        ClassSource { name: name.parse().unwrap(), paths, mask, recognise }
    }

    fn source(classes: Vec<ClassSource>) -> SensitiveSource {
        SensitiveSource { classes }
    }

    #[test]
    fn classes_are_sorted_and_sets_name_them() {
        let both = source(vec![class("pii", &["$.email"]), class("pci", &["$.card"])]);
        let both = Sensitive::new(&both).unwrap();
        let names = |set| both.names(set).map(ClassName::as_str).collect::<Vec<_>>();
        assert_eq!(names(both.all()), ["pci", "pii"]);
        assert_eq!(names(both.all().without(0)), ["pii"]);
        assert_eq!(names(ClassSet::default().with(0)), ["pci"]);
        assert!(both.all().without(0).without(1).is_empty() && !both.all().contains(64));
    }

    #[test]
    fn every_mistake_is_told() {
        let mut many: Vec<_> = (0..65).map(|n| class(&format!("c-{n}"), &["$.a"])).collect();
        let shown = Sensitive::new(&source(many.clone())).unwrap_err().join("; ");
        assert!(shown.contains("65 classes are more than the 64"), "{shown}");
        many.truncate(64);
        assert_eq!(Sensitive::new(&source(many)).unwrap().all(), ClassSet(u64::MAX));
        let wrong = source(vec![class("a", &[]), class("a", &["card"])]);
        let shown = Sensitive::new(&wrong).unwrap_err().join("; ");
        for told in ["says of nothing", "`card`", "two classes `a`"] {
            assert!(shown.contains(told), "{shown}");
        }
    }
}
