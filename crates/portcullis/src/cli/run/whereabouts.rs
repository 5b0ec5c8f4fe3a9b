//! What a job is, in words for reviewers: repository, branch, commit, and where its log is.
//!
//! By the variables that each system documents. They are the job's own word: what policies read is in its token.

/// One CI system: a variable that says that it is this one, and the parts of the sentence.
struct System {
    sign: &'static str,
    /// Repository or pipeline.
    what: &'static str,
    branch: &'static str,
    commit: &'static str,
    log: &'static str,
}

const SYSTEMS: [System; 5] = [
    // GitLab CI: "Predefined CI/CD variables reference".
    System {
        sign: "GITLAB_CI",
        what: "CI_PROJECT_PATH",
        branch: "CI_COMMIT_REF_NAME",
        commit: "CI_COMMIT_SHA",
        log: "CI_JOB_URL",
    },
    // Buildkite: "Environment variables".
    System {
        sign: "BUILDKITE",
        what: "BUILDKITE_PIPELINE_SLUG",
        branch: "BUILDKITE_BRANCH",
        commit: "BUILDKITE_COMMIT",
        log: "BUILDKITE_BUILD_URL",
    },
    // CircleCI: "Project values and variables".
    System {
        sign: "CIRCLECI",
        what: "CIRCLE_PROJECT_REPONAME",
        branch: "CIRCLE_BRANCH",
        commit: "CIRCLE_SHA1",
        log: "CIRCLE_BUILD_URL",
    },
    // GitHub Actions: "Variables reference"; where its log is has no variable of its own.
    System {
        sign: "GITHUB_ACTIONS",
        what: "GITHUB_REPOSITORY",
        branch: "GITHUB_REF_NAME",
        commit: "GITHUB_SHA",
        log: "",
    },
    // Jenkins: "Using environment variables".
    System {
        sign: "JENKINS_URL",
        what: "JOB_NAME",
        branch: "BRANCH_NAME",
        commit: "GIT_COMMIT",
        log: "BUILD_URL",
    },
];

/// As many characters of a commit's name as people compare.
const SHORT: usize = 8;

/// `shop/cart main@4cf2d1a0 https://…`, if anything is known.
pub(super) fn known(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let system = SYSTEMS.iter().find(|system| variable(system.sign).is_some())?;
    let mut words: Vec<String> = variable(system.what).into_iter().collect();
    let short = |commit: String| commit.chars().take(SHORT).collect::<String>();
    let at = variable(system.commit).map(|commit| format!("@{}", short(commit)));
    let point =
        format!("{}{}", variable(system.branch).unwrap_or_default(), at.unwrap_or_default());
    words.extend(Some(point).filter(|point| !point.is_empty()));
    words.extend(variable(system.log).or_else(|| github_log(&variable)));
    (!words.is_empty()).then(|| words.join(" "))
}

fn github_log(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let (server, repository) = (variable("GITHUB_SERVER_URL")?, variable("GITHUB_REPOSITORY")?);
    Some(format!("{server}/{repository}/actions/runs/{}", variable("GITHUB_RUN_ID")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<String> {
        known(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn reviewers_read_repository_branch_commit_and_log() {
        let github = of(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "shop/cart"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_SHA", "4cf2d1a0b7c1e9"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_RUN_ID", "5432"),
        ]);
        let said = "shop/cart main@4cf2d1a0 https://github.com/shop/cart/actions/runs/5432";
        assert_eq!(github.as_deref(), Some(said));
        let jenkins =
            of(&[("JENKINS_URL", "https://ci"), ("JOB_NAME", "cart"), ("GIT_COMMIT", "ab")]);
        assert_eq!(jenkins.as_deref(), Some("cart @ab"));
        assert_eq!(of(&[("HOME", "/root")]), None);
        assert_eq!(of(&[("GITLAB_CI", "true")]), None);
    }
}
