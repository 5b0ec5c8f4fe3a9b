//! `portcullis check`: everything that is wrong, at once.

use std::{path::Path, process::ExitCode, sync::Arc};

use portcullis_model::Clock;
use portcullis_policy::{Bundle, LoadError, catalog::leading_nowhere, policy_test};

use crate::{
    ambient::SystemClock,
    command::REFUSED,
    config::{self, Loaded},
    diagnostics,
    serve::{certificates, geo::Geo},
};

/// Checks the configuration at `path` and the certificates that it names, runs its policy tests, prints
/// what is wrong, and says so by its exit code.
pub(crate) fn run(path: &Path) -> ExitCode {
    said(path, certified(path), |tested| {
        format!(
            "{}: in order; {}, {}, {}, {}",
            path.display(),
            counted(tested.loaded.bundle.services.len(), "service", "services"),
            counted(tested.bundle.policy_ids().count(), "policy", "policies"),
            counted(tested.cases, "policy test", "policy tests"),
            tested.bundle.digest()
        )
    })
}

/// Does the same where no certificate is, as in a pipeline, and says how many cases passed.
pub(crate) fn test(path: &Path) -> ExitCode {
    said(path, tested(path), |tested| {
        let tests = counted(tested.cases, "policy test", "policy tests");
        format!("{}: {tests} passed", path.display())
    })
}

/// `1 service`, `2 services`.
fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn said(
    path: &Path,
    tested: Result<Tested, Vec<LoadError>>,
    in_order: impl FnOnce(&Tested) -> String,
) -> ExitCode {
    match tested {
        Ok(tested) => {
            for warning in warnings(&tested) {
                eprintln!("{warning}");
            }
            let cautions = cautions(&tested.loaded, &tested.bundle);
            eprint!("{}", diagnostics::warnings(&cautions, &config::base_of(path)));
            println!("{}", in_order(&tested));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprint!("{}", diagnostics::render(&errors, &config::base_of(path)));
            ExitCode::from(REFUSED)
        }
    }
}

/// What loads and is most likely not meant.
fn warnings(tested: &Tested) -> impl Iterator<Item = String> {
    let services = tested.loaded.bundle.services.iter();
    services.flat_map(|service| {
        let (file, line) = &service.place;
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        let nowhere = leading_nowhere(service).into_iter();
        nowhere.map(move |(class, path)| {
            format!(
                "{file}{line}: warning: service {}: class {class}: no answer and no request is declared to have \
                 anything at {path}, so nothing is masked by it; is it misspelt?",
                service.name
            )
        })
    })
}

/// A configuration whose policies answer as their tests want.
#[derive(Debug)]
struct Tested {
    loaded: Loaded,
    bundle: Arc<Bundle>,
    cases: usize,
}

fn certified(path: &Path) -> Result<Tested, Vec<LoadError>> {
    let tested = tested(path)?;
    let mut errors = certificates::check(&tested.loaded, SystemClock.now());
    let opened = Geo::default().open(&tested.loaded.config, &tested.loaded.base);
    errors.extend(opened.err().map(|mistake| *mistake));
    if errors.is_empty() { Ok(tested) } else { Err(errors) }
}

fn tested(path: &Path) -> Result<Tested, Vec<LoadError>> {
    let Checked { loaded, bundle } = checked(path)?;
    let bundle = Arc::new(bundle);
    let below = |file: &str| loaded.config.policies.join(file).to_string_lossy().into_owned();
    let tests = loaded.policy_tests.iter().map(|(file, text)| (below(file), text.clone()));
    let report = policy_test::run(&bundle, &tests.collect::<Vec<_>>());
    if report.is_ok() {
        Ok(Tested { loaded, bundle, cases: report.cases })
    } else {
        Err(report.into_errors())
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
    Bundle::load(&loaded.bundle).map_err(|errors| of_policies(loaded, errors))
}

/// What is said of `checked` in the log of the process that puts it in force.
pub(crate) fn log_warnings(checked: &Checked) {
    for warning in cautions(&checked.loaded, &checked.bundle) {
        let (file, line, help) = (&warning.file, warning.line, &warning.help);
        tracing::warn!(file, line, help, "{}", warning.message);
    }
}

/// What is most likely not meant in the policies of `loaded`.
fn cautions(loaded: &Loaded, bundle: &Bundle) -> Vec<LoadError> {
    of_policies(loaded, bundle.warnings().to_vec())
}

/// What was said, with policies below the policy folder.
fn of_policies(loaded: &Loaded, said: Vec<LoadError>) -> Vec<LoadError> {
    let policies = &loaded.bundle.policies;
    let placed = said.into_iter().map(|mut one| {
        if policies.iter().any(|policy| policy.path == one.file) {
            let path = loaded.config.policies.join(&one.file);
            one.file = path.to_string_lossy().into_owned();
        }
        one
    });
    placed.collect()
}
