//! CI jobs: what the tokens of each system say, and what makes two of them the same one.
//!
//! A job's token is worth one exchange at control, for a sign-in that lives as long as the job says
//! that it does. At a gate it is worth nothing, so a token that leaks into a build's output opens
//! nothing by itself once the job has used it.

use std::time::Duration;

use jiff::Timestamp;
use portcullis_model::TokenHash;

use crate::{
    AuthError, Authenticated,
    ClaimType::{self, Bool, Long, Set, String as Text},
    jws::Unproven,
};

/// The longest that a run lives, whatever configuration says.
pub const LONGEST_RUN: Duration = Duration::from_hours(1);
/// Longer than any honest `jti`.
const MAX_ID: usize = 512;

/// A CI system, by whose words its tokens are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CiSystem {
    /// GitHub Actions: "OpenID Connect reference".
    GitHub,
    /// GitLab CI: "OpenID Connect (OIDC) Authentication Using ID Tokens".
    GitLab,
    /// Buildkite: "buildkite-agent oidc", *Claims*.
    Buildkite,
    /// `CircleCI`: "Using OpenID Connect tokens in jobs", *OpenID Connect ID tokens format*.
    CircleCi,
    /// Any issuer that speaks OpenID Connect.
    Generic,
}

/// What is known of a CI system's tokens before anything is configured.
#[derive(Debug, Clone, Copy)]
pub struct CiPreset {
    /// The issuer, where all customers have the same.
    pub issuer: Option<&'static str>,
    /// An issuer that signs for all customers, whether or not each has one of its own as well.
    pub shared: Option<&'static str>,
    /// How its runs are named.
    pub subject: &'static str,
    /// Claims that policies may read.
    pub claims: &'static [(&'static str, ClaimType)],
    /// Claims that tell one customer of a shared issuer from another. Of these, at least one has to
    /// be required: an issuer signs for whoever has an account there, for any audience they name.
    pub anchors: &'static [&'static str],
}

impl CiSystem {
    /// What is known of its tokens.
    pub const fn preset(self) -> CiPreset {
        match self {
            Self::GitHub => GITHUB,
            Self::GitLab => GITLAB,
            Self::Buildkite => BUILDKITE,
            Self::CircleCi => CIRCLECI,
            Self::Generic => GENERIC,
        }
    }
}

const GITHUB: CiPreset = CiPreset {
    issuer: Some("https://token.actions.githubusercontent.com"),
    shared: Some("https://token.actions.githubusercontent.com"),
    subject: "{repository}",
    claims: &[
        ("repository", Text),
        ("repository_id", Text),
        ("repository_owner", Text),
        ("ref", Text),
        ("ref_type", Text),
        ("environment", Text),
        ("event_name", Text),
        ("workflow_ref", Text),
        ("job_workflow_ref", Text),
        ("runner_environment", Text),
        ("actor", Text),
        ("sha", Text),
        ("run_id", Text),
        ("run_attempt", Text),
    ],
    anchors: &[
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "enterprise_id",
    ],
};

const GITLAB: CiPreset = CiPreset {
    issuer: Some("https://gitlab.com"),
    shared: Some("https://gitlab.com"),
    subject: "{project_path}",
    claims: &[
        ("project_path", Text),
        ("project_id", Text),
        ("namespace_path", Text),
        ("ref", Text),
        ("ref_type", Text),
        ("ref_protected", Text),
        ("environment", Text),
        ("environment_protected", Text),
        ("deployment_tier", Text),
        ("environment_action", Text),
        ("pipeline_source", Text),
        ("pipeline_id", Text),
        ("ci_config_ref_uri", Text),
        ("ci_config_sha", Text),
        ("project_visibility", Text),
        ("job_id", Text),
        ("runner_environment", Text),
        ("user_login", Text),
        ("sha", Text),
    ],
    anchors: &["project_path", "project_id", "namespace_path", "namespace_id"],
};

const BUILDKITE: CiPreset = CiPreset {
    issuer: Some("https://agent.buildkite.com"),
    shared: Some("https://agent.buildkite.com"),
    subject: "{organization_slug}/{pipeline_slug}",
    claims: &[
        ("organization_slug", Text),
        ("pipeline_slug", Text),
        ("build_number", Long),
        ("build_branch", Text),
        ("build_tag", Text),
        ("build_commit", Text),
        ("build_source", Text),
        ("step_key", Text),
        ("job_id", Text),
        ("agent_id", Text),
        ("runner_environment", Text),
    ],
    anchors: &["organization_slug", "organization_id", "pipeline_id"],
};

/// Each organization has an issuer of its own, `https://oidc.circleci.com/org/ID`; who asks for a token with
/// `--root-issuer` gets one of all.
const CIRCLECI: CiPreset = CiPreset {
    issuer: None,
    shared: Some("https://oidc.circleci.com"),
    subject: "{oidc.circleci.com/project-id}",
    claims: &[
        ("oidc.circleci.com/org-id", Text),
        ("oidc.circleci.com/project-id", Text),
        ("oidc.circleci.com/pipeline-definition-id", Text),
        ("oidc.circleci.com/pipeline-id", Text),
        ("oidc.circleci.com/workflow-id", Text),
        ("oidc.circleci.com/job-id", Text),
        ("oidc.circleci.com/context-ids", Set),
        ("oidc.circleci.com/vcs-origin", Text),
        ("oidc.circleci.com/vcs-ref", Text),
        ("oidc.circleci.com/ssh-rerun", Bool),
    ],
    anchors: &["oidc.circleci.com/org-id", "oidc.circleci.com/project-id"],
};

const GENERIC: CiPreset =
    CiPreset { issuer: None, shared: None, subject: "{sub}", claims: &[], anchors: &[] };

/// How the jobs of one issuer run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CiJobs {
    /// A run that has not been heard of for so long has ended.
    pub heartbeat: Duration,
    /// No run lives longer.
    pub longest: Duration,
}

/// A job that proved what it is, and may be exchanged for a run unless it has been.
#[derive(Debug)]
pub struct Job {
    /// What it is.
    pub authenticated: Authenticated,
    /// The same for two presentations of one token.
    pub replay_key: TokenHash,
    /// When the token stops being accepted anyway.
    pub ends_at: Timestamp,
    /// How it runs.
    pub jobs: CiJobs,
}

/// What is kept of a token so that it is exchanged once: its issuer and `jti` (RFC 7519, 4.1.7), or
/// what was signed. Never the signature, of which one message may have several.
pub(crate) fn replay_key(token: &Unproven<'_>, issuer: &str) -> Result<TokenHash, AuthError> {
    let bad = AuthError::Bad("the token's `jti` is not a usable text");
    match token.claims.get("jti") {
        None => Ok(TokenHash::of(&format!("message {}", token.message))),
        Some(id) => {
            let id = id.as_str().filter(|id| (1..=MAX_ID).contains(&id.len())).ok_or(bad)?;
            Ok(TokenHash::of(&format!("jti {} {issuer} {id}", issuer.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn key(claims: &str, signature: &str, issuer: &str) -> Result<TokenHash, AuthError> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{signature}", part(r#"{"alg":"ES256"}"#), part(claims));
        replay_key(&Unproven::parse(&token).unwrap(), issuer)
    }

    #[test]
    fn d05_a_token_is_the_same_whatever_its_signature_looks_like() {
        let one = key(r#"{"sub":"a"}"#, "AA", "i").unwrap();
        assert_eq!(one, key(r#"{"sub":"a"}"#, "BB", "i").unwrap());
        assert_ne!(one, key(r#"{"sub":"b"}"#, "AA", "i").unwrap());
        let named = key(r#"{"jti":"1","sub":"a"}"#, "AA", "i").unwrap();
        assert_eq!(named, key(r#"{"jti":"1","sub":"b"}"#, "AA", "i").unwrap());
        assert_ne!(named, key(r#"{"jti":"1","sub":"a"}"#, "AA", "j").unwrap());
        for bad in [r#"{"jti":1}"#, r#"{"jti":""}"#, r#"{"jti":null}"#, r#"{"jti":["1"]}"#] {
            assert!(key(bad, "AA", "i").is_err(), "{bad}");
        }
    }

    #[test]
    fn every_preset_reads_as_configuration_would() {
        for system in [
            CiSystem::GitHub,
            CiSystem::GitLab,
            CiSystem::Buildkite,
            CiSystem::CircleCi,
            CiSystem::Generic,
        ] {
            let preset = system.preset();
            assert!(preset.subject.parse::<crate::Template>().is_ok());
            for url in [preset.issuer, preset.shared].into_iter().flatten() {
                assert!(url.parse::<crate::IssuerUrl>().is_ok(), "{url}");
            }
            assert_eq!(preset.shared.is_none(), preset.anchors.is_empty());
            assert!(preset.issuer.is_none() || preset.issuer == preset.shared);
        }
    }
}
