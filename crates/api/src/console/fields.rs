//! What a form or an address says, by name. A name may stand there more than once, as ticked boxes do.

use std::{fmt::Display, str::FromStr};

use axum::http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_control::{Control, ControlError};
use portcullis_model::Window;
use serde::Deserialize;

use super::{Failure, failure::of_control};

/// The longest choices of time that are offered, besides the longest that there is.
const STEPS: [u32; 8] = [5, 15, 30, 60, 120, 240, 480, 1440];

/// Names with what stands beside them, in their order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Those of an address.
    pub(crate) fn of_query(query: Option<&str>) -> Result<Self, Failure> {
        let read = serde_urlencoded::from_str(query.unwrap_or_default());
        read.map_err(|error| Failure::unreadable(&error.to_string()))
    }

    /// Everything called `name` that says something.
    pub(crate) fn all<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let named = self.0.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.trim()).filter(|value| !value.is_empty()).collect()
    }

    /// The only one called `name`; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    /// The same, read.
    pub(crate) fn one<T>(&self, name: &'static str) -> Result<Option<T>, ControlError>
    where
        T: FromStr<Err: Display>,
    {
        let text = Some(self.text(name)).filter(|text| !text.is_empty());
        text.map(|text| read(name, text)).transpose()
    }

    /// The page that was refused and is to be led back to, if a gate of ours serves it.
    pub(crate) fn back(&self, control: &Control) -> Option<String> {
        let page = self.text("page");
        control.leads_back(page).then(|| page.to_owned())
    }
}

/// `text`, which stood beside `name`.
pub(crate) fn read<T>(name: &'static str, text: &str) -> Result<T, ControlError>
where
    T: FromStr<Err: Display>,
{
    let invalid = |error: T::Err| ControlError::Invalid { field: name, message: error.to_string() };
    text.parse().map_err(invalid)
}

/// `path` with the page to be led back to.
pub(crate) fn with_back(path: &str, back: Option<&str>) -> String {
    match back {
        Some(page) => format!("{path}?page={}", utf8_percent_encode(page, NON_ALPHANUMERIC)),
        None => path.to_owned(),
    }
}

/// Windows to choose from, up to `longest`.
pub(crate) fn windows(longest: Window) -> Vec<String> {
    let steps = STEPS.into_iter().map(Window::minutes).filter(|step| *step < longest);
    steps.chain([longest]).map(|step| step.to_string()).collect()
}

/// What the person can put right, with the status of the page that says so; the rest is another page.
pub(crate) fn correctable(error: ControlError) -> Result<(StatusCode, String), Failure> {
    match &error {
        ControlError::Invalid { .. }
        | ControlError::NoWay { .. }
        | ControlError::Denied(_)
        | ControlError::Conflict(_)
        | ControlError::Limited { .. } => {}
        ControlError::Unauthenticated(_)
        | ControlError::NotFound(_)
        | ControlError::NoSuchClass { .. }
        | ControlError::PasskeyNeeded(_)
        | ControlError::Unavailable(_)
        | ControlError::Internal(_) => return Err(Failure::Control(error)),
    }
    let (status, _) = of_control(&error);
    let status = StatusCode::from_u16(status).map_err(|_| Failure::Internal)?;
    Ok((status, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_may_be_ticked_more_than_once_and_nothing_is_nothing() {
        let fields = Fields::of_query(Some("a=1&b=&a=+2+&c")).unwrap();
        assert_eq!((fields.all("a"), fields.text("b"), fields.text("d")), (vec!["1", "2"], "", ""));
        assert_eq!(fields.one::<Window>("b").unwrap(), None);
        assert!(fields.one::<Window>("a").unwrap_err().to_string().starts_with("a: "));
    }

    #[test]
    fn windows_end_with_the_longest() {
        assert_eq!(windows(Window::minutes(20)), ["5m", "15m", "20m"]);
        assert_eq!(windows(Window::minutes(5)), ["5m"]);
    }
}
