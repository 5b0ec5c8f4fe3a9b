//! `services[].sensitive`: which data of a service is of which class, so that the gate masks it.
//!
//! A class is a list of paths, or says more: `{paths: [...], mask: last-four, recognise: [card]}`.

use portcullis_model::ClassName;
use portcullis_policy::sensitive::{
    ClassSource, MOST_CLASSES, Mask, Path, Recogniser, SensitiveSource,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// The classes of a service, as written: a list of paths each, or a mapping that says more.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Sensitive(
    #[schemars(with = "std::collections::BTreeMap<String, Class>")]
    #[serde(serialize_with = "by_name")]
    SensitiveSource,
);

/// Where a class of data is, and how it is masked.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "says what may be written")]
enum Class {
    /// Where it is, in JSONPath: `$.card.number`.
    Paths(Vec<String>),
    /// The same, and how it is found and masked.
    More {
        /// Where it is, in JSONPath.
        #[serde(default)]
        paths: Vec<String>,
        /// `full` or `last-four`; default `full`.
        #[serde(default = "full")]
        mask: String,
        /// What of it is found by its looks, wherever it is: `email`, `card`, `iban`, `phone`, `token`.
        #[serde(default)]
        recognise: Vec<String>,
    },
}

fn full() -> String {
    "full".to_owned()
}

const MASKS: [(&str, Mask); 2] = [("full", Mask::Full), ("last-four", Mask::LastFour)];
const RECOGNISERS: [(&str, Recogniser); 5] = [
    ("email", Recogniser::Email),
    ("card", Recogniser::Card),
    ("iban", Recogniser::Iban),
    ("phone", Recogniser::Phone),
    ("token", Recogniser::Token),
];

impl Sensitive {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        if !field.is_map() {
            let help = "write its classes and where they are: {pci: [\"$.card.number\"]}";
            field.error("`sensitive` must be a mapping".into(), Some(help.into()));
            return None;
        }
        let pairs = field.pairs();
        if pairs.is_empty() {
            let help = "name a class, or take `sensitive` out";
            field.error("nothing is sensitive here".into(), Some(help.into()));
        }
        if pairs.len() > MOST_CLASSES {
            let count = pairs.len();
            let help = "whoever may see two of them alike needs one class for both";
            let message = format!("{count} classes are more than the {MOST_CLASSES} of a service");
            field.error(message, Some(help.into()));
        }
        let classes = pairs.iter().filter_map(|(name, of)| class(name, of)).collect();
        Some(Self(SensitiveSource { classes }))
    }

    /// As the bundle has it.
    pub(crate) fn source(&self) -> SensitiveSource {
        self.0.clone()
    }
}

fn class(name: &str, of: &Field<'_>) -> Option<ClassSource> {
    let name = name.parse::<ClassName>();
    let name = name.map_err(|error| of.error(error.to_string(), None)).ok();
    let (mut mask, mut recognise) = (Some(Mask::Full), Some(Vec::new()));
    let listed = if of.is_map() {
        let mut section = of.section()?;
        let listed = section.field("paths").map_or(Some(Vec::new()), |field| paths(&field));
        mask = section.field("mask").map_or(mask, |field| field.one_of(&MASKS));
        let looks = section.field("recognise");
        recognise = looks.map_or(recognise, |field| {
            let looks = field.list();
            looks.iter().map(|look| look.one_of(&RECOGNISERS)).collect()
        });
        section.finish();
        listed
    } else {
        paths(of)
    };
    let (paths, mut recognise) = (listed?, recognise?);
    recognise.sort_unstable();
    recognise.dedup();
    if paths.is_empty() && recognise.is_empty() {
        let help = "say where it is, like $.card.number, or what it looks like";
        of.error("of nothing is said that it is of this class".into(), Some(help.into()));
        return None;
    }
    Some(ClassSource { name: name?, paths, mask: mask?, recognise })
}

/// As written: the bundle compiles them again.
fn paths(field: &Field<'_>) -> Option<Vec<String>> {
    let listed = field.list();
    let paths = listed.iter().map(|item| {
        let text = item.text()?;
        let parsed = text.parse::<Path>();
        parsed.map_err(|error| item.error(format!("`{text}`: {error}"), None)).ok()?;
        Some(text.to_owned())
    });
    // Every mistake is told, not only the first.
    paths.collect::<Vec<_>>().into_iter().collect()
}

fn by_name<S: serde::Serializer>(
    source: &SensitiveSource,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        paths: &'a [String],
        mask: Mask,
        recognise: &'a [Recogniser],
    }
    serializer.collect_map(source.classes.iter().map(|class| {
        let ClassSource { name, paths, mask, recognise } = class;
        (name, Shown { paths, mask: *mask, recognise })
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(sensitive: &str) -> String {
        SOUND.replace("9000\"}\n", &format!("9000\"}}\n    sensitive: {sensitive}\n"))
    }

    #[test]
    fn classes_are_paths_or_say_more() {
        let yaml = with(
            r#"{pci: ["$.card.number"], pii: {paths: ["$..phone"], mask: last-four, recognise: [iban, email]}}"#,
        );
        let loaded = loaded(&yaml).expect("loads");
        let sensitive = loaded.bundle.services[0].edge.sensitive.as_ref().expect("sensitive");
        let [pci, pii] = &sensitive.classes[..] else { panic!("{sensitive:?}") };
        assert_eq!((pci.name.as_str(), &pci.paths[..]), ("pci", &["$.card.number".to_owned()][..]));
        assert_eq!(format!("{:?} {:?}", pii.mask, pii.recognise), "LastFour [Email, Iban]");
    }

    #[test]
    fn g14_what_cannot_be_promised_to_be_masked_does_not_load() {
        let many: Vec<String> = (0..65).map(|n| format!("c-{n}: [\"$.a\"]")).collect();
        for (sensitive, message) in [
            ("[pci]", "`sensitive` must be a mapping"),
            ("{}", "nothing is sensitive here"),
            ("{pci: []}", "of nothing is said that it is of this class"),
            ("{pci: {mask: full}}", "of nothing is said"),
            (r#"{PCI: ["$.a"]}"#, "`PCI` is not a class of data"),
            (r#"{pci: ["card"]}"#, "`card`"),
            (r#"{pci: {paths: ["$.a"], mask: last-five}}"#, "did you mean `last-four`?"),
            ("{pci: {recognise: [cards]}}", "did you mean `card`?"),
            (r#"{pci: {paths: ["$.a"], masks: full}}"#, "unknown key `masks`"),
            (&format!("{{{}}}", many.join(", ")), "65 classes are more than the 64"),
        ] {
            let shown = refused(&with(sensitive));
            assert!(shown.contains(message), "{sensitive}: {shown}");
            assert!(shown.contains("portcullis.yaml:"), "it says where: {shown}");
        }
        let tcp =
            with(r#"{pci: ["$.a"]}"#).replace("http://127.0.0.1:9000", "tcp://127.0.0.1:9000");
        let shown = refused(&tcp);
        assert!(shown.contains("`sensitive` is for HTTP, and this service speaks TCP"), "{shown}");
        assert!(shown.contains("portcullis.yaml:"), "{shown}");
    }
}
