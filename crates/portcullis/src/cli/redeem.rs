//! `portcullis redeem`: where nobody can sign in, a one-time token becomes a token for one grant.

use std::{
    io::{BufRead, Read},
    path::PathBuf,
};

use clap::Args;
use portcullis_api::tokens::{NewGrantTokenBody, RedeemBody};
use portcullis_identity::dpop::ProofKey;
use portcullis_model::{Clock, Secret};
use reqwest::Method;
use url::Url;

use super::{
    client::Client, failure::Failure, profile, screen::Screen, session::Session, tool_key, when,
};
use crate::ambient::SystemEntropy;

const PATH: &str = "/v1/tokens/redeem";

/// Longer than any token.
const LONGEST_LINE: u64 = 1024;

#[derive(Debug, Args)]
pub(crate) struct Redeem {
    /// The control server; left out, that of the profile or of `PORTCULLIS_URL`
    #[arg(value_parser = profile::server)]
    url: Option<Url>,
    /// Binds the token to this private key (PEM, P-256): each request needs a `DPoP` proof by it
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    dpop_key: Option<PathBuf>,
    /// Binds the token to this client certificate (PEM): it is good on connections with it only
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

impl Redeem {
    /// The token is read and never an argument: others on this host can see those.
    pub(crate) async fn run(
        self,
        profile: Option<&str>,
        screen: &Screen,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        // What is wrong with a key is told before the token is spent.
        let key = self.dpop_key.as_deref().map(tool_key::private).transpose()?;
        let certificate = self.certificate.as_deref().map(tool_key::certificate).transpose()?;
        let url = match self.url {
            Some(url) => url,
            None => Session::open(profile, screen, clock)?.profile.url,
        };
        let token = read(screen, "the one-time token")?;
        let client = Client::new(url)?;
        let body = RedeemBody { token: Secret::new(token), certificate };
        let body = serde_json::to_value(&body)
            .map_err(|error| Failure::local("the call cannot be written", &error))?;
        let fetched = match key {
            Some(key) => {
                let proof = proof(&key, &client, clock)?;
                client.call_with_proof(&proof, Method::POST, PATH, &body).await?
            }
            None => client.call(None, Method::POST, PATH, Some(&body)).await?,
        };
        if screen.is_json() {
            screen.body(&fetched.body);
            return Ok(());
        }
        let made: NewGrantTokenBody = fetched.read()?;
        screen.line(made.token.expose());
        let opens = &made.opens;
        screen.note(&format!(
            "opens {} for {} and nothing else, {} or until the grant ends; send it as \
             `Authorization: {} …` to the gate{}",
            opens.operation,
            opens.principal.id,
            when::until(opens.expires_at, clock.now()),
            made.token_type,
            needs(&made),
        ));
        Ok(())
    }
}

fn proof(key: &ProofKey, client: &Client, clock: &dyn Clock) -> Result<String, Failure> {
    let address = client.address(PATH).parse();
    let address = address.map_err(|error| Failure::local("the server's address", &error))?;
    let proof = key.prove(Method::POST.as_str(), &address, None, clock.now(), &SystemEntropy);
    proof.map_err(|error| Failure::local("no proof can be made", &error))
}

/// What must come with it.
fn needs(made: &NewGrantTokenBody) -> &'static str {
    let Some(cnf) = &made.cnf else { return "" };
    if cnf.jkt.is_some() {
        ", with the header `DPoP` and a proof that `portcullis proof METHOD URL --key FILE` makes \
         for each request"
    } else {
        ", on a connection with the client certificate"
    }
}

/// One line of standard input.
pub(super) fn read(screen: &Screen, what: &str) -> Result<String, Failure> {
    if screen.is_interactive() {
        screen.note(&format!("paste {what}:"));
    }
    let mut line = String::new();
    let input = std::io::stdin().lock().take(LONGEST_LINE).read_line(&mut line);
    input.map_err(|error| Failure::local("standard input cannot be read", &error))?;
    let token = line.trim();
    if token.is_empty() {
        let message = format!(
            "give {what} on standard input; it is not an argument, so that others on this host do \
             not see it"
        );
        return Err(Failure::WrongUse(message));
    }
    Ok(token.to_owned())
}
