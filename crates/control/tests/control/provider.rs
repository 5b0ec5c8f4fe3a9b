//! Who vouches for people: a provider that says what it is told.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_control::ports::{
    AuthorizationRequest, DeviceAuthorization, DeviceOutcome, LoggedOut, NotVouched,
    PeopleProvider, ProviderUnavailable, Returned, VerifiedPerson, WorkloadVerifier,
};
use portcullis_identity::{AuthError, Authenticated, Job};
use portcullis_model::Secret;

/// A provider whose next answer is set by hand.
#[derive(Debug, Default)]
pub(crate) struct Provider {
    pub(crate) next: Mutex<Option<DeviceOutcome>>,
    pub(crate) asked: Mutex<Option<AuthorizationRequest>>,
    pub(crate) recheck: Mutex<Option<Duration>>,
    begun: AtomicU64,
}

#[async_trait]
impl PeopleProvider for Provider {
    fn name(&self) -> &'static str {
        "corp"
    }

    async fn begin(&self) -> Result<DeviceAuthorization, ProviderUnavailable> {
        let n = self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(DeviceAuthorization {
            device_code: Secret::new(format!("device-{n}")),
            user_code: "WDJB-MJHT".into(),
            verification_uri: "https://id.example.com/device".into(),
            verification_uri_complete: None,
            expires_in: 600,
            interval: 5,
        })
    }

    async fn poll(&self, code: &Secret) -> Result<DeviceOutcome, ProviderUnavailable> {
        assert!(code.expose().starts_with("device-"), "the code came back as it was given");
        Ok(self.next.lock().unwrap().clone().unwrap_or(DeviceOutcome::Pending))
    }

    async fn authorize(&self, asked: AuthorizationRequest) -> Result<String, ProviderUnavailable> {
        *self.asked.lock().unwrap() = Some(asked);
        Ok("https://id.example.com/authorize".into())
    }

    async fn check_issuer(&self, issuer: Option<&str>) -> Result<(), NotVouched> {
        match issuer {
            Some("https://id.example.com") => Ok(()),
            _ => Err(NotVouched::Refused("the answer is another provider's".into())),
        }
    }

    async fn redeem(&self, returned: Returned) -> Result<VerifiedPerson, NotVouched> {
        let asked = self.asked.lock().unwrap().clone().unwrap();
        assert_eq!(returned.nonce, asked.nonce, "made from the same browser and state");
        match self.next.lock().unwrap().clone() {
            Some(DeviceOutcome::Done(person)) => Ok(*person),
            _ => Err(NotVouched::Refused("invalid_grant".into())),
        }
    }

    fn recheck(&self) -> Option<Duration> {
        *self.recheck.lock().unwrap()
    }

    async fn renew(&self, _: &Secret, subject: &str) -> Result<VerifiedPerson, NotVouched> {
        match self.next.lock().unwrap().clone() {
            Some(DeviceOutcome::Done(person)) if person.subject == subject => Ok(*person),
            Some(DeviceOutcome::Pending) => {
                Err(NotVouched::Unavailable(ProviderUnavailable("it is away".into())))
            }
            _ => Err(NotVouched::Refused("invalid_grant".into())),
        }
    }

    async fn logged_out(&self, token: &str) -> Result<LoggedOut, NotVouched> {
        let (subject, session) = token.split_once('/').unwrap();
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(LoggedOut {
            subject: named(subject),
            session: named(session),
            id: token.into(),
            ends_at: Timestamp::MAX,
        })
    }
}

#[derive(Debug)]
pub(crate) struct NoWorkloads;

#[async_trait]
impl WorkloadVerifier for NoWorkloads {
    async fn authenticate(&self, _: &str, _: Timestamp) -> Result<Authenticated, AuthError> {
        Err(AuthError::Bad("no issuer is configured"))
    }

    async fn job(&self, _: &str, _: Timestamp) -> Result<Job, AuthError> {
        Err(AuthError::Bad("no issuer is configured"))
    }
}
