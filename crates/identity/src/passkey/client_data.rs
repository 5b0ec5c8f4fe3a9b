//! What the browser says of a ceremony: `CollectedClientData` (Web Authentication Level 3, 5.8.1).

use portcullis_model::Base64Url;
use serde::Deserialize;

use super::{Rejected, RelyingParty};

const LONGEST: usize = 4096;

/// Which ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ceremony {
    Create,
    Get,
}

impl Ceremony {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// Members that browsers add later are none of our business; one that stands there twice is an error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: Base64Url,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

/// The challenge that `client_data` answers, so that it can be looked up. Nothing is proven yet.
pub fn challenge_of(client_data: &[u8]) -> Result<Base64Url, Rejected> {
    Ok(parse(client_data)?.challenge)
}

/// Steps 7 to 11 of both ceremonies.
pub(super) fn check(
    client_data: &[u8],
    ceremony: Ceremony,
    challenge: &[u8],
    party: &RelyingParty,
) -> Result<(), Rejected> {
    let said = parse(client_data)?;
    if said.kind != ceremony.as_str() {
        return Err(Rejected("the browser's answer is of another ceremony"));
    }
    if said.challenge.0 != challenge {
        return Err(Rejected("it answers another challenge"));
    }
    if said.origin != party.origin() {
        return Err(Rejected("it happened on a page of another origin"));
    }
    // Nobody frames our pages.
    if said.cross_origin || said.top_origin.is_some() {
        return Err(Rejected("it happened inside a page of another origin"));
    }
    Ok(())
}

fn parse(client_data: &[u8]) -> Result<ClientData, Rejected> {
    let bad = Rejected("the browser's client data cannot be read");
    if client_data.len() > LONGEST {
        return Err(bad);
    }
    serde_json::from_slice(client_data).map_err(|_| bad)
}
