//! The console: pages for people, made on the server.
//!
//! Every page works without a script; scripts add what moves: lists that follow events, clocks that run,
//! the command palette, passkeys. A page calls the same use cases as the API, with the same caller, so
//! policy decides about pages as about calls. Texts stand in `texts/`, markup in `templates/`, one file
//! of each per page. Nothing that somebody wrote reaches a page but through [`shown::Shown`] or
//! the templates' own escaping. Nothing is fetched from another origin.

mod ask;
mod assets;
mod charts;
mod emergencies;
mod failure;
mod fields;
mod form;
mod frame;
mod grant;
mod home;
mod incidents;
mod live;
mod me;
mod moment;
mod overview;
mod people;
mod policies;
mod record;
mod request;
mod review;
mod services;
mod shown;
mod system;
mod texts;
mod theme;
mod visitor;

use axum::Router;

use crate::parts::Shared;

pub(crate) use failure::Failure;

/// What a page handler returns.
pub(crate) type Outcome = Result<axum::response::Response, Failure>;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .merge(assets::routes())
        .merge(theme::routes())
        .merge(home::routes())
        .merge(live::routes())
        .merge(overview::routes())
        .merge(people::routes())
        .merge(record::routes())
        .merge(services::routes())
        .merge(ask::routes())
        .merge(request::routes())
        .merge(review::routes())
        .merge(grant::routes())
        .merge(emergencies::routes())
        .merge(me::routes())
        .merge(incidents::routes())
        .merge(policies::routes())
        .merge(system::routes())
}
