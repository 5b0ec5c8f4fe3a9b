//! `/v1/evidence`: all that is on record of one thing, in one archive that verifies without this server.

mod body;
pub mod contents;
mod html;
pub mod pack;
mod shape;

use axum::{
    extract::{Path, State},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use portcullis_control::ControlError;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::body::{EvidenceBody, FORMAT, RecordBody, SectionBody};
use crate::{caller::Caller, error::Answer, parts::Shared};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(evidence))
}

/// All that is on record of a grant, an access request or an incident, with its proofs
///
/// A ZIP archive; needs `viewAudit`. That it was given, and what was in it, is on record.
#[utoipa::path(get, path = "/v1/evidence/{id}", tag = "audit", operation_id = "evidence",
    params(("id" = String, Path)), responses((status = 200, content_type = "application/zip")))]
pub(crate) async fn evidence(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Response> {
    let evidence = api.control.evidence(&op, &id).await?;
    let mut files = pack::content(&evidence, &api.log_keys);
    let digest = pack::manifest(&mut files);
    let proof = api.control.evidence_given(&op, &evidence, &digest).await?;
    let archive =
        pack::archive(files, &proof).map_err(|error| ControlError::Internal(Box::new(error)))?;
    let name = format!("attachment; filename=\"evidence-{}.zip\"", evidence.subject.id);
    let headers = [(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, archive).into_response())
}
