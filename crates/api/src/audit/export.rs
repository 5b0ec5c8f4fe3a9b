//! `/v1/audit/export`: what answers a question, all of it, while it is read.

use axum::{
    body::Body,
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use portcullis_control::{ControlError, Export, views::EventLine};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{AskedQuery, csv};
use crate::{caller::Caller, error::Answer, extract::Search, parts::Shared};

/// How to write it.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `json`: a line for each event, its bytes as they were hashed. `csv`: a table with a header.
    #[param(inline)]
    pub(crate) format: Format,
    /// What is asked for.
    #[serde(flatten)]
    #[param(ignore)]
    pub(crate) asked: AskedQuery,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// JSON, one event on each line.
    Json,
    /// RFC 4180, without formulas.
    Csv,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    const fn media(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application/x-ndjson", "attachment; filename=\"events.jsonl\""),
            Self::Csv => {
                ("text/csv; charset=utf-8; header=present", "attachment; filename=\"events.csv\"")
            }
        }
    }
}

/// Export the record
///
/// All events that answer, oldest first, up to those that are on record when it begins. An answer that breaks off is not whole.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", operation_id = "audit_export",
    params(ExportQuery, AskedQuery),
    responses((status = 200, content_type = "application/x-ndjson"), (status = 200, content_type = "text/csv")))]
pub(crate) async fn export(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<ExportQuery>,
) -> Answer<Response> {
    let format = query.format;
    let export = api.control.export(&op, query.asked.filter()?, format.as_str()).await?;
    let begun = match format {
        Format::Json => Bytes::new(),
        Format::Csv => Bytes::from(csv::header()),
    };
    let state = Writing { export, format, begun: Some(begun) };
    let parts = stream::try_unfold(state, async |mut writing| {
        let part = writing.next().await?;
        Ok::<_, ControlError>(part.map(|bytes| (bytes, writing)))
    });
    let (kind, file) = format.media();
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, file)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

struct Writing {
    export: Export,
    format: Format,
    begun: Option<Bytes>,
}

impl Writing {
    async fn next(&mut self) -> Result<Option<Bytes>, ControlError> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun));
        }
        let Some(lines) = self.export.part().await? else { return Ok(None) };
        let mut text = String::new();
        for line in lines {
            self.write(&mut text, &line)?;
        }
        Ok(Some(Bytes::from(text)))
    }

    fn write(&self, text: &mut String, line: &EventLine) -> Result<(), ControlError> {
        match self.format {
            Format::Json => {
                text.push_str(&line.json);
                text.push('\n');
            }
            Format::Csv => {
                let row = csv::row(&line.json);
                text.push_str(&row.map_err(|error| ControlError::Internal(Box::new(error)))?);
            }
        }
        Ok(())
    }
}
