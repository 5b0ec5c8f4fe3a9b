//! Policy files into checked policies.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{Effect, PolicySet, Schema, ValidationMode, Validator, pst};

use super::{MAX_FILE, MAX_FILES, MAX_POLICIES, annotations, cautions, checks, statements};
use crate::{
    BundleSource, Catalog, LoadError, PolicySource,
    place::File,
    policy::{Head, Policy},
    reads::{Part, Reads},
    unknown::FactReads,
};

/// Deeper brackets than this are no policy that a person wrote.
const MAX_DEPTH: usize = 64;
/// Each operator may nest an expression once more, and Cedar recurses over expressions: its parser
/// and validator overflow a stack of 2 MiB at a depth of some 900. `&&` and `||` count as two.
const MAX_OPERATORS: usize = 400;

/// A policy that Cedar could parse, and where it stands.
#[derive(Debug)]
pub(super) struct Parsed {
    file: usize,
    start: usize,
    end: usize,
    policy: cedar_policy::Policy,
}

/// Parses every policy of every file; what cannot be parsed goes into `errors`. Nothing is parsed
/// of a bundle that is too large.
pub(super) fn parse_all(source: &BundleSource, errors: &mut Vec<LoadError>) -> Vec<Parsed> {
    let Some(cut) = cut_all(source, errors) else { return Vec::new() };
    let mut parsed = Vec::new();
    for (number, file, statement) in cut {
        match parse(file, &statement, parsed.len()) {
            Ok(policy) => {
                let (start, end) = (statement.range.start, statement.range.end);
                parsed.push(Parsed { file: number, start, end, policy });
            }
            Err(more) => errors.extend(more),
        }
    }
    parsed
}

/// Every statement of every file, with the number of its file.
fn cut_all<'a>(
    source: &'a BundleSource,
    errors: &mut Vec<LoadError>,
) -> Option<Vec<(usize, File<'a>, statements::Statement)>> {
    let mut cut = Vec::new();
    let mut length = 0_usize;
    for (number, source) in source.policies.iter().enumerate() {
        let file = File { path: &source.path, text: &source.text };
        if source.text.len() > MAX_FILE {
            errors.push(file.error_of_file("a policy file may have 1 MiB at most"));
            continue;
        }
        length += source.text.len();
        if length > MAX_FILES {
            errors.push(file.error_of_file("all policy files together may have 8 MiB at most"));
            return None;
        }
        for statement in statements::statements(&source.text) {
            if cut.len() >= MAX_POLICIES {
                let message = format!("a bundle may have {MAX_POLICIES} policies at most");
                errors.push(file.error(statement.range.start, message));
                return None;
            }
            cut.push((number, file, statement));
        }
    }
    Some(cut)
}

fn parse(
    file: File<'_>,
    statement: &statements::Statement,
    number: usize,
) -> Result<cedar_policy::Policy, Vec<LoadError>> {
    let start = statement.range.start;
    let text = file.text.get(statement.range.clone()).unwrap_or_default();
    if statement.depth > MAX_DEPTH || statement.operators > MAX_OPERATORS {
        let message = format!(
            "a policy may nest {MAX_DEPTH} brackets and have {MAX_OPERATORS} operators at most"
        );
        return Err(vec![file.error(start, message).with_help("split it into several policies")]);
    }
    let id = cedar_policy::PolicyId::new(number.to_string());
    cedar_policy::Policy::parse(Some(id), text).map_err(|errors| {
        errors.iter().map(|error| cedar_error(file, start, text.len(), error)).collect()
    })
}

/// Cedar's error with its place; its label's offset counts from `start`.
fn cedar_error(
    file: File<'_>,
    start: usize,
    length: usize,
    error: &dyn miette::Diagnostic,
) -> LoadError {
    let label = error.labels().and_then(|mut labels| labels.next());
    let within = label.as_ref().map_or(0, miette::LabeledSpan::offset).min(length);
    let label = label.as_ref().and_then(|label| label.label()).map(str::to_owned);
    let mut message = error.to_string();
    if let Some(label) = label {
        message = format!("{message}: {label}");
    }
    let placed = file.error(start + within, message);
    match error.help() {
        Some(help) => placed.with_help(help.to_string()),
        None => placed,
    }
}

/// Checks and validates what was parsed; with what is most likely not meant by what is right.
pub(super) fn check_all(
    source: &BundleSource,
    parsed: Vec<Parsed>,
    catalog: &Catalog,
    schema: &Schema,
    errors: &mut Vec<LoadError>,
) -> (Vec<Policy>, Vec<LoadError>) {
    let mut ids = HashSet::new();
    let mut policies = Vec::new();
    let mut set = PolicySet::new();
    let mut places = HashMap::new();
    for Parsed { file, start, end, policy } in parsed {
        let Some(PolicySource { path, text }) = source.policies.get(file) else { continue };
        let place = Place { file: File { path, text }, start, end };
        let loaded =
            place.check(&policy, (catalog, &source.receivers), &mut ids).and_then(|loaded| {
                let added = set.add(loaded.cedar.clone());
                added.map_err(|error| vec![place.file.error(start, error.to_string())])?;
                Ok(loaded)
            });
        match loaded {
            Ok(loaded) => {
                places.insert(loaded.cedar.id().clone(), place);
                policies.push(loaded);
            }
            Err(more) => errors.extend(more),
        }
    }
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        if let Some(place) = places.get(error.policy_id()) {
            errors.push(cedar_error(place.file, place.start, place.end - place.start, error));
        }
    }
    let has_chat = source.receivers.contains(CHAT);
    let by_chat = policies.iter().filter(|policy| has_chat && cautions::opens_chat(policy));
    let place = |policy: &Policy| places.get(policy.cedar.id()).map(Place::opens_chat);
    let warnings = by_chat.filter_map(place).collect();
    (policies, warnings)
}

/// The receiver that is a chat with buttons.
const CHAT: &str = "slack";

#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    file: File<'a>,
    start: usize,
    end: usize,
}

impl Place<'_> {
    fn check(
        &self,
        policy: &cedar_policy::Policy,
        (catalog, receivers): (&Catalog, &BTreeSet<String>),
        ids: &mut HashSet<String>,
    ) -> Result<Policy, Vec<LoadError>> {
        let (annotations, mistakes) = annotations::annotations(policy);
        let mut errors: Vec<LoadError> = mistakes
            .into_iter()
            .map(|mistake| {
                let error = self.error(&format!("@{}", mistake.annotation), mistake.message);
                mistake.help.into_iter().fold(error, LoadError::with_help)
            })
            .collect();
        if annotations.id.is_none() && policy.annotation("id").is_none() {
            let error = self.error("", "every policy needs an @id".to_owned());
            errors.push(error.with_help("write @id(\"SERVICE.NAME\") in front of it"));
        }
        let body = match policy.to_pst() {
            Ok(body) => body,
            Err(error) => {
                errors.push(self.error("", error.to_string()));
                return Err(errors);
            }
        };
        let reads = Reads::of(body.body().clauses());
        let is_rule = policy.effect() == Effect::Permit && reads.includes(Part::Grant);
        if let Some(name) = annotations.of_a_rule.as_ref().filter(|_| !is_rule) {
            let message = format!("@{name} means something on a rule only");
            let help = "a rule is a permit with `context has grant` in its `when`";
            errors.push(self.error(&format!("@{name}"), message).with_help(help));
        }
        let head = Head {
            principal: policy.principal_constraint(),
            action: policy.action_constraint(),
            resource: policy.resource_constraint(),
        };
        errors.extend(self.checks(policy, &body, &head, &annotations, catalog));
        let lost = annotations.notices.targets.iter().filter_map(|one| one.missing(receivers));
        errors.extend(lost.map(|message| self.error("@notify", message)));
        let Some(id) = annotations.id else { return Err(errors) };
        if !ids.insert(id.to_string()) {
            errors.push(self.error("@id", format!("the policy id `{id}` is taken already")));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let cedar = policy.new_id(cedar_policy::PolicyId::new(id.as_str()));
        let alone = PolicySet::from_policies([cedar.clone()])
            .map_err(|error| vec![self.error("", error.to_string())])?;
        let literals = cedar.entity_literals();
        let terms = is_rule.then_some(annotations.terms);
        let facts = FactReads::of_all(body.body().clauses());
        Ok(Policy {
            id,
            cedar,
            alone,
            head,
            reads,
            facts,
            literals,
            terms,
            rate_limit: annotations.rate_limit,
            record: annotations.record,
            notices: annotations.notices,
        })
    }

    fn checks(
        &self,
        policy: &cedar_policy::Policy,
        body: &pst::Policy,
        head: &Head,
        annotations: &annotations::Annotations,
        catalog: &Catalog,
    ) -> Vec<LoadError> {
        let folder = self.file.path.split_once('/').map(|(folder, _)| folder);
        let is_service =
            |folder: &&str| catalog.services().any(|s| s.source().name.as_str() == *folder);
        let checked = checks::Checked {
            effect: policy.effect(),
            head,
            clauses: body.body().clauses(),
            literals: &policy.entity_literals(),
            all_services: annotations.all_services,
            holds: annotations.terms.hold.is_some(),
            counts: annotations.terms.max_uses.is_some(),
            keeps_body: annotations.record.body,
            of_requests: annotations.of_requests,
            folder: folder.filter(is_service),
        };
        let mistakes = checked.mistakes(catalog).into_iter();
        mistakes
            .map(|mistake| {
                let error = self.error(&mistake.at, mistake.message);
                mistake.help.into_iter().fold(error, LoadError::with_help)
            })
            .collect()
    }

    /// Chat accounts are weaker than sign-ins: who lets them review should have said so.
    fn opens_chat(&self) -> LoadError {
        let message = "this permit names no action, so it lets people review by chat, too";
        self.error("permit", message.to_owned()).with_help(
            "write `action == Action::\"review\"`; if reviews by chat are meant, \
             `action in [Action::\"review\", Action::\"reviewByChat\"]`",
        )
    }

    /// An error at the first `word` of the policy.
    fn error(&self, word: &str, message: String) -> LoadError {
        let text = self.file.text.get(self.start..self.end).unwrap_or_default();
        self.file.error(self.start + text.find(word).unwrap_or(0), message)
    }
}
