//! Answers of services with sensitive data: masked, or refused.
//!
//! Other services pay a look at one `Option` here, twice in a request.

use std::{pin::Pin, time::Duration};

use ::http::{Request, response::Parts};
use portcullis_model::{
    Refusal,
    refusal::{Unavailable, UpstreamTrouble},
};
use portcullis_policy::sensitive::message::Shape;

use super::http::cut_refusal;
use crate::{
    body::{BodyError, Cut, DownBody, Download, UpBody},
    decide::Question,
    exchange::Exchange,
    filter::mask::{
        Rules, Trouble,
        answer::{Kind, Masked},
        coding::Decoder,
        head,
    },
    reveal,
};

/// What is masked in the answer, if anything is.
pub(super) fn rules(exchange: &Exchange) -> Option<Rules> {
    let (sensitive, classes) = reveal::masked(exchange)?;
    (!classes.is_empty()).then(|| Rules::new(sensitive, classes))
}

/// Asks the upstream for nothing that could not be masked.
pub(super) fn ask(exchange: &Exchange, request: &mut Request<UpBody>) -> Result<(), Refusal> {
    if !reveal::masks(exchange) {
        return Ok(());
    }
    let method = request.method().clone();
    head::of_request(&method, request.headers_mut()).map_err(Refusal::Malformed)
}

/// How an answer is masked.
#[derive(Debug)]
pub(super) struct Masking {
    rules: Rules,
    kind: Kind,
    decoder: Decoder,
    shape: Option<Shape>,
}

/// What an answer with this head is, and takes from the head what must not pass. `None`: nothing is masked.
pub(super) fn examine(
    exchange: &Exchange,
    head: &mut Parts,
) -> Result<Option<Box<Masking>>, Refusal> {
    let Some(rules) = rules(exchange) else { return Ok(None) };
    let decoder = Decoder::of(&head.headers).map_err(refusal)?;
    let kind = head::of_answer(&exchange.method, head, &rules).map_err(refusal)?;
    if kind.trickles() && decoder.holds_back() {
        return Err(refusal(Trouble::Coding));
    }
    let shape = if kind == Kind::Messages { shape(exchange) } else { None };
    Ok(Some(Box::new(Masking { rules, kind, decoder, shape })))
}

/// What the operation answers, if a set of descriptors says so.
fn shape(exchange: &Exchange) -> Option<Shape> {
    let catalog = exchange.snapshot.bundle().catalog();
    let method = catalog.operation(exchange.operation.as_ref()?)?.protobuf()?;
    Some(Shape::new(&method.output))
}

impl Masking {
    /// Waits for the beginning of the answer to `question`, so that what cannot be inspected is refused in
    /// words. It has what is left of the deadline.
    ///
    /// Not an `async fn`: it is rare, and would reserve room in every request.
    pub(super) fn begin<'a>(
        self: Box<Self>,
        download: Download,
        question: &'a Question,
        left: Option<Duration>,
    ) -> Pin<Box<dyn Future<Output = Result<DownBody, Refusal>> + 'a>> {
        Box::pin(async move {
            let Self { rules, kind, decoder, shape } = *self;
            let mut masked = Box::new(Masked::new(download, decoder, kind, shape, rules));
            let late = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            let begun = tokio::select! {
                biased;
                begun = masked.begin() => begun.map_err(|error| broken(&error, question)),
                () = late => Err(Refusal::Upstream(UpstreamTrouble::TimedOut)),
            };
            begun?;
            Ok(masked.whole().map_or_else(|| DownBody::Masked(masked), DownBody::whole))
        })
    }
}

fn refusal(trouble: Trouble) -> Refusal {
    match trouble {
        Trouble::Panicked => Refusal::Unavailable(Unavailable::Internal),
        trouble => {
            tracing::warn!(%trouble, "an answer with sensitive data cannot be inspected");
            Refusal::Upstream(UpstreamTrouble::Opaque)
        }
    }
}

fn broken(error: &BodyError, question: &Question) -> Refusal {
    match (error.downcast_ref::<Trouble>(), error.downcast_ref::<Cut>()) {
        (Some(trouble), _) => refusal(*trouble),
        (None, Some(Cut(end))) => cut_refusal(*end, question),
        (None, None) => Refusal::Upstream(UpstreamTrouble::Broken),
    }
}
