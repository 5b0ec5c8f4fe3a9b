//! Identity, as control sees it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_control::ports::{
    DeviceAuthorization, DeviceOutcome, PeopleProvider, ProviderUnavailable, VerifiedPerson,
    WorkloadVerifier,
};
use portcullis_identity::{
    AuthError, Authenticated, Job, People, PeopleError, PersonClaims, Poll, Workloads,
};
use portcullis_model::Secret;

/// Checks workloads' tokens.
#[derive(Debug)]
pub(crate) struct JwtVerifier(pub(crate) Arc<Workloads>);

#[async_trait]
impl WorkloadVerifier for JwtVerifier {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authenticated, AuthError> {
        self.0.authenticate(token, now).await
    }

    async fn job(&self, token: &str, now: Timestamp) -> Result<Job, AuthError> {
        self.0.job(token, now).await
    }
}

/// An identity provider of people.
#[derive(Debug)]
pub(crate) struct OidcPeople(pub(crate) People);

#[async_trait]
impl PeopleProvider for OidcPeople {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn begin(&self) -> Result<DeviceAuthorization, ProviderUnavailable> {
        let begun = self.0.begin_device().await.map_err(|error| self.unavailable(&error))?;
        Ok(DeviceAuthorization {
            device_code: begun.device_code,
            user_code: begun.user_code,
            verification_uri: begun.verification_uri.into(),
            verification_uri_complete: begun.verification_uri_complete.map(Into::into),
            expires_in: u32::try_from(begun.expires_in).unwrap_or(u32::MAX),
            interval: u32::try_from(begun.interval).unwrap_or(u32::MAX),
        })
    }

    async fn poll(&self, device_code: &Secret) -> Result<DeviceOutcome, ProviderUnavailable> {
        let found = self.0.poll_device(device_code).await;
        Ok(match found.map_err(|error| self.unavailable(&error))? {
            Poll::Pending { slow_down: false } => DeviceOutcome::Pending,
            Poll::Pending { slow_down: true } => DeviceOutcome::SlowDown,
            Poll::Denied => DeviceOutcome::Denied,
            Poll::Expired => DeviceOutcome::Expired,
            Poll::Done(person) => DeviceOutcome::Done(Box::new(verified(person))),
        })
    }
}

impl OidcPeople {
    fn unavailable(&self, error: &PeopleError) -> ProviderUnavailable {
        tracing::warn!(provider = self.0.name(), %error, "nobody can sign in");
        ProviderUnavailable(error.to_string())
    }
}

fn verified(person: PersonClaims) -> VerifiedPerson {
    let PersonClaims { subject, email, name, groups, claims, amr, auth_time } = person;
    // Identity hands on an address only where the provider verified it.
    let email_verified = email.is_some();
    VerifiedPerson {
        subject,
        email,
        email_verified,
        name: Some(name),
        groups,
        claims,
        amr,
        auth_time,
    }
}
