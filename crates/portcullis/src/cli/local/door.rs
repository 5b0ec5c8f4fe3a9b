//! Who may come in at a local address of an HTTP service.
//!
//! Whoever gets in is its owner, so a browser must not be lent to pages of others: a page may send requests to
//! this machine, and by DNS rebinding it may do so under a name of its own. Tools that are no browsers name the
//! address that they connect to, and nothing else; so does a browser that its owner has sent here.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// One local address, and the names that it answers to.
#[derive(Debug, Clone)]
pub(super) struct Door {
    address: SocketAddr,
    names: Vec<String>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    /// The request is for another place.
    #[error(
        "this address answers to its own host and port only, as in the URL that `portcullis connect` shows; \
         give other names with --host"
    )]
    Host,
    /// A page of another origin sent it.
    #[error(
        "a page of another origin sent this request; local endpoints serve their own address only"
    )]
    CrossSite,
    /// A tunnel to somewhere.
    #[error("this address is one service, and no proxy")]
    Method,
}

impl Door {
    /// At `address`, which answers to `names` beside its own.
    pub(super) fn new(address: SocketAddr, names: &[String]) -> Self {
        let names = names.iter().map(|name| plain(name)).collect();
        Self { address, names }
    }

    /// Lets a request in, or says why not.
    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Closed> {
        if method == Method::CONNECT {
            return Err(Closed::Method);
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        let named = uri.authority().map(Authority::as_str);
        let host = hosts.next().map(HeaderValue::to_str).transpose().map_err(|_| Closed::Host)?;
        let is_ours = [named, host].into_iter().flatten().all(|name| self.is_own(name));
        let own = named.or(host).ok_or(Closed::Host)?;
        if hosts.next().is_some() || !is_ours {
            return Err(Closed::Host);
        }
        let own_origin = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
            // Other addresses that are let in may be other machines.
            origin.is_some_and(|origin| self.is_own(origin) && is_same(origin, own))
        };
        // `same-site` is another port of this machine.
        let own_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
        let is_own = headers.get_all(header::ORIGIN).iter().all(own_origin)
            && headers.get_all(SEC_FETCH_SITE).iter().all(own_site);
        if is_own { Ok(()) } else { Err(Closed::CrossSite) }
    }

    /// Whether `authority` is this address. A name that DNS could lead here is none, unless it was given.
    fn is_own(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = plain(authority.host());
        if self.names.contains(&host) {
            return true;
        }
        let here = host == "localhost" || host.ends_with(".localhost");
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if self.address.ip().is_loopback() {
            let port = authority.port_u16().unwrap_or(80);
            return (here || ip.is_some_and(|ip| ip.is_loopback())) && port == self.address.port();
        }
        // What leads to an exposed address may have another port.
        here || ip.is_some()
    }
}

/// Whether two authorities are the same over HTTP, as origins are compared.
fn is_same(one: &str, other: &str) -> bool {
    let read = |authority: &str| {
        let authority = authority.parse::<Authority>().ok()?;
        Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(80)))
    };
    read(one).is_some_and(|one| read(other) == Some(one))
}

/// A host as names are compared.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(address: &str) -> Door {
        Door::new(address.parse().unwrap(), &["Tools.example.com".to_owned()])
    }

    fn check(door: &Door, uri: &str, headers: &[(&str, &str)]) -> Result<(), Closed> {
        let named = |&(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(named) {
            map.append(name, value);
        }
        door.check(&Method::GET, &uri.parse().unwrap(), &map)
    }

    #[test]
    fn a_tool_that_names_the_address_is_let_in() {
        let door = door("127.0.0.1:8081");
        for host in [
            "127.0.0.1:8081",
            "localhost:8081",
            "LOCALHOST.:8081",
            "payments.localhost:8081",
            "[::1]:8081",
            "tools.example.com",
        ] {
            assert_eq!(check(&door, "/x", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check(&door, "http://127.0.0.1:8081/x", &[]), Ok(()), "HTTP/2");
        let exposed = self::door("0.0.0.0:8081");
        for host in ["10.0.0.7:8081", "10.0.0.7:9000", "[2001:db8::1]", "tools.example.com:1"] {
            assert_eq!(check(&exposed, "/x", &[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn b09_a_name_that_dns_could_lead_here_is_not_answered() {
        let door = door("127.0.0.1:8081");
        for host in [
            "evil.example.com:8081",
            "127.0.0.1.evil.example.com:8081",
            "localhost.evil.example.com:8081",
            "notlocalhost:8081",
            "127.0.0.1:8082",
            "127.0.0.1",
            "10.0.0.7:8081",
            "localhost:8081@evil.example.com:8081",
            "evil@127.0.0.1:8081",
            "",
        ] {
            assert_eq!(check(&door, "/x", &[("host", host)]), Err(Closed::Host), "{host}");
        }
        assert_eq!(check(&door, "/x", &[]), Err(Closed::Host), "no host");
        let two = [("host", "127.0.0.1:8081"), ("host", "evil.example.com")];
        assert_eq!(check(&door, "/x", &two), Err(Closed::Host));
        let absolute = check(&door, "http://evil.example.com:8081/", &[("host", "127.0.0.1:8081")]);
        assert_eq!(absolute, Err(Closed::Host));
        let exposed = self::door("0.0.0.0:8081");
        let name = [("host", "evil.example.com:8081")];
        assert_eq!(check(&exposed, "/x", &name), Err(Closed::Host));
    }

    #[test]
    fn n13_a_page_of_another_origin_cannot_use_the_address() {
        let door = door("127.0.0.1:8081");
        let of = |name: &str, value: &str| {
            check(&door, "/x", &[("host", "127.0.0.1:8081"), (name, value)])
        };
        for (name, value) in [
            ("origin", "https://evil.example.com"),
            ("origin", "http://localhost:3000"),
            ("origin", "http://localhost:8081"),
            ("origin", "http://orders.localhost:8081"),
            ("origin", "http://tools.example.com"),
            ("origin", "https://127.0.0.1:8081"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "something-new"),
        ] {
            assert_eq!(of(name, value), Err(Closed::CrossSite), "{name}: {value}");
        }
        for (name, value) in [
            ("origin", "http://127.0.0.1:8081"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(of(name, value), Ok(()), "{name}: {value}");
        }
    }

    #[test]
    fn n13_at_an_exposed_address_a_page_has_to_be_of_the_address_that_it_names() {
        let exposed = door("0.0.0.0:8081");
        let of =
            |host: &str, origin: &str| check(&exposed, "/x", &[("host", host), ("origin", origin)]);
        for (host, origin) in [
            ("10.0.0.7:8081", "http://10.0.0.8:8081"),
            ("10.0.0.7:8081", "http://10.0.0.7:3000"),
            ("10.0.0.7:8081", "http://10.0.0.7"),
            ("10.0.0.7:8081", "http://tools.example.com:8081"),
            ("tools.example.com", "http://tools.example.com:3000"),
            ("evil.localhost:8081", "http://localhost:8081"),
        ] {
            assert_eq!(of(host, origin), Err(Closed::CrossSite), "{host}: {origin}");
        }
        for (host, origin) in [
            ("10.0.0.7:9000", "http://10.0.0.7:9000"),
            ("10.0.0.7:80", "http://10.0.0.7"),
            ("[2001:db8::1]:8081", "http://[2001:db8::1]:8081"),
            ("Tools.example.com", "http://tools.example.com"),
        ] {
            assert_eq!(of(host, origin), Ok(()), "{host}: {origin}");
        }
        let two = check(&exposed, "http://10.0.0.7:8081/", &[("origin", "http://10.0.0.8:8081")]);
        assert_eq!(two, Err(Closed::CrossSite), "HTTP/2");
    }

    #[test]
    fn it_is_no_proxy() {
        let door = door("127.0.0.1:8081");
        let uri = "127.0.0.1:8081".parse().unwrap();
        assert_eq!(door.check(&Method::CONNECT, &uri, &HeaderMap::new()), Err(Closed::Method));
    }
}
