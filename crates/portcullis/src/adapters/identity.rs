//! Identity, as control sees it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_control::ports::{
    AuthorizationRequest, DeviceAuthorization, DeviceOutcome, LoggedOut, NotVouched,
    PeopleProvider, ProviderUnavailable, Returned, VerifiedPerson, WorkloadVerifier,
};
use portcullis_identity::{
    AuthError, Authenticated, Job, Logout, People, PeopleError, PersonClaims, Poll, SignedIn,
    Workloads,
};
use portcullis_model::Secret;

/// Checks workloads' tokens.
#[derive(Debug)]
pub(crate) struct TokenVerifier(pub(crate) Arc<Workloads>);

#[async_trait]
impl WorkloadVerifier for TokenVerifier {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authenticated, AuthError> {
        self.0.authenticate(token, now).await
    }

    async fn job(&self, token: &str, now: Timestamp) -> Result<Job, AuthError> {
        self.0.job(token, now).await
    }
}

/// An identity provider of people.
#[derive(Debug)]
pub(crate) struct ProvidedPeople(pub(crate) People);

#[async_trait]
impl PeopleProvider for ProvidedPeople {
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
            Poll::Done(signed_in) => DeviceOutcome::Done(Box::new(verified(*signed_in))),
        })
    }

    async fn authorize(&self, asked: AuthorizationRequest) -> Result<String, ProviderUnavailable> {
        let AuthorizationRequest { redirect_uri, state, nonce, challenge, fresh } = &asked;
        let asked = portcullis_identity::AuthorizationRequest {
            redirect_uri,
            state,
            nonce,
            challenge,
            fresh: *fresh,
        };
        let url = self.0.authorization_url(&asked).await;
        url.map(Into::into).map_err(|error| self.unavailable(&error))
    }

    async fn check_issuer(&self, issuer: Option<&str>) -> Result<(), NotVouched> {
        self.0.check_issuer(issuer).await.map_err(|error| self.not_vouched(&error))
    }

    async fn redeem(&self, returned: Returned) -> Result<VerifiedPerson, NotVouched> {
        let returned = portcullis_identity::Returned {
            code: &returned.code,
            issuer: returned.issuer.as_deref(),
            redirect_uri: &returned.redirect_uri,
            verifier: &returned.verifier,
            nonce: &returned.nonce,
            fresh_since: returned.fresh_since,
        };
        let signed_in = self.0.redeem(&returned).await;
        signed_in.map(verified).map_err(|error| self.not_vouched(&error))
    }

    fn recheck(&self) -> Option<Duration> {
        self.0.recheck()
    }

    async fn renew(&self, renewal: &Secret, subject: &str) -> Result<VerifiedPerson, NotVouched> {
        let signed_in = self.0.renew(renewal, subject).await;
        signed_in.map(verified).map_err(|error| self.not_vouched(&error))
    }

    async fn logged_out(&self, token: &str) -> Result<LoggedOut, NotVouched> {
        let logout = self.0.logout(token).await;
        let Logout { subject, session, id, ends_at } =
            logout.map_err(|error| self.not_vouched(&error.into()))?;
        Ok(LoggedOut { subject, session, id, ends_at })
    }
}

impl ProvidedPeople {
    fn unavailable(&self, error: &PeopleError) -> ProviderUnavailable {
        tracing::warn!(provider = self.0.name(), %error, "nobody can sign in");
        ProviderUnavailable(error.to_string())
    }

    /// What may work later is told from what will not.
    fn not_vouched(&self, error: &PeopleError) -> NotVouched {
        match error {
            PeopleError::Provider(_) | PeopleError::IdToken(AuthError::IssuerUnavailable(_)) => {
                NotVouched::Unavailable(self.unavailable(error))
            }
            PeopleError::Refused { .. } | PeopleError::IdToken(_) => {
                tracing::info!(provider = self.0.name(), %error, "somebody is not vouched for");
                NotVouched::Refused(error.to_string())
            }
        }
    }
}

fn verified(signed_in: SignedIn) -> VerifiedPerson {
    let SignedIn { person, renewal } = signed_in;
    let PersonClaims { subject, email, name, groups, claims, amr, auth_time, session } = person;
    // Identity hands on an address only where the provider verified it.
    let email_verified = email.is_some();
    let name = Some(name);
    VerifiedPerson {
        subject,
        email,
        email_verified,
        name,
        groups,
        claims,
        amr,
        auth_time,
        session,
        renewal,
    }
}
