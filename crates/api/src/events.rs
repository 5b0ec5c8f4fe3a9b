//! `/v1/events`: state changes that concern the caller, as server-sent events.
//!
//! Fed by what control puts on record: each event's id is its position there, so that a client that
//! comes again with `Last-Event-ID` misses nothing. Every event is decided and read anew, and the
//! stream ends with the sign-in. A client that reads too slowly is let go with an `end` that says so.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    net::IpAddr,
    time::Duration,
};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use portcullis_control::{
    ControlError, OpContext,
    feed::{About, Heard, Listener, Missed, Notice},
};
use portcullis_identity::browser::Cookie;
use portcullis_model::{AccessRequestState, Entropy, GrantId, Secret, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access_requests::AccessRequestBody,
    caller::{Caller, Source, bearer},
    error::{Answer, ApiError},
    extract::Search,
    grants::GrantBody,
    parts::{ApiParts, Shared},
};

/// How often the sign-in is looked at while nothing happens: it may end by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a client waits, at least and at most, before it comes again: all of them lose a process at
/// once, and should not all be there at once when it is back.
const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);
const COME_AGAIN_WITHIN: Duration = Duration::from_secs(5);
const LAST_EVENT_ID: &str = "last-event-id";

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What of all that concerns the caller is told: what is given must all be so.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// Only this service.
    #[param(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// Only `access-request`, or only `grant`.
    #[serde(rename = "type")]
    #[param(rename = "type", inline)]
    pub kind: Option<FeedKind>,
    /// Only what this principal asks for or holds, such as `corp:ana`.
    pub principal: Option<String>,
    /// Only this grant.
    #[param(value_type = Option<String>)]
    pub grant: Option<GrantId>,
    /// Go on after this position of the record; for who has no `Last-Event-ID` yet.
    pub after: Option<u64>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FeedKind {
    /// An access request.
    AccessRequest,
    /// A grant.
    Grant,
}

impl FeedKind {
    const fn word(self) -> &'static str {
        match self {
            Self::AccessRequest => "access-request",
            Self::Grant => "grant",
        }
    }
}

impl FeedQuery {
    /// Whether anything about this can be wanted.
    fn wants(&self, about: About) -> bool {
        match about {
            About::AccessRequest(_) => self.grant.is_none() && self.kind != Some(FeedKind::Grant),
            About::Grant(id) => {
                self.grant.is_none_or(|grant| grant == id)
                    && self.kind != Some(FeedKind::AccessRequest)
            }
        }
    }

    fn wants_of(&self, service: &str, principal: &str) -> bool {
        self.service.as_ref().is_none_or(|wanted| wanted.as_str() == service)
            && self.principal.as_ref().is_none_or(|wanted| wanted == principal)
    }
}

/// State changes that concern me
///
/// Server-sent events: `access-request` with an `AccessRequest` and `grant` with a `Grant`, as they are
/// now; `reset` when too much was missed to tell, so that the lists have to be looked at again; and at
/// last `end` with why: the sign-in is over, or the events were read too slowly. Each id is a position in
/// the record; the first comes at once, without an event. `retry` is another for each stream, so that not all
/// come again at once.
#[utoipa::path(get, path = "/v1/events", tag = "access",
    params(FeedQuery, ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event.")),
    responses((status = 200, content_type = "text/event-stream")))]
pub(crate) async fn events(
    _: Caller,
    Source(source): Source,
    State(api): State<Shared>,
    Search(wanted): Search<FeedQuery>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let after = last_event_id(&headers)?.or(wanted.after);
    let credential = credential(&api, &headers)?;
    // INVARIANT: it listens before it looks at what was missed.
    let listener = api.control.listen();
    let mut watch = Watch {
        credential,
        source,
        wanted,
        listener,
        told: None,
        ready: VecDeque::from([come_again(api.entropy.as_ref())]),
        api,
        over: false,
    };
    watch.begin(after).await?;
    let events = stream::unfold(watch, async |mut watch| {
        let event = watch.next().await?;
        Some((Ok(event), watch))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Tells a client when to come again, somewhere between the bounds.
fn come_again(entropy: &dyn Entropy) -> Event {
    let mut drawn = [0; 2];
    entropy.fill(&mut drawn);
    let part = f64::from(u16::from_le_bytes(drawn)) / f64::from(u16::MAX);
    let within = COME_AGAIN_WITHIN.saturating_sub(COME_AGAIN_AFTER).mul_f64(part);
    Event::default().retry(COME_AGAIN_AFTER + within)
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        let message = "it is the id of an event of this stream, which is a number".to_owned();
        ControlError::Invalid { field: "Last-Event-ID", message }.into()
    })
}

/// What the caller came with, which has been checked once.
enum Credential {
    Bearer(Option<Secret>),
    Cookie(Secret),
}

fn credential(api: &ApiParts, headers: &HeaderMap) -> Answer<Credential> {
    if let Some(token) = bearer(headers)? {
        return Ok(Credential::Bearer(Some(Secret::new(token))));
    }
    // One that is damaged was refused before.
    let cookie = api.cookie(headers, Cookie::Control).ok().flatten();
    Ok(cookie.map_or(Credential::Bearer(None), Credential::Cookie))
}

struct Watch {
    api: Shared,
    credential: Credential,
    source: IpAddr,
    wanted: FeedQuery,
    listener: Listener,
    /// Up to here everything was told that there is to tell.
    told: Option<u64>,
    ready: VecDeque<Event>,
    over: bool,
}

impl Watch {
    /// Catches up with what was missed, or says from where on it goes on.
    async fn begin(&mut self, after: Option<u64>) -> Result<(), ApiError> {
        let op = self.caller().await?;
        let newest = self.listener.newest().await?;
        let missed = match after {
            Some(after) => self.listener.missed(after).await?,
            None => Missed::Notices(Vec::new()),
        };
        match missed {
            Missed::Notices(notices) => {
                let newest = notices.last().map(|notice| notice.position).max(newest);
                for notice in latest(notices) {
                    self.describe(&op, notice).await?;
                }
                self.told = newest;
                self.ready.extend(newest.map(|newest| Event::default().id(newest.to_string())));
            }
            Missed::TooMuch => {
                let reset = Event::default().event("reset").data("look at the lists again");
                let newest = newest.unwrap_or_default();
                self.ready.push_back(reset.id(newest.to_string()));
                self.told = Some(newest);
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let heard = tokio::time::timeout(LOOK_EVERY, self.listener.next()).await;
            let told = match heard.unwrap_or(Heard::Rights) {
                Heard::Notice(notice) if self.told >= Some(notice.position) => continue,
                Heard::Notice(notice) => self.tell(notice).await,
                Heard::Rights => self.caller().await.map(drop),
                Heard::Behind => {
                    self.end("you read too slowly; come again with Last-Event-ID");
                    continue;
                }
            };
            if let Err(error) = told {
                tracing::debug!(%error, "api.events.ended");
                self.end(match error {
                    ApiError::Control(ControlError::Unauthenticated(_)) => "sign in again",
                    _ => "it cannot be told at the moment; come again with Last-Event-ID",
                });
            }
        }
    }

    fn end(&mut self, why: &str) {
        self.over = true;
        self.ready.push_back(Event::default().event("end").data(why));
    }

    async fn tell(&mut self, notice: Notice) -> Result<(), ApiError> {
        let op = self.caller().await?;
        self.describe(&op, notice).await?;
        self.told = Some(notice.position);
        Ok(())
    }

    async fn caller(&self) -> Result<OpContext, ApiError> {
        let control = &self.api.control;
        let caller = match &self.credential {
            Credential::Bearer(token) => {
                control.authenticate(token.as_ref().map(Secret::expose)).await?
            }
            // A page that is open is not somebody who is there.
            Credential::Cookie(token) => {
                control.authenticate_idle_cookie(token.expose(), self.api.origin()).await?
            }
        };
        Ok(control.context(caller, self.source))
    }

    /// What a notice is about, as it is now, if the caller may see it.
    async fn describe(&mut self, op: &OpContext, notice: Notice) -> Result<(), ApiError> {
        if !self.wanted.wants(notice.about) {
            return Ok(());
        }
        let (kind, body, grants) = match notice.about {
            About::AccessRequest(id) => {
                let Some(view) = seen(self.api.control.access_request(op, id).await)? else {
                    return Ok(());
                };
                let grants = match &view.request.state {
                    AccessRequestState::Approved { grants, .. } => grants.clone(),
                    _ => Vec::new(),
                };
                let body = AccessRequestBody::from(view);
                if !self.wanted.wants_of(&body.service, &body.requester.id) {
                    return Ok(());
                }
                (FeedKind::AccessRequest, json(&body), grants)
            }
            About::Grant(id) => {
                let Some(grant) = seen(self.api.control.grant(op, id).await)? else {
                    return Ok(());
                };
                let body = GrantBody::seen_by(&self.api.control, op)(grant);
                if !self.wanted.wants_of(&body.service, &body.principal.id) {
                    return Ok(());
                }
                (FeedKind::Grant, json(&body), vec![id])
            }
        };
        self.listener.in_effect(&grants).await?;
        let event = Event::default().event(kind.word()).data(body?).id(notice.position.to_string());
        self.ready.push_back(event);
        Ok(())
    }
}

/// Of each thing the newest notice, in their order: what it was before is not known any more.
fn latest(notices: Vec<Notice>) -> Vec<Notice> {
    let newest: HashMap<About, u64> =
        notices.iter().map(|notice| (notice.about, notice.position)).collect();
    let is_newest = |notice: &Notice| newest.get(&notice.about) == Some(&notice.position);
    notices.into_iter().filter(is_newest).collect()
}

/// What the caller may not see is not there.
fn seen<T>(found: Result<T, ControlError>) -> Result<Option<T>, ControlError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ControlError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn json<T: Serialize>(body: &T) -> Result<String, ControlError> {
    serde_json::to_string(body).map_err(|error| ControlError::Internal(Box::new(error)))
}
