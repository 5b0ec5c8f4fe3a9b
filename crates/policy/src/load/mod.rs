//! Loading a bundle: whole or not at all, and every mistake at once.
//!
//! Files are bounded before they are parsed, policies are parsed one by one, checked, and then
//! validated together in Cedar's strict mode against the generated schema.

mod annotations;
mod cautions;
mod checks;
mod digest;
mod evidence;
mod policies;
mod statements;

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::Schema;
use portcullis_model::BundleDigest;

pub(crate) use checks::conjuncts;

use crate::{
    BundleSource, Catalog, LoadError, clocks::Clocks, entities, place::File, policy::Policies,
    rotations::Rotations, schema,
};

/// A file larger than this is no policy file.
const MAX_FILE: usize = 1 << 20;
/// All policy files together: what takes longer to load than anybody waits for a change.
const MAX_FILES: usize = 8 << 20;
/// More policies than this are a mistake of whatever generates them.
const MAX_POLICIES: usize = 20_000;

/// All parts of a bundle that loading makes.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) digest: BundleDigest,
    pub(crate) catalog: Catalog,
    pub(crate) schema: Schema,
    pub(crate) schema_text: String,
    pub(crate) policies: Policies,
    pub(crate) entities: cedar_policy::Entities,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) rotations: Rotations,
    /// What is most likely not meant.
    pub(crate) warnings: Vec<LoadError>,
}

/// Loads `source`.
pub(crate) fn load(source: &BundleSource) -> Result<Loaded, Vec<LoadError>> {
    let mut errors = settings(source);
    let told = |wrong: Vec<String>| {
        wrong.into_iter().map(|message| configuration().error_of_file(message)).collect::<Vec<_>>()
    };
    let clocks = Clocks::read(&source.clocks).map_err(told);
    let rotations = Rotations::read(&source.rotations).map_err(told);
    errors.extend(clocks.as_ref().err().into_iter().flatten().cloned());
    errors.extend(rotations.as_ref().err().into_iter().flatten().cloned());
    let catalog = match Catalog::load(&source.services) {
        Ok(catalog) => catalog.located(source.geo),
        Err(more) => {
            errors.extend(more);
            // Still read the policies: their syntax does not depend on the services.
            policies::parse_all(source, &mut errors);
            return Err(errors);
        }
    };
    let schema_text = schema::generate(&catalog, source);
    let parsed = policies::parse_all(source, &mut errors);
    let schema = match Schema::from_cedarschema_str(&schema_text) {
        Ok((schema, _warnings)) => schema,
        // What is wrong with the settings has been told already.
        Err(_) if !errors.is_empty() => return Err(errors),
        Err(error) => {
            let message = format!("no schema can be made from the services: {error}");
            return Err(vec![configuration().error_of_file(message)]);
        }
    };
    let (policies, warnings) = policies::check_all(source, parsed, &catalog, &schema, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let entities = entities::entities_of_bundle(&catalog, &schema).map_err(|error| {
        vec![
            configuration().error_of_file(format!("the services contradict their schema: {error}")),
        ]
    })?;
    let digest = source.digest();
    let (clocks, rotations) = (Arc::new(clocks?), rotations?);
    let policies = Policies::new(policies);
    Ok(Loaded {
        digest,
        catalog,
        schema,
        schema_text,
        policies,
        entities,
        clocks,
        rotations,
        warnings,
    })
}

/// Settings that are not in a file of their own.
fn configuration() -> File<'static> {
    File { path: "configuration", text: "" }
}

fn settings(source: &BundleSource) -> Vec<LoadError> {
    let mut errors = Vec::new();
    let workloads = source.claims.iter().map(|claim| (claim, "workloads", &["issuer"][..]));
    let people =
        source.user_claims.iter().map(|claim| (claim, "people", &["email", "amr", "onCall"][..]));
    for ((claim, ty), whose, taken) in workloads.chain(people) {
        if taken.contains(&claim.as_str()) {
            let message =
                format!("a claim cannot be called `{claim}`: {whose} have that attribute already");
            errors.push(configuration().error_of_file(message));
        }
        if !["String", "Long", "Bool", "Set<String>"].contains(&ty.as_str()) {
            let message = format!("claim `{claim}`: `{ty}` is no type of claims");
            let help = "write String, Long, Bool or Set<String>";
            errors.push(configuration().error_of_file(message).with_help(help));
        }
    }
    if !source.labels.is_empty() {
        errors.extend(source.services.iter().flat_map(|service| labels(&source.labels, service)));
    }
    errors
}

fn labels(declared: &BTreeMap<String, bool>, service: &crate::ServiceSource) -> Vec<LoadError> {
    let place = |message: String| LoadError {
        line: service.place.1,
        ..File { path: &service.place.0, text: "" }.error_of_file(message)
    };
    let unknown = service.labels.keys().filter(|key| !declared.contains_key(*key));
    let missing =
        declared.iter().filter(|(key, required)| **required && !service.labels.contains_key(*key));
    let unknown = unknown.map(|key| {
        let name = &service.name;
        place(format!("service {name}: label `{key}` is not declared"))
            .with_help("declare it under `labels`")
    });
    let missing = missing
        .map(|(key, _)| place(format!("service {}: label `{key}` is required", service.name)));
    unknown.chain(missing).collect()
}

#[cfg(test)]
mod tests;
