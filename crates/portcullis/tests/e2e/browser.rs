//! A browser that keeps cookies by host, follows redirects and says who caused what, as browsers do.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    desk::CONTROL,
    house::House,
    people::Person,
    wire::{Response, exchange},
};

/// One person's browser.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    gate: SocketAddr,
    /// By host and name.
    pub(crate) cookies: BTreeMap<(String, String), String>,
    /// The addresses that it went through, newest last.
    pub(crate) history: Vec<String>,
}

/// A navigation that the person began.
pub(crate) const TYPED: &str =
    "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
/// A link on somebody else's page.
const LINKED: &str =
    "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// The token in the forms of a page of control's.
pub(crate) fn form_token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect(page);
    rest.split_once('"').unwrap().0
}

impl Browser {
    pub(crate) fn new(house: &House) -> Self {
        Self { gate: house.gate, cookies: BTreeMap::new(), history: Vec::new() }
    }

    /// The browser of `person`, signed in at the console.
    pub(crate) fn signed_in(house: &House, person: &Person) -> Self {
        house.people.browsers().seat(person);
        let mut browser = Self::new(house);
        browser.open_until(&format!("http://{}/sign-in?page=%2F", house.control), |to| {
            to.strip_prefix("http://").is_some_and(|to| to.ends_with('/')) || to.starts_with('/')
        });
        assert!(browser.cookie("127.0.0.1", CONTROL).is_some(), "{:#?}", browser.history);
        browser
    }

    /// Opens an address and follows wherever that leads.
    pub(crate) fn open(&mut self, address: &str) -> Response {
        self.open_until(address, |_| false)
    }

    /// The same, and stops before the first address for which `stop` holds: the redirect to it.
    pub(crate) fn open_until(&mut self, address: &str, stop: impl Fn(&str) -> bool) -> Response {
        let (mut address, mut metadata) = (address.to_owned(), TYPED);
        for _ in 0..12 {
            let response =
                self.send("GET", &address, &format!("Accept: text/html\r\n{metadata}"), "");
            let Some(location) = response.header("location") else { return response };
            if stop(location) {
                return response;
            }
            // A path is of the same host.
            let host: String = address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            let location =
                if location.starts_with('/') { host + location } else { location.to_owned() };
            (address, metadata) = (location, LINKED);
        }
        panic!("too many redirects: {:#?}", self.history);
    }

    /// One request with the cookies of its host; cookies of the answer are kept.
    pub(crate) fn send(
        &mut self,
        method: &str,
        address: &str,
        headers: &str,
        body: &str,
    ) -> Response {
        let (to, authority, target) = self.resolve(address);
        let host = authority.split(':').next().unwrap().to_owned();
        let cookies = self.cookies.iter().filter(|((own, _), _)| *own == host);
        let cookies: Vec<_> = cookies.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{headers}");
        if !cookies.is_empty() {
            head += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        if method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.history.push(address.to_owned());
        let response = exchange(to, format!("{head}Connection: close\r\n\r\n{body}"));
        for (name, value) in &response.headers {
            if name.eq_ignore_ascii_case("set-cookie") {
                self.keep(&host, value);
            }
        }
        response
    }

    /// The value of a cookie that it holds for `host`.
    pub(crate) fn cookie(&self, host: &str, name: &str) -> Option<&str> {
        self.cookies.get(&(host.to_owned(), name.to_owned())).map(String::as_str)
    }

    fn keep(&mut self, host: &str, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').unwrap();
        if !name.contains("portcullis") {
            return;
        }
        for wanted in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(attributes.contains(wanted), "{wanted} is missing in {attributes}");
        }
        assert_eq!(name.starts_with("__Host-"), attributes.contains("; Secure"), "{attributes}");
        assert!(!attributes.contains("Domain"), "{attributes}");
        let key = (host.to_owned(), name.to_owned());
        if attributes.contains("Max-Age=0;") {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }

    /// Loopback addresses are what they say; every other host is behind the gate.
    fn resolve(&self, address: &str) -> (SocketAddr, String, String) {
        let (_, rest) = address.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let to = authority.parse().unwrap_or(self.gate);
        (to, authority.to_owned(), format!("/{path}"))
    }
}
