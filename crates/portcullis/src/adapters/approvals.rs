//! Access requests for requests that wait at the gate.

use async_trait::async_trait;
use portcullis_control::{ControlError, Waiting, ports as control};
use portcullis_proxy::ports::{Approval, Approvals, HeldRequest, HoldAnswer, HoldEnd, NotOpened};

use super::ControlPorts;

#[derive(Debug)]
struct Opened {
    waiting: Waiting,
    runtime: tokio::runtime::Handle,
}

#[async_trait]
impl Approvals for ControlPorts {
    async fn open(&self, held: HeldRequest) -> Result<Box<dyn Approval>, NotOpened> {
        let HeldRequest {
            caller,
            source,
            request,
            operation,
            resource,
            rule,
            digest,
            summary,
            parameters,
            size,
            body,
            until,
        } = held;
        let asked = control::HeldRequest {
            request,
            operation,
            resource,
            rule,
            digest,
            summary,
            parameters,
            size,
            body,
            until,
        };
        let control = self.control();
        // Should the caller leave meanwhile, what comes back is dropped there, and taken back.
        let opened =
            self.runtime().spawn(async move { control.hold(caller, source, asked).await }).await;
        match opened {
            Ok(Ok(waiting)) => Ok(Box::new(Opened { waiting, runtime: self.runtime().clone() })),
            Ok(Err(error)) => Err(not_opened(&error)),
            Err(_) => Err(NotOpened::Unavailable),
        }
    }
}

#[async_trait]
impl Approval for Opened {
    async fn answered(&mut self) -> HoldAnswer {
        answer(self.waiting.answered().await)
    }

    async fn withdraw(self: Box<Self>, why: HoldEnd) -> Option<HoldAnswer> {
        let Self { waiting, runtime } = *self;
        let withdrawn = runtime.spawn(async move { waiting.withdraw(word(why)).await }).await;
        withdrawn.ok().flatten().map(answer)
    }
}

fn answer(answer: control::HoldAnswer) -> HoldAnswer {
    match answer {
        control::HoldAnswer::Approved => HoldAnswer::Approved,
        control::HoldAnswer::Declined(why) => HoldAnswer::Declined(why),
        control::HoldAnswer::Over => HoldAnswer::Over,
    }
}

/// What people and the record read.
const fn word(why: HoldEnd) -> &'static str {
    match why {
        HoldEnd::Unanswered => "nobody answered while the request waited",
        HoldEnd::ClientGone => "the client went away",
        HoldEnd::SignInEnded => "what identified the caller ended",
        HoldEnd::ShuttingDown => "the gate is shutting down",
    }
}

fn not_opened(error: &ControlError) -> NotOpened {
    match error {
        ControlError::Unavailable(_) | ControlError::Internal(_) => {
            tracing::error!(%error, "a request cannot wait");
            NotOpened::Unavailable
        }
        ControlError::Unauthenticated(_)
        | ControlError::NotFound(_)
        | ControlError::Denied(_)
        | ControlError::Invalid { .. }
        | ControlError::Conflict(_)
        | ControlError::NoWay { .. }
        | ControlError::Limited { .. }
        | ControlError::NoSuchClass { .. }
        | ControlError::PasskeyNeeded(_) => NotOpened::Refused,
    }
}
