//! Why a command did not do what it was asked, and the exit code for it.

use std::{fmt::Display, process::ExitCode};

use portcullis_model::Problem;

/// The exit code of a command that wraps another one, for its own failures.
pub(crate) const WRAPPER: u8 = 125;

/// The command that helps where there is no sign-in.
const LOGIN: &str = "`portcullis login`";

/// The problem whose page says how to go on in a browser.
const PASSKEY_NEEDED: &str = "/problems/passkey-needed";

/// Closed: every variant has its exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server, or a reviewer, said no.
    #[error("{0}")]
    Refused(String),
    /// There is no sign-in, or not any more.
    #[error("{0}")]
    SignInNeeded(String),
    /// What was named is not there, for this caller.
    #[error("{0}")]
    NotFound(String),
    /// Arguments, files or environment are not as they should be.
    #[error("{0}")]
    WrongUse(String),
    /// No server, or one that cannot serve.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody answered in time.
    #[error("{0}")]
    TimedOut(String),
}

impl Failure {
    /// Something of this machine failed.
    pub(crate) fn local(what: &str, error: &dyn Display) -> Self {
        Self::WrongUse(format!("{what}: {error}"))
    }

    /// What a problem of the server means for a command.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        let detail = problem.detail.as_deref().unwrap_or(&problem.title);
        match problem.status {
            403 if problem.kind.ends_with(PASSKEY_NEEDED) => {
                Self::Refused(format!("{detail}, in a browser; {} says how", problem.kind))
            }
            401 if detail.contains(LOGIN) => Self::SignInNeeded(detail.to_owned()),
            401 => Self::SignInNeeded(format!("{detail}; run {LOGIN}")),
            404 => Self::NotFound(detail.to_owned()),
            400 | 405 | 413 | 415 | 422 => Self::WrongUse(detail.to_owned()),
            500.. => {
                let request = problem.request.as_deref().unwrap_or("unknown");
                Self::Unreachable(format!("{detail} (request {request})"))
            }
            _ => Self::Refused(detail.to_owned()),
        }
    }

    /// With the commands that it names as they are under `profile`.
    pub(crate) fn under(self, profile: Option<&str>) -> Self {
        match (self, profile) {
            (Self::SignInNeeded(what), Some(name)) => {
                let login = format!("`portcullis --profile {name} login`");
                Self::SignInNeeded(what.replace(LOGIN, &login))
            }
            (failure, _) => failure,
        }
    }

    /// What to do where a thing was not found.
    pub(crate) fn or_try(self, hint: &str) -> Self {
        match self {
            Self::NotFound(what) => Self::NotFound(format!("{what}; {hint}")),
            other => other,
        }
    }

    /// 1 refused, 2 wrong use, 3 could not reach, 4 timed out.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::SignInNeeded(_) => 1,
            Self::WrongUse(_) | Self::NotFound(_) => 2,
            Self::Unreachable(_) => 3,
            Self::TimedOut(_) => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_the_exit_code_that_was_promised() {
        let codes =
            [(401, 1), (403, 1), (404, 2), (400, 2), (422, 2), (409, 1), (429, 1), (503, 3)];
        for (status, code) in codes {
            let problem = Problem { status, ..Problem::default() };
            assert_eq!(Failure::of_problem(&problem).code(), code, "{status}");
        }
        assert_eq!(Failure::TimedOut(String::new()).code(), 4);
    }
}
