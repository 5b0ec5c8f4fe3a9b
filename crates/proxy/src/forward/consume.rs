//! Spends one use of a counted grant: after connecting, after deciding again, before sending.

use std::rc::Rc;

use portcullis_model::{Refusal, refusal::Unavailable};
use portcullis_policy::Pass;

use crate::{
    decide::{self, Question},
    exchange::Exchange,
    ports::ConsumeError,
    reveal,
};

/// Whether sending under `pass` costs a use.
pub(crate) fn is_counted(pass: &Pass) -> bool {
    pass.grant().is_some_and(|grant| grant.max_uses.is_some())
}

/// Decides again against the newest snapshot and spends one use durably. What comes back may be
/// sent once and, whatever happens, never again.
pub(crate) async fn consume(
    exchange: &mut Exchange,
    question: &Rc<Question>,
    pass: Pass,
) -> Result<Pass, Refusal> {
    if !is_counted(&pass) {
        return Ok(pass);
    }
    let intended = exchange.grant;
    let mut again = Question::clone(question);
    again.context.now = exchange.core.now();
    exchange.snapshot = exchange.core.snapshot();
    let snapshot = Rc::clone(&exchange.snapshot);
    reveal::follow_rules(exchange, &snapshot);
    if exchange.sign_in.is_some_and(|id| exchange.snapshot.sign_in_by_id(id).is_none()) {
        return Err(Refusal::BadCredentials("the sign-in ended"));
    }
    again.locate(&exchange.core, &exchange.snapshot).map_err(decide::no_answer)?;
    let verdict = again.ask(&exchange.core, &exchange.snapshot);
    let pass = decide::permitted(exchange, &again, verdict)?;
    // INVARIANT: what is spent is what the intent on record names.
    if exchange.grant != intended {
        return Err(Refusal::Unavailable(Unavailable::Store));
    }
    let Some(grant) = exchange.grant else { return Ok(pass) };
    match exchange.core.parts.consumption.consume(grant, exchange.id).await {
        Ok(()) => Ok(pass),
        Err(ConsumeError::Unavailable) => Err(Refusal::Unavailable(Unavailable::Store)),
        Err(ConsumeError::Over) => Err(over(exchange, &again)),
    }
}

/// Somebody else spent the last use meanwhile: the answer of a snapshot without it.
fn over(exchange: &mut Exchange, question: &Question) -> Refusal {
    exchange.snapshot = exchange.core.snapshot();
    let verdict = question.ask(&exchange.core, &exchange.snapshot);
    match decide::permitted(exchange, question, verdict) {
        Err(refusal) => refusal,
        // The store is ahead of the snapshot: trying again will tell.
        Ok(_) => Refusal::Unavailable(Unavailable::Store),
    }
}
