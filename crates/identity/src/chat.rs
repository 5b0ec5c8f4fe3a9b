//! What comes from a chat's own server, and what only says so.
//!
//! A message counts when the chat's server signed its very bytes lately, or when it came over a
//! connection that this process opened to that server itself. Says nothing about who wrote it: which
//! account is whose is control's matter.

use std::fmt;

use aws_lc_rs::hmac;
use jiff::Timestamp;
use portcullis_model::Secret;

use crate::codes::hex;

/// How far the clocks of both sides may be apart, and how late a message may come: seconds.
pub const TOLERANCE: i64 = 300;
const VERSION: &str = "v0";

/// Proof that a message came from the chat's server.
#[derive(Debug)]
pub struct FromChat(());

impl FromChat {
    /// It came over a connection that this process opened to the chat's server, and proved itself at.
    pub fn over_own_connection() -> Self {
        Self(())
    }
}

/// Why a message is not taken for the chat's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFromChat {
    /// It has no signature, or no time.
    #[error("it is not signed")]
    Unsigned,
    /// Its time is no number.
    #[error("its time cannot be read")]
    Timeless,
    /// It was signed too long ago, or in the future.
    #[error("it was signed more than 300 seconds ago, or from now")]
    Late,
    /// The signature is over something else, or by somebody else.
    #[error("its signature does not fit")]
    Forged,
}

/// Checks what Slack signs: version `v0` of its request signatures.
pub struct SlackSigning(hmac::Key);

impl fmt::Debug for SlackSigning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlackSigning(…)")
    }
}

impl SlackSigning {
    /// With the app's signing secret.
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// Checks `body`, byte for byte as it came, with what came as `X-Slack-Request-Timestamp` and
    /// `X-Slack-Signature`.
    pub fn check(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<FromChat, NotFromChat> {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else {
            return Err(NotFromChat::Unsigned);
        };
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at: i64 = timestamp.parse().map_err(|_| NotFromChat::Timeless)?;
        if !digits {
            return Err(NotFromChat::Timeless);
        }
        if now.as_second().abs_diff(at) > TOLERANCE.unsigned_abs() {
            return Err(NotFromChat::Late);
        }
        let given = signature.strip_prefix("v0=").and_then(bytes).ok_or(NotFromChat::Forged)?;
        let mut signed = format!("{VERSION}:{timestamp}:").into_bytes();
        signed.extend_from_slice(body);
        // In constant time.
        hmac::verify(&self.0, &signed, &given).map_err(|_| NotFromChat::Forged)?;
        Ok(FromChat(()))
    }
}

/// What 64 hexadecimal digits stand for, as Slack writes them: one signature is written in one way, so
/// that one that came before is known by its text.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let is_one = digits.len() == 64 && !digits.bytes().any(|digit| digit.is_ascii_uppercase());
    hex(digits).filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's page "Verifying requests from Slack".
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const AT: i64 = 1_531_420_618;
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn checked(at: i64, signature: &str, body: &str, now: i64) -> Result<(), NotFromChat> {
        let signing = SlackSigning::new(&Secret::new(SECRET));
        let now = Timestamp::from_second(now).unwrap();
        signing.check(Some(&at.to_string()), Some(signature), body.as_bytes(), now).map(drop)
    }

    #[test]
    fn what_slack_signed_lately_counts() {
        for skew in [-300, 0, 300] {
            assert_eq!(checked(AT, SIGNATURE, BODY, AT + skew), Ok(()));
        }
    }

    #[test]
    fn e05_what_is_late_early_unsigned_or_signed_otherwise_does_not() {
        for skew in [-301, 301, 360, -360] {
            assert_eq!(checked(AT, SIGNATURE, BODY, AT + skew), Err(NotFromChat::Late));
        }
        for signature in
            ["", "v0=", "v1=00", &SIGNATURE.to_uppercase(), SIGNATURE.trim_start_matches("v0=")]
        {
            assert_eq!(checked(AT, signature, BODY, AT), Err(NotFromChat::Forged), "{signature}");
        }
        assert_eq!(checked(AT + 1, SIGNATURE, BODY, AT), Err(NotFromChat::Forged));
        let shouted = format!("v0={}", SIGNATURE.trim_start_matches("v0=").to_uppercase());
        assert_eq!(checked(AT, &shouted, BODY, AT), Err(NotFromChat::Forged), "known by its text");
        let signing = SlackSigning::new(&Secret::new(SECRET));
        let now = Timestamp::from_second(AT).unwrap();
        let check = |at, signature| signing.check(at, signature, b"", now).map(drop);
        assert_eq!(check(None, Some(SIGNATURE)), Err(NotFromChat::Unsigned));
        assert_eq!(check(Some("1531420618"), None), Err(NotFromChat::Unsigned));
        for at in ["", "+1531420618", "1531420618.5", "soon"] {
            assert_eq!(check(Some(at), Some(SIGNATURE)), Err(NotFromChat::Timeless), "{at}");
        }
    }

    #[test]
    fn e07_the_same_meaning_in_other_bytes_does_not() {
        let other = BODY.replace("%2F", "%2f");
        assert_eq!(checked(AT, SIGNATURE, &other, AT), Err(NotFromChat::Forged));
    }
}
