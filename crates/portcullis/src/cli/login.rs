//! `portcullis login`: the device flow, through control.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use portcullis_api::{
    device::{DeviceBody, PendingBody},
    sign_ins::NewSignInBody,
};
use portcullis_model::Clock;
use reqwest::{Method, StatusCode};
use serde_json::json;
use url::Url;

use super::{
    client::{CallError, Client},
    failure::Failure,
    profile::{self, Place, Profile},
    screen::Screen,
    when,
};

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The control server's URL; the profile's if absent
    #[arg(value_parser = profile::server)]
    url: Option<Url>,
    /// The profile to keep the sign-in in
    #[arg(long = "as", value_name = "PROFILE", conflicts_with = "profile")]
    into: Option<String>,
    /// Where the gate is, as a URL, if the services' hosts are not in DNS
    #[arg(long, value_parser = profile::server)]
    gate: Option<Url>,
    /// The identity provider, if the server has more than one
    #[arg(long)]
    provider: Option<String>,
    /// Print the address and open nothing
    #[arg(long)]
    no_browser: bool,
}

/// Whether to open a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browser {
    Open,
    Leave,
}

impl Login {
    pub(crate) async fn run(
        self,
        profile: Option<&str>,
        screen: &Screen,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        let place = Place::of(self.into.as_deref().or(profile))?;
        let kept = place.read()?;
        let url = self.url.or_else(|| kept.as_ref().map(|kept| kept.url.clone()));
        let url = url.ok_or_else(|| {
            let message = "name the server: `portcullis login https://portcullis.example.com`";
            Failure::WrongUse(message.to_owned())
        })?;
        let gate = self.gate.or_else(|| kept.filter(|kept| kept.url == url)?.gate);
        let browser = if self.no_browser { Browser::Leave } else { Browser::Open };
        let client = Client::new(url.clone())?;
        let made = sign_in(&client, screen, clock, self.provider.as_deref(), browser).await?;
        let expires_at = made.sign_in.expires_at;
        place.write(&Profile {
            url,
            gate,
            token: Some(made.token),
            expires_at: Some(expires_at),
        })?;
        if screen.is_json() {
            // The token stays in the profile.
            screen.body(&json!({"profile": place.name, "sign_in": made.sign_in}));
        } else {
            let until = when::until(expires_at, clock.now());
            screen.line(&format!("signed in as {}, {until}", made.sign_in.principal.id));
        }
        Ok(())
    }
}

/// Signs in and returns the sign-in; keeps nothing.
pub(crate) async fn sign_in(
    client: &Client,
    screen: &Screen,
    clock: &dyn Clock,
    provider: Option<&str>,
    browser: Browser,
) -> Result<NewSignInBody, Failure> {
    let begin = provider.map_or_else(|| json!({}), |provider| json!({"provider": provider}));
    let answer = client.call(None, Method::POST, "/v1/device", Some(&begin)).await;
    let answer = answer.map_err(|error| not_control(client, error))?;
    let device: DeviceBody = answer.read()?;
    announce(&device, screen);
    if browser == Browser::Open && screen.is_interactive() {
        open(&device, screen);
    }
    poll(client, clock, &device).await
}

/// Control begins a sign-in for anybody. Whoever asks for credentials here is the gate, most likely.
fn not_control(client: &Client, error: CallError) -> Failure {
    match error {
        CallError::Problem(problem) if matches!(problem.status, 401 | 403 | 404 | 421) => {
            Failure::WrongUse(format!(
                "{} is no control server; give control's address, not the gate's",
                client.url()
            ))
        }
        other => other.into(),
    }
}

async fn poll(
    client: &Client,
    clock: &dyn Clock,
    device: &DeviceBody,
) -> Result<NewSignInBody, Failure> {
    let question = json!({"device_token": device.device_token.expose()});
    let mut interval = device.interval;
    while still_open(device.expires_at, clock) {
        tokio::time::sleep(Duration::from_secs(u64::from(interval.clamp(1, 60)))).await;
        let answer = client.call(None, Method::POST, "/v1/device/token", Some(&question)).await?;
        if answer.status != StatusCode::ACCEPTED {
            return answer.read();
        }
        interval = answer.read::<PendingBody>()?.interval;
    }
    Err(Failure::TimedOut("nobody signed in in time; run `portcullis login` again".to_owned()))
}

fn still_open(expires_at: Timestamp, clock: &dyn Clock) -> bool {
    clock.now() < expires_at
}

fn announce(device: &DeviceBody, screen: &Screen) {
    let lines = [
        format!("To sign in, open {}", address(device)),
        format!("and see that it shows the code {}", device.user_code),
    ];
    for line in lines {
        if screen.is_json() { screen.note(&line) } else { screen.line(&line) }
    }
}

/// With the code in it, where the provider offers that.
fn address(device: &DeviceBody) -> &str {
    device.verification_uri_complete.as_ref().unwrap_or(&device.verification_uri)
}

/// Opens web addresses and nothing else: an address of another scheme could start any program.
fn open(device: &DeviceBody, screen: &Screen) {
    let address = address(device);
    let web = Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if !web || webbrowser::open(address).is_err() {
        screen.note("no browser could be opened; open the address yourself");
    }
}
