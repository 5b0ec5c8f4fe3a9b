//! `portcullis redeem`: where nobody can sign in, a one-time token becomes a token for one grant.

use std::io::{BufRead, Read};

use clap::Args;
use portcullis_api::tokens::NewGrantTokenBody;
use portcullis_model::Clock;
use reqwest::Method;
use serde_json::json;
use url::Url;

use super::{client::Client, failure::Failure, profile, screen::Screen, session::Session, when};

/// Longer than any token.
const LONGEST_LINE: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct Redeem {
    /// The control server; left out, that of the profile or of `PORTCULLIS_URL`
    #[arg(value_parser = profile::server)]
    url: Option<Url>,
}

impl Redeem {
    /// The token is read and never an argument: others on this host can see those.
    pub(crate) async fn run(
        self,
        profile: Option<&str>,
        screen: &Screen,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let url = match self.url {
            Some(url) => url,
            None => Session::open(profile, screen, clock)?.profile.url,
        };
        if screen.is_interactive() {
            screen.note("paste the one-time token:");
        }
        let token = read()?;
        let body = json!({ "token": token });
        let client = Client::new(url)?;
        let fetched = client.call(None, Method::POST, "/v1/tokens/redeem", Some(&body)).await?;
        if screen.is_json() {
            screen.body(&fetched.body);
            return Ok(());
        }
        let made: NewGrantTokenBody = fetched.read()?;
        screen.line(made.token.expose());
        let opens = &made.opens;
        screen.note(&format!(
            "opens {} for {} and nothing else, {} or until the grant ends; send it as \
             `Authorization: Bearer …` to the gate",
            opens.operation,
            opens.principal.id,
            when::until(opens.expires_at, clock.now())
        ));
        Ok(())
    }
}

fn read() -> Result<String, Failure> {
    let mut line = String::new();
    let input = std::io::stdin().lock().take(LONGEST_LINE).read_line(&mut line);
    input.map_err(|error| Failure::local("standard input cannot be read", &error))?;
    let token = line.trim();
    if token.is_empty() {
        let message = "give the one-time token on standard input; it is not an argument, so that \
                       others on this host do not see it";
        return Err(Failure::WrongUse(message.to_owned()));
    }
    Ok(token.to_owned())
}
