//! Sends a request again, where nobody could tell the difference.
//!
//! Three things make that safe. The connection gives the request back: nothing of it had left. The
//! upstream refuses the stream: it has not begun (RFC 9113 section 8.7). Or the method is idempotent
//! and the connection died before the head of an answer was there. What spends a use of a grant is never sent
//! again, and a body that streams is not there to be sent again.
//!
//! A copy of each request would cost each request. So one is kept only where there is cause: over
//! a connection that is new or has rested, or where something went wrong a moment ago.

use std::io;

use ::http::{Request, Response};
use hyper::body::Incoming;
use portcullis_model::{Refusal, refusal::UpstreamTrouble};

use super::{Destination, Outgoing, blame, cause, connect};
use crate::{
    body::UpBody,
    decide::Question,
    exchange::Exchange,
    upstream::{Kind, Lane, Sent},
};

/// Whether and how a request may be sent again.
#[derive(Debug)]
pub(super) enum Again {
    /// It spends something.
    Never,
    /// If the connection gives it back.
    GivenBack,
    /// If the connection gives it back, or did not answer it.
    Copied(Box<Outgoing>),
}

impl Again {
    /// What is needed to send `outgoing` again, should `lane` fail it.
    pub(super) fn of(lane: &Lane, outgoing: &Outgoing) -> Self {
        let wanted = lane.is_doubtful() && (outgoing.is_idempotent() || lane.is_http2());
        let copy = wanted.then(|| outgoing.copy()).flatten();
        copy.map_or(Self::GivenBack, |copy| Self::Copied(Box::new(copy)))
    }

    /// Sends it again, if it may be, and returns the answer with where it is from.
    pub(super) async fn send(
        mut self,
        exchange: &Exchange,
        question: &Question,
        destination: &mut Destination,
        mut sent: Sent,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut given_back = 0;
        let mut left = destination.lane.endpoint().service().settings.retries.attempts;
        loop {
            let error = match sent {
                Sent::Answered(response) => return Ok(response),
                // It has cost nobody anything: not in the budget.
                Sent::Unsent(request) if given_back < 2 && !matches!(self, Self::Never) => {
                    given_back += 1;
                    sent = resend(exchange, question, destination, *request).await?;
                    continue;
                }
                Sent::Unsent(_) => return Err(Refusal::Upstream(UpstreamTrouble::Broken)),
                Sent::Broken(error) => error,
            };
            let refusal = blame(&mut destination.lane, &error);
            let Self::Copied(kept) = &mut self else { return Err(refusal) };
            let is_safe = is_unprocessed(&error) || (kept.is_idempotent() && is_silent(&error));
            let Some(copy) = kept.copy().filter(|_| left > 0 && is_safe) else {
                return Err(refusal);
            };
            if !destination.lane.endpoint().service().may_retry() {
                return Err(refusal);
            }
            left -= 1;
            *destination = elsewhere(exchange, question, destination).await?;
            sent = destination.lane.send(copy.over(&destination.lane)).await;
        }
    }
}

/// A service may have moved since the pooled connection was made: connects like the first time.
async fn resend(
    exchange: &Exchange,
    question: &Question,
    destination: &mut Destination,
    request: Request<UpBody>,
) -> Result<Sent, Refusal> {
    let was_http2 = destination.lane.is_http2();
    *destination = connect(exchange, question, Kind::Fresh).await?;
    // The request is in the form of the protocol that it was made for.
    if destination.lane.is_http2() != was_http2 {
        return Err(Refusal::Upstream(UpstreamTrouble::Broken));
    }
    Ok(destination.lane.send(request).await)
}

/// Another instance if the balancer may pick one, on a new connection in any case.
async fn elsewhere(
    exchange: &Exchange,
    question: &Question,
    failed: &Destination,
) -> Result<Destination, Refusal> {
    let (upstreams, resource) = (&exchange.core.upstreams, &question.resource);
    if resource.instance.is_none() {
        let tried = std::slice::from_ref(&failed.instance);
        if let Some(turn) = upstreams.pick_other(&exchange.snapshot, &resource.service, tried)
            && let Ok(lane) = upstreams.lane(turn, Kind::Fresh).await
        {
            return Ok(Destination::of(lane));
        }
    }
    connect(exchange, question, Kind::Fresh).await
}

/// The upstream says that it has not begun with it.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let Some(h2) = cause::<h2::Error>(error) else { return false };
    let gone = h2.is_go_away() && h2.is_remote();
    h2.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (gone && h2.reason() == Some(h2::Reason::NO_ERROR))
}

/// The connection ended and there is no answer. One that cannot be read is an answer, and a body that
/// failed is the client's affair.
fn is_silent(error: &hyper::Error) -> bool {
    if error.is_parse() || error.is_user() || error.is_body_write_aborted() {
        return false;
    }
    match cause::<io::Error>(error).map(io::Error::kind) {
        // What the strict reader says of an answer that reads two ways.
        Some(io::ErrorKind::InvalidData) => false,
        Some(_) => true,
        None => error.is_incomplete_message() || error.is_closed() || error.is_canceled(),
    }
}
