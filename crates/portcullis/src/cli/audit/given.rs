//! What auditors bring along: keys, checkpoints that were kept, and anchors.

use std::{fs, path::Path};

use portcullis_log::anchored;
use reqwest::redirect::Policy;

use crate::cli::failure::Failure;

/// The most of what an address answers with: checkpoints of a year, one a minute, take a third of it.
const MOST_ANCHORS: usize = 256 << 20;

/// A verifier key has plus signs and a path of a file rarely does; a file that exists wins.
pub(super) fn key(text: &str) -> Result<String, Failure> {
    let path = Path::new(text);
    if path.exists() {
        read(path)
    } else if text.contains('+') {
        Ok(text.to_owned())
    } else {
        Err(Failure::WrongUse(format!("`{text}` is neither a file nor a verifier key")))
    }
}

pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::local(&path.display().to_string(), &error))
}

/// The checkpoints that a file or an address holds.
pub(super) async fn anchors(place: &str) -> Result<Vec<String>, Failure> {
    let is_address = ["http://", "https://"].iter().any(|scheme| place.starts_with(scheme));
    let text = if is_address { fetch(place).await? } else { read(Path::new(place))? };
    let held = anchored(&text).map_err(|error| Failure::WrongUse(format!("{place}: {error}")))?;
    if held.is_empty() {
        return Err(Failure::WrongUse(format!("{place} holds no checkpoint yet")));
    }
    Ok(held.into_iter().map(|anchored| anchored.checkpoint).collect())
}

async fn fetch(address: &str) -> Result<String, Failure> {
    let gone = |error: reqwest::Error| {
        Failure::Unreachable(format!("cannot reach {address}: {}", error.without_url()))
    };
    let client = reqwest::Client::builder().redirect(Policy::none()).build().map_err(gone)?;
    let mut answer = client.get(address).send().await.map_err(gone)?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Failure::Unreachable(format!("{address} answered {status}")));
    }
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(gone)? {
        bytes.extend_from_slice(&part);
        if bytes.len() > MOST_ANCHORS {
            return Err(Failure::Refused(format!("{address} answers with more than checkpoints")));
        }
    }
    String::from_utf8(bytes).map_err(|error| Failure::local(address, &error))
}
