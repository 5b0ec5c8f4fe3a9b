//! The record as control serves it: the same proof, over files that are fetched as it goes.

use std::io;

use portcullis_log::{Files, Finding, Verified, verify_files};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::cli::{failure::Failure, profile, session::Session};

const LOG: &str = "/v1/audit/log";

/// Reads what was given as the address of a record.
pub(super) fn address(text: &str) -> Option<Result<Url, Failure>> {
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return None;
    }
    let server = text.trim_end_matches('/');
    let server = server.strip_suffix(LOG).unwrap_or(server);
    let server = profile::server(server);
    Some(server.map_err(|error| Failure::WrongUse(format!("`{text}`: {error}"))))
}

/// Proves the record of the session's server, which must be `server`: a sign-in goes nowhere else.
pub(super) async fn verify(
    mut session: Session<'_>,
    server: &Url,
    key: String,
    held: Vec<String>,
) -> Result<Result<Verified, Finding>, Failure> {
    if session.profile.url != *server {
        return Err(Failure::WrongUse(format!(
            "the sign-in of this profile is for {}; `portcullis login {server} --as NAME` makes one for \
             {server}, and `--profile NAME` uses it",
            session.profile.url
        )));
    }
    let (asks, mut asked) = mpsc::channel(1);
    let proof = tokio::task::spawn_blocking(move || {
        verify_files(&Served { asks }, key.trim(), held.iter().map(String::as_str))
    });
    while let Some(Ask { name, most, answer }) = asked.recv().await {
        // A failure ends it all: the proof's thread finds nobody to answer it.
        let file = session.file(&format!("{LOG}/{name}"), most).await?;
        let _proof_is_over = answer.send(file);
    }
    proof.await.map_err(|error| Failure::local("the proof ended abnormally", &error))
}

/// Files that another task fetches.
struct Served {
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    name: String,
    most: usize,
    answer: oneshot::Sender<Option<Vec<u8>>>,
}

impl Files for Served {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let (answer, answered) = oneshot::channel();
        let ask = Ask { name: name.to_owned(), most, answer };
        self.asks.blocking_send(ask).map_err(|_| gone())?;
        answered.blocking_recv().map_err(|_| gone())
    }

    /// A server lists nothing; what is not part of the signed tree is not fetched.
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_folder_or_a_server() {
        for folder in ["audit", "/var/lib/audit", "http", "C:/audit"] {
            assert!(address(folder).is_none(), "{folder}");
        }
        for text in ["https://a.example.com", "https://a.example.com/v1/audit/log/"] {
            assert_eq!(address(text).unwrap().unwrap().as_str(), "https://a.example.com/");
        }
        let clear = address("http://a.example.com").unwrap().unwrap_err();
        assert!(clear.to_string().contains("use https"), "{clear}");
    }
}
