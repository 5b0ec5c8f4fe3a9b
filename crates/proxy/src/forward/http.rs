//! HTTP and gRPC: streamed both ways, answered once.

use std::{
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use ::http::{Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use portcullis_model::{
    InstanceName, Refusal,
    refusal::{self, Unavailable, UpstreamTrouble},
};
use portcullis_policy::catalog::Operation;

use super::{
    Destination, Outgoing,
    again::Again,
    connect, consume,
    deadline::{self, Deadline},
    grant_header, masked, opening,
};
use crate::{
    body::{DownBody, Download, Messages, UpBody, Whole},
    busy_poll::Piece,
    canonical::{Speaks, is_grpc},
    connection::{Opening, Watch},
    decide::Question,
    exchange::Exchange,
    filter::{self, trailers::Withheld},
    inspect::Payload,
    ports::ConnectionEnd,
    record, reveal,
    serve::Admitted,
    slow,
    spans::Phase,
    upstream::{Kind, Sent},
};

/// Forwards one request and streams its answer.
pub(crate) async fn forward(
    exchange: &mut Exchange,
    admitted: Admitted,
) -> Result<Response<DownBody>, Refusal> {
    let Admitted { pass, question, request: mut canonical, payload } = admitted;
    let was_read = !matches!(payload, Payload::Streaming);
    let once = consume::is_counted(&pass);
    // What is spent is not sent twice: a pooled connection may have been closed since it was used.
    let kind = if once { Kind::Once } else { Kind::Any };
    let mut destination = connect(exchange, &question, kind).await?;
    // Rare, and decides once more: boxed.
    let pass =
        if once { Box::pin(consume::consume(exchange, &question, pass)).await? } else { pass };
    let protocol = if canonical.speaks == Speaks::Grpc { "grpc" } else { "http" };
    let opening = opening(exchange, &pass, &question, &destination.instance, protocol);
    let (watched, mut opening) = watched_up(exchange, &payload, opening);
    let watch = watched.as_ref().map(|watched| Rc::clone(&watched.0));
    let body = upload(exchange, payload, watch)?;
    // Read only where the beginning of an answer is waited for, too; how long an upload took is not held
    // against the answer.
    let begun = (exchange.sight.is_some() && watched.is_none()).then(Instant::now);
    let most = destination.lane.endpoint().service().settings.timeouts.request.get();
    if was_read {
        // What it took to read the body, and to wait, is gone: here and at the upstream.
        deadline::shorten(canonical.speaks, &mut canonical.headers, exchange.started.elapsed());
    }
    let deadline = Deadline::of(canonical.speaks, &canonical.headers, most);
    let outgoing = Outgoing::new(exchange, &pass, canonical, body)?;
    let again = if once { Again::Never } else { Again::of(&destination.lane, &outgoing) };
    let sending = destination.lane.send(outgoing.over(&destination.lane));
    let span = exchange.core.config.bounds.body;
    let waiting = Waiting { deadline, span, watched: watched.as_ref(), question: &question };
    let response = waiting.answer(exchange, &mut destination, sending, again).await?;
    exchange.spans.enter(Phase::Filter);
    let Destination { instance, mut lane } = destination;
    lane.answered(response.status());
    // RFC 9110 section 15.2.2: nobody asked for another protocol, and nobody here would decide what is
    // said in it.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::Upstream(UpstreamTrouble::Broken));
    }
    exchange.core.work.came(Piece::Answer);
    let (mut head, incoming) = response.into_parts();
    reveal::look_again(exchange);
    let masking = masked::examine(exchange, &mut head)?;
    let withheld = super::filter_answer(exchange, &mut head.headers, grant_header(&pass));
    let watch = watched.map(Watched::hand_over);
    reveal::watched(exchange, watch.as_deref(), opening.as_deref_mut());
    let opening = settle(&head.headers, &instance, watch.as_deref(), opening);
    let (watch, opening) = match opening {
        Some(opening) if opening.protocol == "sse" => (Some(opening.open()), None),
        opening => (watch, opening),
    };
    let known = watch.clone();
    let download = Download::new(incoming, Some(lane), watch, opening).without(withheld);
    let mut body = match masking {
        None => DownBody::Streaming(download),
        Some(masking) => masking.begin(download, &question, deadline.left(begun)).await?,
    };
    let late = masked_on(&mut body);
    let seen = late.as_ref().or(known.as_ref()).filter(|watch| watch.is_seen());
    let connection = seen.map(|watch| watch.id);
    let is_late = late.is_some_and(|watch| !watch.is_long_lived());
    let outcome = if is_late { record::outcome_late } else { record::outcome };
    outcome(exchange, head.status, &instance, connection);
    Ok(Response::from_parts(head, body))
}

/// A request body that comes is watched from the beginning; what it takes otherwise is given back.
fn watched_up(
    exchange: &Exchange,
    payload: &Payload,
    mut opening: Box<Opening>,
) -> (Option<Watched>, Option<Box<Opening>>) {
    let is_begun = matches!(payload, Payload::Begun(_));
    if is_begun {
        opening.standing = opening.standing.read();
    }
    if is_begun || exchange.body.as_ref().is_some_and(|body| !body.is_end_stream()) {
        opening.uploads = true;
        (Some(Watched::new(opening.open())), None)
    } else {
        (None, Some(opening))
    }
}

/// What watches `body`, if it is masked as it comes: most of those end before others see them as connections, and then
/// nothing but the outcome says what was met.
fn masked_on(body: &mut DownBody) -> Option<Rc<Watch>> {
    let DownBody::Masked(masked) = body else { return None };
    masked.watched()
}

/// What the response head tells about the exchange: its kind, and who answers.
fn settle(
    headers: &::http::HeaderMap,
    answered_by: &InstanceName,
    watch: Option<&Watch>,
    opening: Option<Box<Opening>>,
) -> Option<Box<Opening>> {
    let is_sse = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let protocol = match (is_sse, is_grpc(headers)) {
        (true, _) => "sse",
        (false, true) => "grpc",
        (false, false) => "http",
    };
    if let Some(watch) = watch {
        watch.answers(protocol, answered_by);
    }
    let mut opening = opening?;
    opening.protocol = protocol;
    if opening.instance != *answered_by {
        opening.instance = answered_by.clone();
    }
    Some(opening)
}

/// The request body: what was read, or what comes.
fn upload(
    exchange: &mut Exchange,
    payload: Payload,
    watch: Option<Rc<Watch>>,
) -> Result<UpBody, Refusal> {
    Ok(match (payload, exchange.body.take()) {
        (Payload::Whole(bytes, trailers), _) => {
            let trailers = trailers.map(|mut trailers| {
                filter::trailers::of_request(&mut trailers, withheld(exchange).as_deref());
                trailers
            });
            UpBody::Whole(Whole::new(bytes, trailers))
        }
        (Payload::Streaming, Some(body)) => UpBody::streaming(body, watch, withheld(exchange)),
        (Payload::Streaming, None) => UpBody::Whole(Whole::new(bytes::Bytes::new(), None)),
        (Payload::Begun(begun), Some(body)) => {
            // INVARIANT: nothing that is decided message by message goes up unwatched.
            let watch = watch.ok_or(Refusal::Unavailable(Unavailable::Internal))?;
            let messages = Messages::new(&exchange.core, &watch, *begun);
            UpBody::streaming(body, Some(watch), withheld(exchange)).decided(messages)
        }
        (Payload::Begun(_), None) => return Err(Refusal::Unavailable(Unavailable::Internal)),
    })
}

/// What decided, or was changed, in the head: a trailer must not become that.
fn withheld(exchange: &mut Exchange) -> Option<Box<Withheld>> {
    let catalog = exchange.snapshot.bundle().catalog();
    let operation = exchange.operation.as_ref().and_then(|name| catalog.operation(name));
    let declared = operation.and_then(Operation::header_params);
    let nominated = std::mem::take(&mut exchange.nominated);
    Withheld { declared, rules: exchange.header_rules.clone(), nominated }.boxed()
}

/// How long a response head may be waited for.
struct Waiting<'a> {
    deadline: Deadline,
    /// For next to nothing of a request body to come.
    span: Duration,
    watched: Option<&'a Watched>,
    question: &'a Question,
}

impl Waiting<'_> {
    /// The answer to what is being sent, or to what is sent again in its stead.
    async fn answer(
        self,
        exchange: &Exchange,
        destination: &mut Destination,
        sending: impl Future<Output = Sent>,
        again: Again,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut over = pin!(self.over());
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            refusal = &mut over => return Err(self.hold_against(destination, refusal)),
        };
        if let Sent::Answered(response) = sent {
            return Ok(response);
        }
        // What was cut off on its way up says why, and not that it broke.
        if let Some(end) = self.watched.and_then(|watched| watched.0.cut_as()) {
            return Err(cut_refusal(end, self.question));
        }
        // Rare and large: boxed.
        tokio::select! {
            biased;
            answer = Box::pin(again.send(exchange, self.question, destination, sent)) => answer,
            refusal = over => Err(self.hold_against(destination, refusal)),
        }
    }

    /// That it was cut off is nothing to the instance, nor is what the caller calls late.
    fn hold_against(&self, destination: &mut Destination, refusal: Refusal) -> Refusal {
        let is_late = refusal == Refusal::Upstream(UpstreamTrouble::TimedOut);
        if is_late && self.deadline.is_of_service() {
            destination.lane.blame();
        }
        refusal
    }

    /// Resolves at the deadline, when the request body comes too slowly, or when the exchange is cut.
    async fn over(&self) -> Refusal {
        let uploading = || self.watched.is_some_and(|watched| watched.0.is_uploading());
        let cut = async {
            match self.watched {
                Some(watched) => watched.0.must_end().await,
                None => std::future::pending().await,
            }
        };
        let starving = async {
            match self.watched {
                // A stream of gRPC may be silent for as long as it likes.
                Some(Watched(watch)) if !watch.is_grpc() => slow::too_slow(watch, self.span).await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = starving => Refusal::TooSlow,
            () = self.deadline.passed(uploading) => Refusal::Upstream(UpstreamTrouble::TimedOut),
            end = cut => cut_refusal(end, self.question),
        }
    }
}

/// A connection that was cut before anything was answered.
pub(super) fn cut_refusal(end: ConnectionEnd, question: &Question) -> Refusal {
    match end {
        ConnectionEnd::SignInEnded => Refusal::BadCredentials("the sign-in ended"),
        ConnectionEnd::ShuttingDown => Refusal::Unavailable(Unavailable::ShuttingDown),
        ConnectionEnd::Finished | ConnectionEnd::ClientGone | ConnectionEnd::UpstreamGone => {
            Refusal::Upstream(UpstreamTrouble::Broken)
        }
        ConnectionEnd::MessageUnreadable => Refusal::Malformed(
            "a message of this stream reads two ways, or its type cannot hold it",
        ),
        ConnectionEnd::TooMuch => {
            Refusal::TooLarge("a message of this stream is over the operation's `max_body`")
        }
        ConnectionEnd::GrantEnded
        | ConnectionEnd::PolicyChanged
        | ConnectionEnd::Flooding
        | ConnectionEnd::Idle
        | ConnectionEnd::MessageDenied
        | ConnectionEnd::Opaque
        | ConnectionEnd::Closed => {
            let service = question.resource.service.clone();
            let operation = Some(question.operation.clone());
            Refusal::Denied(refusal::Denial { service, operation })
        }
    }
}

/// A watch that is over when this is dropped, unless somebody took it over.
#[derive(Debug)]
struct Watched(Rc<Watch>);

impl Watched {
    fn new(watch: Rc<Watch>) -> Self {
        Self(watch)
    }

    fn hand_over(self) -> Rc<Watch> {
        let watch = Rc::clone(&self.0);
        watch.handed_over();
        watch
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abandoned();
    }
}
