//! CI systems: whose tokens are exchanged for runs, what they must say, and the groups that it gives.

use std::collections::BTreeMap;

use portcullis_identity::{CiJobs, CiSystem, Pattern, Requirement, Rule, ci::LONGEST_RUN};
use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::{Field, Section};

/// How the jobs of a CI system run. `ci: github` is enough.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Ci {
    /// `github`, `gitlab`, `buildkite`, `circleci` or `generic`: which claims are read, and how runs are named.
    pub(crate) system: System,
    /// A run that has not been heard of for so long has ended: `60s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) heartbeat: Window,
    /// No run lives longer; at most `1h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) longest: Window,
}

/// A CI system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// GitHub Actions.
    Github,
    /// GitLab CI.
    Gitlab,
    /// Buildkite.
    Buildkite,
    /// `CircleCI`, whose customers have an `issuer` each.
    Circleci,
    /// Any other that issues OpenID Connect tokens.
    Generic,
}

/// What a claim must be: exactly this text, like `{glob: "refs/tags/v*"}`, or one of a list of those.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Wanted {
    /// Exactly this, or like this.
    One(WantedOne),
    /// One of these.
    Any(Vec<WantedOne>),
}

/// Exactly a text, or a glob.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum WantedOne {
    /// Exactly this.
    Exact(String),
    /// `*` stands for any characters but `/`.
    Like {
        /// The glob.
        glob: String,
    },
}

/// Groups for tokens that say all of `when`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ClaimRule {
    /// Claims, and what each must be.
    pub(crate) when: BTreeMap<String, Wanted>,
    /// The groups.
    pub(crate) groups: Vec<String>,
}

const SYSTEMS: [(&str, System); 5] = [
    ("github", System::Github),
    ("gitlab", System::Gitlab),
    ("buildkite", System::Buildkite),
    ("circleci", System::Circleci),
    ("generic", System::Generic),
];

impl From<System> for CiSystem {
    fn from(system: System) -> Self {
        match system {
            System::Github => Self::GitHub,
            System::Gitlab => Self::GitLab,
            System::Buildkite => Self::Buildkite,
            System::Circleci => Self::CircleCi,
            System::Generic => Self::Generic,
        }
    }
}

impl Ci {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let default = Window::minutes(1);
        let longest = Window::new(LONGEST_RUN).ok()?;
        if field.as_text().is_some() {
            let system = field.one_of(&SYSTEMS)?;
            return Some(Self { system, heartbeat: default, longest });
        }
        let mut section = field.section()?;
        let system = section.required("system").and_then(|field| field.one_of(&SYSTEMS));
        let heartbeat = span(&mut section, "heartbeat", default);
        let longest = span(&mut section, "longest", longest);
        section.finish();
        Some(Self { system: system?, heartbeat: heartbeat?, longest: longest? })
    }

    /// As the identity crate has it.
    pub(crate) fn jobs(&self) -> CiJobs {
        CiJobs { heartbeat: self.heartbeat.get(), longest: self.longest.get() }
    }
}

/// A span of at least a second, and at most as long as a run.
fn span(section: &mut Section<'_>, key: &'static str, default: Window) -> Option<Window> {
    let Some(field) = section.field(key) else { return Some(default) };
    let window: Window = field.parsed()?;
    if window.get() > LONGEST_RUN {
        let help = Some("write at most 1h; a job that takes longer starts another run".into());
        field.error(format!("`{key}` is longer than a run may live"), help);
        return None;
    }
    Some(window)
}

/// Claims, and what each must be.
pub(super) fn wanted(field: &Field<'_>) -> BTreeMap<String, Wanted> {
    let pairs = field.pairs().into_iter();
    let pairs: BTreeMap<_, _> =
        pairs.filter_map(|(claim, field)| Some((claim, Wanted::read(&field)?))).collect();
    if pairs.is_empty() {
        field.error("no claim is named".into(), Some("write it like {repository: a/b}".into()));
    }
    pairs
}

/// Rules, in their order.
pub(super) fn rules(field: &Field<'_>) -> Vec<ClaimRule> {
    let rule = |mut section: Section<'_>| {
        let when = section.required("when").map(|field| wanted(&field));
        let groups = section.required("groups").map(|field| field.texts());
        section.finish();
        Some(ClaimRule { when: when?, groups: groups? })
    };
    field.sections().into_iter().filter_map(rule).collect()
}

/// As the identity crate has it.
pub(super) fn requirements(wanted: &BTreeMap<String, Wanted>) -> Vec<Requirement> {
    let each = wanted.iter();
    each.map(|(claim, wanted)| Requirement::new(claim, wanted.patterns())).collect()
}

impl ClaimRule {
    /// As the identity crate has it.
    pub(super) fn rule(&self) -> Rule {
        let groups = self.groups.iter().map(|group| group.as_str().into());
        Rule::new(requirements(&self.when), groups.collect())
    }
}

impl Wanted {
    fn read(field: &Field<'_>) -> Option<Self> {
        if !field.is_list() {
            return WantedOne::read(field).map(Self::One);
        }
        let list = field.list();
        if list.is_empty() {
            field.error("nothing would ever match".into(), Some("name what may be there".into()));
        }
        Some(Self::Any(list.iter().filter_map(WantedOne::read).collect()))
    }

    fn patterns(&self) -> Vec<Pattern> {
        match self {
            Self::One(one) => one.pattern().into_iter().collect(),
            Self::Any(many) => many.iter().filter_map(WantedOne::pattern).collect(),
        }
    }
}

impl WantedOne {
    fn read(field: &Field<'_>) -> Option<Self> {
        if field.is_map() {
            let mut section = field.section()?;
            let glob = section.required("glob");
            section.finish();
            let glob = glob?;
            let text = glob.text()?;
            if let Err(error) = Pattern::glob(text) {
                glob.error(error.to_string(), None);
                return None;
            }
            return Some(Self::Like { glob: text.to_owned() });
        }
        field.text().map(|text| Self::Exact(text.to_owned()))
    }

    /// INVARIANT: a glob that cannot be one was refused when it was read; without it, nothing matches.
    fn pattern(&self) -> Option<Pattern> {
        match self {
            Self::Exact(text) => Some(Pattern::Exact(text.clone())),
            Self::Like { glob } => Pattern::glob(glob).ok(),
        }
    }
}
