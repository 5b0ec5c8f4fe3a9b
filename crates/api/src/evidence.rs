//! `/v1/evidence`: all that is on record of one thing, in one archive that verifies without this server.

mod body;
pub mod contents;
mod html;
pub mod pack;
mod shape;

use std::{convert::Infallible, future::ready};

use axum::{
    body::Body,
    extract::{Path, State},
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_control::ControlError;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::body::{EvidenceBody, FORMAT, RecordBody, SectionBody};
use crate::{caller::Caller, error::Answer, making::Turn, parts::Shared};

/// Bytes that are sent together.
const PART: usize = 64 << 10;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(evidence))
}

/// All that is on record of a grant, an access request or an incident, with its proofs
///
/// A ZIP archive; needs `viewAudit`. That it was given, and what was in it, is on record. What is more than one
/// archive can hold is refused, with what to ask for instead.
#[utoipa::path(get, path = "/v1/evidence/{id}", tag = "audit", operation_id = "evidence",
    params(("id" = String, Path)), responses((status = 200, content_type = "application/zip")))]
pub(crate) async fn evidence(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Response> {
    let turn = api.making.pack()?;
    let evidence = api.control.evidence(&op, &id).await?;
    let mut files = pack::content(&evidence, &api.log_keys);
    let digest = pack::manifest(&mut files);
    let proof = api.control.evidence_given(&op, &evidence, &digest).await?;
    let archive =
        pack::archive(files, &proof).map_err(|error| ControlError::Internal(Box::new(error)))?;
    let name = format!("attachment; filename=\"evidence-{}.zip\"", evidence.subject.id);
    let headers = [(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, whole(archive, turn)).into_response())
}

/// The body; the pack counts as one that is being made until the last part of it is on its way.
fn whole(archive: Vec<u8>, turn: Turn) -> Body {
    let parts = stream::unfold((Bytes::from(archive), turn), |(mut rest, turn)| {
        let part = rest.split_to(rest.len().min(PART));
        ready((!part.is_empty()).then_some((Ok::<_, Infallible>(part), (rest, turn))))
    });
    Body::from_stream(parts)
}
