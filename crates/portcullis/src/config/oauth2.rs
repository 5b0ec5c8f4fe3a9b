//! `oauth2`: providers of people that have no ID tokens, and are asked about their access tokens.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use indexmap::IndexMap;
use portcullis_identity::{
    EndpointUrl, IssuerUrl, OAuth2Endpoints, OAuth2Provider, StepUp as AskAnew, Template,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    introspection::scopes,
    mapping::{claim_types, claims, group_rules, groups, subject},
    secret::SecretRef,
    section::{Field, Section},
    sign_ins::{Recheck, StepUp},
};

/// A client registration at a provider that speaks OAuth 2.0 and no OpenID Connect.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct OAuth2 {
    /// What it calls itself in its answers to browsers (RFC 9207), which then have to say it. Needed
    /// beside other providers.
    #[schemars(with = "Option<String>")]
    #[serde(
        serialize_with = "super::introspection::as_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) issuer: Option<IssuerUrl>,
    /// Where browsers are sent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) authorization_endpoint: EndpointUrl,
    /// Where codes are exchanged.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) token_endpoint: EndpointUrl,
    /// Where it is asked whom a token is about.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) introspection_endpoint: EndpointUrl,
    /// Where command lines begin to sign in; without it, people sign in with browsers only.
    #[schemars(with = "Option<String>")]
    #[serde(
        serialize_with = "super::introspection::as_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) device_authorization_endpoint: Option<EndpointUrl>,
    /// Our client id there.
    pub(crate) client_id: String,
    /// Our secret there.
    pub(crate) client_secret: SecretRef,
    /// Scopes to ask for.
    pub(crate) scopes: Vec<String>,
    /// How people are named, from what is said of their tokens: default `{sub}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip)]
    template: Template,
    /// The claim that lists groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) groups_claim: Option<String>,
    /// Groups given by claims: `department=payments` to a list of groups.
    pub(crate) groups: IndexMap<String, Vec<String>>,
    /// Claims that policies may read: `String`, `Long`, `Bool`, `Set<String>`.
    pub(crate) claims: BTreeMap<String, String>,
    /// How somebody is asked to authenticate anew, or better (RFC 9470).
    pub(crate) step_up: StepUp,
    /// How often the provider is asked again about those who are signed in: `15m`, or `never`.
    pub(crate) recheck: Recheck,
}

impl OAuth2 {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let issuer = section.field("issuer").map(|field| field.parsed());
        let authorization = endpoint(&mut section, "authorization_endpoint");
        let token = endpoint(&mut section, "token_endpoint");
        let introspection = endpoint(&mut section, "introspection_endpoint");
        let device = section.field("device_authorization_endpoint").map(|field| field.parsed());
        let client_id = section.required("client_id").and_then(|f| f.text().map(str::to_owned));
        let secret = section.required("client_secret");
        let client_secret = secret.and_then(|field| SecretRef::read(&field, demo));
        let scopes = section.field("scopes").map(|field| scopes(&field)).unwrap_or_default();
        let (subject, template) = subject(&mut section, None);
        let groups_claim = section.field("groups_claim").and_then(|f| f.text().map(str::to_owned));
        let groups = section.field("groups").map(|field| groups(&field)).unwrap_or_default();
        let claims = section.field("claims").map(|field| claims(&field)).unwrap_or_default();
        let step_up = section.field("step_up").map(|field| StepUp::read(&field));
        let recheck = section.field("recheck");
        let recheck = recheck.map_or(Some(Recheck::default()), |field| Recheck::read(&field));
        section.finish();
        // What is there and has a mistake is not the same as what is not there.
        if matches!(issuer, Some(None)) || matches!(device, Some(None)) {
            return None;
        }
        Some(Self {
            issuer: issuer.flatten(),
            authorization_endpoint: authorization?,
            token_endpoint: token?,
            introspection_endpoint: introspection?,
            device_authorization_endpoint: device.flatten(),
            client_id: client_id?,
            client_secret: client_secret?,
            scopes,
            subject,
            template: template?,
            groups_claim,
            groups,
            claims,
            step_up: step_up.unwrap_or_default(),
            recheck: recheck?,
        })
    }

    /// What the identity crate signs people in by, under the name of its entry; secrets are resolved
    /// now.
    pub(super) fn provider(&self, name: &str, base: &Path) -> Result<OAuth2Provider> {
        let secret = self.client_secret.resolve(base);
        let client_secret =
            secret.with_context(|| format!("the client secret of provider `{name}`"))?;
        Ok(OAuth2Provider {
            name: name.to_owned(),
            issuer: self.issuer.clone(),
            endpoints: OAuth2Endpoints {
                authorization: self.authorization_endpoint.clone(),
                token: self.token_endpoint.clone(),
                introspection: self.introspection_endpoint.clone(),
                device_authorization: self.device_authorization_endpoint.clone(),
            },
            client_id: self.client_id.clone(),
            client_secret,
            scopes: self.scopes.clone(),
            subject: self.template.clone(),
            groups_claim: self.groups_claim.clone(),
            groups: group_rules(&self.groups),
            claims: claim_types(self.claims.clone()),
            step_up: AskAnew { acr_values: self.step_up.acr_values.clone() },
            recheck: self.recheck.get(),
        })
    }

    /// The provider as people are told it.
    pub(super) fn in_words(&self) -> String {
        let issuer = self.issuer.as_ref().map(ToString::to_string);
        issuer.unwrap_or_else(|| self.introspection_endpoint.to_string())
    }
}

fn endpoint(section: &mut Section<'_>, key: &'static str) -> Option<EndpointUrl> {
    section.required(key).and_then(|field| field.parsed())
}
