//! What a provider's endpoints answer, read with care: parts of it end up on a terminal.

use http::StatusCode;
use portcullis_model::Secret;
use serde::Deserialize;
use url::Url;

use super::{DeviceAuthorization, PeopleError};
use crate::{ProviderError, issuer::is_private_enough};

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "RFC 8628 calls it `device_code`")]
struct Device {
    device_code: Secret,
    user_code: String,
    verification_uri: Url,
    verification_uri_complete: Option<Url>,
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
}

/// RFC 8628, 3.2: the interval of a provider that names none.
fn five() -> u64 {
    5
}

/// What a token endpoint gives (RFC 6749, 5.1).
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "RFC 6749 calls them so")]
pub(super) struct Tokens {
    id_token: Option<Secret>,
    pub(super) access_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
}

impl Tokens {
    pub(super) fn id_token(&self, url: &Url) -> Result<&Secret, ProviderError> {
        self.id_token.as_ref().ok_or_else(|| unreadable(url, "an ID token"))
    }

    pub(super) fn access_token(&self, url: &Url) -> Result<&Secret, ProviderError> {
        self.access_token.as_ref().ok_or_else(|| unreadable(url, "an access token"))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

pub(super) fn device_authorization(
    url: &Url,
    body: &[u8],
) -> Result<DeviceAuthorization, ProviderError> {
    let sound = |device: &Device| {
        let addresses = [Some(&device.verification_uri), device.verification_uri_complete.as_ref()];
        addresses.into_iter().flatten().all(is_private_enough) && is_showable(&device.user_code)
    };
    let device: Device = serde_json::from_slice(body)
        .ok()
        .filter(sound)
        .ok_or_else(|| unreadable(url, "a device authorization"))?;
    Ok(DeviceAuthorization {
        device_code: device.device_code,
        user_code: device.user_code,
        verification_uri: device.verification_uri,
        verification_uri_complete: device.verification_uri_complete,
        expires_in: device.expires_in.min(3600),
        interval: device.interval.clamp(1, 60),
    })
}

pub(super) fn tokens(url: &Url, body: &[u8]) -> Result<Tokens, ProviderError> {
    serde_json::from_slice(body).map_err(|_| unreadable(url, "tokens"))
}

/// The error code of an OAuth refusal, or that it is no refusal but a failure.
pub(super) fn refusal(url: &Url, status: StatusCode, body: &[u8]) -> PeopleError {
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    match refusal {
        Some(Refusal { error }) if status.is_client_error() && is_showable(&error) => {
            PeopleError::Refused { error }
        }
        _ => ProviderError::Status { url: url.clone(), status: status.as_u16() }.into(),
    }
}

pub(super) fn unreadable(url: &Url, expected: &'static str) -> ProviderError {
    ProviderError::Unreadable { url: url.clone(), expected }
}

/// A short text without anything that a terminal would act on.
pub(super) fn is_showable(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<DeviceAuthorization, ProviderError> {
        let mut answer = json!({
            "device_code": "secret", "user_code": "ABCD-EFGH", "expires_in": 600,
            "verification_uri": "https://id.example.com/device",
        });
        change(&mut answer);
        let url = "https://id.example.com/device/auth".parse().unwrap();
        device_authorization(&url, answer.to_string().as_bytes())
    }

    #[test]
    fn the_interval_is_five_seconds_unless_said() {
        assert_eq!(read(|_| {}).unwrap().interval, 5);
        assert_eq!(read(|answer| answer["interval"] = json!(0)).unwrap().interval, 1);
    }

    #[test]
    fn the_device_code_is_not_printed() {
        assert!(!format!("{:?}", read(|_| {}).unwrap()).contains("secret"));
    }

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_act_on() {
        assert!(read(|answer| answer["user_code"] = json!("\u{1b}[2J")).is_err());
        assert!(read(|answer| answer["verification_uri"] = json!("javascript:alert(1)")).is_err());
        assert!(read(|answer| answer["verification_uri"] = json!("http://evil.example")).is_err());
    }
}
