//! Whoever brings messages, and what became of each: so that nobody else has to say how contact is.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::SignedDuration;
use portcullis_model::{AccessRequestId, Clock};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::Posted;
use serde_json::Value;

use super::{
    contact::{ConnectedSystem, Contacts},
    slack::{Member, MemberKey, NotTaken, SLACK, SlackApi},
};
use crate::ports::{NotDelivered, Notice, Notifier};

/// A token of another workspace stands apart from whether Slack answers.
const WORKSPACE: &str = "workspace";

/// `inner`, watched.
#[derive(Debug)]
pub(crate) struct Watched<T: ?Sized> {
    inner: Arc<T>,
    contacts: Arc<Contacts>,
    clock: Arc<dyn Clock>,
}

impl<T: ?Sized> Watched<T> {
    pub(crate) fn new(inner: Arc<T>, contacts: &Arc<Contacts>, clock: &Arc<dyn Clock>) -> Self {
        Self { inner, contacts: Arc::clone(contacts), clock: Arc::clone(clock) }
    }
}

impl Watched<dyn Notifier> {
    fn note(&self, target: &NoticeTarget, told: &Result<(), NotDelivered>) {
        let Some(name) = target.needs() else { return };
        match told {
            Ok(()) => self.contacts.answered(&name, self.clock.now()),
            Err(error) => self.contacts.failed(&name, self.clock.now(), &error.why, error.rest),
        }
    }
}

#[async_trait]
impl Notifier for Watched<dyn Notifier> {
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered> {
        let told = self.inner.deliver(target, notice).await;
        self.note(target, &told);
        told
    }

    async fn take_back(
        &self,
        target: &NoticeTarget,
        about: AccessRequestId,
    ) -> Result<(), NotDelivered> {
        let taken = self.inner.take_back(target, about).await;
        self.note(target, &taken);
        taken
    }

    fn receivers(&self) -> Vec<ConnectedSystem> {
        self.inner.receivers()
    }
}

/// Slack's Web API, and the workspace that it shall be.
#[derive(Debug)]
pub(crate) struct WatchedSlack {
    watched: Watched<dyn SlackApi>,
    workspace: String,
}

impl WatchedSlack {
    pub(crate) fn new(watched: Watched<dyn SlackApi>, workspace: String) -> Self {
        Self { watched, workspace }
    }

    fn noted<T>(&self, said: Result<T, NotTaken>) -> Result<T, NotTaken> {
        let (contacts, now) = (&self.watched.contacts, self.watched.clock.now());
        match &said {
            // It answers: what it does not want is about one message, and on record.
            Ok(_) | Err(NotTaken::Refused(_)) => contacts.answered(SLACK, now),
            Err(error @ NotTaken::Limited(wait)) => {
                let rest = SignedDuration::try_from(*wait).ok();
                contacts.failed(SLACK, now, &error.to_string(), rest);
            }
            Err(NotTaken::Unavailable(why)) => contacts.failed(SLACK, now, why, None),
        }
        said
    }
}

#[async_trait]
impl SlackApi for WatchedSlack {
    async fn workspace(&self) -> Result<String, NotTaken> {
        let said = self.noted(self.watched.inner.workspace().await);
        if let Ok(workspace) = &said {
            let why = "the bot token is of another workspace: nothing is posted; give it one of this workspace";
            let foreign = (*workspace != self.workspace).then_some(why);
            let now = self.watched.clock.now();
            self.watched.contacts.apart(SLACK, WORKSPACE, now, foreign);
        }
        said
    }

    async fn post(&self, channel: &str, message: &Value) -> Result<Posted, NotTaken> {
        self.noted(self.watched.inner.post(channel, message).await)
    }

    async fn update(&self, at: &Posted, message: &Value) -> Result<(), NotTaken> {
        self.noted(self.watched.inner.update(at, message).await)
    }

    async fn respond(&self, url: &str, message: &Value) -> Result<(), NotTaken> {
        self.noted(self.watched.inner.respond(url, message).await)
    }

    async fn member(&self, key: MemberKey<'_>) -> Result<Member, NotTaken> {
        self.noted(self.watched.inner.member(key).await)
    }
}
