//! People and workloads that were seen, for those who review and audit: their sign-ins and their grants.

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_control::views::{
    PrincipalView,
    grant::{Closer, HeldGrant},
};
use portcullis_model::{Audience, GrantId, PrincipalKind};
use serde::Deserialize;

use super::{
    Outcome,
    form::Filled,
    frame::{Frame, Section},
    shown::plain,
    visitor::{Visitor, done, page},
};
use crate::{
    extract::{Search, named},
    parts::Shared,
};

/// People on one page.
const SHOWN: usize = 25;
/// Sign-ins and grants of one of them that the page shows.
const EACH: usize = 100;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/people", get(list))
        .route("/people/{id}", get(one))
        .route("/people/{id}/revoke", post(revoke))
}

#[derive(Debug, Template)]
#[template(path = "console/people.html")]
struct PeoplePage {
    frame: Frame,
    people: Vec<PrincipalView>,
    name: String,
    older: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "console/person.html")]
struct PersonPage {
    frame: Frame,
    seen: PrincipalView,
    held: Vec<HeldGrant>,
    address: String,
    /// Grants and sign-ins that are not shown.
    left_out: usize,
}

#[derive(Debug, Deserialize)]
struct Asked {
    cursor: Option<String>,
    #[serde(default)]
    name: String,
}

/// The page of somebody.
fn address(id: &str) -> String {
    format!("/people/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

impl PeoplePage {
    #[expect(clippy::unused_self, reason = "templates reach functions through what they show")]
    fn address(&self, seen: &PrincipalView) -> String {
        address(&seen.principal.id.id)
    }
}

impl PersonPage {
    #[expect(
        clippy::unused_self,
        clippy::trivially_copy_pass_by_ref,
        reason = "templates reach functions through what they show, and pass references"
    )]
    fn audience(&self, audience: &Audience) -> &'static str {
        match audience {
            Audience::Gate => "people-at-gate",
            Audience::Control => "people-at-control",
        }
    }

    /// The page where more is said of a grant, if the viewer may open one.
    #[expect(clippy::unused_self, reason = "templates reach functions through what they show")]
    fn closer(&self, held: &HeldGrant) -> Option<String> {
        match held.closer {
            Closer::Grant => Some(format!("/grants/{}", held.grant.id)),
            Closer::AccessRequest => Some(format!("/requests/{}", held.grant.access_request)),
            Closer::Nowhere => None,
        }
    }

    fn is_workload(&self) -> bool {
        self.seen.principal.id.kind == PrincipalKind::Workload
    }
}

async fn list(
    visitor: Visitor,
    State(api): State<Shared>,
    Search(Asked { cursor, name }): Search<Asked>,
) -> Outcome {
    let frame = visitor.frame(&api, Section::People, "people-title").await?;
    let found = api.control.people(&visitor.op, &name, cursor.as_deref(), SHOWN).await?;
    let (people, next) = found;
    let older = next.map(|next| {
        let pairs = [("name", name.as_str()), ("cursor", next.as_str())];
        format!("/people?{}", serde_urlencoded::to_string(pairs).unwrap_or_default())
    });
    page(&PeoplePage { frame, people, name, older })
}

async fn one(visitor: Visitor, State(api): State<Shared>, Path(id): Path<String>) -> Outcome {
    let mut frame = visitor.frame(&api, Section::People, "people-title").await?;
    let mut seen = api.control.person(&visitor.op, &id).await?;
    frame.title = plain(&seen.principal.name);
    let left_out =
        seen.grants.len().saturating_sub(EACH) + seen.sign_ins.len().saturating_sub(EACH);
    seen.grants.sort_by_key(|grant| grant.expires_at);
    seen.grants.truncate(EACH);
    seen.sign_ins.truncate(EACH);
    let held = api.control.held_grants(&visitor.op, std::mem::take(&mut seen.grants)).await?;
    let address = address(&id);
    page(&PersonPage { frame, seen, held, address, left_out })
}

#[derive(Debug, Deserialize)]
struct Revoked {
    grant: String,
}

/// Ends one of somebody's grants, and leads back to them.
async fn revoke(
    State(api): State<Shared>,
    Path(id): Path<String>,
    Filled(visitor, Revoked { grant }): Filled<Revoked>,
) -> Outcome {
    let grant: GrantId = named(&grant, "the grant")?;
    api.control.revoke(&visitor.op, grant).await?;
    done(&address(&id), "revoked-theirs")
}
