//! Asking under a key of the caller's own: the same call again gets the same answer.
//!
//! The answer is kept in the transaction that makes the access request, so that a caller who did not
//! hear it can ask again whatever happened in between. Keys are of one principal, and live a day.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use portcullis_model::{AccessRequestId, PrincipalId};
use portcullis_store::{Change, StoredAnswer};
use sha2::{Digest, Sha256};

use super::{access_requests, ask};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    settle::{Settlement, Unsettled},
    views::{AccessRequestView, Ask, AskFor},
};

const LONGEST_KEY: usize = 255;
const LIVES: SignedDuration = SignedDuration::from_hours(24);
const ROUNDS: usize = 4;

type Result<T> = std::result::Result<T, ControlError>;

/// One caller's key, and what was asked under it.
#[derive(Debug)]
pub(crate) struct Once {
    principal: PrincipalId,
    key: String,
    asked: String,
}

pub(crate) async fn ask_once(
    core: &Arc<Core>,
    op: &OpContext,
    key: &str,
    ask: Ask,
) -> Result<AccessRequestView> {
    let once = Once::new(op, key, &ask)?;
    for _ in 0..ROUNDS {
        if let Some(view) = once.answered(core, op).await? {
            return Ok(view);
        }
        let view = ask::ask(core, op, ask.clone(), Some(&once)).await?;
        match once.keep(core, op, view.request.id).await {
            Ok(()) => return Ok(view),
            // Somebody else came with the same key at this moment.
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

impl Once {
    fn new(op: &OpContext, key: &str, ask: &Ask) -> Result<Self> {
        let fits = !key.is_empty() && key.len() <= LONGEST_KEY;
        if !fits || !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            let message = format!("must be 1 to {LONGEST_KEY} printable ASCII characters");
            return Err(ControlError::Invalid { field: "Idempotency-Key", message });
        }
        let principal = rights::caller(op)?.id.clone();
        Ok(Self { principal, key: key.to_owned(), asked: digest(ask)? })
    }

    /// What was answered under this key; an error if something else was asked then.
    pub(crate) async fn answered(
        &self,
        core: &Core,
        op: &OpContext,
    ) -> Result<Option<AccessRequestView>> {
        let kept = core.store.answer(&self.principal, &self.key).await?;
        let Some(kept) = kept.filter(|kept| op.now() < kept.at + LIVES) else { return Ok(None) };
        if kept.asked != self.asked {
            let why = "this idempotency key was used for something else; take a new one";
            return Err(ControlError::Conflict(why.into()));
        }
        access_requests::view_of(core, op, kept.access_request).await.map(Some)
    }

    /// The change that keeps the answer.
    pub(crate) fn change(&self, op: &OpContext, access_request: AccessRequestId) -> Change {
        let (principal, key) = (self.principal.clone(), self.key.clone());
        let asked = self.asked.clone();
        Change::KeepAnswer {
            answer: StoredAnswer { principal, key, asked, access_request, at: op.now() },
            forget_until: op.now() - LIVES,
        }
    }

    /// Keeps an answer that made nothing new: what was asked for was there already.
    async fn keep(
        &self,
        core: &Arc<Core>,
        op: &OpContext,
        answer: AccessRequestId,
    ) -> std::result::Result<(), Unsettled> {
        if self.answered(core, op).await.map_err(Unsettled::Failed)?.is_some() {
            return Ok(());
        }
        let changes = vec![self.change(op, answer)];
        core.settle(Settlement { changes, ..Settlement::default() }).await
    }
}

/// Names what is asked, however it was written on the wire.
fn digest(ask: &Ask) -> Result<String> {
    let what = match &ask.what {
        AskFor::Refusal(id) => serde_json::json!({ "refusal": id }),
        AskFor::Operations(operations) => operations
            .iter()
            .map(|one| match &one.rule {
                None => serde_json::json!([one.operation, one.instance]),
                Some(rule) => serde_json::json!([one.operation, one.instance, rule]),
            })
            .collect::<serde_json::Value>(),
        AskFor::Extension(id) => serde_json::json!({ "extends": id }),
    };
    let duration = ask.duration.map(|window| window.get().as_nanos().to_string());
    let text = serde_json::to_vec(&(what, &ask.rule, &ask.reason, duration));
    let text = text.map_err(|error| ControlError::Internal(Box::new(error)))?;
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
}
