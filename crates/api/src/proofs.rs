//! `/v1/audit/proof` and the proofs of grants: small enough to hand to anybody, and checked without this
//! server.

use axum::{
    Json,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use portcullis_control::ports::LogPath;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, error::Answer, extract::Search, grants::id_of, parts::Shared};

/// Which record.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordQuery {
    /// Its position in the log.
    pub seq: u64,
}

/// Which record, in which tree.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionQuery {
    /// Its position in the log.
    pub seq: u64,
    /// The size of the tree; that of the newest checkpoint if absent.
    pub size: Option<u64>,
}

/// Which two trees.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// The size of the earlier tree.
    pub from: u64,
    /// The size of the later tree; that of the newest checkpoint if absent.
    pub to: Option<u64>,
}

/// Hashes from a record, or from an earlier tree, to the root of a tree (RFC 6962).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Proof)]
pub struct ProofBody {
    /// The size of the tree that they lead to.
    pub size: u64,
    /// Its root, in base64.
    pub root: String,
    /// The hashes in base64, from the leaves up.
    pub hashes: Vec<String>,
    /// The signed checkpoint of that size, if it is the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

impl From<LogPath> for ProofBody {
    fn from(LogPath { size, root, hashes, checkpoint }: LogPath) -> Self {
        Self { size, root, hashes, checkpoint }
    }
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(record))
        .routes(routes!(inclusion))
        .routes(routes!(consistency))
        .routes(routes!(grant))
}

/// A record with its proof at the newest checkpoint
///
/// A C2SP tlog-proof whose `extra` is the record as it was hashed.
#[utoipa::path(get, path = "/v1/audit/proof/record", tag = "audit", operation_id = "record_proof",
    params(RecordQuery), responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn record(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(RecordQuery { seq }): Search<RecordQuery>,
) -> Answer<Response> {
    Ok(text(api.control.prove(&op, seq).await?))
}

/// The path from a record to the root of the log at one size
#[utoipa::path(get, path = "/v1/audit/proof/inclusion", tag = "audit", operation_id = "inclusion_proof",
    params(InclusionQuery), responses((status = 200, body = ProofBody)))]
pub(crate) async fn inclusion(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<InclusionQuery>,
) -> Answer<Json<ProofBody>> {
    Ok(Json(api.control.inclusion(&op, query.seq, query.size).await?.into()))
}

/// That the log of one size is the beginning of the log of another
#[utoipa::path(get, path = "/v1/audit/proof/consistency", tag = "audit",
    operation_id = "consistency_proof", params(ConsistencyQuery),
    responses((status = 200, body = ProofBody)))]
pub(crate) async fn consistency(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<ConsistencyQuery>,
) -> Answer<Json<ProofBody>> {
    Ok(Json(api.control.consistency(&op, query.from, query.to).await?.into()))
}

/// The start of a grant as it is on record, with its proof
///
/// A C2SP tlog-proof, for whoever may see the grant.
#[utoipa::path(get, path = "/v1/grants/{id}/proof", tag = "access", operation_id = "grant_proof",
    params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn grant(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Response> {
    Ok(text(api.control.prove_grant(&op, id_of(&id)?).await?))
}

fn text(proof: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], proof).into_response()
}
