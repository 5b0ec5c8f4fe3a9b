//! `/v1/events`: state changes that concern the caller, as server-sent events.
//!
//! Looks once a second at what the caller may see and sends what is different. Every look
//! authenticates anew, so a stream ends with its sign-in. Not a record: what came and went between
//! two looks is not sent; the record has it.

use std::{collections::BTreeMap, convert::Infallible, net::IpAddr, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use portcullis_control::views::AccessRequestFilter;
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access_requests::AccessRequestBody,
    caller::{Caller, Source, bearer},
    error::{Answer, ApiError},
    grants::GrantBody,
    parts::Shared,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events))
}

/// State changes that concern me
///
/// Server-sent events: `access-request` with an `AccessRequest`, `grant` with a `Grant`, and at last
/// `end` when the sign-in is over.
#[utoipa::path(get, path = "/v1/events", tag = "access",
    responses((status = 200, content_type = "text/event-stream")))]
pub(crate) async fn events(
    _: Caller,
    Source(source): Source,
    State(api): State<Shared>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let bearer = bearer(&headers)?.map(str::to_owned);
    let mut watch = Watch { api, bearer, source, seen: BTreeMap::new(), over: false };
    watch.look().await?;
    let looks = stream::unfold(watch, async |mut watch| {
        if watch.over {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let events = watch.next().await;
        Some((stream::iter(events.into_iter().map(Ok)), watch))
    });
    Ok(Sse::new(looks.flatten()).keep_alive(KeepAlive::default()))
}

struct Watch {
    api: Shared,
    bearer: Option<String>,
    source: IpAddr,
    seen: BTreeMap<(&'static str, String), String>,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Vec<Event> {
        match self.look().await {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "api.events.ended");
                self.over = true;
                vec![Event::default().event("end").data("sign in again")]
            }
        }
    }

    /// What is different from the last look; everything at the first.
    async fn look(&mut self) -> Result<Vec<Event>, ApiError> {
        let caller = self.api.control.authenticate(self.bearer.as_deref()).await?;
        let op = self.api.control.context(caller, self.source);
        let mut now = BTreeMap::new();
        for view in self.api.control.access_requests(&op, AccessRequestFilter::All).await? {
            let body = AccessRequestBody::from(view);
            now.insert(("access-request", body.id.clone()), json(&body));
        }
        for grant in self.api.control.grants(&op).await? {
            let body = GrantBody::seen_by(&self.api.control, &op)(grant);
            now.insert(("grant", body.id.clone()), json(&body));
        }
        let changed = now.iter().filter(|(key, body)| self.seen.get(*key) != Some(*body));
        let events = changed.map(|((kind, _), body)| Event::default().event(*kind).data(body));
        let events = events.collect();
        self.seen = now;
        Ok(events)
    }
}

fn json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).unwrap_or_default()
}
