//! The one host that a request is for.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Version, header, request::Parts};
use portcullis_model::Refusal;

/// A host in its one form: lower case, no trailing dot; and its port, unless it is the scheme's own.
#[derive(Debug)]
pub(crate) struct Authority {
    text: String,
    host: Arc<str>,
    header: HeaderValue,
    /// The `Forwarded` header of the connection that asked for it.
    forwarded: OnceCell<Option<HeaderValue>>,
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The host that a connection asked for last, as it was written and as it reads. Most connections
/// ask for one host, and its reading is the same each time.
#[derive(Debug, Default)]
pub(crate) struct LastHost(RefCell<Option<(HeaderValue, Rc<Authority>)>>);

impl LastHost {
    fn read(
        &self,
        written: &HeaderValue,
        read: impl FnOnce(&str) -> Result<Authority, Refusal>,
    ) -> Result<Rc<Authority>, Refusal> {
        if let Some((known, authority)) = &*self.0.borrow()
            && known == written
        {
            return Ok(Rc::clone(authority));
        }
        let authority = Rc::new(read(text(written)?)?);
        // A copy: the value is a part of the read buffer, which it would keep from being used again.
        let copy = HeaderValue::from_bytes(written.as_bytes());
        *self.0.borrow_mut() = copy.ok().map(|copy| (copy, Rc::clone(&authority)));
        Ok(authority)
    }
}

impl Authority {
    /// Without the port: what routes and policies see.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host, for whoever keeps it.
    pub(crate) fn shared_host(&self) -> Arc<str> {
        Arc::clone(&self.host)
    }

    /// With the port, as it is sent upstream.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// With the port, as a header value.
    pub(crate) const fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The `Forwarded` header that goes with it, made once for a connection.
    pub(crate) fn forwarded(
        &self,
        make: impl FnOnce() -> Option<HeaderValue>,
    ) -> Option<HeaderValue> {
        self.forwarded.get_or_init(make).clone()
    }

    /// Reads `text` strictly: no user info, list, path, space, or empty label.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let host = host.strip_suffix('.').unwrap_or(host);
        if !is_host(host) {
            return None;
        }
        let mut text = host.to_ascii_lowercase();
        let host = text.as_str().into();
        if let Some(port) = port.filter(|port| *port != default_port) {
            text.push(':');
            text.push_str(itoa(port, &mut [0; 5]));
        }
        let header = HeaderValue::from_str(&text).ok()?;
        Some(Self { text, host, header, forwarded: OnceCell::new() })
    }
}

/// The authority of a request: `:authority` or the absolute form, and `Host`, which must agree.
pub(crate) fn of(parts: &Parts, tls: bool, last: &LastHost) -> Result<Rc<Authority>, Refusal> {
    let default_port = if tls { 443 } else { 80 };
    let parse = |text: &str| {
        Authority::parse(text, default_port).ok_or(Refusal::Malformed("the host is not a host"))
    };
    let host = single_host(&parts.headers)?.map(|host| last.read(host, parse)).transpose()?;
    let target = parts.uri.authority().map(|named| parse(named.as_str()).map(Rc::new));
    let target = target.transpose()?;
    match (target, host) {
        (Some(target), Some(host)) if target != host => {
            Err(Refusal::Malformed("the request names two hosts"))
        }
        // RFC 9112 section 3.2: a request without a Host field is refused, absolute form or not.
        (Some(_), None) if parts.version < Version::HTTP_2 => {
            Err(Refusal::Malformed("the request has no Host"))
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(Refusal::Malformed("the request has no Host")),
    }
}

fn single_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(Refusal::Malformed("the request has two Host fields")),
        (host, None) => Ok(host),
    }
}

fn text(value: &HeaderValue) -> Result<&str, Refusal> {
    value.to_str().map_err(|_| Refusal::Malformed("the host is not a host"))
}

fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(_) => {
            let end = text.find(']')?;
            let (host, rest) = text.split_at_checked(end + 1)?;
            (host, rest.strip_prefix(':').map(Some).or(rest.is_empty().then_some(None))?)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0)?)
        }
        Some(_) => return None,
    };
    Some((host, port))
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Decimal digits without the formatting machinery.
fn itoa(mut number: u16, buffer: &mut [u8; 5]) -> &str {
    let mut start = buffer.len();
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    buffer.get(start..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("0")
}
