//! What the console says: Fluent messages in `texts/<language>/`, one file per page.

use std::sync::LazyLock;

use fluent_bundle::{FluentArgs, FluentResource, concurrent::FluentBundle};
use unic_langid::LanguageIdentifier;

/// The files of English. Each begins its keys with its own name: `home-title` stands in `home.ftl`.
const ENGLISH: &[(&str, &str)] = &[
    ("ask", include_str!("../../texts/en/ask.ftl")),
    ("connectors", include_str!("../../texts/en/connectors.ftl")),
    ("console", include_str!("../../texts/en/console.ftl")),
    ("emergencies", include_str!("../../texts/en/emergencies.ftl")),
    ("failure", include_str!("../../texts/en/failure.ftl")),
    ("grant", include_str!("../../texts/en/grant.ftl")),
    ("home", include_str!("../../texts/en/home.ftl")),
    ("live", include_str!("../../texts/en/live.ftl")),
    ("overview", include_str!("../../texts/en/overview.ftl")),
    ("people", include_str!("../../texts/en/people.ftl")),
    ("record", include_str!("../../texts/en/record.ftl")),
    ("services", include_str!("../../texts/en/services.ftl")),
    ("incidents", include_str!("../../texts/en/incidents.ftl")),
    ("me", include_str!("../../texts/en/me.ftl")),
    ("payload", include_str!("../../texts/en/payload.ftl")),
    ("policies", include_str!("../../texts/en/policies.ftl")),
    ("request", include_str!("../../texts/en/request.ftl")),
    ("review", include_str!("../../texts/en/review.ftl")),
    ("state", include_str!("../../texts/en/state.ftl")),
    ("system", include_str!("../../texts/en/system.ftl")),
    ("way", include_str!("../../texts/en/way.ftl")),
];

static TEXTS: LazyLock<FluentBundle<FluentResource>> =
    LazyLock::new(|| bundle("en".parse().unwrap_or_default(), ENGLISH));

fn bundle(language: LanguageIdentifier, files: &[(&str, &str)]) -> FluentBundle<FluentResource> {
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // What people wrote is isolated where it is shown; marks inside attributes would be seen.
    bundle.set_use_isolating(false);
    for (name, text) in files {
        // A file with a mistake keeps its good messages; a test finds the mistake.
        let resource =
            FluentResource::try_new((*text).to_owned()).unwrap_or_else(|(good, errors)| {
                tracing::error!(name, ?errors, "a file of texts has mistakes");
                good
            });
        if bundle.add_resource(resource).is_err() {
            tracing::error!(name, "a text is there twice");
        }
    }
    bundle
}

/// The text called `key`; the key itself if there is none, which a test keeps from happening.
pub(crate) fn say(key: &str, arguments: Option<&FluentArgs<'_>>) -> String {
    let message = TEXTS.get_message(key).and_then(|message| message.value());
    let Some(pattern) = message else { return key.to_owned() };
    let mut errors = Vec::new();
    TEXTS.format_pattern(pattern, arguments, &mut errors).into_owned()
}

/// Whether there is a text called `key`.
pub(crate) fn has(key: &str) -> bool {
    TEXTS.has_message(key)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use fluent_bundle::FluentResource;

    use super::*;

    fn keys() -> Vec<String> {
        let mut keys = Vec::new();
        for (name, text) in ENGLISH {
            let resource = FluentResource::try_new((*text).to_owned())
                .unwrap_or_else(|(_, errors)| panic!("{name}.ftl: {errors:?}"));
            for entry in resource.entries() {
                if let fluent_syntax::ast::Entry::Message(message) = entry {
                    assert!(
                        message.id.name.starts_with(&format!("{name}-")),
                        "{name}.ftl: {}",
                        message.id.name
                    );
                    keys.push(message.id.name.to_owned());
                }
            }
        }
        keys
    }

    /// Everything that stands in quotes in templates and in the console's code.
    fn quoted(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                quoted(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.split('"').map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_text_is_there_once_and_is_used() {
        let keys = keys();
        let once: BTreeSet<_> = keys.iter().cloned().collect();
        assert_eq!(once.len(), keys.len());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut used = BTreeSet::new();
        quoted(&root.join("templates"), &mut used);
        quoted(&root.join("src/console"), &mut used);
        // What is put together says its beginning: `"console-said-"`.
        let begun = |key: &str| {
            used.iter().any(|used| used.ends_with('-') && key.starts_with(used.as_str()))
        };
        for key in &once {
            assert!(used.contains(key) || begun(key), "nothing says `{key}`");
        }
    }

    #[test]
    fn every_text_that_a_template_says_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for call in ["say(\"", "say_with(\"", "say_with2(\""] {
                    for part in text.split(call).skip(1) {
                        let key = part.split('"').next().unwrap();
                        assert!(has(key), "{}: `{key}` is not in texts/", path.display());
                    }
                }
            }
        }
    }
}
