//! Policy tests: who asks for what, and which answer the policies must give.
//!
//! The cases stand in `*.test.yaml` files beside the policies. Each is decided by the same code as a
//! request at the gate, on its own, with nothing in force but the grant that it names. What a
//! request could never be, such as an unknown operation or a body of the wrong type, is a mistake of
//! the file and not a failed case.

use std::sync::Arc;

use crate::{Bundle, LoadError, Snapshot, place::File};

mod case;
mod file;
#[cfg(test)]
mod tests;
mod world;

/// What came of running tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The cases that could be run.
    pub cases: usize,
    /// Those that were answered otherwise.
    pub failures: Vec<CaseFailure>,
    /// What is wrong with the files.
    pub errors: Vec<LoadError>,
}

/// A case that was answered otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFailure {
    /// Its file.
    pub file: String,
    /// The 1-based line of its name, if it can be told.
    pub line: Option<usize>,
    /// Its name.
    pub name: String,
    /// The answer that it wants.
    pub expected: String,
    /// The answer that it got.
    pub actual: String,
}

impl Report {
    /// Whether every case could be run and was answered as it should be.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty() && self.errors.is_empty()
    }

    /// Everything that is wrong, to be shown like any other mistake.
    pub fn into_errors(self) -> Vec<LoadError> {
        let failed = self.failures.into_iter().map(|failure| LoadError {
            message: format!(
                "case `{}`: expected {}, got {}",
                failure.name, failure.expected, failure.actual
            ),
            file: failure.file,
            line: failure.line,
            column: None,
            snippet: None,
            help: None,
        });
        self.errors.into_iter().chain(failed).collect()
    }
}

/// Runs the tests in `files`, path and text each, against `bundle`.
pub fn run(bundle: &Arc<Bundle>, files: &[(String, String)]) -> Report {
    let snapshot = Snapshot::new(Arc::clone(bundle), 1);
    let mut report = Report::default();
    for (path, text) in files {
        let place = File { path, text };
        match file::parse(place) {
            Ok(tests) => case::run_all(&snapshot, place, &tests, &mut report),
            Err(error) => report.errors.push(*error),
        }
    }
    report
}
