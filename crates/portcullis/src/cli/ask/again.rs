//! The same request again, once it is granted.

use std::process::ExitCode;

use portcullis_model::RefusalId;

use super::target::Target;
use crate::cli::{
    curl::{self, Said},
    failure::Failure,
    session::Session,
};

/// What happens after the grant.
#[derive(Debug)]
pub(super) enum Again {
    /// Nothing is remembered, or nobody is there to ask.
    No,
    /// There is somebody to ask whether it is sent.
    Offered(RefusalId),
    /// It is sent: that was said beforehand.
    Wanted(RefusalId),
}

impl Again {
    /// Said before anything is asked for: who wants what cannot be is told while nothing has happened.
    pub(super) fn of(
        target: &Target,
        wanted: bool,
        session: &Session<'_>,
    ) -> Result<Self, Failure> {
        let kept = match target {
            Target::Refusal(id) if session.refused().has(id, session.now()) => Some(id.clone()),
            Target::Refusal(_) | Target::Operations(_) => None,
        };
        match kept {
            Some(_) if wanted && session.screen.is_json() => Err(Failure::WrongUse(
                "--again passes the service's answer through, which --output json cannot stand \
                 beside; leave one of them out"
                    .to_owned(),
            )),
            Some(id) if wanted => Ok(Self::Wanted(id)),
            Some(id) if session.screen.is_interactive() => Ok(Self::Offered(id)),
            None if wanted => Err(Failure::WrongUse(
                "--again has nothing to send: `portcullis curl` remembers for an hour what was refused, \
                 unless it had credentials of its own or data that can be read once; leave --again out, \
                 and send the request yourself once it is granted"
                    .to_owned(),
            )),
            Some(_) | None => Ok(Self::No),
        }
    }

    /// It is granted.
    pub(super) async fn offer(self, session: Session<'_>) -> Result<ExitCode, Failure> {
        let (id, status) = match self {
            Self::Wanted(id) => (id, false),
            Self::Offered(id) if agrees(&session) => (id, true),
            Self::Offered(_) => return Ok(ExitCode::SUCCESS),
            Self::No => {
                if !session.screen.is_json() {
                    session.screen.line("now send the same request again");
                }
                return Ok(ExitCode::SUCCESS);
            }
        };
        let Some(request) = session.refused().take(&id, session.now()) else {
            // Another terminal was quicker; twice is not what was agreed to.
            return Err(Failure::Refused(format!("the request of {id} was sent meanwhile")));
        };
        curl::send(session, request, Said { wait: None, status, masked: false }).await
    }
}

fn agrees(session: &Session<'_>) -> bool {
    let answer = session.screen.question("the same request again? [Y/n]");
    answer.is_ok_and(|answer| ["", "y", "yes"].contains(&answer.to_ascii_lowercase().as_str()))
}
