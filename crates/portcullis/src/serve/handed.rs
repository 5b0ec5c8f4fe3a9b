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
        let mut found = ListenFd::from_env();
        let mut handed = Self::default();
        for number in 0..found.len() {
            let socket = found.take_tcp_listener(number);
            let socket = socket.with_context(|| format!("handed-over socket {number}"))?;
            let socket = socket.with_context(|| format!("handed-over socket {number} is taken"))?;
            let (at, called) = (socket.local_addr()?, names.next().unwrap_or_default());
            let name = belongs_to(config, called, at)?;
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

/// By its name, or by its port where it has no name that says anything.
fn belongs_to(config: &Config, called: &str, at: SocketAddr) -> Result<String> {
    let control = (CONTROL, config.control.address);
    let listeners = config.listeners.iter().map(|one| (one.name.as_str(), one.address));
    let places: Vec<(&str, SocketAddr)> = listeners.chain([control]).collect();
    if let Some((name, address)) = places.iter().find(|(name, _)| *name == called) {
        ensure!(
            address.port() == at.port(),
            "the socket handed over for `{name}` is at {at}, and its configuration says {address}"
        );
        return Ok((*name).to_owned());
    }
    let mut there = places.iter().filter(|(_, address)| address.port() == at.port());
    match (there.next(), there.next()) {
        (Some((name, _)), None) => Ok((*name).to_owned()),
        _ => bail!(
            "a socket at {at} was handed over as `{called}`, and no listener is called so; give it a \
             listener's name (FileDescriptorName=), or `control`"
        ),
    }
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
