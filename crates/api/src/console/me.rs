//! One's own: who the console takes the visitor for, their passkeys, their sign-ins.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use portcullis_control::views::WhoAmI;
use portcullis_model::{Audience, Held, Passkey, SignIn};

use super::{
    Outcome,
    form::{Filled, Nothing},
    frame::Frame,
    visitor::{Visitor, done, page},
};
use crate::{extract::named, parts::Shared};

/// Sign-ins that the page shows.
const SHOWN: usize = 100;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/me", get(me))
        .route("/me/passkeys/{id}/remove", post(remove))
        .route("/me/sign-ins/{id}/end", post(end))
}

#[derive(Debug, Template)]
#[template(path = "console/me.html")]
struct MePage {
    frame: Frame,
    who: WhoAmI,
    passkeys: Vec<Passkey>,
    sign_ins: Vec<SignIn>,
}

impl MePage {
    /// Where a sign-in is held, in the words of a text's key, and at which origin.
    #[expect(clippy::unused_self, reason = "templates reach functions through the page")]
    fn held<'a>(&self, sign_in: &'a SignIn) -> (&'static str, &'a str) {
        match (&sign_in.held, sign_in.audience) {
            (Held::Cookie { origin }, _) => ("me-browser", origin),
            (Held::Token, Audience::Control) => ("me-command-line", ""),
            (Held::Token, Audience::Gate) => ("me-gate-token", ""),
        }
    }
}

async fn me(State(api): State<Shared>, visitor: Visitor) -> Outcome {
    let (control, op) = (&api.control, &visitor.op);
    let mut frame = visitor.frame(&api, super::frame::Section::Home, "me-title").await?;
    frame.section = None;
    let who = control.whoami(op).await?;
    let passkeys = control.passkeys(op).await?;
    let mut sign_ins = control.sign_ins(op).await?;
    sign_ins.sort_by_key(|sign_in| std::cmp::Reverse(sign_in.id));
    sign_ins.truncate(SHOWN);
    page(&MePage { frame, who, passkeys, sign_ins })
}

async fn remove(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    api.control.remove_passkey(&visitor.op, named(&id, "the passkey")?).await?;
    done("/me", "passkey-removed")
}

async fn end(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Nothing {}): Filled<Nothing>,
) -> Outcome {
    api.control.end_sign_in(&visitor.op, named(&id, "the sign-in")?).await?;
    done("/me", "sign-in-ended")
}
