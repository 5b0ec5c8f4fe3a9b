//! A command's conversation with the server, under one profile. An expired sign-in on a terminal
//! starts the sign-in and goes on.

use std::time::Duration;

use jiff::Timestamp;
use portcullis_model::{Clock, Secret};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::{
    client::{self, CallError, Client, Fetched},
    failure::Failure,
    login::{self, Browser},
    profile::{self, Place, Profile},
    refused::Refused,
    screen::Screen,
    short_id,
};

/// One profile's server and sign-in.
pub(crate) struct Session<'a> {
    pub(crate) screen: &'a Screen,
    pub(crate) profile: Profile,
    place: Place,
    client: Client,
    clock: &'a dyn Clock,
    /// A token of the environment, for jobs: it is used as it is and never kept.
    given: Option<Secret>,
}

impl<'a> Session<'a> {
    /// Opens the profile, or what `PORTCULLIS_URL` and `PORTCULLIS_TOKEN` say in its place.
    pub(crate) fn open(
        name: Option<&str>,
        screen: &'a Screen,
        clock: &'a dyn Clock,
    ) -> Result<Self, Failure> {
        let place = Place::of(name)?;
        let given = set("PORTCULLIS_TOKEN").map(Secret::new);
        let profile = match set("PORTCULLIS_URL") {
            Some(url) => {
                let url = profile::server(&url)
                    .map_err(|error| Failure::WrongUse(format!("PORTCULLIS_URL: {error}")))?;
                // A token of the profile belongs to the profile's server and to no other.
                let kept = place.read()?.filter(|kept| kept.url == url);
                kept.unwrap_or(Profile { url, gate: None, token: None, expires_at: None })
            }
            None => place.read()?.ok_or_else(|| {
                let name = &place.name;
                let into = if name == "default" { String::new() } else { format!(" --as {name}") };
                Failure::WrongUse(format!(
                    "there is no profile `{name}`; make it with `portcullis login https://HOST{into}`, \
                     HOST being your company's control server"
                ))
            })?,
        };
        let client = Client::new(profile.url.clone())?;
        let session = Self { screen, profile, place, client, clock, given };
        session.refused().forget_old(session.now());
        Ok(session)
    }

    /// A run's: by its token alone, without anything of a profile, and nothing is kept.
    pub(crate) fn of_run(
        url: Url,
        token: Secret,
        screen: &'a Screen,
        clock: &'a dyn Clock,
    ) -> Result<Self, Failure> {
        let client = Client::new(url.clone())?;
        let profile = Profile { url, gate: None, token: None, expires_at: None };
        Ok(Self { screen, profile, place: Place::nowhere(), client, clock, given: Some(token) })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Fetched, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// The same where others wait meanwhile: for so long at most, and nobody signs in again for it.
    pub(crate) async fn glance(&self, path: &str, most: Duration) -> Result<Fetched, Failure> {
        let call = self.client.call(self.token(), Method::GET, path, None);
        let Ok(answer) = timeout(most, call).await else {
            let (url, seconds) = (&self.profile.url, most.as_secs());
            return Err(Failure::Unreachable(format!("{url} does not answer within {seconds} s")));
        };
        Ok(answer?)
    }

    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: Option<Value>,
    ) -> Result<Fetched, Failure> {
        self.call(Method::POST, path, body.as_ref()).await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Fetched, Failure> {
        self.call(method, path, body.as_ref()).await
    }

    /// A file that is no longer than `most` bytes; `None` if there is none.
    pub(crate) async fn file(
        &mut self,
        path: &str,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut got = self.client.file(self.token(), path, most).await;
        if self.must_sign_in(&got) {
            self.sign_in_again().await?;
            got = self.client.file(self.token(), path, most).await;
        }
        match got {
            Err(CallError::Problem(problem)) if problem.status == 404 => Ok(None),
            got => Ok(Some(got?)),
        }
    }

    /// An answer of any length, part by part as it comes.
    pub(crate) async fn stream(
        &mut self,
        path: &str,
        mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let got = self.client.stream(self.token(), path, &mut write).await;
        if self.must_sign_in(&got) {
            self.sign_in_again().await?;
            return Ok(self.client.stream(self.token(), path, write).await?);
        }
        Ok(got?)
    }

    /// `portcullis …` as it is to be typed to stay with this profile.
    pub(crate) fn command(&self, words: &str) -> String {
        let named = self.place.name.as_str();
        if named == set("PORTCULLIS_PROFILE").as_deref().unwrap_or("default") {
            format!("portcullis {words}")
        } else {
            format!("portcullis --profile {named} {words}")
        }
    }

    /// All parts of the list `name`, as one.
    pub(crate) async fn list<T: DeserializeOwned>(
        &mut self,
        path: &str,
        name: &'static str,
    ) -> Result<Listed<T>, Failure> {
        let mut bodies = Vec::new();
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut cursor = String::new();
        loop {
            let fetched = self.get(&format!("{path}{separator}limit=500{cursor}")).await?;
            let part = fetched.body.get(name).and_then(Value::as_array);
            bodies.extend(part.into_iter().flatten().cloned());
            match fetched.body.get("next").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Listed::read(name, bodies),
            }
        }
    }

    /// The id that `text` means.
    pub(crate) async fn id(&mut self, text: &str, kind: short_id::Kind) -> Result<String, Failure> {
        if let Some(whole) = short_id::whole(text) {
            return Ok(whole);
        }
        let (path, name) = kind.list();
        let listed: Listed<Value> = self.list(path, name).await?;
        let ids = listed.items.iter().filter_map(|item| item.get("id")?.as_str());
        let ids: Vec<_> = ids.map(str::to_owned).collect();
        short_id::resolve(text, &ids, kind)
    }

    /// Ends the profile's own sign-in at the server. One that has ended already is fine.
    pub(crate) async fn end_sign_in(&self) -> Result<(), Failure> {
        let token = self.profile.token.as_ref();
        match self.client.call(token, Method::POST, "/v1/sign-out", None).await {
            Err(CallError::Problem(problem)) if problem.status == 401 => Ok(()),
            other => other.map(drop).map_err(Failure::from),
        }
    }

    /// Keeps the profile without its sign-in.
    pub(crate) fn forget(&mut self) -> Result<(), Failure> {
        self.profile.token = None;
        self.profile.expires_at = None;
        self.refused().forget_all();
        self.place.write(&self.profile)
    }

    /// What was refused under this profile and can be sent again.
    pub(crate) fn refused(&self) -> Refused {
        Refused::new(self.place.refused(), self.profile.url.clone())
    }

    fn token(&self) -> Option<&Secret> {
        self.given.as_ref().or(self.profile.token.as_ref())
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Fetched, Failure> {
        let answer = self.client.call(self.token(), method.clone(), path, body).await;
        if self.must_sign_in(&answer) {
            self.sign_in_again().await?;
            return Ok(self.client.call(self.token(), method, path, body).await?);
        }
        Ok(answer?)
    }

    /// The sign-in is over, and somebody is there to sign in again.
    fn must_sign_in<T>(&self, answer: &Result<T, CallError>) -> bool {
        let over = matches!(answer, Err(CallError::Problem(problem)) if problem.status == 401);
        over && self.screen.is_interactive() && self.given.is_none()
    }

    async fn sign_in_again(&mut self) -> Result<(), Failure> {
        self.screen.note("your sign-in has ended; signing in again");
        let made =
            login::sign_in(&self.client, self.screen, self.clock, None, Browser::Open).await?;
        self.profile.token = Some(made.token);
        self.profile.expires_at = Some(made.sign_in.expires_at);
        self.place.write(&self.profile)
    }
}

/// A whole list: in shape, and as the server wrote it.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    name: &'static str,
    bodies: Vec<Value>,
}

impl<T: DeserializeOwned> Listed<T> {
    fn read(name: &'static str, bodies: Vec<Value>) -> Result<Self, Failure> {
        let items = serde_json::from_value(Value::Array(bodies.clone()));
        let items = items.map_err(|error| client::not_understood(&error))?;
        Ok(Self { items, name, bodies })
    }

    /// For programs.
    pub(crate) fn body(self) -> Value {
        serde_json::json!({self.name: self.bodies})
    }
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
