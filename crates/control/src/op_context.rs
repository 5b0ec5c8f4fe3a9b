//! Who acts, from where, and when.

use std::net::IpAddr;

use jiff::Timestamp;
use portcullis_identity::Authenticated;

/// Proof that somebody may be named in the event that a change writes.
#[derive(Debug, Clone)]
pub struct OpContext {
    actor: Actor,
    source: Option<IpAddr>,
    now: Timestamp,
}

#[derive(Debug, Clone)]
enum Actor {
    Caller(Box<Authenticated>),
    System(&'static str),
}

impl OpContext {
    /// For an authenticated caller.
    pub fn new(caller: Authenticated, source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::Caller(Box::new(caller)), source: Some(source), now }
    }

    /// For somebody who acts by chat: from where, only the chat's server knows.
    pub(crate) fn by_chat(caller: Authenticated, now: Timestamp) -> Self {
        Self { actor: Actor::Caller(Box::new(caller)), source: None, now }
    }

    /// For a message that says that it is a chat's.
    pub(crate) fn called_back(source: Option<IpAddr>, now: Timestamp) -> Self {
        Self { actor: Actor::System("slack"), source, now }
    }

    /// For what control does by itself: `expiry`, `reload`.
    pub(crate) fn system(cause: &'static str, now: Timestamp) -> Self {
        Self { actor: Actor::System(cause), source: None, now }
    }

    /// For somebody who is about to sign in: nobody yet, but with an address.
    pub(crate) fn signing_in(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("sign-in"), source: Some(source), now }
    }

    /// For somebody who leaves: known by the sign-in that ends.
    pub(crate) fn signing_out(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("sign-out"), source: Some(source), now }
    }

    /// For an identity provider that says that somebody left there.
    pub(crate) fn logged_out(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("back-channel logout"), source: Some(source), now }
    }

    /// For who presents a one-time token: nobody by name, but with an address.
    pub(crate) fn redeeming(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("redemption"), source: Some(source), now }
    }

    /// For a system that says what it decided, before it is known to be it.
    pub(crate) fn deciding(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("decision"), source: Some(source), now }
    }

    /// For the identity provider that keeps the directory.
    pub(crate) fn provisioning(source: IpAddr, now: Timestamp) -> Self {
        Self { actor: Actor::System("scim"), source: Some(source), now }
    }

    /// For another system that tells something, or is asked: known by its signature, or its address.
    pub(crate) fn connector(door: &'static str, source: Option<IpAddr>, now: Timestamp) -> Self {
        Self { actor: Actor::System(door), source, now }
    }

    /// The caller, unless control acts by itself.
    pub fn caller(&self) -> Option<&Authenticated> {
        match &self.actor {
            Actor::Caller(caller) => Some(caller),
            Actor::System(_) => None,
        }
    }

    /// What control does by itself, if it does.
    pub fn cause(&self) -> Option<&'static str> {
        match self.actor {
            Actor::Caller(_) => None,
            Actor::System(cause) => Some(cause),
        }
    }

    /// The caller's address.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// When.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}
