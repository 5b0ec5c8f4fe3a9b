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

use super::{AskedQuery, csv, parquet};
use crate::{
    caller::Caller,
    error::Answer,
    extract::Search,
    making::{Making, Turn},
    parts::Shared,
};

/// How to write it.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `json`: a line for each event, its bytes as they were hashed. `csv`: a table with a header. `parquet`: the
    /// same table as an Apache Parquet file; a few can be made at one time.
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
    /// Apache Parquet.
    Parquet,
}

impl Format {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    const fn media(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application/x-ndjson", "attachment; filename=\"events.jsonl\""),
            Self::Csv => {
                ("text/csv; charset=utf-8; header=present", "attachment; filename=\"events.csv\"")
            }
            Self::Parquet => {
                ("application/vnd.apache.parquet", "attachment; filename=\"events.parquet\"")
            }
        }
    }
}

/// Export the record
///
/// All events that answer, oldest first, up to those that are on record when it begins. An answer that breaks off is not whole.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", operation_id = "audit_export",
    params(ExportQuery, AskedQuery),
    responses((status = 200, content_type = "application/x-ndjson"), (status = 200, content_type = "text/csv"),
        (status = 200, content_type = "application/vnd.apache.parquet")))]
pub(crate) async fn export(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<ExportQuery>,
) -> Answer<Response> {
    let format = query.format;
    let export = api.control.export(&op, query.asked.filter()?, format.as_str()).await?;
    let state = Writing { export, file: File::begin(format, &api.making)? };
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
    file: File,
}

/// What is being written.
enum File {
    Lines,
    Csv { begun: bool },
    Parquet { table: Option<Box<parquet::Table>>, _turn: Turn },
}

impl File {
    fn begin(format: Format, making: &Making) -> Result<Self, ControlError> {
        Ok(match format {
            Format::Json => Self::Lines,
            Format::Csv => Self::Csv { begun: false },
            Format::Parquet => {
                let turn = making.table()?;
                let table = parquet::Table::new().map_err(internal)?;
                Self::Parquet { table: Some(Box::new(table)), _turn: turn }
            }
        })
    }
}

impl Writing {
    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, ControlError> {
        match &mut self.file {
            File::Lines => {
                text(&mut self.export, |text, line| {
                    text.push_str(&line.json);
                    text.push('\n');
                    Ok(())
                })
                .await
            }
            File::Csv { begun } if !*begun => {
                *begun = true;
                Ok(Some(Bytes::from(csv::header())))
            }
            File::Csv { .. } => {
                text(&mut self.export, |text, line| {
                    text.push_str(&csv::row(&line.json).map_err(internal)?);
                    Ok(())
                })
                .await
            }
            File::Parquet { table, .. } => rows(&mut self.export, table).await,
        }
    }
}

async fn text(
    export: &mut Export,
    write: impl Fn(&mut String, &EventLine) -> Result<(), ControlError>,
) -> Result<Option<Bytes>, ControlError> {
    let Some(lines) = export.part().await? else { return Ok(None) };
    let mut text = String::new();
    for line in lines {
        write(&mut text, &line)?;
    }
    Ok(Some(Bytes::from(text)))
}

/// The next row group, or the last and the footer. To pack one takes a moment, and the runtime has others to
/// answer.
async fn rows(
    export: &mut Export,
    table: &mut Option<Box<parquet::Table>>,
) -> Result<Option<Bytes>, ControlError> {
    let Some(mut filling) = table.take() else { return Ok(None) };
    while !filling.is_full() {
        let Some(lines) = export.part().await? else {
            return Ok(Some(packed(move || filling.end()).await?.into()));
        };
        for line in lines {
            filling.add(line.json);
        }
    }
    let (filled, group) = packed(move || {
        let group = filling.group()?;
        Ok((filling, group))
    })
    .await?;
    *table = Some(filled);
    Ok(Some(group.into()))
}

async fn packed<T: Send + 'static>(
    work: impl FnOnce() -> ::parquet::errors::Result<T> + Send + 'static,
) -> Result<T, ControlError> {
    tokio::task::spawn_blocking(work).await.map_err(internal)?.map_err(internal)
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> ControlError {
    ControlError::Internal(Box::new(error))
}
