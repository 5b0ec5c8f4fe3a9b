//! The live page's own stream: what moves of the page, whole, whenever something of it moved. Looking is no use
//! of a sign-in, every look is decided anew, and the stream ends with the sign-in.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use portcullis_control::{ControlError, Following, OpContext, views::EventLine};
use portcullis_identity::browser::Cookie;
use portcullis_model::Secret;
use tokio::time::Instant;

use super::{
    super::{
        Failure, Outcome,
        frame::{Frame, Section},
        record::entry::Entry,
        visitor::Visitor,
    },
    ATTEMPTS, Parts, attempts, moving,
};
use crate::{caller::Source, parts::Shared};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of all time, the part that is spent on looking at most, where looking takes long.
const PART: u32 = 20;

#[derive(Debug, Template)]
#[template(path = "console/live_parts.html")]
struct LiveParts {
    frame: Frame,
    parts: Parts,
    is_newest: bool,
}

struct Follower {
    api: Shared,
    token: Secret,
    source: std::net::IpAddr,
    frame: Frame,
    /// The attempts, for those who may read them.
    following: Option<Following>,
    attempts: Vec<EventLine>,
    /// What was told last.
    told: Option<Vec<String>>,
    next: Instant,
    is_over: bool,
}

pub(super) async fn stream(
    visitor: Visitor,
    Source(source): Source,
    State(api): State<Shared>,
    headers: HeaderMap,
) -> Outcome {
    let frame = visitor.frame(&api, Section::Live, "live-title").await?;
    let token = api.cookie(&headers, Cookie::Control)?.ok_or(Failure::Internal)?;
    let following = if frame.powers.reads_record {
        Some(api.control.follow(&visitor.op, attempts()).await?)
    } else {
        None
    };
    let next = Instant::now();
    let follower = Follower {
        api,
        token,
        source,
        frame,
        following,
        attempts: Vec::new(),
        told: None,
        next,
        is_over: false,
    };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        while !self.is_over {
            tokio::time::sleep_until(self.next).await;
            let begun = Instant::now();
            let looked = self.look().await;
            self.next = begun + LOOK_EVERY.max(begun.elapsed() * PART);
            match looked {
                Ok(None) => {}
                Ok(Some(html)) => return Some(Event::default().data(html)),
                Err(failure) => {
                    tracing::debug!(?failure, "console.live.ended");
                    self.is_over = true;
                    return Some(Event::default().event("end").data("look at the page again"));
                }
            }
        }
        None
    }

    /// The page's parts, if they are others than before.
    async fn look(&mut self) -> Result<Option<String>, Failure> {
        let op = self.caller().await?;
        if let Some(following) = &mut self.following {
            let mut newer = following.part(&op).await?;
            newer.append(&mut self.attempts);
            newer.truncate(ATTEMPTS);
            self.attempts = newer;
        }
        let mut parts = moving(&self.api, &op, None).await?;
        let newest = self.attempts.first().map(|line| line.seq.to_string());
        let connections = parts.connections.iter();
        let connections = connections
            .map(|view| format!("{} {} {}", view.id, view.reveals.len(), view.may_close));
        let held = parts.held.iter().map(|request| request.id.to_string());
        let key: Vec<_> = connections.chain(held).chain(newest).collect();
        if self.told.as_ref() == Some(&key) {
            return Ok(None);
        }
        self.told = Some(key);
        self.frame.now = op.now();
        parts.attempts = self.attempts.iter().map(Entry::of).collect();
        let template = LiveParts { frame: self.frame.clone(), parts, is_newest: true };
        template.render().map(Some).map_err(|_| Failure::Internal)
    }

    async fn caller(&self) -> Result<OpContext, ControlError> {
        let control = &self.api.control;
        let origin = self.api.origin();
        // A page that is open is not somebody who is there.
        let caller = control.authenticate_idle_cookie(self.token.expose(), origin).await?;
        Ok(control.context(caller, self.source))
    }
}
