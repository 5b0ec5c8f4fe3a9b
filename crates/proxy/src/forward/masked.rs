//! Answers of services with sensitive data: masked, or refused.
//!
//! Other services pay a look at one `Option` here, twice in a request.

use std::{pin::Pin, rc::Rc, time::Duration};

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
        answer::{Call, Kind, Masked},
        coding::Decoder,
        head,
    },
    reveal::{self, Met},
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
    call: Option<Call>,
    met: Rc<Met>,
}

/// What an answer with this head is, and takes from the head what must not pass. `None`: nothing is masked.
pub(super) fn examine(
    exchange: &Exchange,
    head: &mut Parts,
) -> Result<Option<Box<Masking>>, Refusal> {
    let Some(rules) = rules(exchange) else { return Ok(None) };
    let decoder = Decoder::of(&head.headers).map_err(refusal)?;
    let packed = Decoder::of_messages(&head.headers);
    let kind = head::of_answer(&exchange.method, head, &rules).map_err(refusal)?;
    keeps_pace(kind, &decoder).map_err(refusal)?;
    let shape = if kind == Kind::Messages { shape(exchange) } else { None };
    let call = shape.map(|shape| Call { shape, packed });
    let met = reveal::met(exchange);
    Ok(Some(Box::new(Masking { rules, kind, decoder, call, met })))
}

/// Of what trickles, nothing may stay back until much more of it came.
fn keeps_pace(kind: Kind, decoder: &Decoder) -> Result<(), Trouble> {
    if kind.trickles() && decoder.holds_back() { Err(Trouble::Coding) } else { Ok(()) }
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
            let Self { rules, kind, decoder, call, met } = *self;
            let mut masked = Box::new(Masked::new(download, decoder, kind, call, rules, met));
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
            Ok(match masked.whole() {
                Some(whole) => DownBody::whole(whole),
                None => DownBody::Masked(masked),
            })
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

#[cfg(test)]
mod tests {
    use ::http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

    use super::*;

    #[test]
    fn what_trickles_is_refused_in_a_coding_that_keeps_some_of_it_back() {
        let of = |coding: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            Decoder::of(&headers).unwrap()
        };
        for (kind, trickles) in [
            ("text/event-stream", true),
            ("application/x-ndjson", true),
            ("application/json-seq", true),
            ("application/grpc", true),
            ("application/json", false),
            ("application/problem+json", false),
        ] {
            let keeps = |coding| keeps_pace(Kind::of(kind), &of(coding));
            assert_eq!(
                keeps("zstd"),
                if trickles { Err(Trouble::Coding) } else { Ok(()) },
                "{kind}"
            );
            for coding in ["gzip", "deflate", "br", "identity"] {
                assert_eq!(keeps(coding), Ok(()), "{kind} {coding}");
            }
        }
    }
}
