//! Who asks.
//!
//! Turns what a caller presents into an [`Authenticated`], or says why not. People present opaque
//! sign-ins that control issued; workloads present JWTs, checked against the key sets of their
//! issuers, opaque tokens, about which their issuers are asked, or the SPIFFE certificates and tokens
//! of a trust domain. Decides nothing about access.

pub mod authenticated;
pub mod browser;
pub mod chat;
pub mod ci;
mod claims;
pub mod codes;
pub mod dpop;
pub mod error;
pub mod grant_tokens;
pub mod introspection;
pub mod issuer;
mod jwks;
mod jws;
pub mod key_source;
pub mod passkey;
pub mod people;
pub mod provider;
pub mod rules;
pub mod sealed;
pub mod sign_ins;
pub mod signed_message;
pub mod spiffe;
pub mod standard_webhooks;
pub mod template;
pub mod token_cache;
pub mod workloads;

pub use authenticated::{AuthMethod, Authenticated};
pub use ci::{CiJobs, CiSystem, Job};
pub use error::{AuthError, ConfigError};
pub use grant_tokens::GrantTokens;
pub use introspection::{Introspection, OpaqueIssuer};
pub use issuer::{ClaimType, EndpointUrl, IssuerUrl, JwtIssuer, Mapping};
pub use key_source::Pace;
pub use passkey::RelyingParty;
pub use people::{
    AuthorizationRequest, DeviceAuthorization, Logout, OAuth2Endpoints, OAuth2Provider,
    OidcProvider, People, PeopleError, PersonClaims, Poll, Returned, SignedIn, StepUp,
};
pub use provider::{ProviderClient, ProviderError};
pub use rules::{Pattern, Requirement, Rule};
pub use sign_ins::SignIns;
pub use signed_message::{Decider, Deciders, SignedMessage};
pub use template::Template;
pub use token_cache::TokenCache;
pub use workloads::{Unverified, Workloads};
