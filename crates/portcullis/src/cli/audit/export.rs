//! `portcullis audit export`: all events that answer a question, into a file.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::asked::Asked;
use crate::cli::{failure::Failure, session::Session};

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
}

impl Export {
    pub(super) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let format = match self.format {
            Format::Json => "json",
            Format::Csv => "csv",
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

/// A file that is removed again unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn beside(to: &Path) -> Result<Self, Failure> {
        let Some(name) = to.file_name() else {
            return Err(Failure::WrongUse(format!("`{}` names no file", to.display())));
        };
        let mut name = name.to_owned();
        name.push(".unfinished");
        Ok(Self(Some(to.with_file_name(name))))
    }

    fn create(&self) -> Result<fs::File, Failure> {
        let path = self.0.as_deref().unwrap_or_else(|| Path::new(""));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // The record names people, and what they did.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|error| cannot_write(path, &error))
    }

    fn finish(mut self, to: &Path) -> Result<(), Failure> {
        let Some(path) = self.0.take() else { return Ok(()) };
        fs::rename(&path, to).map_err(|error| cannot_write(to, &error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _may_not_be_there = fs::remove_file(path);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(&format!("`{}` cannot be written", path.display()), error)
}
