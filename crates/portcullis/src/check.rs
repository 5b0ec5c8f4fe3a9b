//! `portcullis check`: everything that is wrong, at once.

use std::{path::Path, process::ExitCode};

use portcullis_policy::{Bundle, LoadError};

use crate::{
    command::REFUSED,
    config::{self, Loaded},
    diagnostics,
};

/// Checks the configuration at `path`, prints what is wrong, and says so by its exit code.
pub(crate) fn run(path: &Path) -> ExitCode {
    match checked(path) {
        Ok(Checked { loaded, bundle }) => {
            println!(
                "{}: in order; {} services, {} policies, {}",
                path.display(),
                loaded.bundle.services.len(),
                loaded.bundle.policies.len(),
                bundle.digest()
            );
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprint!("{}", diagnostics::render(&errors, &config::base_of(path)));
            ExitCode::from(REFUSED)
        }
    }
}

/// A configuration with nothing wrong, and the bundle that it makes.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The configuration.
    pub(crate) loaded: Loaded,
    /// The bundle.
    pub(crate) bundle: Bundle,
}

/// The configuration at `path` and its bundle, if nothing is wrong with either.
pub(crate) fn checked(path: &Path) -> Result<Checked, Vec<LoadError>> {
    let loaded = config::load(path)?;
    let bundle = load_bundle(&loaded)?;
    Ok(Checked { loaded, bundle })
}

/// The bundle of `loaded`. Mistakes in policies are reported below the policy folder.
pub(crate) fn load_bundle(loaded: &Loaded) -> Result<Bundle, Vec<LoadError>> {
    Bundle::load(&loaded.bundle).map_err(|errors| {
        let policies = &loaded.bundle.policies;
        let placed = errors.into_iter().map(|mut error| {
            if policies.iter().any(|policy| policy.path == error.file) {
                let path = loaded.config.policies.join(&error.file);
                error.file = path.to_string_lossy().into_owned();
            }
            error
        });
        placed.collect()
    })
}
