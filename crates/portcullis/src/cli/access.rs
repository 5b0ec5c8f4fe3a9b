//! `portcullis access`: who had access to what, and going through it.

mod table;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use portcullis_api::reports::{AccessReportBody, SignOffBody};
use reqwest::Method;
use url::form_urlencoded::Serializer;

use super::{audit::time, failure::Failure, incidents::written, session::Session};

const REPORT: &str = "/v1/reports/access";

#[derive(Debug, Subcommand)]
pub(crate) enum Access {
    /// Shows who had access to what: grants, emergencies, data that was seen, standing access
    Report(Report),
    /// Shows what each principal can reach and could, to be gone through and signed off
    Review(Review),
}

/// The time that is meant.
#[derive(Debug, Args)]
struct Period {
    /// Since when: 2026-07-01, yesterday, 30d (ago) or 2026-07-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Until when, written alike; now if absent
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    period: Period,
    /// As one table for spreadsheets, without formulas
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Review {
    #[command(flatten)]
    period: Period,
    /// Puts on record that I went through it: the digest that the review showed
    #[arg(long, value_name = "DIGEST", requires = "to")]
    sign_off: Option<String>,
    /// What came of it
    #[arg(long, value_name = "TEXT", requires = "sign_off")]
    note: Option<String>,
}

impl Access {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Report(report) => report.run(session).await,
            Self::Review(review) => review.run(session).await,
        }
    }
}

impl Period {
    fn times(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
        let to = self.to.as_deref().map(|text| time(text, now)).transpose()?;
        Ok((time(&self.from, now)?, to.unwrap_or(now)))
    }

    fn path(&self, now: Timestamp) -> Result<String, Failure> {
        let (since, until) = self.times(now)?;
        let mut query = Serializer::new(String::new());
        query.append_pair("since", &since.to_string()).append_pair("until", &until.to_string());
        Ok(format!("{REPORT}?{}", query.finish()))
    }
}

impl Report {
    async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let fetched = session.get(&self.period.path(session.now())?).await?;
        let screen = session.screen;
        if screen.is_json() && !self.csv {
            screen.body(&fetched.body);
            return Ok(());
        }
        let report: AccessReportBody = fetched.read()?;
        if self.csv {
            table::csv(screen, &report);
        } else {
            table::report(screen, &report);
        }
        Ok(())
    }
}

impl Review {
    async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let now = session.now();
        if let Some(digest) = self.sign_off {
            let (since, until) = self.period.times(now)?;
            let note = self.note.unwrap_or_default();
            let body = written(&SignOffBody { since, until, digest, note })?;
            let path = format!("{REPORT}/sign-offs");
            let answer = session.send(Method::POST, &path, Some(body)).await?;
            if session.screen.is_json() {
                session.screen.body(&answer.body);
            } else {
                session.screen.line("signed off; it is on record");
            }
            return Ok(());
        }
        let fetched = session.get(&self.period.path(now)?).await?;
        if session.screen.is_json() {
            session.screen.body(&fetched.body);
            return Ok(());
        }
        let report: AccessReportBody = fetched.read()?;
        table::review(session.screen, &report);
        let (since, until, digest) = (report.since, report.until, &report.digest);
        let command =
            format!("access review --from {since} --to {until} --sign-off {digest} --note \"…\"");
        session.screen.note(&format!("to sign it off: {}", session.command(&command)));
        Ok(())
    }
}
