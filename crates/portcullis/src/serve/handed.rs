//! Listening sockets that a supervisor handed over, and telling it how far we are.
//!
//! The protocol is systemd's (`sd_listen_fds`, `sd_notify`) and others speak it. Who holds the sockets
//! while one process ends and the next begins keeps clients waiting in line instead of refusing them.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram},
    },
};

use anyhow::{Context, Result, bail, ensure};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Config;

/// The control API's name among sockets.
const CONTROL: &str = "control";

/// The sockets of each listener, and of control.
#[derive(Debug, Default)]
pub(super) struct Handed {
    by_name: BTreeMap<String, Vec<TcpListener>>,
}

impl Handed {
    /// Takes what was handed over. What cannot be used is an error: nobody would ever be served there.
    pub(super) fn take(config: &Config) -> Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let control = (CONTROL, config.control.address);
        let listeners = config.listeners.iter().map(|one| (one.name.as_str(), one.address));
        let places: Vec<_> = listeners.chain([control]).collect();
        let mut found = ListenFd::from_env();
        let mut handed = Self::default();
        for number in 0..found.len() {
            let socket = found.take_tcp_listener(number);
            let socket = socket.with_context(|| format!("handed-over socket {number}"))?;
            let socket = socket.with_context(|| format!("handed-over socket {number} is taken"))?;
            let (at, called) = (socket.local_addr()?, names.next().unwrap_or_default());
            let listens = SockRef::from(&socket).is_listener();
            ensure!(
                listens.unwrap_or(false),
                "the socket at {at} that was handed over as `{called}` does not listen"
            );
            let name = belongs_to(&places, called, at)?;
            socket.set_nonblocking(true)?;
            tracing::info!(listener = name, address = %at, "its socket was handed over");
            handed.by_name.entry(name).or_default().push(socket);
        }
        Ok(handed)
    }

    /// Those of the listener called `name`; none if it is to bind its own.
    pub(super) fn listener(&mut self, name: &str) -> Vec<TcpListener> {
        self.by_name.remove(name).unwrap_or_default()
    }

    /// That of control.
    pub(super) fn control(&mut self) -> Result<Option<TcpListener>> {
        let mut sockets = self.by_name.remove(CONTROL).unwrap_or_default();
        ensure!(
            sockets.len() < 2,
            "control was handed {} sockets, and has use for one",
            sockets.len()
        );
        Ok(sockets.pop())
    }
}

/// By its name, or by where it is if it has no name that says anything.
fn belongs_to(places: &[(&str, SocketAddr)], called: &str, at: SocketAddr) -> Result<String> {
    if let Some((name, address)) = places.iter().find(|(name, _)| *name == called) {
        ensure!(
            fits(*address, at),
            "the socket handed over for `{name}` is at {at}, and its configuration says {address}"
        );
        return Ok((*name).to_owned());
    }
    let mut there = places.iter().filter(|(_, address)| fits(*address, at));
    match (there.next(), there.next()) {
        (Some((name, _)), None) => Ok((*name).to_owned()),
        _ => bail!(
            "a socket at {at} was handed over as `{called}`, and no listener is called so, and not just one is \
             configured there; give it a listener's name (FileDescriptorName=), or `control`"
        ),
    }
}

/// Whether a socket at `at` is what `configured` asks for: a socket that more can reach is not.
fn fits(configured: SocketAddr, at: SocketAddr) -> bool {
    let (wanted, is) = (configured.ip().to_canonical(), at.ip().to_canonical());
    configured.port() == at.port() && (wanted.is_unspecified() || wanted == is)
}

/// Tells the supervisor something, if it wants to know: `READY=1`, `STOPPING=1`.
pub(super) fn tell(what: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text = address.to_string_lossy();
    let address = match text.strip_prefix('@') {
        Some(name) => UnixAddress::from_abstract_name(name),
        None => UnixAddress::from_pathname(&*text),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the supervisor cannot be told: {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_belongs_where_its_address_is_configured() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let places = [
            ("web", at("0.0.0.0:443")),
            ("six", at("[2001:db8::1]:444")),
            (CONTROL, at("127.0.0.1:8600")),
        ];
        let to = |called, text| belongs_to(&places, called, at(text)).ok();
        for (called, text, name) in [
            ("web", "10.0.0.1:443", "web"),
            ("", "[::]:443", "web"),
            ("unit.socket", "[2001:db8::1]:444", "six"),
            (CONTROL, "127.0.0.1:8600", CONTROL),
            ("", "[::ffff:127.0.0.1]:8600", CONTROL),
        ] {
            assert_eq!(to(called, text).as_deref(), Some(name), "{called} {text}");
        }
        for (called, text) in [
            (CONTROL, "[::]:8600"),
            ("", "[::]:8600"),
            ("", "0.0.0.0:8600"),
            ("unit.socket", "10.0.0.1:8600"),
            (CONTROL, "127.0.0.1:8601"),
            ("six", "[::]:444"),
            ("web", "10.0.0.1:444"),
        ] {
            assert_eq!(to(called, text), None, "{called} {text}");
        }
    }
}
