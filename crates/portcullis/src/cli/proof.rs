//! `portcullis proof`: for tools that send a token bound to a key and cannot make proofs themselves.

use std::path::PathBuf;

use clap::Args;
use portcullis_model::Clock;
use url::Url;

use super::{failure::Failure, redeem, screen::Screen, tool_key};
use crate::ambient::SystemEntropy;

#[derive(Debug, Args)]
pub(crate) struct Proof {
    /// The request's method
    #[arg(value_parser = method)]
    method: String,
    /// The request's whole address at the gate
    #[arg(value_parser = address)]
    url: Url,
    /// The private key that the token was bound to, as PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Proof {
    /// As with `redeem`, the token is read and never an argument.
    pub(crate) fn run(self, screen: &Screen, clock: &dyn Clock) -> Result<(), Failure> {
        let key = tool_key::private(&self.key)?;
        let token = redeem::read(screen, "the grant token")?;
        let proof = key.prove(&self.method, &self.url, Some(&token), clock.now(), &SystemEntropy);
        screen.line(&proof.map_err(|error| Failure::local("no proof can be made", &error))?);
        Ok(())
    }
}

/// Methods are compared letter by letter.
fn method(text: &str) -> Result<String, String> {
    let known = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    known.then(|| text.to_owned()).ok_or_else(|| "a method is in capitals: GET".to_owned())
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let whole = matches!(url.scheme(), "http" | "https") && url.has_host();
    whole.then_some(url).ok_or_else(|| "give it whole: https://host/path".to_owned())
}
