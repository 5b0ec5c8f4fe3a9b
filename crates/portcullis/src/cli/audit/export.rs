//! `portcullis audit export`: all events that answer a question, into a file.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};

use super::asked::Asked;
use crate::cli::{
    failure::Failure,
    session::Session,
    unfinished::{Unfinished, cannot_write},
};

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    asked: Asked,
    /// How to write it
    #[arg(long, value_enum)]
    format: Format,
    /// Where to; it is there when the export is whole, and not before
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One event on each line, its bytes as they were hashed
    Json,
    /// A table with a header, without formulas
    Csv,
    /// The same table as an Apache Parquet file
    Parquet,
}

impl Export {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let format = match self.format {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        };
        let query = self.asked.query(session.now())?;
        let path = format!("/v1/audit/export?format={format}&{query}");
        let unfinished = Unfinished::beside(&self.to)?;
        let mut file = unfinished.create()?;
        let mut bytes: u64 = 0;
        let write = |part: &[u8]| {
            bytes += part.len() as u64;
            file.write_all(part).map_err(|error| cannot_write(&self.to, &error))
        };
        session.stream(&path, write).await?;
        file.sync_all().map_err(|error| cannot_write(&self.to, &error))?;
        unfinished.finish(&self.to)?;
        let said = format!("{bytes} bytes are in {}", self.to.display());
        session.screen.note(&said);
        Ok(())
    }
}
