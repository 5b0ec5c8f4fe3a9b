//! Whether a refused request waits, and for how long: what its way says (`@hold`), what the client
//! prefers (`Prefer: wait=N`, RFC 7240), and what its service and the caller's own deadline allow.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_model::{PolicyId, refusal::Requestable};

use crate::{
    canonical::{Canonical, Speaks},
    exchange::Exchange,
    forward::deadline::Deadline,
};

/// RFC 7240 section 2.
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// That a request waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// The rule of the way that it waits for.
    pub(super) rule: PolicyId,
    /// How long.
    pub(super) time: Duration,
    /// The client's own deadline is what ends it.
    pub(super) by_caller: bool,
    /// The client said that it would wait.
    pub(super) preferred: bool,
}

impl Wish {
    /// `None` for a request that is refused at once.
    pub(super) fn of(
        exchange: &Exchange,
        request: &Canonical,
        refused: &Requestable,
    ) -> Option<Self> {
        let stranger = exchange.identity.as_ref().is_none_or(|identity| identity.is_stranger());
        if stranger || matches!(request.speaks, Speaks::WebSocket | Speaks::Tcp) {
            return None;
        }
        // An emergency is taken by name; it is the first way only where there is no other.
        let way = refused.ways.first().filter(|way| !way.is_emergency())?;
        let catalog = exchange.snapshot.bundle().catalog();
        let longest = catalog.service(&refused.service)?.source().max_hold.get();
        let preferred = preferred(&request.headers);
        let said = way.hold.map(portcullis_model::Window::get);
        let time = preferred.into_iter().chain(said).min()?.min(longest);
        let own = Deadline::by_caller(request.speaks, &request.headers)
            .map(|own| own.saturating_sub(exchange.started.elapsed()));
        let by_caller = own.is_some_and(|own| own < time);
        let time = own.map_or(time, |own| own.min(time));
        let wish = Self { rule: way.rule.clone(), time, by_caller, preferred: preferred.is_some() };
        (!time.is_zero()).then_some(wish)
    }
}

/// `wait=N` of a request: the first that there is, as RFC 7240 section 2 has it.
fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    let mut waits = values.flat_map(preferences).filter_map(wait);
    waits.next().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs)
}

/// Removes `wait` from what a client prefers: the gate has applied it. The rest is the upstream's.
pub(crate) fn without_wait(headers: &mut HeaderMap) {
    if !headers.contains_key(PREFER) {
        return;
    }
    let rest: Vec<HeaderValue> = headers.get_all(PREFER).into_iter().filter_map(rest).collect();
    headers.remove(PREFER);
    for value in rest {
        headers.append(PREFER, value);
    }
}

/// A value of `Prefer` without `wait`; `None` if nothing is left. What is no text stays as it is.
pub(crate) fn rest(value: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else { return Some(value.clone()) };
    if preferences(text).all(|one| wait(one).is_none()) {
        return Some(value.clone());
    }
    let rest: Vec<&str> = preferences(text).filter(|one| wait(one).is_none()).collect();
    if rest.is_empty() { None } else { HeaderValue::from_str(&rest.join(", ")).ok() }
}

/// Tells the client that the gate waited, and for how long it would have.
pub(crate) fn applied(headers: &mut HeaderMap, seconds: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("wait={seconds}")) {
        headers.append(APPLIED, value);
    }
}

/// The preferences of one value. A comma inside quotes separates nothing.
fn preferences(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|one| !one.is_empty())
}

/// The value of `wait`, if `preference` is that.
fn wait(preference: &str) -> Option<&str> {
    let value = preference.split(';').next().unwrap_or_default();
    let (name, value) = value.split_once('=')?;
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("wait").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| (PREFER, HeaderValue::from_static(value)));
        values.collect()
    }

    #[test]
    fn the_first_wait_counts_and_nonsense_does_not() {
        let seconds = |values: &[&'static str]| preferred(&headers(values)).map(|t| t.as_secs());
        assert_eq!(seconds(&["wait=10"]), Some(10));
        assert_eq!(seconds(&["return=minimal, Wait = 10 ;x=1, wait=20"]), Some(10));
        assert_eq!(seconds(&["return=minimal", "wait=\"7\""]), Some(7));
        assert_eq!(seconds(&["wait=0"]), Some(0));
        for none in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=1e3", "note=\"a, wait=5\""] {
            assert_eq!(seconds(&[none]), None, "{none}");
        }
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn what_else_a_client_prefers_stays_as_it_is() {
        let left = |values: &[&'static str]| {
            let mut headers = headers(values);
            without_wait(&mut headers);
            let left = headers.get_all(PREFER).into_iter();
            left.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left(&["wait=10"]), Vec::<String>::new());
        assert_eq!(left(&["return=minimal,wait=10"]), ["return=minimal"]);
        assert_eq!(left(&["a,  b=\"x, wait=1\"", "wait=2"]), ["a,  b=\"x, wait=1\""]);
    }
}
