//! The frames that gRPC puts around messages: a flag, a length, the message.

use std::{borrow::Cow, io::Read};

use flate2::bufread::GzDecoder;

use crate::catalog::InspectError;

/// What stands before each message.
const HEAD: usize = 5;

/// The message of a call that has one. `coded` is what `grpc-encoding` says; decoded, a message has at
/// most `most` bytes.
pub(super) fn only<'a>(
    bytes: &'a [u8],
    coded: Option<&[u8]>,
    most: u64,
) -> Result<Cow<'a, [u8]>, InspectError> {
    let (flag, message, rest) = first(bytes)?;
    if !rest.is_empty() {
        return Err(malformed("something follows the one message of this call"));
    }
    match flag {
        0 => Ok(Cow::Borrowed(message)),
        1 => decoded(message, coded, most).map(Cow::Owned),
        _ => Err(malformed("the flag of a message is neither 0 nor 1")),
    }
}

fn first(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), InspectError> {
    let (head, rest) =
        bytes.split_at_checked(HEAD).ok_or_else(|| malformed("the call has no whole message"))?;
    let [flag, length @ ..] = head else { return Err(malformed("a message has no head")) };
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let (message, rest) =
        rest.split_at_checked(length).ok_or_else(|| malformed("a message breaks off"))?;
    Ok((*flag, message, rest))
}

fn decoded(message: &[u8], coded: Option<&[u8]>, most: u64) -> Result<Vec<u8>, InspectError> {
    match coded {
        Some(b"gzip") => {}
        None | Some(b"identity") => {
            return Err(malformed("a message is compressed, and `grpc-encoding` does not say how"));
        }
        Some(_) => {
            let why = "a policy reads this message, so it is compressed with gzip or not at all";
            return Err(InspectError::NotRepresentable(why.to_owned()));
        }
    }
    let mut decoder = GzDecoder::new(message);
    let mut whole = Vec::new();
    let read = decoder.by_ref().take(most.saturating_add(1)).read_to_end(&mut whole);
    if read.is_err() {
        return Err(malformed("a message is not the gzip that it says it is"));
    }
    if whole.len() as u64 > most {
        return Err(InspectError::TooLarge);
    }
    // Another member after the first is a second reading.
    if !decoder.into_inner().is_empty() {
        return Err(malformed("something follows the gzip of a message"));
    }
    Ok(whole)
}

fn malformed(what: &str) -> InspectError {
    InspectError::Malformed(what.to_owned())
}
