//! One grant: its clock, and what ends it. Giving back and extending one's own is on the first page as well.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use portcullis_control::views::grant::GrantView;
use portcullis_model::{GrantId, GrantKind, GrantState};

use super::{
    Outcome,
    form::{Filled, Nothing},
    frame::{Frame, Section},
    visitor::{Visitor, done, page},
};
use crate::{extract::named, parts::Shared};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/grants/{id}", get(one)).route("/grants/{id}/revoke", post(revoke))
}

#[derive(Debug, Template)]
#[template(path = "console/grant.html")]
struct GrantPage {
    frame: Frame,
    view: GrantView,
    /// Where its start is on record.
    seq: Option<u64>,
}

impl GrantPage {
    fn in_force(&self) -> bool {
        self.view.grant.in_force(self.frame.now)
    }

    /// An emergency is taken again, with its reason.
    fn can_extend(&self) -> bool {
        self.view.grant.kind != GrantKind::Emergency
    }

    /// When and how it ended, if it has.
    fn ended(&self) -> Option<(jiff::Timestamp, &'static str)> {
        match &self.view.grant.state {
            GrantState::Ended { at, why, by: _ } => Some((*at, why.in_words())),
            GrantState::InForce => None,
        }
    }
}

async fn one(State(api): State<Shared>, visitor: Visitor, Path(id): Path<String>) -> Outcome {
    let id: GrantId = named(&id, "the grant")?;
    let frame = visitor.frame(&api, Section::Home, "grant-title").await?;
    let view = api.control.grant_closer(&visitor.op, id).await?;
    let seq = api.control.place_of_grant(&visitor.op, id).await?;
    page(&GrantPage { frame, view, seq })
}

async fn revoke(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    let id: GrantId = named(&id, "the grant")?;
    api.control.revoke(&visitor.op, id).await?;
    done(&format!("/grants/{id}"), "revoked")
}
