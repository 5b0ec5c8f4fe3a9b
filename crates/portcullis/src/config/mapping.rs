//! What a caller's claims become: the same keys for every kind of issuer.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use portcullis_identity::{ClaimType, Rule, Template, ci::CiPreset};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    ci::{self, ClaimRule, Wanted},
    section::{Field, Section},
};

/// How principals are named, and what is known of them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Mapping {
    /// The subject, from claims: `ci:{repository}`; default `{sub}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip)]
    template: Template,
    /// Claims that policies may read: `String`, `Long`, `Bool`, `Set<String>`.
    pub(crate) claims: BTreeMap<String, String>,
    /// What a token must say to be accepted at all.
    pub(crate) require: BTreeMap<String, Wanted>,
    /// Groups given by claims: `environment=production` to a list of groups.
    pub(crate) groups: IndexMap<String, Vec<String>>,
    /// Groups given by several claims together, or by globs.
    pub(crate) rules: Vec<ClaimRule>,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
}

const CLAIM_TYPES: [(&str, &str); 4] =
    [("String", "String"), ("Long", "Long"), ("Bool", "Bool"), ("Set<String>", "Set<String>")];

impl Mapping {
    /// Of a section that has other keys too.
    pub(super) fn read(section: &mut Section<'_>, preset: Option<CiPreset>) -> Option<Self> {
        let (subject, template) = subject(section, preset.map(|preset| preset.subject));
        let claims = section.field("claims").map(|field| claims(&field)).unwrap_or_default();
        let require = section.field("require").map(|field| ci::wanted(&field)).unwrap_or_default();
        let groups = section.field("groups").map(|field| groups(&field)).unwrap_or_default();
        let rules = section.field("rules").map(|field| ci::rules(&field)).unwrap_or_default();
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        let (template, claims) = (template?, with_preset(claims, preset));
        Some(Self { subject, template, claims, require, groups, rules, groups_claim })
    }

    /// As the identity crate has it.
    pub(crate) fn mapping(&self) -> portcullis_identity::Mapping {
        let several = self.rules.iter().map(ClaimRule::rule);
        portcullis_identity::Mapping {
            subject: self.template.clone(),
            claims: claim_types(self.claims.clone()),
            require: ci::requirements(&self.require),
            groups: group_rules(&self.groups).into_iter().chain(several).collect(),
            groups_claim: self.groups_claim.clone(),
        }
    }
}

/// As the identity crate has them.
pub(super) fn group_rules(groups: &IndexMap<String, Vec<String>>) -> Vec<Rule> {
    let rules = groups.iter().filter_map(|(condition, groups)| {
        Rule::parse(condition, groups.iter().map(|group| group.as_str().into()).collect()).ok()
    });
    rules.collect()
}

/// The template as it is written, and read.
pub(super) fn subject(
    section: &mut Section<'_>,
    preset: Option<&'static str>,
) -> (Option<String>, Option<Template>) {
    match (section.field("subject"), preset) {
        (Some(field), _) => (field.text().map(str::to_owned), field.parsed()),
        (None, Some(text)) => (Some(text.to_owned()), text.parse().ok()),
        (None, None) => (None, Some(Template::default())),
    }
}

/// The preset's claims, as far as configuration does not say otherwise.
fn with_preset(
    mut claims: BTreeMap<String, String>,
    preset: Option<CiPreset>,
) -> BTreeMap<String, String> {
    for (claim, kind) in preset.map_or(&[][..], |preset| preset.claims) {
        claims.entry((*claim).to_owned()).or_insert_with(|| kind.as_str().to_owned());
    }
    claims
}

pub(super) fn claim_types(claims: BTreeMap<String, String>) -> BTreeMap<String, ClaimType> {
    let typed = claims.into_iter().filter_map(|(claim, kind)| Some((claim, claim_type(&kind)?)));
    typed.collect()
}

fn claim_type(text: &str) -> Option<ClaimType> {
    ClaimType::ALL.into_iter().find(|kind| kind.as_str() == text)
}

pub(super) fn claims(field: &Field<'_>) -> BTreeMap<String, String> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(claim, kind)| Some((claim, kind.one_of(&CLAIM_TYPES)?.to_owned()))).collect()
}

pub(super) fn groups(field: &Field<'_>) -> IndexMap<String, Vec<String>> {
    let pairs = field.pairs().into_iter().filter(|(condition, field)| {
        let rule = Rule::parse(condition, Vec::new());
        if let Err(error) = &rule {
            let help = Some("write it like \"environment=production\": [deployers]".into());
            field.error(error.to_string(), help);
        }
        rule.is_ok()
    });
    pairs.map(|(condition, field)| (condition, field.texts())).collect()
}
