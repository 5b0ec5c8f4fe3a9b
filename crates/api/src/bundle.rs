//! `/v1/bundle`: which policies are in force, and the step back.

use axum::{Json, extract::State};
use jiff::Timestamp;
use portcullis_control::views::BundleView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, parts::Shared};

/// A bundle in the history of activations.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Bundle)]
pub struct BundleBody {
    /// Its digest.
    pub digest: String,
    /// Its place in the order.
    pub generation: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub activated_at: Timestamp,
    /// By whom or what.
    pub by: String,
    /// Whether it is the one in force.
    pub active: bool,
}

/// The bundle in force, and those before it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Bundles)]
pub struct BundlesBody {
    /// The one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<BundleBody>,
    /// All, newest first.
    pub history: Vec<BundleBody>,
}

impl From<BundleView> for BundleBody {
    fn from(view: BundleView) -> Self {
        Self {
            digest: view.digest.to_string(),
            generation: view.generation,
            activated_at: view.activated_at,
            by: view.by,
            active: view.active,
        }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(bundles)).routes(routes!(rollback))
}

/// The bundle in force, and those before it
#[utoipa::path(get, path = "/v1/bundle", tag = "policy", responses((status = 200, body = BundlesBody)))]
pub(crate) async fn bundles(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<BundlesBody>> {
    let bundles = api.control.bundles(&op).await?;
    let history: Vec<_> = bundles.into_iter().map(BundleBody::from).collect();
    let active = history.iter().find(|bundle| bundle.active).cloned();
    Ok(Json(BundlesBody { active, history }))
}

/// Bring the bundle before the one in force back
#[utoipa::path(post, path = "/v1/bundle/rollback", tag = "policy",
    responses((status = 200, body = BundleBody)))]
pub(crate) async fn rollback(
    Caller(op): Caller,
    State(api): State<Shared>,
) -> Answer<Json<BundleBody>> {
    Ok(Json(api.control.rollback(&op, None).await?.into()))
}
