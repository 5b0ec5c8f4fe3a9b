//! A yard of CI systems: issuers whose tokens `PyJWT` mints, and a shop that their jobs deploy.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use portcullis_testkit::{
    ambient::machine_time,
    net::{free_port, wait_for_port},
};
use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    people::Person,
    shop::{HOST, Shop},
    streams::{Peer, python},
    upstream::Upstream,
    wire::{Response, exchange},
};

const POLICIES: &str = r#"
@id("deployers")
permit (principal is Workload in Group::"deployers", action == Action::"shop.PUT", resource == Service::"shop");

@id("deployers.reviewed") @reviews("1") @max_duration("10m")
permit (principal is Workload in Group::"deployers", action == Action::"shop.POST", resource == Service::"shop")
when { context has grant };

@id("deployers.granted") @reviews("0") @max_duration("10m")
permit (principal is Workload in Group::"deployers", action == Action::"shop.DELETE", resource == Service::"shop")
when { context has grant };

@id("cart.attributes")
permit (principal is Workload, action == Action::"shop.PATCH", resource == Service::"shop")
when { principal has repository && principal.repository == "shop/cart" && principal has run_attempt
    && principal.run_attempt == "2" && context.auth.method == "run" };

@id("cart.circleci")
permit (principal is Workload, action == Action::"shop.PATCH", resource == Service::"shop")
when { principal has "oidc.circleci.com/vcs-ref" && principal["oidc.circleci.com/vcs-ref"] == "refs/heads/main"
    && principal has "oidc.circleci.com/ssh-rerun" && !principal["oidc.circleci.com/ssh-rerun"]
    && principal has "oidc.circleci.com/context-ids" && principal["oidc.circleci.com/context-ids"].contains("3c5e") };

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource is System);
"#;

/// The shop, and CI systems whose jobs may read there.
pub(crate) struct Yard {
    pub(crate) shop: Shop,
    pub(crate) upstream: Upstream,
    pub(crate) issuers: SocketAddr,
    _issuers: Peer,
}

/// A run.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) control: String,
    pub(crate) gate: String,
}

impl Yard {
    pub(crate) fn open() -> Self {
        Self::with_heartbeat("10m")
    }

    pub(crate) fn with_heartbeat(heartbeat: &str) -> Self {
        Self::furnished(heartbeat, |plan| plan)
    }

    /// With whatever `furnish` adds.
    pub(crate) fn furnished(heartbeat: &str, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let issuers = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let peer = python("ci_issuer.py", &[&issuers.port().to_string()], Stdio::null());
        assert!(wait_for_port(issuers, Duration::from_secs(30)));
        let upstream = Upstream::start();
        let shop = Shop::furnished(&upstream.url(), |plan| {
            furnish(plan).policy("jobs.cedar", POLICIES)
                .workload(&format!(
                    "{{name: github, jwt: {{ci: {{system: github, heartbeat: {heartbeat}}}, \
                     issuer: \"http://{issuers}/github\", audience: portcullis, \
                     require: {{repository: shop/cart, ref: [refs/heads/main, {{glob: \"refs/heads/release/*\"}}]}}, \
                     groups: {{\"repository_owner=shop\": [readers]}}, \
                     rules: [{{when: {{environment: production, ref: refs/heads/main}}, groups: [deployers]}}]}}}}"
                ))
                .workload(&format!(
                    "{{name: gitlab, jwt: {{ci: gitlab, issuer: \"http://{issuers}/gitlab\", audience: portcullis, \
                     require: {{project_path: shop/cart, ref_protected: \"true\"}}, \
                     groups: {{\"namespace_path=shop\": [readers]}}}}}}"
                ))
                .workload(&format!(
                    "{{name: buildkite, jwt: {{ci: buildkite, issuer: \"http://{issuers}/buildkite\", \
                     audience: portcullis, require: {{organization_slug: shop, pipeline_slug: cart}}, \
                     groups: {{\"build_branch=main\": [readers]}}}}}}"
                ))
                .workload(&format!(
                    "{{name: circleci, jwt: {{ci: circleci, issuer: \"http://{issuers}/circleci\", \
                     audience: portcullis, require: {{oidc.circleci.com/project-id: 7a1f, \
                     oidc.circleci.com/vcs-origin: github.com/shop/cart}}, \
                     groups: {{\"oidc.circleci.com/vcs-ref=refs/heads/main\": [readers]}}}}}}"
                ))
                .workload(&format!(
                    "{{name: cluster, jwt: {{ci: generic, issuer: \"http://{issuers}/cluster\", audience: portcullis, \
                     subject: \"{{sub}}\", require: {{sub: \"system:serviceaccount:shop:migrate\"}}, \
                     groups: {{\"sub=system:serviceaccount:shop:migrate\": [deployers]}}}}}}"
                ))
        });
        Self { shop, upstream, issuers, _issuers: peer }
    }

    pub(crate) fn house(&self) -> &House {
        &self.shop.house
    }

    /// The claims of a job as its system writes them, valid for five minutes.
    pub(crate) fn claims(&self, system: &str) -> Value {
        let now = machine_time().as_second();
        let mut claims = shape(system);
        for (name, value) in [
            ("iss", json!(format!("http://{}/{system}", self.issuers))),
            ("aud", json!("portcullis")),
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(now + 300)),
        ] {
            claims[name] = value;
        }
        if system == "circleci" {
            claims.as_object_mut().unwrap().remove("nbf");
        }
        claims
    }

    /// A token with these claims, and whatever else of it is `more`.
    pub(crate) fn mint(&self, claims: &Value, more: Value) -> String {
        let mut body = json!({"claims": claims});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST /mint HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n",
            self.issuers
        );
        let minted = exchange(self.issuers, format!("{head}{body}"));
        assert_eq!(minted.status, 200, "{}", minted.text());
        minted.text()
    }

    /// A token that no other is the same as.
    pub(crate) fn sound(&self, system: &str) -> String {
        self.mint(&self.claims(system), json!({}))
    }

    /// A job of GitHub's that may ask for its token, after `fail` answers of 503: the variables that it has.
    pub(crate) fn github_job(&self, fail: u32) -> Vec<(String, String)> {
        let bearer = format!("request-{}", unique());
        let body =
            json!({"bearer": bearer, "claims": self.claims("github"), "fail": fail}).to_string();
        let head = format!(
            "POST /actions HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.issuers,
            body.len()
        );
        assert_eq!(exchange(self.issuers, format!("{head}{body}")).status, 200);
        let url = format!("http://{}/actions/idtoken?api-version=2.0", self.issuers);
        let named = [
            ("GITHUB_ACTIONS", "true"),
            ("CI", "true"),
            ("GITHUB_REPOSITORY", "shop/cart"),
            ("GITHUB_REF_NAME", "main"),
            ("GITHUB_SHA", "4cf2d1a0b7c1e9d2f3a4b5c6d7e8f90123456789"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_RUN_ID", "5432"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &bearer),
        ];
        named.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    pub(crate) fn exchange(&self, token: &str) -> Response {
        self.house().api("POST", "/v1/runs", Some(token), None)
    }

    /// Exchanges `token` and makes the run's sign-in for the gate.
    pub(crate) fn run(&self, token: &str) -> Running {
        let answer = self.exchange(token);
        assert_eq!(answer.status, 201, "{}\n{}", answer.text(), self.house().log());
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let control = text("token");
        Running { id: text("id"), gate: self.house().gate_token(&control), control }
    }

    pub(crate) fn heartbeat(&self, run: &Running) -> u16 {
        let path = format!("/v1/runs/{}/heartbeat", run.id);
        self.house().api("POST", &path, Some(&run.control), None).status
    }

    pub(crate) fn gate(&self, method: &str, token: &str) -> u16 {
        self.house().gate(HOST, method, "/page", Some(token), None).status
    }

    /// Whether any token of this run is worth anything.
    pub(crate) fn is_over(&self, run: &Running) -> bool {
        let whoami = self.house().api("GET", "/v1/whoami", Some(&run.control), None).status;
        let gate = self.gate("GET", &run.gate);
        assert!([200, 401].contains(&whoami) && [200, 401].contains(&gate), "{whoami} {gate}");
        whoami == 401 && gate == 401
    }

    pub(crate) fn auditor(&self) -> String {
        self.house().sign_in(&Person::new("sam", &["auditors"]))
    }
}

/// What no other token has.
pub(crate) fn unique() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", machine_time().as_second(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// What each system says of a job, as its documentation has it:
///
/// - `github`: "OpenID Connect reference" (github/docs at 051718f297e1), for a repository made after 15 July 2026.
/// - `gitlab`: "OpenID Connect (OIDC) Authentication Using ID Tokens" of GitLab 18.9.
/// - `buildkite`: "buildkite-agent oidc" (buildkite/docs at 7e155915e, 1 April 2026). It has no `jti`, and the key of a
///   step without one is null.
/// - `circleci`: "Using OpenID Connect tokens in jobs" (circleci/circleci-docs at 4373f8ad50, 17 August 2026), without
///   `jti` and `nbf`.
/// - `cluster`: Kubernetes' "Managing Service Accounts", a bound token of 1.34.
fn shape(system: &str) -> Value {
    let id = unique();
    match system {
        "github" => json!({
            "jti": id, "sub": "repo:shop@65/cart@74:environment:production", "ref": "refs/heads/main",
            "sha": "4cf2d1", "repository": "shop/cart", "repository_owner": "shop", "actor_id": "12",
            "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
            "run_id": "5432", "run_number": "10", "run_attempt": "2", "actor": "ana", "workflow": "deploy",
            "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch", "ref_protected": "true",
            "environment": "production", "job_workflow_ref": "shop/cart/.github/workflows/d.yml@refs/heads/main",
            "job_workflow_sha": "4cf2d1", "workflow_sha": "4cf2d1", "check_run_id": "61",
            "workflow_ref": "shop/cart/.github/workflows/d.yml@refs/heads/main",
            "runner_environment": "github-hosted",
        }),
        "gitlab" => json!({
            "jti": id, "sub": "project_path:shop/cart:ref_type:branch:ref:main", "namespace_id": "72",
            "namespace_path": "shop", "project_id": "20", "project_path": "shop/cart", "user_id": "1",
            "user_login": "ana", "user_email": "ana@example.com", "user_access_level": "maintainer",
            "job_project_id": "20", "job_project_path": "shop/cart", "job_namespace_id": "72",
            "job_namespace_path": "shop", "pipeline_id": "574", "job_id": "302", "pipeline_source": "push",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
            "groups_direct": ["shop"], "environment": "production", "environment_protected": "true",
            "deployment_tier": "production", "environment_action": "start", "runner_id": 1,
            "runner_environment": "self-hosted", "sha": "714a62", "project_visibility": "private",
            // Of a pipeline that is defined in another project.
            "ci_config_ref_uri": null, "ci_config_sha": null, "job_source": "push",
        }),
        "circleci" => json!({
            "sub": "org/0c9d/project/7a1f/user/5b2e", "oidc.circleci.com/org-id": "0c9d",
            "oidc.circleci.com/project-id": "7a1f", "oidc.circleci.com/job-id": id,
            "oidc.circleci.com/context-ids": ["3c5e"], "oidc.circleci.com/pipeline-id": "91d0",
            "oidc.circleci.com/pipeline-definition-id": "e47b", "oidc.circleci.com/workflow-id": "28fa",
            "oidc.circleci.com/vcs-origin": "github.com/shop/cart",
            "oidc.circleci.com/vcs-ref": "refs/heads/main", "oidc.circleci.com/ssh-rerun": false,
        }),
        "cluster" => json!({
            "jti": id, "sub": "system:serviceaccount:shop:migrate",
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "migrate"}},
        }),
        _ => json!({
            "sub": "organization:shop:pipeline:cart:ref:refs/heads/main:commit:9f3182:step:",
            "organization_slug": "shop", "pipeline_slug": "cart", "build_number": 5, "build_branch": "main",
            "build_commit": "9f3182", "step_key": null, "job_id": id, "agent_id": "d4", "build_source": "webhook",
            "runner_environment": "self-hosted",
        }),
    }
}
